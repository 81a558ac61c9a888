"""Cameras that hang, die, lie or vanish, beside some that are well: noticed, contained, back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Dict, List, Sequence

from tests.chaos.faults import CAMERA_FAULTS
from tests.chaos.outcome import Outcome
from tests.chaos.rig import STALE_S, Rig, running_rig

__all__ = ["camera_faults"]


KEPT = ("kept0", "kept1")


def camera_faults(folder: Path, seed: int, lasting_s: float, groups: Sequence[Sequence[str]]) -> List[Outcome]:
    """Inject the faults of each group at the same time, each into a camera of its own; two cameras are left alone."""
    names = [_camera(fault) for group in groups for fault in group]
    with running_rig(folder, [*names, *KEPT], seed=seed) as rig:
        return [outcome for group in groups for outcome in _together(rig, group, lasting_s)]


def _together(rig: Rig, group: Sequence[str], lasting_s: float) -> List[Outcome]:
    before = time.time()
    time.sleep(lasting_s)
    began = time.time()
    for fault in group:
        CAMERA_FAULTS[fault].breaks(rig, _camera(fault))
    time.sleep(lasting_s)
    mended = {fault: _mended_at(rig, fault, began) for fault in group}
    recovered = {fault: rig.fresh_after(_camera(fault), mended[fault]) for fault in group}
    kept = rig.rate(KEPT, began, began + lasting_s) / rig.rate(KEPT, before, before + lasting_s)
    return [_outcome(rig, fault, began, recovered[fault], kept) for fault in group]


def _mended_at(rig: Rig, fault: str, began: float) -> float:
    mends = CAMERA_FAULTS[fault].mends
    if mends is None:
        return began
    mends(rig, _camera(fault))
    return time.time()


def _outcome(rig: Rig, fault: str, began: float, recovered_s: float, kept: float) -> Outcome:
    camera = _camera(fault)
    notes: Dict[str, object] = {
        "noticed_s": rig.noticed_s(camera, began),
        "said": rig.said(camera, began),
        "others_rate": kept,
    }
    if CAMERA_FAULTS[fault].legible:
        notes["stale"] = sum(one.age_s > STALE_S for one in rig.seen(camera, began))
    return Outcome(fault, 1, recovered_s=recovered_s, notes=notes)


def _camera(fault: str) -> str:
    """The name of the camera that it is injected into."""
    return fault.rpartition(" ")[2]
