"""A bounded search for an INT8 engine that agrees and is fast: one measured build at a time.

Layers are kept float most damaging first (:mod:`converter.int8.sensitivity`). For each family of recipes the fewest
that agree are found by bisection, until one family has an engine that agrees. From there the search climbs: it
changes one thing of the best recipe at a time and goes on from whatever is worth more, by agreement and by speed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Callable, Iterator, List, Optional, Sequence

from .agreement.agree import Agreement

__all__ = ["FASTER", "NOT_BUILT", "Limits", "Recipe", "Trial", "best", "not_built", "search"]


@dataclass(frozen=True)
class Recipe:
    """One way to make an INT8 engine."""

    #: How ranges come from the calibration frames: one of converter.int8.clipping.ALGORITHMS, or the builder's own.
    algorithm: str
    #: "all": activations stay INT8 between layers; "conv": convolutions only; "": the builder has no say in it.
    scope: str
    #: So many of the most damaging layers stay float, the prediction layers not counted.
    float_layers: int
    #: "float" or "int8": what the prediction layers compute in.
    head: str = "float"

    def __str__(self) -> str:
        scope = f", {self.scope}" if self.scope else ""
        head = "" if self.head == "float" else f", {self.head} head"
        return f"{self.algorithm}{scope}, {self.float_layers} layers float{head}"


@dataclass(frozen=True)
class Trial:
    """A recipe that was built and measured."""

    recipe: Recipe
    #: Its verdict is "not-built" where there is no engine to judge; the reason says why.
    agreement: Agreement
    #: Float latency over INT8 latency at the same batch, in one run; above 1 the INT8 engine is faster. 0: not built.
    speedup: float

    @property
    def was_built(self) -> bool:
        """Whether there is an engine of it that runs."""
        return self.agreement.verdict != NOT_BUILT

    @property
    def worth(self) -> float:
        """Speed and agreement on one scale."""
        return self.speedup - _PRICE * (1 - self.agreement.ap50)


@dataclass(frozen=True)
class Limits:
    """What a search may cost."""

    #: INT8 engines to build and judge.
    trials: int = 12
    #: After which no further one is begun.
    minutes: float = 60.0


#: The verdict on a recipe of which no engine could be built.
NOT_BUILT = "not-built"
#: A hundredth of AP50 is worth so many hundredths of float's speed.
_PRICE = 10.0
#: Changes that are worth less than that lie within what one timing differs from the next.
_NOTICEABLE = 0.02
#: From this speedup on an engine counts as faster than float; less lies within the timing's noise.
FASTER = 1.03


def search(
    layers: int,
    attempt: Callable[[Recipe], Trial],
    limits: Limits,
    families: Sequence[Recipe],
    *,
    int8_head: bool = True,
    on_first: Callable[[float], None] = lambda seconds: None,
    clock: Callable[[], float] = time.monotonic,
) -> List[Trial]:
    """Every trial made, in order, within *limits*.

    Each of *families* starts at its ``float_layers``; where these do not agree, the smallest agreeing number out of
    *layers* is found to within a sixteenth. The next family is tried only while none has agreed.

    :param int8_head: whether prediction layers may compute in INT8.
    :param on_first: told what the first trial took.
    """
    trials: List[Trial] = []
    end = clock() + limits.minutes * 60

    def measured(recipe: Recipe) -> Optional[Trial]:
        """None where the limits are reached."""
        if len(trials) >= limits.trials or (trials and clock() >= end):
            return None
        begun = clock()
        trials.append(attempt(recipe))
        if len(trials) == 1:
            on_first(clock() - begun)
        return trials[-1]

    for family in families:
        _bisect(family, layers, measured)
        if best(trials) is not None:
            break
    _climb(measured, trials, lambda recipe: _neighbours(recipe, layers, families, int8_head))
    return trials


def best(trials: Sequence[Trial]) -> Optional[Trial]:
    """The trial that is worth most of those that agree; one that is slower than float only where all are."""
    agreeing = [trial for trial in trials if trial.agreement.agrees]
    faster = [trial for trial in agreeing if trial.speedup >= FASTER]
    return max(faster or agreeing, key=lambda trial: trial.worth, default=None)


def not_built(recipe: Recipe, reason: str) -> Trial:
    """The trial of a recipe of which no engine could be built."""
    return Trial(recipe, Agreement(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, NOT_BUILT, reason), 0.0)


def _bisect(family: Recipe, layers: int, measured: Callable[[Recipe], Optional[Trial]]) -> None:
    low, high = 0, layers  # fewer than low disagree, high and more agree; with all of them float it is no INT8
    guess = min(family.float_layers, layers - 1)
    while low < high:
        trial = measured(replace(family, float_layers=guess))
        if trial is None:
            return
        if trial.agreement.agrees:
            high = guess
            if guess == family.float_layers:
                return
        else:
            low = guess + 1
        if high - low <= layers // 16 and high < layers:
            return
        guess = (low + high) // 2


def _climb(
    measured: Callable[[Recipe], Optional[Trial]],
    trials: Sequence[Trial],
    neighbours: Callable[[Recipe], Iterator[Recipe]],
) -> None:
    """From the best trial to better ones, while there are any and the limits allow."""
    top = best(trials)
    while top is not None:
        tried = {trial.recipe for trial in trials}
        better = None
        for recipe in neighbours(top.recipe):
            if recipe in tried:
                continue
            trial = measured(recipe)
            if trial is None:
                return
            if trial.agreement.agrees and trial.worth > top.worth + _NOTICEABLE:
                better = trial
                break
        top = better


def _neighbours(recipe: Recipe, layers: int, families: Sequence[Recipe], int8_head: bool) -> Iterator[Recipe]:
    """*recipe* with one thing changed, the most promising change first."""
    for number in (2 * recipe.float_layers, recipe.float_layers // 2):
        if number < layers:
            yield replace(recipe, float_layers=number)
    if recipe.scope:
        yield replace(recipe, scope="all" if recipe.scope == "conv" else "conv")
    if int8_head:
        yield replace(recipe, head="int8" if recipe.head == "float" else "float")
    for other in families[:2]:
        if other.algorithm != recipe.algorithm:
            yield replace(recipe, algorithm=other.algorithm)
