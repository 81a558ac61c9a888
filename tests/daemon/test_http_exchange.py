"""Requests as bytes: whatever comes has an answer, and none of it is taken for a mistake of ours."""

from __future__ import annotations

from email.message import Message
from http import HTTPStatus
from typing import List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.http.exchange import Answer, Responder, plain

_WORDS = st.text(st.characters(max_codepoint=255), max_size=30).map(lambda text: text.encode("latin-1"))
_REQUESTS = st.builds(
    lambda method, path, version, lines: b"%s %s %s\r\n%s\r\n" % (method, path, version, b"\r\n".join(lines)),
    st.sampled_from([b"GET", b"HEAD", b"POST"]) | _WORDS,
    _WORDS.map(lambda word: b"/" + word),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b""]) | _WORDS,
    st.lists(
        st.builds(lambda name, value: name + b": " + value, st.just(b"Authorization") | _WORDS, _WORDS), max_size=5
    ),
)


def responded(head: bytes) -> Tuple[int, List[Tuple[str, str]]]:
    """The status, and what the site was asked."""
    asked: List[Tuple[str, str]] = []

    def site(path: str, headers: Message) -> Answer:
        asked.append((path, headers.get("Authorization", "").strip()))
        return plain(HTTPStatus.OK)

    answer = Responder(site).respond(head)
    assert answer.startswith(b"HTTP/1.1 ")
    assert answer.count(b"\r\n\r\n") == 1
    return int(answer.split()[1]), asked


@given(st.binary(max_size=300) | _REQUESTS)
def test_any_bytes_are_answered_without_a_fault(head: bytes) -> None:
    status, asked = responded(head)
    assert status in (200, 400, 405, 431, 505)
    assert (status == 200) == bool(asked)


@pytest.mark.parametrize(
    ("head", "asked"),
    [
        (b"GET /metrics?x=/live HTTP/1.1\r\n\r\n", ("/metrics", "")),
        (b"GET /a HTTP/1.0\nauthorization:Bearer t\n\n", ("/a", "Bearer t")),
        (b"HEAD /a HTTP/1.1\r\nX: y\r\nAUTHORIZATION: Bearer t  \r\n\r\n", ("/a", "Bearer t")),
    ],
)
def test_path_and_credentials_are_taken_out(head: bytes, asked: Tuple[str, str]) -> None:
    assert responded(head) == (200, [asked])
