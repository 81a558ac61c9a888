"""Labels that somebody made: annotations in COCO's instances format, their categories mapped by name."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sightd.bounded import decode_json, read_bounded
from sightd.errors import CalibrationError
from sightd.types import Image

__all__ = ["LabelledImage", "read_ground_truth", "read_labelled_image"]

_log = logging.getLogger(__name__)

#: COCO's own, of 118 thousand pictures, has 470 MB.
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class LabelledImage:
    """One picture and what is on it."""

    file: Path
    #: [N, 4] float64, x1 y1 x2 y2 in pixels.
    boxes: NDArray[np.float64]
    #: [N] int32, indices into the model's labels.
    classes: NDArray[np.int32]
    #: [N] bool: the box encloses a crowd that was not labelled one by one.
    crowd: NDArray[np.bool_]


def read_ground_truth(annotations: Path, labels: Sequence[str], images: Optional[Path] = None) -> List[LabelledImage]:
    """Every picture that *annotations* (COCO's instances format) names, in the order of their ids.

    Categories that the model does not have are passed over: it can't find them.

    :param labels: the model's class names; a category is the class of the same name.
    :param images: the pictures' folder; None: that of *annotations*, or ``images`` in it.
    :raises CalibrationError: no such file, not that format, no category in common, or a picture is missing.
    """
    try:
        content: Any = decode_json(read_bounded(annotations, _MAX_BYTES), Any)
        classes = _classes(annotations, content["categories"], labels)
        rows: Dict[int, List[Any]] = {int(image["id"]): [] for image in content["images"]}
        for row in content["annotations"]:
            if row["category_id"] in classes:
                rows[int(row["image_id"])].append(row)
        names = {int(image["id"]): str(image["file_name"]) for image in content["images"]}
        folder = images or annotations.parent
        return [_labelled(_find(folder, names[key]), rows[key], classes) for key in sorted(names)]
    except OSError as error:
        raise CalibrationError(f"{annotations}: can't be read ({error.strerror}): check the path") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CalibrationError(
            f"{annotations}: not COCO's instances format ({type(error).__name__}: {error}): "
            "it needs images, annotations and categories"
        ) from error


def read_labelled_image(labelled: LabelledImage) -> Image:
    """Its pixels.

    :raises CalibrationError: the picture can't be read.
    """
    image = cv2.imread(str(labelled.file))
    if image is None:
        raise CalibrationError(f"{labelled.file}: not a picture that can be decoded: correct the annotations")
    return np.asarray(image, np.uint8)


def _classes(annotations: Path, categories: Sequence[Any], labels: Sequence[str]) -> Dict[int, int]:
    """Category id -> class index."""
    index = {name.strip().lower(): place for place, name in enumerate(labels)}
    known = {c["id"]: index[c["name"].strip().lower()] for c in categories if c["name"].strip().lower() in index}
    unknown = [c["name"] for c in categories if c["id"] not in known]
    if not known:
        raise CalibrationError(
            f"{annotations}: none of its categories ({', '.join(unknown[:5])} ...) is a class of the model "
            f"({', '.join(labels[:5])} ...): name them alike"
        )
    if unknown:
        _log.warning("%s: categories that the model does not have are passed over: %s", annotations, ", ".join(unknown))
    return known


def _labelled(file: Path, rows: Sequence[Any], classes: Dict[int, int]) -> LabelledImage:
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    numbers = np.array([classes[row["category_id"]] for row in rows], np.int32)
    return LabelledImage(file, boxes, numbers, np.array([bool(row.get("iscrowd")) for row in rows], bool))


def _find(folder: Path, name: str) -> Path:
    for file in (folder / name, folder / "images" / name):
        if file.is_file():
            return file
    raise CalibrationError(f"{folder / name}: no such picture: say where they are with --truth-images")
