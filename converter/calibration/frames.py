"""The frames of one conversion: some to calibrate on, others, from other times, to judge by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.calibration_entries import Entry, dataset_sha256, read_entries, read_image
from sightd.types import Image

from ..progress import Progress, Silent
from .cameras import of_cameras
from .coverage import Coverage, coverage, saturation
from .embeddings import Embed
from .select import choose, split, strata, thumbnails

__all__ = ["Frames", "read_frames"]

#: Of the set. Ranges settle on few frames, a verdict needs many (docs/calibration-selection.md).
_HOLDOUT_SHARE = 0.5
#: Every embedded candidate costs a float inference; of more, those with the most different thumbnails are embedded.
_MAX_EMBEDDED = 1024


@dataclass(frozen=True)
class Frames:
    """Chosen frames of one calibration set; pictures are read when they are needed, never all at once."""

    folder: Path
    #: In the order of choice: every beginning is spread over cameras, times and looks as far as it can be.
    calibration: List[Entry]
    #: In the order of choice too: judge on as many from the beginning as give evidence enough.
    holdout: List[Entry]
    #: Of the frames to calibrate on.
    sha256: str
    seed: int
    #: Of the frames to calibrate on.
    coverage: Optional[Coverage] = None

    def images(self, entries: Sequence[Entry]) -> Iterator[Image]:
        """Their pictures, in order."""
        return (read_image(self.folder, entry) for entry in entries)

    def with_saturation(self, maxima: NDArray[np.float32]) -> Frames:
        """Says in the coverage how soon activations saturate; *maxima* is [calibration frames, tensors]."""
        known = self.coverage and replace(self.coverage, saturation=saturation(maxima))
        return replace(self, coverage=known)


def read_frames(
    folder: Path,
    *,
    count: int,
    holdout: int,
    seed: int,
    embed: Optional[Embed] = None,
    progress: Optional[Progress] = None,
    cameras: Sequence[str] = (),
) -> Frames:
    """At most *count* frames of the set in *folder* to calibrate on and *holdout* to judge by, the same for a seed.

    :param embed: what pictures mean to the model (:mod:`converter.calibration.embeddings`); without it the choice goes
        by thumbnails. That of the hold-out always does: the model that is judged has no say in by what.
    :param cameras: take their frames only; none names all.
    :raises CalibrationError: there is no set, it is damaged, lacks one of *cameras*, or is too small to be parted.
    """
    candidates, held_out = split(of_cameras(read_entries(folder), cameras), _HOLDOUT_SHARE, seed)
    if len(candidates) <= count or count >= _MAX_EMBEDDED:
        embed = None  # nothing to choose, or too much
    elif embed is not None:
        candidates = _most_different(candidates, _MAX_EMBEDDED, seed)
    points, space = _points(folder, candidates, embed, progress or Silent())
    places = choose(candidates, points, count, seed)
    calibration = [candidates[place] for place in places]
    return Frames(
        folder,
        calibration,
        _most_different(held_out, holdout, seed),
        dataset_sha256(calibration),
        seed,
        coverage(points, strata(candidates), places, space),
    )


def _most_different(entries: Sequence[Entry], count: int, seed: int) -> List[Entry]:
    return [entries[place] for place in choose(entries, thumbnails(entries), count, seed)]


def _points(
    folder: Path, entries: Sequence[Entry], embed: Optional[Embed], progress: Progress
) -> Tuple[NDArray[np.float32], str]:
    """What each entry looks like, [len(entries), D], and what that is called."""
    if embed is not None:
        points = []
        with progress.stage("what the candidates look like to the model", len(entries)) as step:
            for entry in entries:
                points.append(embed(read_image(folder, entry)))
                step()
        embeddings = np.stack(points)
        if np.isfinite(embeddings).all():
            return embeddings, "embeddings"
    return thumbnails(entries), "thumbnails"
