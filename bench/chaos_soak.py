"""A fault every ten seconds for half an hour: what the daemon and its children hold at the end and held at first."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np

from tests.chaos.faults import BROKER_FAULTS, CAMERA_FAULTS, Fault
from tests.chaos.outcome import worst
from tests.chaos.processes import Sample, Sampler
from tests.chaos.rig import Rig, running_rig

from .result import Result

__all__ = ["soak"]

_EVERY_S, _SAMPLE_S = 10.0, 2.0
#: Growth is counted from here on, over windows as long: caches and allocators have filled by then.
_WARM_UP_S = 120.0
_CAMERAS = ("north", "east", "south", "west")
#: The samples of one kind, of which the median counts: a child that is just being replaced is no trend.
_KINDS = ("rss_mb", "fds", "threads", "processes")

_FAULTS = {**CAMERA_FAULTS, **BROKER_FAULTS}


def soak(minutes: float, seed: int) -> Result:
    """Four cameras and a broker that are broken in turn, none of it the daemon's end; the worst recovery counts too."""
    rng = random.Random(seed)  # noqa: S311 (which fault comes next is no secret)
    recovered: List[float] = []
    injected: Dict[str, int] = dict.fromkeys(_FAULTS, 0)
    with tempfile.TemporaryDirectory() as folder, running_rig(
        Path(folder), _CAMERAS, seed=seed, mqtt="keepalive_s: 3"
    ) as rig:
        with Sampler(rig.daemon.process.pid, _SAMPLE_S) as sampler:
            end = time.monotonic() + 60 * minutes
            while time.monotonic() < end:
                name = rng.choice(list(_FAULTS))
                injected[name] += 1
                recovered.append(_one(rig, _FAULTS[name], rng))
        if rig.daemon.stop() != 0:
            raise SystemExit(rig.daemon.log[-4000:])
        account = {"recovered_s": round(worst(recovered), 2), "events": len(rig.events()), "lost": rig.missing_events()}
    return _result(sampler.samples, injected, account, {"minutes": minutes, "seed": seed})


def _one(rig: Rig, fault: Fault, rng: random.Random) -> float:
    """Break, wait, mend; seconds until all cameras are reported again."""
    began, camera = time.monotonic(), rng.choice(_CAMERAS)
    fault.breaks(rig, camera)
    time.sleep(rng.uniform(0.5, 0.7 * _EVERY_S))
    if fault.mends is not None:
        fault.mends(rig, camera)
    recovered_s = rig.all_fresh_after(time.time())
    time.sleep(max(0.0, began + _EVERY_S - time.monotonic()))
    return recovered_s


def _result(
    samples: List[Sample], injected: Dict[str, int], account: Dict[str, Any], conditions: Dict[str, Any]
) -> Result:
    begin = samples[0].at + _WARM_UP_S
    # A short trial has no warm-up to leave out.
    counted = [one for one in samples if one.at >= begin] or samples
    first = [one for one in counted if one.at < counted[0].at + _WARM_UP_S]
    last = [one for one in counted if one.at >= counted[-1].at - _WARM_UP_S]
    figures: Dict[str, Any] = {"injected": sum(injected.values()), **account}
    rows: List[Sequence[Any]] = []
    for kind in _KINDS:
        before, after, most = _median(first, kind), _median(last, kind), max(getattr(one, kind) for one in counted)
        figures[f"{kind}_growth"] = round(after - before, 2)
        rows.append([kind, before, after, after - before, float(most)])
    return Result(
        "chaos",
        figures,
        ["daemon and children", "at 2 min", "at the end", "growth", "most"],
        rows,
        {**conditions, "faults": injected},
    )


def _median(samples: List[Sample], kind: str) -> float:
    return float(np.median([getattr(one, kind) for one in samples]))
