"""The outbox: states and streams in memory, events by way of the disk, until the broker has them.

``queue`` is what everybody puts into and the publisher takes from; ``spool`` is an event's way, by ``memory``,
``disk`` and ``receipts``; ``store`` is the SQLite file, whose rows (``rows``) are checked, and rescued by ``salvage``
from a file that is damaged.
"""

from __future__ import annotations

from .message import Message
from .queue import Outbox

__all__ = ["Message", "Outbox"]
