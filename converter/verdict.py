"""The verdict: which engine is shipped, and the sentence that says why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Optional, Sequence

from .agreement.agree import Agreement
from .search import FASTER, Trial, best

__all__ = ["Outcome", "Verdict", "choose", "closest"]


class Outcome(Enum):
    """Which engine the bundle holds and why."""

    INT8 = "INT8 agrees with the float model and is faster on this machine: INT8 shipped"
    SLOWER = "INT8 agrees with the float model but is not faster on this machine: float shipped"
    DISAGREES = "no INT8 engine agreed with the float model: FLOAT SHIPPED"
    UNPROVEN = "there is too little to judge INT8 by: FLOAT SHIPPED"
    NOT_BUILT = "no INT8 engine could be built on this machine: FLOAT SHIPPED"
    NO_LAYERS = "the model has no layer that can be INT8: FLOAT SHIPPED"

    @property
    def is_loud(self) -> bool:
        """Whether the user did not get what he asked for."""
        return self not in (Outcome.INT8, Outcome.SLOWER)


@dataclass(frozen=True)
class Verdict:
    """What is shipped."""

    outcome: Outcome
    #: The outcome with its figures, for people.
    sentence: str
    #: That of the engine that is shipped.
    agreement: Agreement
    #: The best INT8 engine that agreed, shipped or not.
    trial: Optional[Trial] = None

    @property
    def shipped(self) -> Optional[Trial]:
        """The INT8 engine to ship; None ships float."""
        return self.trial if self.outcome is Outcome.INT8 else None


def choose(floats: Agreement, trials: Sequence[Trial]) -> Verdict:
    """The fastest INT8 engine that agrees, where it is faster than float; else float.

    :param floats: the agreement of the float engine that is shipped otherwise.
    :param trials: the INT8 engines that were tried; none when there was too little to judge them by.
    """
    fastest = best(trials)
    if fastest is not None:
        outcome = Outcome.INT8 if fastest.speedup >= FASTER else Outcome.SLOWER
        figures = f"{fastest.agreement.reason}; {fastest.speedup:.2f} x float's speed ({fastest.recipe})"
        shipped = fastest.agreement if outcome is Outcome.INT8 else floats
        return Verdict(outcome, f"{outcome.value}. {figures}", shipped, fastest)
    near = closest(trials)
    if near is not None:
        outcome = Outcome.DISAGREES if near.agreement.verdict == "disagrees" else Outcome.UNPROVEN
        detail = f"The closest of {len(trials)} ({near.recipe}): {near.agreement.reason}"
        return Verdict(outcome, f"{outcome.value}. {detail}", floats)
    if trials:
        reason = trials[-1].agreement.reason.splitlines()[0]
        detail = f"The last of {len(trials)} ({trials[-1].recipe}): {reason}"
        return Verdict(Outcome.NOT_BUILT, f"{Outcome.NOT_BUILT.value}. {detail}", floats)
    if floats.agrees:
        return Verdict(Outcome.NO_LAYERS, Outcome.NO_LAYERS.value, floats)
    return Verdict(Outcome.UNPROVEN, f"{Outcome.UNPROVEN.value}. {floats.reason}", floats)


def closest(trials: Sequence[Trial]) -> Optional[Trial]:
    """The trial that agrees most, by AP and recall, of those that were built."""
    built = [trial for trial in trials if trial.was_built]
    return max(built, key=lambda trial: trial.agreement.ap + trial.agreement.recall, default=None)
