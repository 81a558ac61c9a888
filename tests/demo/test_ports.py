"""A port that was asked for stays its asker's, also while nobody listens on it."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo import ports
from demo.ports import free_port

ROOT = Path(__file__).parents[2]
#: Asks for a port, and would like a certain one.
ASKING = """
import sys
from demo.ports import free_port
from tests.demo.test_ports import prefer
prefer(int(sys.argv[1]))
print(free_port())
"""


def prefer(port: int) -> None:
    """Have the next look fall on *port*."""
    real = random.randrange

    def once(*_: int) -> int:
        random.randrange = real
        return port

    random.randrange = once  # type: ignore[assignment]


def asked_elsewhere(wish: int) -> int:
    command = [sys.executable, "-c", ASKING, str(wish)]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def test_it_is_given_to_nobody_else_before_it_is_used() -> None:
    mine = free_port()
    prefer(mine)
    assert free_port() != mine
    assert asked_elsewhere(mine) != mine
    with socket.create_server(("127.0.0.1", mine)):
        pass


def test_one_on_which_somebody_listens_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        prefer(taken)
        assert free_port() != taken


def test_only_the_last_ones_are_kept_and_the_others_are_there_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_MOST", 2)
    first = free_port()
    others = [free_port(), free_port()]
    assert asked_elsewhere(first) == first
    assert asked_elsewhere(others[0]) != others[0]
