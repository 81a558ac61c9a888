"""The frames of one conversion: some to calibrate on, others, from other times, to judge by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Sequence

from sightd.calibration_entries import Entry, dataset_sha256, read_entries, read_image
from sightd.types import Image

from .select import choose, split

__all__ = ["Frames", "read_frames"]


@dataclass(frozen=True)
class Frames:
    """Chosen frames of one calibration set; pictures are read when they are needed, never all at once."""

    folder: Path
    calibration: List[Entry]
    holdout: List[Entry]
    #: Of the frames to calibrate on.
    sha256: str
    seed: int

    def images(self, entries: Sequence[Entry]) -> Iterator[Image]:
        """Their pictures, in order."""
        return (read_image(self.folder, entry) for entry in entries)


def read_frames(folder: Path, *, count: int, holdout: int, seed: int) -> Frames:
    """At most *count* frames of the set in *folder* to calibrate on and *holdout* to judge by, the same for a seed.

    :raises CalibrationError: there is no set, it is damaged, or it is too small to be parted.
    """
    entries = read_entries(folder)
    # Ranges settle on few frames, a verdict needs many: of a small set up to a half is held out.
    share = max(holdout / (count + holdout), min(0.5, holdout / len(entries)))
    calibration, held_out = split(entries, share, seed)
    chosen = choose(calibration, count, seed)
    return Frames(folder, chosen, choose(held_out, holdout, seed), dataset_sha256(chosen), seed)
