"""Everything broken that can break: what was lost, what came twice, how soon it was back; and half an hour of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Dict, List, Sequence

from tests.chaos.effort import CUT_S, FULL_S, Effort
from tests.chaos.isolation import UnavailableError
from tests.chaos.outcome import COLUMNS, Outcome, row
from tests.chaos.scenarios import SCENARIOS

from .result import Result

__all__ = ["run"]


def run(quick: bool, *, soak_minutes: float = 0.0, scenarios: Sequence[str] = ()) -> Result:
    """The scenarios of `make test-chaos` without its assertions; *quick*: what CI runs of them.

    :param soak_minutes: instead: a fault every 10 s for so long, and what the daemon's processes grow by.
    :param scenarios: these alone.
    """
    if soak_minutes:
        from .chaos_soak import soak

        return soak(soak_minutes, Effort.of_environment().seed)
    effort = Effort(Effort.of_environment().seed, CUT_S if quick else FULL_S)
    outcomes: List[Outcome] = []
    skipped: Dict[str, str] = {}
    for name in scenarios or SCENARIOS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcomes += SCENARIOS[name](Path(folder), effort)
            except UnavailableError as reason:
                skipped[name] = str(reason)
    figures: Dict[str, Any] = {outcome.fault: _figures(outcome) for outcome in outcomes}
    conditions = {"seed": effort.seed, "seconds": effort.seconds, "skipped": skipped}
    return Result("chaos", figures, COLUMNS, [row(outcome) for outcome in outcomes], conditions)


def _figures(outcome: Outcome) -> Dict[str, Any]:
    figures = outcome.figures()
    return {**{name: figures[name] for name in ("injected", "lost", "duplicates", "recovered_s")}, **figures["notes"]}
