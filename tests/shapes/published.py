"""What a daemon published of a clip of shapes, held against what was drawn."""

from __future__ import annotations

from pathlib import Path
from typing import List

import msgspec

from daemon.messages import DetectionsMessage
from tests.parts.broker import Collector

from .detector import Rates, rates
from .writing import read_truth

__all__ = ["against_truth", "published"]


def published(seen: Collector, camera: str) -> List[DetectionsMessage]:
    """The detections of *camera*, in the order of their arrival."""
    messages = [message for message in seen.messages if message.topic.endswith(f"/{camera}/detections")]
    return [msgspec.json.decode(message.payload, type=DetectionsMessage) for message in messages]


def against_truth(clip: Path, messages: List[DetectionsMessage]) -> Rates:
    """Of a *clip* that was read once and fast from its start: then a frame's seq is its number."""
    truth = read_truth(clip)
    found = [[(one.label, one.box) for one in message.objects] for message in messages]
    return rates((truth[message.seq], objects) for message, objects in zip(messages, found))
