"""What a program costs in a process of its own: seconds and peak memory.

A child starts with its parent's peak to its name, so the program is started by this module, which has none to speak of.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Sequence

__all__ = ["Spent", "spent"]


@dataclass(frozen=True)
class Spent:
    """What one run took."""

    seconds: float
    rss_mb: float
    exit_code: int


def spent(command: Sequence[str]) -> Spent:
    """Run *command* to its end; what it prints goes to standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.child", *command], stdout=subprocess.PIPE, check=True, encoding="utf-8"
    )
    return Spent(**json.loads(done.stdout))


def _main() -> None:
    started = time.monotonic()
    code = subprocess.run(sys.argv[1:], stdout=sys.stderr, check=False).returncode
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps({"seconds": round(seconds, 1), "rss_mb": round(peak, 1), "exit_code": code}))


if __name__ == "__main__":
    _main()
