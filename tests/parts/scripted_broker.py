"""A broker that says what mosquitto never says: a fake that answers in MQTT 5 with the bytes that a test gives it."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Tuple

__all__ = ["ScriptedBroker", "connack", "disconnect", "scripted_broker"]

_CONNECT, _PUBLISH, _SUBSCRIBE, _PINGREQ = 1, 3, 8, 12

#: Properties of MQTT 5 (section 2.2.2.2) that a test may set: identifier and how many bytes the number has.
_NUMBERS = {
    "server_keep_alive": (0x13, 2),
    "receive_maximum": (0x21, 2),
    "maximum_qos": (0x24, 1),
    "retain_available": (0x25, 1),
    "maximum_packet_size": (0x27, 4),
}
_SERVER_REFERENCE = 0x1C


def connack(reason: int = 0, *, reference: str = "", **numbers: int) -> bytes:
    """The answer to CONNECT with a reason code and properties."""
    body = bytes([0, reason]) + _properties(reference, numbers)
    return b"\x20" + bytes([len(body)]) + body


def disconnect(reason: int, reference: str = "") -> bytes:
    """A server's DISCONNECT, with a reason string too: paho before 2.2 misses the code in a packet of two bytes."""
    body = bytes([reason]) + _properties(reference, {}, b"\x1f\x00\x01x")
    return b"\xe0" + bytes([len(body)]) + body


def _properties(reference: str, numbers: Dict[str, int], packed: bytes = b"") -> bytes:
    for name, value in numbers.items():
        identifier, size = _NUMBERS[name]
        packed += bytes([identifier]) + value.to_bytes(size, "big")
    if reference:
        packed += bytes([_SERVER_REFERENCE]) + len(reference).to_bytes(2, "big") + reference.encode()
    return bytes([len(packed)]) + packed


@dataclass(frozen=True)
class Publication:
    """A PUBLISH as it came."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass
class ScriptedBroker:
    """Answers each CONNECT, PUBLISH, SUBSCRIBE and PINGREQ as its fields say; a test may change them meanwhile."""

    port: int
    connack: bytes = field(default_factory=connack)
    #: Sent behind the answer to CONNECT, or to the first SUBSCRIBE where one comes; b"" for nothing.
    afterwards: bytes = b""
    #: The reason code of each receipt.
    puback: int = 0
    suback: int = 0
    #: False: receipts are held back.
    acknowledges: bool = True
    answers_pings: bool = True
    connects: List[bytes] = field(default_factory=list)
    published: List[Publication] = field(default_factory=list)
    subscribed: List[bytes] = field(default_factory=list)
    #: Receipts that were held back.
    owed: List[Tuple[socket.socket, bytes]] = field(default_factory=list)

    def pay(self) -> None:
        """Send the receipts that were held back, to those who still wait for them."""
        owed, self.owed = self.owed, []
        for client, receipt in owed:
            with suppress(OSError):
                client.sendall(receipt)

    def answer(self, client: socket.socket, kind: int, flags: int, body: bytes) -> None:
        """To one packet."""
        if kind == _CONNECT:
            self.connects.append(body)
            client.sendall(self.connack + self.afterwards)
        elif kind == _PUBLISH:
            self._take(client, flags, body)
        elif kind == _SUBSCRIBE:
            self.subscribed.append(body)
            client.sendall(b"\x90\x04" + body[:2] + bytes([0, self.suback]))
        elif kind == _PINGREQ and self.answers_pings:
            client.sendall(b"\xd0\x00")

    def _take(self, client: socket.socket, flags: int, body: bytes) -> None:
        end = 2 + int.from_bytes(body[:2], "big")
        topic, qos = body[2:end].decode(), flags >> 1 & 3
        number = body[end : end + 2] if qos else b""
        payload = body[end + len(number) + 1 :]  # behind the length of no properties
        self.published.append(Publication(topic, payload, qos, bool(flags & 1)))
        if qos:
            receipt = b"\x40\x04" + number + bytes([self.puback, 0])
            if self.acknowledges:
                client.sendall(receipt)
            else:
                self.owed.append((client, receipt))


@contextmanager
def scripted_broker(**script: object) -> Iterator[ScriptedBroker]:
    """One that listens on a loopback port."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        broker = ScriptedBroker(server.getsockname()[1], **script)  # type: ignore[arg-type]
        thread = threading.Thread(target=_serve, args=(server, broker, over))
        thread.start()
        try:
            yield broker
        finally:
            over.set()
            thread.join(10)


def _serve(server: socket.socket, broker: ScriptedBroker, over: threading.Event) -> None:
    received: Dict[socket.socket, bytes] = {}
    while not over.is_set():
        for one in select.select([server, *received], [], [], 0.02)[0]:
            if one is server:
                received[server.accept()[0]] = b""
                continue
            try:
                data = one.recv(65536)
                received[one] = _answered(broker, one, received[one] + data)
            except OSError:
                data = b""
            if not data:
                received.pop(one)
                one.close()
    for client in received:
        client.close()


def _answered(broker: ScriptedBroker, client: socket.socket, data: bytes) -> bytes:
    """What of *data* is left once its whole packets are answered."""
    while len(data) >= 2:
        length, start = _length(data)
        if not start or len(data) < start + length:
            break
        broker.answer(client, data[0] >> 4, data[0] & 15, data[start : start + length])
        data = data[start + length :]
    return data


def _length(data: bytes) -> Tuple[int, int]:
    """How long the first packet's body is and where it starts; the latter is 0 as long as that has not come."""
    length = 0
    for place, byte in enumerate(data[1:5]):
        length |= (byte & 127) << 7 * place
        if byte < 128:
            return length, place + 2
    return 0, 0
