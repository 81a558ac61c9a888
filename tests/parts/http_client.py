"""An HTTP client that sends what it is told to, sound or not, and reads what comes."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Dict, NamedTuple

__all__ = ["Reply", "ask", "get", "wait_for_status"]


class Reply(NamedTuple):
    status: int
    headers: Dict[str, str]
    body: str
    #: All of it.
    raw: bytes


def get(port: int, path: str, *, method: str = "GET", token: str = "", host: str = "127.0.0.1") -> Reply:
    """As a sound client asks."""
    credentials = f"Authorization: Bearer {token}\r\n" if token else ""
    return ask(port, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{credentials}\r\n".encode(), host)


def ask(port: int, request: bytes, host: str = "127.0.0.1") -> Reply:
    """Send *request*, read until the other side hangs up in good order; status 0 where it said nothing."""
    with socket.create_connection((host, port), 10) as connection:
        connection.settimeout(20)
        with contextlib.suppress(OSError):  # it need not listen to the end
            connection.sendall(request)
        return _parsed(_all_of(connection))


def wait_for_status(port: int, path: str, status: int, deadline_s: float = 30, token: str = "") -> Reply:
    """The first answer with *status*; fails with the last one after *deadline_s*."""
    last: object = None
    ends_at = time.monotonic() + deadline_s
    while time.monotonic() < ends_at:
        with contextlib.suppress(OSError):
            last = reply = get(port, path, token=token)
            if reply.status == status:
                return reply
        time.sleep(0.05)
    raise AssertionError(f"{path} is not {status} within {deadline_s} s: {last}")


def _all_of(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def _parsed(raw: bytes) -> Reply:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Reply(int(first.split()[1]) if first else 0, headers, body.decode(), raw)
