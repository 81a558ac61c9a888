"""`python -m tests.chaos SCENARIO FOLDER SEED SECONDS`: the inside of a namespace, for tests.chaos.isolation."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.chaos.effort import Effort
from tests.chaos.isolation import UnavailableError, give_up, report
from tests.chaos.scenarios import INSIDE


def _main(scenario: str, folder: str, seed: str, seconds: str) -> None:
    try:
        report(INSIDE[scenario](Path(folder), Effort(int(seed), int(seconds))))
    except UnavailableError as reason:
        give_up(reason)


if __name__ == "__main__":
    _main(*sys.argv[1:])
