"""What a fault did: the row of the table that the tests and the bench print."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Sequence

__all__ = ["COLUMNS", "Outcome", "row", "worst"]

COLUMNS = ("fault", "injected", "lost", "duplicates", "recovered in s", "besides")


@dataclass(frozen=True)
class Outcome:
    """One kind of fault, injected several times."""

    fault: str
    injected: int
    #: Of what must arrive: events that were committed or numbered, and states.
    lost: int = 0
    #: Events that arrived again, with the same id.
    duplicates: int = 0
    #: From the end of the fault to the first thing made after it that arrived; the worst.
    recovered_s: float = 0.0
    #: What else was counted, by name: seconds until it was noticed, stale frames, rates.
    notes: Dict[str, Any] = field(default_factory=dict)

    def figures(self) -> Dict[str, Any]:
        """For JSON."""
        notes = {name: round(value, 3) if isinstance(value, float) else value for name, value in self.notes.items()}
        return {**asdict(self), "recovered_s": round(self.recovered_s, 2), "notes": notes}


def row(outcome: Outcome) -> List[str]:
    """*outcome* as a row of :data:`COLUMNS`."""
    notes = ", ".join(f"{name} {_short(value)}" for name, value in outcome.notes.items())
    counts = [str(count) for count in (outcome.injected, outcome.lost, outcome.duplicates)]
    return [outcome.fault, *counts, f"{outcome.recovered_s:.2f}", notes]


def worst(seconds: Sequence[float]) -> float:
    """The longest of *seconds*; 0 of none."""
    return max(seconds, default=0.0)


def _short(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
