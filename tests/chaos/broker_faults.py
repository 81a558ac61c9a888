"""A broker that dies, hangs or can't be reached, and a daemon that is killed: how soon all is said again."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Dict, List

from tests.chaos.faults import BROKER_FAULTS, DAEMON_FAULTS
from tests.chaos.outcome import Outcome, worst
from tests.chaos.rig import PREFIX, Rig, running_rig

__all__ = ["broker_faults"]

_CAMERAS = ("yard", "gate")


#: A connection that is younger holds its events back.
_SETTLED_S = 2.0
_FAULTS = {**BROKER_FAULTS, **DAEMON_FAULTS}


def broker_faults(folder: Path, seed: int, times: int, keepalive_s: int) -> List[Outcome]:
    """Each fault *times* times, one after the other in the order of the *seed*; "lost" are states.

    The last outcome is of the events meanwhile.
    """
    rng = random.Random(seed)
    order = [name for name in _FAULTS for _ in range(times)]
    rng.shuffle(order)
    recovered: Dict[str, List[float]] = {name: [] for name in _FAULTS}
    missing: Dict[str, int] = dict.fromkeys(_FAULTS, 0)
    with running_rig(folder, _CAMERAS, seed=seed, mqtt=f"keepalive_s: {keepalive_s}") as rig:
        for name in order:
            fault = _FAULTS[name]
            fault.breaks(rig, "")
            time.sleep(fault.keepalives * keepalive_s + rng.uniform(0, 0.5))
            if fault.mends is not None:
                fault.mends(rig, "")
            recovered[name].append(rig.all_fresh_after(time.time()))
            missing[name] += _missing_states(rig)
            time.sleep(rng.uniform(0, 2 * _SETTLED_S))
        assert rig.daemon.stop() == 0, rig.daemon.log[-2000:]
        events, lost = rig.events(), rig.missing_events()
    outcomes = [Outcome(name, times, missing[name], recovered_s=worst(recovered[name])) for name in _FAULTS]
    again = len(events) - len({(event["boot_id"], event["seq"]) for event in events})
    slowest = worst([one.recovered_s for one in outcomes])
    return [*outcomes, Outcome("events of all these", len(order), lost, again, slowest, {"came": len(events)})]


def _missing_states(rig: Rig) -> int:
    """States that the broker does not hold as they are, after a moment for those that are under way."""
    wanted = {f"{PREFIX}/available": b"online", **{f"{PREFIX}/{name}/status": b"online" for name in rig.cameras}}
    try:
        rig.subscriber.wait_until(lambda seen: all(seen.newest(topic) == said for topic, said in wanted.items()), 10)
    except AssertionError:
        return sum(rig.subscriber.newest(topic) != said for topic, said in wanted.items())
    assert json.loads(rig.subscriber.newest(f"{PREFIX}/info"))["cameras"] == list(rig.cameras)
    return 0
