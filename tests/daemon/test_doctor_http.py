"""The doctor's look at the endpoint: who has its port, and whether the token can be read."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Dict, Iterator

import pytest

from daemon.doctor import http
from daemon.doctor.finding import Finding
from daemon.doctor.machine import Account
from daemon.http import Endpoint, Health
from demo.ports import free_port
from sightd.settings import HttpSettings
from tests.parts.doctor import BenchMachine, by_name
from tests.parts.http_client import wait_for_status

CANARY = "hunter2canary"
SIGHTD = Account("sightd", 999, frozenset({999}))


def check(folder: Path, settings: HttpSettings, first_port: str = "1024") -> Dict[str, Finding]:
    machine = BenchMachine(folder, {"/proc/sys/net/ipv4/ip_unprivileged_port_start": f"{first_port}\n"})
    return by_name(http.check(machine, settings, SIGHTD))


@contextlib.contextmanager
def daemon_at(settings: HttpSettings, *, started: bool) -> Iterator[None]:
    health = Health(lambda: started, lambda: False, list, lambda: "connected", {})
    endpoint = Endpoint(settings, health)
    endpoint.start()
    try:
        wait_for_status(settings.port, "/startup", 200 if started else 503)
        yield
    finally:
        endpoint.close(10)


class Other(BaseHTTPRequestHandler):
    """Another program's: it says that all is well, whatever it is asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"OK\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


def test_where_nothing_is_listened_on_there_is_nothing_to_find(tmp_path: Path) -> None:
    found = check(tmp_path, HttpSettings(token_file=None))
    assert {name: one.level for name, one in found.items()} == {"endpoint": "ok"}


def test_a_port_that_is_free_is_fine_and_stays_free(tmp_path: Path) -> None:
    settings = HttpSettings(port=free_port())
    for _ in range(2):
        assert check(tmp_path, settings)["port"].says == f"port {settings.port} of 127.0.0.1 is free for the daemon"


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_one_that_the_daemon_has_is_fine(tmp_path: Path, started: bool, address: str) -> None:
    token = tmp_path / "token"
    token.write_text(CANARY)
    token.chmod(0o600)
    settings = HttpSettings.model_validate({"port": free_port(), "address": address, "token_file": str(token)})
    with daemon_at(settings, started=started):
        found = check(tmp_path, settings)
    assert {name: one.level for name, one in found.items()} == {"port": "ok"}
    assert found["port"].says.endswith("the daemon answers")


def test_one_that_another_web_server_has_is_a_problem(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found = check(tmp_path, HttpSettings(port=server.server_port))["port"]
        server.shutdown()
        thread.join(10)
    assert (found.level, found.says) == (
        "problem",
        f"port {server.server_port} of 127.0.0.1 is taken by another program",
    )
    assert f"sport = :{server.server_port}" in found.fix


def test_one_whose_program_says_nothing_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_PATIENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = check(tmp_path, HttpSettings(port=silent.getsockname()[1]))["port"]
    assert found.says.endswith("is taken by another program")


def test_an_address_of_another_machine_and_a_port_of_roots_are_problems(tmp_path: Path) -> None:
    elsewhere = HttpSettings.model_construct(port=free_port(), address="192.0.2.1", token_file=None)
    assert "Cannot assign requested address" in check(tmp_path, elsewhere)["port"].says
    low = check(tmp_path, HttpSettings(port=80))["port"]
    assert (low.level, low.fix) == ("problem", "choose one from 1024 on")
    assert "none for" not in check(tmp_path, HttpSettings(port=free_port()), first_port="80")["port"].says


def test_a_token_that_everybody_may_read_or_is_none_is_a_problem(tmp_path: Path) -> None:
    token = tmp_path / "token"
    settings = HttpSettings.model_validate({"port": free_port(), "token_file": str(token)})
    assert "can't be read" in check(tmp_path, settings)["token"].says
    token.write_text(CANARY)
    token.chmod(0o644)
    found = check(tmp_path, settings)["token"]
    assert (found.level, found.fix) == ("problem", f"run: chmod o= {token}")
    assert CANARY not in repr(found)
