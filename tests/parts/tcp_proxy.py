"""A TCP proxy that can swallow what passes through it, as a pulled cable does."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import contextmanager
from typing import Dict, Iterator

__all__ = ["TcpProxy", "tcp_proxy"]


class TcpProxy:
    """Passes connections to ``127.0.0.1:port`` on. In a hole nothing is closed and nothing arrives."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._hole = threading.Event()
        self._over = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        #: Bytes that came from clients since the start.
        self.received = 0
        self._others: Dict[socket.socket, socket.socket] = {}
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def black_hole(self) -> None:
        """Swallow everything, of old connections and new ones."""
        self._hole.set()

    def heal(self) -> None:
        """Pass on what comes from now on; what was swallowed is lost, so old connections are cut."""
        self._hole.clear()

    def close(self) -> None:
        self._over.set()
        self._thread.join(10)
        for one in [self._server, *self._others]:
            one.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            for one in select.select([self._server, *self._others], [], [], 0.02)[0]:
                if one is self._server:
                    client, server = one.accept()[0], socket.create_connection(("127.0.0.1", self._target))
                    self._others.update({client: server, server: client})
                elif one in self._others:
                    self._pass_on(one)

    def _pass_on(self, one: socket.socket) -> None:
        other = self._others[one]
        try:
            data = one.recv(65536)
            self.received += len(data)
            if data and not self._hole.is_set():
                other.sendall(data)
        except OSError:
            data = b""
        if not data:
            for end in (one, other):
                self._others.pop(end)
                end.close()


@contextmanager
def tcp_proxy(target: int) -> Iterator[TcpProxy]:
    """One in front of the loopback port *target*."""
    proxy = TcpProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
