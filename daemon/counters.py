"""What the daemon has done since it started, counted where it happens and read by the stats message."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import DefaultDict, Dict

__all__ = ["Counters"]


class Counters:
    """Every entry has one writing thread, so a reader needs no lock; the numbers only grow."""

    def __init__(self) -> None:
        #: The word of each configured camera's status topic; the main thread adds and removes cameras, a
        #: camera's thread writes its word.
        self.states: Dict[str, str] = {}
        #: Why it is not online; likewise.
        self.reasons: Dict[str, str] = {}
        #: Frames that reached their slot, by camera; its camera's thread writes it.
        self.received: Counter[str] = Counter()
        #: Frames whose detections were reported, by camera; the analysis thread writes these.
        self.inferred: Counter[str] = Counter()
        #: The same by bundle, the batches that they came in, and seconds from submission to result; likewise.
        self.frames: Counter[str] = Counter()
        self.batches: Counter[str] = Counter()
        self.infer_s: DefaultDict[str, float] = defaultdict(float)
        #: Objects that each classifier has looked at, and objects that it was not asked about for want of room in
        #: its batch, by its name; the inference thread writes these.
        self.crops: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
