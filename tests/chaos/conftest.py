"""What the chaos tests share: how much of it, and the table at the end."""

from __future__ import annotations

from typing import List

import pytest

from tests.chaos.effort import Effort
from tests.chaos.outcome import COLUMNS, Outcome, row

_TABLE = pytest.StashKey[List[Outcome]]()


@pytest.fixture(scope="session")
def effort() -> Effort:
    return Effort.of_environment()


@pytest.fixture
def table(pytestconfig: pytest.Config) -> List[Outcome]:
    """Outcomes that are added are printed when all tests have run."""
    return pytestconfig.stash.setdefault(_TABLE, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    outcomes = config.stash.get(_TABLE, [])
    if not outcomes:
        return
    effort = Effort.of_environment()
    terminalreporter.section(f"chaos: SIGHTD_CHAOS_SEED={effort.seed} SIGHTD_CHAOS_SECONDS={effort.seconds}")
    rows = [list(COLUMNS), *(row(outcome) for outcome in outcomes)]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(COLUMNS) - 1)]
    for cells in rows:
        padded = [cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:]))]
        terminalreporter.write_line("  ".join([*padded, cells[-1]]))
