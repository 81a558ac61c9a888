"""A TCP proxy on a loopback port that spoils what it passes on: stalls, holes, corrupt and missing bytes."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from types import TracebackType
from typing import Callable, List, Optional, Type

__all__ = ["Proxy"]

_CHUNK = 4096
_TICK_S = 0.05


class Proxy:
    """Passes everything between ``127.0.0.1:port`` and a server at *target*, until told otherwise; a context manager.

    A fault lasts until the next :meth:`heal`; only what the server sends is corrupted or truncated.

    :param target: the server's port; it may come and go.
    :param seed: of what is spoilt.
    """

    def __init__(self, target: int, seed: int = 0) -> None:
        self._target = target
        self._random = random.Random(seed)
        self._corrupt_share = self._truncate_share = 0.0
        self._swallows = False
        self._passing, self._taking = threading.Event(), threading.Event()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._sockets: List[socket.socket] = []
        self._threads: List[threading.Thread] = []
        self._fillers: List[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(_TICK_S)
        self.port: int = self._server.getsockname()[1]
        #: Connections taken so far, and bytes that came from clients.
        self.connections = self.received = 0

    def __enter__(self) -> Proxy:
        self.heal()
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._over.set()
        self.heal()
        self.cut()
        while self._threads:
            self._threads.pop().join(10)
        self._server.close()

    def heal(self) -> None:
        """End every fault; connections that stand go on."""
        self._corrupt_share = self._truncate_share = 0.0
        self._swallows = False
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        self._server.listen(100)
        self._taking.set()
        self._passing.set()

    def corrupt(self, share: float) -> None:
        """Replace *share* of the bytes by others."""
        self._corrupt_share = share

    def truncate(self, share: float) -> None:
        """Of *share* of the chunks (up to 4 KiB) lose the second half."""
        self._truncate_share = share

    def stall(self) -> None:
        """Connections stand and are still taken, and nothing comes through."""
        self._passing.clear()

    def swallow(self) -> None:
        """Connections stand and are still taken, and what is sent over them is lost, as by a pulled cable."""
        self._swallows = True

    def black_hole(self) -> None:
        """Nothing comes through, and whoever connects gets no answer at all, as behind a firewall that drops."""
        self._taking.clear()
        self.stall()
        # The kernel drops who comes while as many as this wait to be accepted.
        self._server.listen(0)
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)

    def cut(self) -> None:
        """End all connections at once."""
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._over.is_set():
            if not self._taking.wait(_TICK_S):
                continue
            try:
                client, _ = self._server.accept()
            except socket.timeout:
                continue
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target), 5)
        except OSError:
            client.close()
            return
        self.connections += 1
        for one in (client, server):
            one.settimeout(None)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets += [client, server]
        ends = _Ends(client, server, self._forget)
        self._start(lambda: self._pass_on(client, server, ends, spoils=False))
        self._start(lambda: self._pass_on(server, client, ends, spoils=True))

    def _pass_on(self, source: socket.socket, target: socket.socket, ends: _Ends, *, spoils: bool) -> None:
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(_CHUNK)
                if not data:
                    break
                self.received += 0 if spoils else len(data)
                while not self._passing.wait(_TICK_S) and not self._over.is_set():
                    pass
                if not self._swallows:
                    target.sendall(self._spoilt(data) if spoils else data)
        ends.close_one()

    def _spoilt(self, data: bytes) -> bytes:
        if self._corrupt_share:
            spoilt = bytearray(data)
            for place in range(len(data)):
                if self._random.random() < self._corrupt_share:
                    spoilt[place] = self._random.randrange(256)
            data = bytes(spoilt)
        if self._truncate_share and self._random.random() < self._truncate_share:
            data = data[: len(data) // 2]
        return data

    def _forget(self, *ends: socket.socket) -> None:
        with self._lock:
            for one in ends:
                self._sockets.remove(one)
                one.close()

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="proxy", daemon=True)
        self._threads = [*(one for one in self._threads if one.is_alive()), thread]
        thread.start()


class _Ends:
    """Both ends of a connection: the first direction that is over ends the other, the last one closes them."""

    def __init__(
        self, client: socket.socket, server: socket.socket, forget: Callable[[socket.socket, socket.socket], None]
    ) -> None:
        self._both = client, server
        self._forget = forget
        self._open = 2
        self._lock = threading.Lock()

    def close_one(self) -> None:
        with self._lock:
            self._open -= 1
            last = not self._open
        for one in self._both:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        if last:
            self._forget(*self._both)
