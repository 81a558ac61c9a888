"""SIGTERM at any moment: what is under way is finished, nothing is said after "stopped"."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import List

from tests.chaos.outcome import Outcome, worst
from tests.chaos.rig import PREFIX, Rig, running_rig

__all__ = ["sigterm"]

_STOPPED = b"stopped"


def sigterm(folder: Path, seed: int, times: int) -> List[Outcome]:
    """Stop and start the daemon *times* times; "lost" are the stops that were not said, or not said last."""
    rng = random.Random(seed)
    stops: List[float] = []
    recovered: List[float] = []
    lost = 0
    with running_rig(folder, ("yard", "gate"), seed=seed) as rig:
        for _ in range(times):
            time.sleep(rng.uniform(0, 0.6))
            began = time.time()
            assert rig.daemon.stop() == 0, rig.daemon.log[-2000:]
            stops.append(time.time() - began)
            lost += not _stopped_last(rig, began)
            rig.start_daemon()
            recovered.append(rig.all_fresh_after(time.time()))
    return [Outcome("SIGTERM", times, lost, recovered_s=worst(recovered), notes={"stopped_s": worst(stops)})]


def _stopped_last(rig: Rig, began: float) -> bool:
    topic = f"{PREFIX}/available"
    rig.subscriber.wait_until(lambda seen: seen.newest(topic) == _STOPPED, 10)
    return rig.subscriber.since(began)[-1].payload == _STOPPED
