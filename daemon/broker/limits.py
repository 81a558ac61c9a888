"""What a broker takes, as its answer to CONNECT says (MQTT 5, section 3.2.2.3); in MQTT 3.1.1 it does not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..outbox import Message

__all__ = ["TOO_LARGE", "Limits"]

#: MQTT 5's word (reason code 0x95) for a message that is larger than the broker takes.
TOO_LARGE = "Packet too large"

#: Receipts that are waited for at a time, where the broker allows as many: more do not make it faster.
_MOST_IN_FLIGHT = 10
#: The largest packet that MQTT knows.
_LARGEST_PACKET = 1 + 4 + 0x0FFFFFFF


@dataclass(frozen=True)
class Limits:
    """What may be sent; the defaults are those of a broker that says nothing."""

    #: Receipts that may be waited for at a time.
    in_flight: int = _MOST_IN_FLIGHT
    #: Bytes of a whole packet.
    packet: int = _LARGEST_PACKET
    #: 0: the broker takes no QoS 1.
    qos: int = 1
    #: False: the broker keeps nothing.
    retain: bool = True

    @classmethod
    def told(cls, properties: Any) -> Limits:
        """Those in the *properties* of a CONNACK."""
        return cls(
            in_flight=min(_MOST_IN_FLIGHT, getattr(properties, "ReceiveMaximum", _MOST_IN_FLIGHT)),
            packet=getattr(properties, "MaximumPacketSize", _LARGEST_PACKET),
            qos=min(1, getattr(properties, "MaximumQoS", 1)),
            retain=bool(getattr(properties, "RetainAvailable", 1)),
        )

    @property
    def shortcomings(self) -> str:
        """What sightd would need of the broker and does not get; "" when there is nothing."""
        missing = "" if self.qos else "QoS 1 (what is lost on the way is not sent again)"
        if not self.retain:
            missing += f"{' and ' if missing else ''}retained messages (who subscribes later sees no state)"
        return missing

    def forbid(self, message: Message) -> bool:
        """Whether *message* is larger than the broker takes."""
        # Topic with its length, packet identifier, no properties, payload.
        body = 2 + len(message.topic.encode()) + 2 + 1 + len(message.payload)
        return 1 + _length_bytes(body) + body > self.packet


def _length_bytes(count: int) -> int:
    """How many bytes MQTT needs to write *count*: seven bits in each."""
    return max(1, -(-count.bit_length() // 7))
