"""QoS 1 messages on their way: those that a receipt is waited for, and those that wait for a place among them."""

from __future__ import annotations

from collections import deque
from typing import Deque, Dict, Optional, Tuple

from ..outbox import Message

__all__ = ["Window"]


class Window:
    """Keeps count, so that no more receipts are owed at a time than the broker promised (MQTT 5's Receive Maximum)."""

    def __init__(self) -> None:
        #: By packet identifier, with when they were sent (monotonic), in this order.
        self._sent: Dict[int, Tuple[Message, float]] = {}
        self._in_line: Deque[Message] = deque()

    def __len__(self) -> int:
        return len(self._sent) + len(self._in_line)

    @property
    def oldest_sent_at(self) -> Optional[float]:
        """When the message was sent whose receipt is waited for longest; None: none is."""
        return next((sent_at for _, sent_at in self._sent.values()), None)

    def append(self, message: Message) -> None:
        """*message* waits for a place."""
        self._in_line.append(message)

    def next(self, size: int) -> Optional[Message]:
        """The message to be sent now, which then waits no more; None: none does, or *size* receipts are owed."""
        return self._in_line.popleft() if self._in_line and len(self._sent) < size else None

    def sent(self, identifier: int, message: Message, now: float) -> None:
        """*message* was sent, and its receipt will have this packet identifier."""
        self._sent[identifier] = message, now

    def receipt(self, identifier: int) -> Optional[Message]:
        """Whose receipt came; None: nobody's."""
        message, _ = self._sent.pop(identifier, (None, 0.0))
        return message
