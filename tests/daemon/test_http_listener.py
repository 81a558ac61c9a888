"""The endpoint's sockets: sound requests, everything else that comes over a network, and a port that somebody has."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from email.message import Message
from http import HTTPStatus
from typing import Callable, Iterator, List

import pytest

from daemon.http.exchange import Answer, Responder, plain
from daemon.http.listener import Listener, listen
from demo.ports import free_port
from tests.parts.http_client import ask, get, wait_for_status

CANARY = "hunter2canary"


def site(path: str, headers: Message) -> Answer:
    if path == "/fail":
        raise RuntimeError(f"broken {CANARY}")
    if path == "/work":
        ends_s = time.thread_time() + 0.003
        while time.thread_time() < ends_s:
            pass
    if path == "/large":
        return Answer(HTTPStatus.OK, b"x" * (8 << 20))
    return plain(HTTPStatus.OK, f"{path} {headers.get('Authorization', '')}")


@contextlib.contextmanager
def listening(port: int, address: str = "127.0.0.1") -> Iterator[threading.Thread]:
    stop = threading.Event()
    listener = Listener(address, port, Responder(site).respond)
    thread = threading.Thread(target=listener.run, args=(stop,), name="http")
    thread.start()
    try:
        yield thread
    finally:
        began = time.monotonic()
        stop.set()
        thread.join(10)
        assert not thread.is_alive()
        assert time.monotonic() - began < 5, "whoever hangs in the middle holds nobody up"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    number = free_port()
    with listening(number):
        wait_for_status(number, "/", 200)
        yield number


def test_an_answer_is_whole_and_gives_nothing_away(port: int) -> None:
    reply = get(port, "/path?query=1", token="t")
    assert (reply.status, reply.body) == (200, "/path Bearer t\n")
    assert sorted(reply.headers) == ["Cache-Control", "Connection", "Content-Length", "Content-Type", "Date"]
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["Content-Length"] == str(len(reply.body))
    assert (reply.headers["Cache-Control"], reply.headers["Connection"]) == ("no-store", "close")


def test_head_is_the_same_without_the_body(port: int) -> None:
    head, whole = get(port, "/path", method="HEAD"), get(port, "/path")
    assert (head.status, head.body) == (200, "")
    assert {**head.headers, "Date": ""} == {**whole.headers, "Date": ""}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "__init__"])
def test_other_methods_are_refused_and_told_which_there_are(port: int, method: str) -> None:
    reply = get(port, "/path", method=method)
    assert (reply.status, reply.headers["Allow"], reply.body) == (405, "GET, HEAD", "Method Not Allowed\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (f"GET /{CANARY}\r\n\r\n".encode(), 200),  # HTTP/0.9
        (f"{CANARY}\r\n\r\n".encode(), 400),
        (f"GET /{CANARY} HTTP/x\r\n\r\n".encode(), 400),
        (f"GET / {CANARY} HTTP/1.1\r\n\r\n".encode(), 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nX: y\n\n", 200),
        (b"GET / HTTP/1.1\nX: y\n\r\n", 200),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\r\n\r\n", 400),  # TLS
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(200)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 9000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 60_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n\xff\xfe: \xff\r\n : \r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", 200),
        (b"POST / HTTP/1.1\r\nContent-Length: 30000\r\n\r\n" + b"z" * 30_000, 405),
    ],
)
def test_what_is_no_sound_request_gets_a_short_answer_that_does_not_repeat_it(
    port: int, request_: bytes, status: int
) -> None:
    reply = ask(port, request_)
    assert reply.status == status
    assert CANARY.encode() not in reply.raw or status == 200
    assert get(port, "/").status == 200, "the next one is served"


def sent_until_cut_off(port: int, piece: bytes, pause_s: float, most_s: float) -> float:
    """For how many seconds the other side takes *piece* after *piece*; *most_s*: for ever."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 10) as connection, contextlib.suppress(OSError):
        while time.monotonic() < began + most_s:
            connection.sendall(piece)
            time.sleep(pause_s)
    return time.monotonic() - began


def test_what_never_ends_is_cut_off_however_fast_or_slowly_it_comes(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sent_until_cut_off(port, b"y" * 65536, 0.0, 15) < 6, "not only when the time is up"
    monkeypatch.setattr("daemon.http.listener._ANSWER_S", 1.0)
    assert sent_until_cut_off(port, b"G", 0.1, 15) < 10, "each byte wins no new time"
    assert sent_until_cut_off(port, b"GET / HTTP/1.1\r\n\r\n", 0.1, 15) < 10, "nor does the next request"


def test_who_dawdles_keeps_nobody_waiting_and_is_cut_off_in_time(port: int) -> None:
    """More than there is room for, some silent, some byte by byte."""
    began = time.monotonic()
    with contextlib.ExitStack() as closing:
        crowd = [closing.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(40)]
        ends_at = time.monotonic() + 1.0
        waited_s = []
        while time.monotonic() < ends_at:
            for one in crowd[::2]:
                with contextlib.suppress(OSError):
                    one.send(b"G")
            asked_at = time.monotonic()
            assert get(port, "/").status == 200
            waited_s.append(time.monotonic() - asked_at)
        assert max(waited_s) < 2, "the time that a connection has for its request"
        for one in crowd:
            one.settimeout(20)
            with contextlib.suppress(ConnectionError):
                assert one.recv(1) == b"", "hung up on without a word"
    assert time.monotonic() - began < 15


def test_who_does_not_take_the_answer_keeps_nobody_waiting(port: int) -> None:
    with socket.socket() as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.connect(("127.0.0.1", port))
        idle.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        for _ in range(10):
            began = time.monotonic()
            assert get(port, "/").status == 200
            assert time.monotonic() - began < 2


def test_who_asks_without_a_pause_takes_little_of_a_core() -> None:
    number = free_port()
    with listening(number) as thread:
        wait_for_status(number, "/", 200)
        assert thread.ident is not None
        clock = time.pthread_getcpuclockid(thread.ident)
        began_at, began_cpu_s, answered = time.monotonic(), time.clock_gettime(clock), 0
        while time.monotonic() < began_at + 2:
            assert get(number, "/work").status == 200
            answered += 1
        worked_s = time.clock_gettime(clock) - began_cpu_s
        assert worked_s / (time.monotonic() - began_at) < 0.2
    assert answered >= 5


def test_a_large_answer_arrives_whole(port: int) -> None:
    assert len(get(port, "/large").body) == 8 << 20


def test_requests_are_not_logged_and_a_failing_page_is_logged_without_being_shown(
    port: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    get(port, "/path")
    ask(port, b"nonsense\r\n\r\n")
    assert caplog.text == ""
    for _ in range(20):
        reply = get(port, "/fail")
        assert (reply.status, reply.body) == (500, "Internal Server Error\n")
    assert 1 <= caplog.text.count("a request failed: RuntimeError") <= 3
    assert "Traceback" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_a_port_that_somebody_has_is_waited_for_and_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.http.listener._RETRY_S", 0.05)
    caplog.set_level(logging.INFO)
    number = free_port()
    with listen("127.0.0.1", number) as other, listening(number):
        _wait_until(lambda: "Address already in use" in caplog.text)
        time.sleep(0.5)  # ten attempts
        other.close()
        wait_for_status(number, "/", 200)
    assert caplog.text.count("Address already in use; trying again") == 1
    assert caplog.text.count(f"port {number} of 127.0.0.1: listening") == 1


def test_an_address_of_another_machine_is_told_likewise(caplog: pytest.LogCaptureFixture) -> None:
    with listening(free_port(), "192.0.2.1"):
        _wait_until(lambda: "Cannot assign requested address" in caplog.text)


def test_it_listens_as_the_address_says() -> None:
    number = free_port()
    try:
        listen("::1", number).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    with listening(number, "::1"):
        _wait_until(lambda: _answers(number, "::1"))
        assert not _answers(number, "127.0.0.1")


def test_one_that_was_just_connected_does_not_keep_it_from_being_opened_again() -> None:
    """The other end of a closed connection stays in TIME_WAIT for a minute."""
    number = free_port()
    for _ in range(2):
        with listening(number):
            wait_for_status(number, "/", 200, 5)


def test_without_descriptors_it_is_back_when_there_are_some(
    port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: List[int] = []
    accept = socket.socket.accept

    def fails(self: socket.socket) -> object:
        if len(refused) < 3:
            refused.append(1)
            raise OSError(24, "Too many open files")
        return accept(self)

    monkeypatch.setattr("daemon.http.listener._RETRY_S", 0.05)
    monkeypatch.setattr(socket.socket, "accept", fails)
    wait_for_status(port, "/", 200)
    assert "Too many open files; trying again" in caplog.text


def _answers(port: int, host: str) -> bool:
    try:
        return get(port, "/", host=host).status == 200
    except OSError:
        return False


def _wait_until(holds: Callable[[], bool], deadline_s: float = 20) -> None:
    ends_at = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < ends_at
        time.sleep(0.02)
