"""Whether every stage gets on with its work: what the watchdog of the service is fed by."""

from __future__ import annotations

import time
from typing import Dict, List, Mapping, Optional

__all__ = ["Progress", "held_up"]


class Progress:
    """One stage's account of itself: it writes on its own thread, anybody reads.

    Waiting for work is no lack of progress: an idle stage holds none. So cameras and a broker that are
    away never count against the service.
    """

    def __init__(self) -> None:
        self._since: Optional[float] = None

    def step(self, *, holding: bool) -> None:
        """Progress was made; *holding* says whether there is work in hand now that must come to an end."""
        self._since = time.monotonic() if holding else None

    def held_s(self) -> float:
        """Seconds without progress on the work in hand; 0 without any."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since


def held_up(stages: Mapping[str, Progress], longer_than_s: float) -> List[str]:
    """The stages that have held their work longer than that."""
    held: Dict[str, float] = {name: progress.held_s() for name, progress in stages.items()}
    return [name for name, seconds in held.items() if seconds > longer_than_s]
