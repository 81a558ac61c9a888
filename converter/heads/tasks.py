"""Models of the YOLO family for masks, key points, rotated boxes: told by what leaves them, refused with a way out."""

from __future__ import annotations

from sightd.errors import ModelError

from .base import Signature
from .grids import anchors_a_cell

__all__ = ["refusal", "refuse_other_tasks"]

#: By Ultralytics' name of the task.
_OTHERS = {
    "segment": "a segmentation model, whose masks sightd can't use",
    "pose": "a pose model, whose key points sightd can't use",
    "obb": "a model of rotated boxes, which sightd can't use",
}
#: x, y and visibility of the 17 key points of COCO.
_KEY_POINTS = 3 * 17


def refuse_other_tasks(signature: Signature) -> None:
    """Look for masks, angles and key points.

    :raises ModelError: the model is, as far as its outputs tell, for another task.
    """
    if _has_prototypes(signature):
        raise ModelError(refusal("segment"))
    for output in signature.outputs:
        if len(output.shape) != 3:
            continue
        first, last = output.shape[1:]
        by_first, by_last = (anchors_a_cell(signature.width, signature.height, count) for count in (first, last))
        if {"Cos", "Sin"} <= signature.behind[output.name] and by_last == 1:
            raise ModelError(refusal("obb"))
        # One class, and the key points where further classes would be.
        if (first == 5 + _KEY_POINTS and by_last == 1) or (last == 6 + _KEY_POINTS and by_first == 3):
            raise ModelError(
                f"{refusal('pose')}; if it is a detector of {1 + _KEY_POINTS} classes, name its head with --head"
            )


def refusal(task: str) -> str:
    """Why a model for *task*, which is not "detect", is refused, and what to do."""
    what = _OTHERS.get(task, f"a model for the task {task}")
    return f"this is {what}: sightd detects boxes, so export a model that was trained for the task detect"


def _has_prototypes(signature: Signature) -> bool:
    """Whether there are rows and, at a quarter of the input's size, the masks that the rows weigh."""
    rows = [output for output in signature.outputs if len(output.shape) == 3]
    maps = [output.shape[2:] for output in signature.outputs if len(output.shape) == 4]
    return len(rows) == 1 and maps == [(signature.height // 4, signature.width // 4)]
