"""All that a conversion found out on the way: what the manifest and the report are written from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Mapping, Optional, Sequence

from sightd.manifest import Profile

from .agreement.agree import Agreement
from .agreement.average_precision import AveragePrecision
from .agreement.gate import Gate
from .calibration.frames import Frames
from .floats import Floats
from .given import Given
from .model.finish import FinishedModel
from .request import Request
from .search import Trial
from .verdict import Verdict, closest

__all__ = ["Evidence"]


@dataclass(frozen=True)
class Evidence:
    """Gathered once, when everything is decided."""

    given: Given
    finished: FinishedModel
    frames: Frames
    gate: Gate
    profile: Profile
    trials: Sequence[Trial]
    verdict: Verdict
    seconds: float
    request: Request
    floats: Floats
    #: What builds without INT8 reach on the same frames, by name; the finished float model is one.
    noise: Mapping[str, Agreement] = field(default_factory=dict)
    #: mAP on the user's own labels, by build; empty without labels.
    labelled: Mapping[str, AveragePrecision] = field(default_factory=dict)

    @property
    def notes(self) -> List[str]:
        """What people must know of the model, its graph and its engines: a sentence each."""
        return [*self.given.notes, *self.finished.notes, *self.floats.notes]

    @property
    def judged(self) -> Optional[Trial]:
        """The INT8 engine that people want to know of: the one that agreed, else the closest; None without any."""
        return self.verdict.trial or closest(self.trials)
