"""The sockets: whoever connects has little time and little room, and nobody waits for anybody else."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import select
import socket
import threading
import time
from contextlib import closing
from typing import Callable, List, Optional

from ..repeats import Repeats

__all__ = ["Listener", "listen"]

_log = logging.getLogger(__name__)

#: A request must be there after so long, and the answer must have been taken so long after that, in seconds.
_REQUEST_S, _ANSWER_S = 2.0, 8.0
#: The longest request line with its headers; what may come in all, read only so that the answer is not lost; in bytes.
_MOST_HEAD, _MOST_BYTES = 8 << 10, 64 << 10
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
#: Connections at a time; one more, and the oldest ends: who asks at once is answered at once, however many dawdle.
_MOST_CONNECTIONS = 16
#: How often deadlines are looked at, in seconds.
_TICK_S = 0.25
#: It rests for so many times as long as it worked: who asks without a pause gets a tenth of a core, not the cameras'.
_REST = 9.0
#: An address that can't be listened on is tried again after so long, in seconds.
_RETRY_S = 3.0


def listen(address: str, port: int) -> socket.socket:
    """A socket that listens there.

    :raises OSError: another program does, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    return socket.create_server((address, port), family=family)


class Listener:
    """Serves on one thread.

    :param respond: makes the answer to a request out of its head; None: that was too long. Must not raise.
    """

    def __init__(self, address: str, port: int, respond: Callable[[Optional[bytes]], bytes]) -> None:
        self._address, self._port, self._respond = address, port, respond
        self._connections: List[_Connection] = []
        self._said = ""
        self._repeats = Repeats()

    def run(self, stop: threading.Event) -> None:
        """Until *stop* is set; while it can't listen, because another daemon is just going perhaps, it tries again."""
        where = f"http: port {self._port} of {self._address}"
        while not stop.is_set():
            try:
                with closing(listen(self._address, self._port)) as listening:
                    self._say(f"{where}: listening", logging.INFO)
                    self._serve(listening, stop)
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else str(error)
                self._say(f"{where}: {reason}; trying again, the daemon serves without it", logging.WARNING)
                stop.wait(_RETRY_S)

    def _serve(self, listening: socket.socket, stop: threading.Event) -> None:
        listening.setblocking(False)
        try:
            while not stop.is_set():
                ready = self._wait(listening)
                began_s, now = time.thread_time(), time.monotonic()
                self._connections = [one for one in self._connections if one.turn(now, one.fileno() in ready)]
                if listening.fileno() in ready:
                    self._accept(listening)
                stop.wait(_REST * (time.thread_time() - began_s))
        finally:
            for one in self._connections:
                one.close()
            self._connections = []

    def _wait(self, listening: socket.socket) -> List[int]:
        """What can be read or written now; select() would know no descriptors from 1024 on."""
        poll = select.poll()
        poll.register(listening, select.POLLIN)
        for one in self._connections:
            poll.register(one, one.waits_for)
        return [descriptor for descriptor, _ in poll.poll(_TICK_S * 1000)]

    def _accept(self, listening: socket.socket) -> None:
        try:
            peer, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # gone again
        if len(self._connections) >= _MOST_CONNECTIONS:
            self._connections.pop(0).close()
        self._connections.append(_Connection(peer, self._respond))

    def _say(self, text: str, level: int) -> None:
        if text != self._said:
            self._said = text
            line = self._repeats.said(text, time.monotonic())
            if line:
                _log.log(level, "%s", line)


class _Connection:
    """Reads a request, writes the answer, waits for the other side to hang up; none of it blocks."""

    def __init__(self, peer: socket.socket, respond: Callable[[Optional[bytes]], bytes]) -> None:
        peer.setblocking(False)
        self._peer, self._respond = peer, respond
        self._received, self._unsent = bytearray(), b""
        self._taken = 0
        self._is_answered = False
        self._ends_at = time.monotonic() + _REQUEST_S

    def fileno(self) -> int:
        return self._peer.fileno()

    @property
    def waits_for(self) -> int:
        """For poll."""
        return select.POLLOUT if self._unsent else select.POLLIN

    def turn(self, now: float, is_ready: bool) -> bool:
        """Do what can be done without waiting; False: it was closed."""
        goes_on = now < self._ends_at
        if goes_on and is_ready:
            try:
                goes_on = self._send() if self._unsent else self._receive(now)
            except BlockingIOError:
                pass
            except OSError:  # the other side is gone
                goes_on = False
        if not goes_on:
            self.close()
        return goes_on

    def close(self) -> None:
        self._peer.close()

    def _receive(self, now: float) -> bool:
        data = self._peer.recv(_MOST_HEAD)
        self._taken += len(data)
        if not data or self._taken > _MOST_BYTES:
            return False
        if self._is_answered:
            return True
        self._received += data
        head = _head(self._received)
        if head is None and len(self._received) <= _MOST_HEAD:
            return True
        self._is_answered, self._ends_at = True, now + _ANSWER_S
        self._unsent = self._respond(head)
        return self._send()

    def _send(self) -> bool:
        self._unsent = self._unsent[self._peer.send(self._unsent) :]
        if not self._unsent:
            # Closed while there is something unread, the connection would be reset, and the answer thrown away.
            self._peer.shutdown(socket.SHUT_WR)
        return True


def _head(received: bytearray) -> Optional[bytes]:
    """What is in front of the empty line, and that; None: it has not come, or too late."""
    end = _END_OF_HEAD.search(received, 0, _MOST_HEAD)
    return bytes(received[: end.end()]) if end else None
