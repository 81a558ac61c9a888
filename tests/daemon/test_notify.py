"""sd_notify against a real datagram socket; what a real systemd makes of it is in test_systemd.py."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Iterator, List

import pytest

from daemon.notify import Notifier


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening


def notifier(supervisor: socket.socket) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": supervisor.getsockname()})


def told(supervisor: socket.socket) -> List[str]:
    return supervisor.recv(4096).decode().split("\n")


def test_each_state_is_told_as_systemd_reads_it(supervisor: socket.socket) -> None:
    systemd = notifier(supervisor)
    systemd.ready()
    assert told(supervisor) == ["READY=1"]
    systemd.reloading()
    word, when = told(supervisor)
    assert word == "RELOADING=1"
    assert int(when.partition("MONOTONIC_USEC=")[2]) > 0
    systemd.feed()
    assert told(supervisor) == ["WATCHDOG=1"]
    systemd.starting(30)
    assert told(supervisor) == ["EXTEND_TIMEOUT_USEC=30000000", "STATUS=starting: loading the models"]
    systemd.stopping()
    assert told(supervisor) == ["STOPPING=1", "STATUS=stopping"]


def test_a_status_stays_one_line(supervisor: socket.socket) -> None:
    notifier(supervisor).status("two\nREADY=1")
    assert told(supervisor) == ["STATUS=two; READY=1"]


def test_an_abstract_socket_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0sightd-test-{os.getpid()}")
        listening.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@sightd-test-{os.getpid()}"}).ready()
        assert told(listening) == ["READY=1"]


def test_without_a_supervisor_or_with_one_that_is_gone_nothing_happens(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, 0.0),  # meant for another process
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_watchdogs_time_is_the_environments(environment: dict[str, str], seconds: float) -> None:
    assert Notifier(environment).watchdog_s == seconds
