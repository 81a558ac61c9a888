"""A broker that does not speak MQTT 5: a proxy that turns such clients away and passes all others on to a real one."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import contextmanager
from typing import Iterator, List, Optional

from tests.parts.broker import Broker

__all__ = ["OldBroker", "old_broker"]


@contextmanager
def old_broker(broker: Broker, answer: bytes) -> Iterator[OldBroker]:
    """Answers to MQTT 5's CONNECT with *answer*, b"" for none, and hangs up."""
    proxy = OldBroker(broker, answer)
    try:
        yield proxy
    finally:
        proxy.close()


class OldBroker:
    def __init__(self, broker: Broker, answer: bytes) -> None:
        #: None lets MQTT 5 through, too: it was updated.
        self.answer: Optional[bytes] = answer
        #: The protocol level of each CONNECT: 5, or 4 for 3.1.1.
        self.levels: List[int] = []
        self._broker = broker
        self._over = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.05)
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._hang_up = threading.Event()
        self._thread.start()

    def hang_up(self) -> None:
        """End the connection that stands."""
        self._hang_up.set()

    def close(self) -> None:
        self._over.set()
        self._thread.join(10)
        self._server.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._server.accept()
            except socket.timeout:
                continue
            with client:
                client.settimeout(5)
                connect = client.recv(4096)
                self.levels.append(connect[connect.index(b"MQTT") + 4])
                if self.levels[-1] == 5 and self.answer is not None:
                    client.sendall(self.answer)
                else:
                    self._pass_on(client, connect)

    def _pass_on(self, client: socket.socket, connect: bytes) -> None:
        """One connection at a time, which is all that a publisher makes."""
        self._hang_up.clear()
        with socket.create_connection(("127.0.0.1", self._broker.port)) as real:
            real.sendall(connect)
            others = {client: real, real: client}
            while not self._over.is_set() and not self._hang_up.is_set():
                for one in select.select(list(others), [], [], 0.05)[0]:
                    data = one.recv(65536)
                    if not data:
                        return
                    others[one].sendall(data)
