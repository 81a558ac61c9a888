"""The golden picture: a real one, and what each engine of a bundle found on it when it was converted.

An engine that is loaded must find the same: a driver, a library or a GPU that computes something else is noticed
before anything is reported, not after. What counts is the mean difference in score over the candidates that matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import numpy as np
from numpy.typing import NDArray

from .bounded import read_arrays
from .bundle import Bundle
from .engines import Engine
from .errors import BundleError, EngineMismatch
from .types import Candidates, Image

__all__ = ["GOLDEN", "Golden", "check_golden", "difference", "look", "read_golden", "write_golden"]

#: Its name among the bundle's extras.
GOLDEN = "golden.npz"

#: The largest difference that is still the same engine, by precision. Measured on pictures with many objects
#: (docs/tensorrt.md): other kernels change a float engine by 0.0000 and weights rounded to float16 by 0.0016 at most,
#: an INT8 engine, whose roundings cascade, by 0.04; swapped colour channels change either by 0.05 and more, a dead
#: engine by 0.22 and more.
_TOLERANCES = {"int8": 0.08}
_FLOAT_TOLERANCE = 0.02
#: Boxes that overlap by less are not of the same candidate.
_SAME_IOU = 0.5
#: The largest input that any model has, and what several engines found on it, is far less.
_MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class Golden:
    """The picture and what one engine found on it."""

    #: [H, W, 3] uint8 BGR, of the input's size.
    pixels: Image
    #: Of this one picture: [1, K] each.
    found: Candidates


def write_golden(file: Path, pixels: Image, found: Mapping[str, Candidates]) -> None:
    """Write the golden picture of a bundle, to be one of its extras by the name GOLDEN.

    :param pixels: [H, W, 3] uint8 BGR, as the input spec makes it of a camera's picture (sightd.resize).
    :param found: sha256 of each engine file of the bundle -> what :func:`look` returned for it.
    """
    arrays = {f"{sha256}.{name}": array for sha256, one in found.items() for name, array in vars(one).items()}
    np.savez_compressed(file, pixels=pixels, **arrays)


def read_golden(bundle: Bundle) -> Optional[Golden]:
    """What the engine of *bundle* found; None: an older sightd made the bundle, without a golden picture.

    :raises BundleError: it is missing or damaged.
    """
    if GOLDEN not in bundle.manifest.extras:
        return None
    spec = bundle.manifest.input
    names = [f"{bundle.manifest.engine.sha256}.{name}" for name in ("boxes", "scores", "classes")]
    try:
        arrays: Dict[str, Any] = read_arrays(bundle.folder / GOLDEN, ["pixels", *names], _MAX_BYTES)
        pixels, found = arrays["pixels"], Candidates(*(arrays[name] for name in names))
        if pixels.shape != (spec.height, spec.width, 3) or found.boxes.shape != (*found.scores.shape, 4):
            raise ValueError("its arrays have strange shapes")
        return Golden(pixels, found)
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{bundle.folder / GOLDEN}: missing or damaged ({error}); convert the model again, "
            "or restore the bundle from a copy"
        ) from error


def look(engine: Engine, pixels: Image, batch: int = 1) -> Candidates:
    """What *engine* finds on *pixels* in the last place of a *batch* whose other pictures are black: one picture's."""
    slot = engine.slot()
    for index in range(batch - 1):
        slot.put(index, np.zeros_like(pixels))
    slot.put(batch - 1, pixels)
    found = engine.submit(slot, batch).result()
    return Candidates(found.boxes[-1:], found.scores[-1:], found.classes[-1:])


def check_golden(engine: Engine, bundle: Bundle, golden: Golden) -> None:
    """Have *engine*, the one of *bundle*, look at the golden picture alone and at the end of a full batch.

    :raises EngineMismatch: it finds something else than when it was converted.
    :raises EngineError: it fails.
    """
    manifest = bundle.manifest
    tolerance = _TOLERANCES.get(manifest.engine.precision, _FLOAT_TOLERANCE)
    for batch in sorted({1, engine.max_batch}):
        found = look(engine, golden.pixels, batch)
        differs = difference(golden.found, found, manifest.output.min_score / 2)
        if not differs <= tolerance:
            raise EngineMismatch(
                f"at batch {batch} the engine computes something else than when it was converted (on its golden "
                f"picture scores differ by {differs:.3f} on average, at most {tolerance} is the same engine); "
                f"sightd convert --rebuild {bundle.folder} builds it anew"
            )


def difference(one: Candidates, other: Candidates, floor: float) -> float:
    """The mean difference in score of the same candidates, over those of *floor* and more; 0 where both have none.

    A candidate that the other side lacks, at its place or of its class, differs by its whole score. The larger of
    the two directions counts. Numbers that are not finite make it infinite.
    """
    if not all(np.isfinite(array).all() for side in (one, other) for array in (side.boxes, side.scores)):
        return float("inf")
    return max(_lost(one, other, floor), _lost(other, one, floor))


def _lost(one: Candidates, other: Candidates, floor: float) -> float:
    """How much of the scores of *one* is not found in *other*, on average."""
    count = int(np.count_nonzero(one.scores[0] >= floor))
    if not count:
        return 0.0
    scores, classes = one.scores[0, :count, None], one.classes[0, :count, None]
    overlap = _ious(one.boxes[0, :count], other.boxes[0]) * (classes == other.classes[0])
    changes = np.abs(scores - other.scores[0])
    nearest = (overlap - changes).argmax(axis=1)[:, None]
    same = np.take_along_axis(overlap, nearest, 1) >= _SAME_IOU
    return float(np.where(same, np.take_along_axis(changes, nearest, 1), scores).mean())


def _ious(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """[N, M] intersection over union; boxes grow by a pixel, so that one without an area is itself, too."""
    low = np.maximum(boxes[:, None, :2], others[:, :2]).astype(np.float64)
    high = np.minimum(boxes[:, None, 2:], others[:, 2:]) + 1.0
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas, other_areas = ((rows[:, 2:] - rows[:, :2] + 1.0).prod(axis=1) for rows in (boxes, others))
    ious: NDArray[np.float64] = shared / np.maximum(areas[:, None] + other_areas - shared, 1e-9)
    return ious
