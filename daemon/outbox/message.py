"""One MQTT message, as it waits to be published."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Message"]


@dataclass(frozen=True)
class Message:
    """One MQTT message."""

    topic: str
    payload: bytes
    #: True for a state: kept by the broker, sent with QoS 1, and only the newest of its topic counts.
    #: False for one of a stream: QoS 0, worthless when late.
    retain: bool = False
    #: Of an event: its number from :meth:`daemon.outbox.Outbox.next_seq`, which its payload tells too. Sent with
    #: QoS 1; each counts.
    seq: int = 0
    #: Of an event: where room is short, the oldest of the lowest priority go first.
    priority: int = 0

    @property
    def qos(self) -> int:
        """MQTT's quality of service: 0 for a stream, else 1."""
        return 1 if self.retain or self.seq else 0
