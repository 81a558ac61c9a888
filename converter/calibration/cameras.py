"""Which cameras' frames a conversion takes: a model for the yard is not to be calibrated on the kitchen."""

from __future__ import annotations

import difflib
from collections import Counter
from typing import List, Sequence

from sightd.calibration_entries import Entry
from sightd.errors import CalibrationError

__all__ = ["camera_counts", "of_cameras"]


def of_cameras(entries: Sequence[Entry], cameras: Sequence[str]) -> List[Entry]:
    """The entries of *cameras*; of all where none is named.

    :raises CalibrationError: the set has no frame of one of them; the message names those that it has.
    """
    present = {entry.camera for entry in entries}
    for camera in cameras:
        if camera not in present:
            near = difflib.get_close_matches(camera, present, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise CalibrationError(
                f"no frame of camera {camera!r} in the calibration set{hint}; it has: {camera_counts(entries)}. "
                "Capture that camera first (sightd capture), or name others by --camera"
            )
    return [entry for entry in entries if not cameras or entry.camera in cameras]


def camera_counts(entries: Sequence[Entry]) -> str:
    """The cameras with their numbers of frames, for people."""
    return ", ".join(
        f"{camera} {count}" for camera, count in sorted(Counter(entry.camera for entry in entries).items())
    )
