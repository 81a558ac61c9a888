"""One request and the answer to it, as bytes: GET and HEAD, after which the connection ends."""

from __future__ import annotations

import email.utils
import logging
import time
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any, Callable, Dict, Optional

from ..repeats import Repeats

__all__ = ["Answer", "Responder", "Site", "plain"]

_log = logging.getLogger(__name__)

_METHODS = ("GET", "HEAD")


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Dict[str, str] = field(default_factory=dict)


#: Answers a path, without its query, and the headers.
Site = Callable[[str, Message], Answer]


def plain(status: HTTPStatus, text: str = "", headers: Optional[Dict[str, str]] = None) -> Answer:
    """Some lines of text; without any the status in words."""
    return Answer(status, f"{text or status.phrase}\n".encode(), headers=headers or {})


class Responder:
    """Answers requests by *site*; what goes wrong in it is logged, and a 500 that says no more. One thread."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._repeats = Repeats()

    def respond(self, head: Optional[bytes]) -> bytes:
        """The answer to a request, of which *head* is all up to its empty line; None: that was too long."""
        if head is None:
            return _encoded(plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        try:
            request = _Request(head)
            return _encoded(self._answer(request), with_body=request.command != "HEAD")
        except Exception as error:  # of ours, or what Python's parser stumbles over: the next request may be sound
            line = self._repeats.said(f"a request failed: {type(error).__name__}", time.monotonic())
            if line:
                _log.exception("%s", line)
            return _encoded(plain(HTTPStatus.INTERNAL_SERVER_ERROR))

    def _answer(self, request: _Request) -> Answer:
        if request.objection is not None:
            return plain(request.objection)
        if request.command not in _METHODS:
            return plain(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(_METHODS)})
        return self._site(request.path.partition("?")[0], request.headers)


class _Request(BaseHTTPRequestHandler):
    """Parsed as Python does it; the rest of the base, which would tell versions and what it objects to, is left out."""

    def __init__(self, head: bytes) -> None:
        # Not the base's, which wants a socket.
        self.rfile, self.wfile = BytesIO(head), BytesIO()
        self.raw_requestline = self.rfile.readline()
        #: Why it is no request; None: it is one.
        self.objection: Optional[HTTPStatus] = None
        if not self.parse_request() and self.objection is None:
            self.objection = HTTPStatus.BAD_REQUEST

    def send_error(self, code: int, message: Any = None, explain: Any = None) -> None:
        self.objection = HTTPStatus(code)


def _encoded(answer: Answer, *, with_body: bool = True) -> bytes:
    headers = {
        "Date": email.utils.formatdate(usegmt=True),
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        "Cache-Control": "no-store",
        "Connection": "close",
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status.value} {answer.status.phrase}", *(": ".join(pair) for pair in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (answer.body if with_body else b"")
