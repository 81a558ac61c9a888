"""Who is shown /metrics: with a token who has it, else who asks for an address of this machine."""

from __future__ import annotations

from http import HTTPStatus
from typing import Optional

import pytest

from daemon.http import Health
from daemon.http.endpoint import _Site
from daemon.http.exchange import Responder, plain


def status(path: str, headers: bytes, token: Optional[str] = None) -> int:
    health = Health(lambda: True, lambda: False, list, lambda: "connected", {"yard": "online"})
    respond = Responder(_Site(health, lambda: plain(HTTPStatus.OK), token)).respond
    return int(respond(b"GET %s HTTP/1.1\r\n%s\r\n" % (path.encode(), headers)).split()[1])


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:9590", "localhost:9590", "LocalHost", "[::1]:9590", "10.1.2.3", " [::1] "]
)
def test_without_a_token_it_is_shown_to_who_asks_for_an_address(host: str) -> None:
    assert status("/metrics", f"Host: {host}\r\n".encode()) == 200


def test_and_to_who_is_no_browser_and_asks_for_nothing() -> None:
    assert status("/metrics", b"") == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9590", "127.0.0.1.evil.example", "localhost.evil.example", "[x]", "a\xe9"]
)
def test_a_page_whose_name_leads_to_this_machine_is_shown_nothing(host: str) -> None:
    header = f"Host: {host}\r\n".encode("latin-1")
    assert status("/metrics", header) == 403
    assert status("/ready", header) == 200, "that names nothing"
    assert status("/metrics", header + b"Authorization: Bearer t\r\n", token="t") == 200, "which no page has"
    assert status("/metrics", header, token="t") == 401
