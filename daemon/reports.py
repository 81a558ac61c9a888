"""Detections become messages: each camera's own threshold and labels, then its topic."""

from __future__ import annotations

import difflib
import time
from dataclasses import dataclass
from typing import FrozenSet, List, Mapping, Optional, Sequence

import numpy as np

from sightd.errors import ConfigError
from sightd.types import Detections

from .counters import Counters
from .messages import encode_detections
from .outbox import Message, Outbox
from .pipeline import Inferred
from .topics import Topics

__all__ = ["Reporter", "Rule", "class_indices"]


@dataclass(frozen=True)
class Rule:
    """What one camera reports."""

    min_score: float
    #: Class indices; None reports all.
    classes: Optional[FrozenSet[int]] = None

    def applied(self, found: Detections) -> Detections:
        """Those of *found* that this camera reports."""
        keep = found.scores >= self.min_score
        if self.classes is not None:
            keep &= np.isin(found.classes, list(self.classes))
        return Detections(found.boxes[keep], found.scores[keep], found.classes[keep])


def class_indices(wanted: Optional[Sequence[str]], labels: Sequence[str], camera: str) -> Optional[FrozenSet[int]]:
    """The indices of the *wanted* labels; None stands for all.

    :raises ConfigError: the model has no such label.
    """
    if wanted is None:
        return None
    for label in wanted:
        if label not in labels:
            close = difflib.get_close_matches(label, labels, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(labels)}"
            raise ConfigError(f"cameras.{camera}.labels: the model has no label {label!r}; {hint}")
    return frozenset(labels.index(label) for label in wanted)


class Reporter:
    """The pipeline's sink (analysis thread): one detections message a frame into the outbox."""

    def __init__(
        self,
        rules: Mapping[str, Rule],
        labels: Sequence[str],
        topics: Topics,
        outbox: Outbox,
        counters: Counters,
        boot_id: str,
    ) -> None:
        self._rules, self._labels, self._boot_id = rules, labels, boot_id
        self._topic = {camera: topics.detections(camera) for camera in rules}
        self._outbox, self._counters = outbox, counters

    def __call__(self, inferred: Inferred, found: List[Detections]) -> None:
        for frame, detections in zip(inferred.batch.frames, found):
            payload = encode_detections(
                frame,
                self._rules[frame.camera].applied(detections),
                self._labels,
                inferred.times(frame),
                boot_id=self._boot_id,
                published_at=time.time(),
            )
            self._outbox.put(Message(self._topic[frame.camera], payload))
            self._counters.inferred[frame.camera] += 1
        self._counters.batches += 1
        self._counters.infer_s += inferred.inferred_at - inferred.submitted_at
