"""A bounded search for an INT8 engine that agrees: which algorithm, and how many layers stay float.

Layers are kept float most damaging first (:mod:`converter.sensitivity`). The first few cost hardly any speed and
bring the most agreement, so the search starts with some and is content when they agree and the engine is
faster than float. Else the fewest that agree are found by bisection, one measured build at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, List, Optional, Sequence

from .agree import Agreement

__all__ = ["FAMILIES", "Recipe", "Trial", "best", "search"]


@dataclass(frozen=True)
class Recipe:
    """One way to make an INT8 engine."""

    #: One of converter.ranges.ALGORITHMS: how ranges come from the calibration frames.
    algorithm: str
    #: "all": activations stay INT8 between layers; "conv": convolutions only.
    scope: str
    #: So many of the most damaging layers stay float, besides the head.
    float_layers: int

    def __str__(self) -> str:
        return f"{self.algorithm}, {self.scope}, {self.float_layers} layers float"


@dataclass(frozen=True)
class Trial:
    """A recipe that was built and measured."""

    recipe: Recipe
    agreement: Agreement
    #: Float latency over INT8 latency at the same batch, in one run; above 1 the INT8 engine is faster.
    speedup: float


#: Tried in this order; on YOLOX-nano and CenterNet-MobileNetV3 the first agrees with the fewest float layers.
FAMILIES = tuple(Recipe(algorithm, "all", 8) for algorithm in ("percentile-99.999", "percentile-99.99", "minmax"))


#: An INT8 engine that is this much faster than float is not traded for one that agrees less.
_WORTHWHILE = 1.05


def search(
    layers: int, attempt: Callable[[Recipe], Trial], max_trials: int, families: Sequence[Recipe] = FAMILIES
) -> List[Trial]:
    """Every trial made, in order, at most *max_trials*.

    Each of *families* starts at its ``float_layers``. Unless these agree and the engine is faster than float, the
    smallest agreeing number out of *layers* is found to within a sixteenth; the next family is tried only while
    none has agreed.
    """
    trials: List[Trial] = []
    for family in families:
        _bisect(family, layers, attempt, max_trials, trials)
        if best(trials) is not None or len(trials) >= max_trials:
            break
    return trials


def best(trials: Sequence[Trial]) -> Optional[Trial]:
    """The fastest trial that agrees."""
    return max((trial for trial in trials if trial.agreement.agrees), key=lambda trial: trial.speedup, default=None)


def _bisect(
    family: Recipe, layers: int, attempt: Callable[[Recipe], Trial], max_trials: int, trials: List[Trial]
) -> None:
    low, high = 0, layers  # fewer than low disagree, high and more agree; with all of them float it is no INT8
    guess = min(family.float_layers, layers - 1)
    while low < high and len(trials) < max_trials:
        trial = attempt(replace(family, float_layers=guess))
        trials.append(trial)
        if trial.agreement.agrees:
            high = guess
            if trial.speedup >= _WORTHWHILE:
                return
        else:
            low = guess + 1
        if high - low <= layers // 16 and high < layers:
            return
        guess = (low + high) // 2
