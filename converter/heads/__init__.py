"""Head families: one file each, recognised by their outputs or named by the user."""

from __future__ import annotations

import difflib
from typing import Mapping, Optional, Tuple, Type

from sightd.errors import ModelError

from .base import Anchors, Head, Signature
from .boxes_scores import BoxesScoresHead
from .centernet import CenterNetHead
from .classifier import ClassifierHead
from .detr import DetrHead
from .detr_postprocessed import DetrPostprocessedHead
from .end_to_end import EndToEndHead
from .fastestdet import FastestDetHead
from .nanodet import NanoDetHead
from .nms import NmsHead
from .ssd import SsdHead
from .tasks import refuse_other_tasks
from .tf_detections import TfDetectionsHead
from .yolov5 import Yolov5Head
from .yolov5_raw import Yolov5RawHead
from .yolov6 import Yolov6Head
from .yolov8 import Yolov8Head
from .yolov8_raw import Yolov8RawHead
from .yolox import YoloxHead

__all__ = ["FAMILIES", "Anchors", "Head", "Signature", "choose_head", "detect"]

_HEADS: Tuple[Type[Head], ...] = (
    YoloxHead,
    Yolov8Head,
    Yolov8RawHead,
    Yolov5Head,
    Yolov5RawHead,
    Yolov6Head,
    EndToEndHead,
    CenterNetHead,
    FastestDetHead,
    DetrHead,
    DetrPostprocessedHead,
    NanoDetHead,
    SsdHead,
    TfDetectionsHead,
    NmsHead,
    ClassifierHead,
    BoxesScoresHead,
)

#: The names that ``--head`` takes.
FAMILIES = tuple(head.family for head in _HEADS)


def choose_head(signature: Signature, family: Optional[str], options: Mapping[str, str]) -> Head:
    """The head of *family*, or of the one family that the outputs fit.

    :raises ModelError: no such family or option, or the outputs don't fit.
    """
    head = _named(family) if family is not None else _named(detect(signature))
    for name in options:
        if name not in head.options:
            known = ", ".join(head.options) or "none"
            raise ModelError(f"head {head.family} has no option {name!r} (it has: {known})")
    try:
        return head.fit(signature, options)
    except ModelError as error:
        raise ModelError(f"{error}. The model's outputs are: {_outputs(signature)}") from error


def detect(signature: Signature) -> str:
    """The one family whose layout the outputs have.

    :raises ModelError: none, or several; the message lists the outputs and what each family expects. Or the model does
        something else than detect.
    """
    refuse_other_tasks(signature)
    matching = [head for head in _HEADS if head.matches(signature)]
    fitting = [head.family for head in matching if not head.general] or [head.family for head in matching]
    if len(fitting) == 1:
        return fitting[0]
    problem = "is of no layout known to sightd" if not fitting else f"could be {' or '.join(fitting)}"
    names = ", ".join(FAMILIES)
    expected = "\n".join(f"  {head.family}: {head.layout}" for head in _HEADS)
    raise ModelError(
        f"the model {problem}. Its outputs at {signature.width}x{signature.height} input are: {_outputs(signature)}.\n"
        f"Supported are:\n{expected}\n"
        f"If it is one of them, name it with --head ({names}); else export the model in one of these layouts"
    )


def _named(family: str) -> Type[Head]:
    for head in _HEADS:
        if head.family == family:
            return head
    near = difflib.get_close_matches(family, FAMILIES, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ModelError(f"head {family!r} is not known (known: {', '.join(FAMILIES)}){hint}")


def _outputs(signature: Signature) -> str:
    return "; ".join(str(output) for output in signature.outputs)
