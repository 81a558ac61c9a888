"""How many objects of each label are in view of each camera: plain numbers, retained, for whoever wants no JSON."""

from __future__ import annotations

from collections import Counter
from typing import Iterable, Mapping, Set

from .outbox import Message, Outbox
from .topics import Topics

__all__ = ["Presence"]


class Presence:
    """Counts what has had its `new` and no `end` yet; a number is sent when it changes. Analysis thread only."""

    def __init__(self, topics: Topics, outbox: Outbox) -> None:
        self._topics, self._outbox = topics, outbox
        #: By topic: labels that are written alike are counted together.
        self._counts: Counter[str] = Counter()
        self._followed: Set[str] = set()

    def follow(self, labels: Mapping[str, Iterable[str]]) -> None:
        """Tell of these labels of these cameras, and of no others.

        Each number is sent once in any case, for a daemon that crashed has left its last one at the broker; the numbers
        of what is not followed any more are taken back.
        """
        wanted = {self._topics.objects(camera, label) for camera, own in labels.items() for label in own}
        new, gone, self._followed = wanted - self._followed, self._followed - wanted, wanted
        for topic in sorted(new):
            self._say(topic)
        for topic in sorted(gone):
            self._outbox.put(Message(topic, b"", retain=True))

    def count(self, camera: str, label: str, change: int) -> None:
        """There are so many more."""
        topic = self._topics.objects(camera, label)
        self._counts[topic] += change
        if change and topic in self._followed:
            self._say(topic)

    def _say(self, topic: str) -> None:
        self._outbox.put(Message(topic, str(self._counts[topic]).encode(), retain=True))
