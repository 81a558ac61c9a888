"""The names of a model's classes: given, from a file, from COCO, or out of the model's own metadata."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import onnx

from sightd.errors import ModelError

from .graph import metadata
from .labels_file import names_in_order, read_names
from .ultralytics import literal

__all__ = ["COCO80", "read_labels", "resolve_labels"]

_COCO80 = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
COCO80: Tuple[str, ...] = tuple(_COCO80.split(","))
#: COCO's category numbers that have no category; DETR's and TensorFlow's models have a class for each all the same.
_COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)


def _coco_by_number() -> Tuple[str, ...]:
    """The names of COCO's categories 0 to 90 by number; 0 is none."""
    names = iter(COCO80)
    return ("background", *(f"unused-{n}" if n in _COCO_GAPS else next(names) for n in range(1, 91)))


#: Name -> class names: the 80 categories, the numbers 1 to 90 (TensorFlow, torchvision), 0 to 90 (DETR, RF-DETR).
_PRESETS = {"coco80": COCO80, "coco90": _coco_by_number()[1:], "coco91": _coco_by_number()}


def read_labels(value: str) -> List[str]:
    """Class names from a preset's name ("coco80", "coco90", "coco91") or a file (see :func:`read_names`).

    :raises ModelError: neither, or the file can't be read.
    """
    if value in _PRESETS:
        return list(_PRESETS[value])
    if not os.path.exists(value):  # noqa: PTH110 - pathlib's fails on what is too long for a name
        raise ModelError(f"labels {value!r}: neither one of {', '.join(_PRESETS)} nor a file")
    return read_names(Path(value))


def resolve_labels(model: onnx.ModelProto, classes: Optional[int], given: Optional[Sequence[str]]) -> List[str]:
    """The class names: those given, or those in the model's metadata ("names", as Ultralytics writes it).

    :param classes: what the head predicts; None where it can't be told.
    :raises ModelError: no names anywhere, or not as many as classes.
    """
    if given is None:
        return _own_labels(model, classes)
    labels, own = list(given), names_in_order(literal(model, "names"))
    expected = len(own) if classes is None and own else classes
    if labels and expected in (None, len(labels)):
        return labels
    hint = ": leave --labels out, the model names them itself" if own and len(own) == expected else ": give one a class"
    raise ModelError(f"{len(labels)} class names for a model of {expected or 'unknown'} classes{hint}")


def _own_labels(model: onnx.ModelProto, classes: Optional[int]) -> List[str]:
    text = metadata(model, "names")
    if text is None:
        fitting = [name for name, names in _PRESETS.items() if len(names) == classes]
        hint = f"; for a model trained on COCO: --labels {fitting[0]}" if fitting else ""
        raise ModelError(f"the model has no class names inside: give a file with one a line by --labels{hint}")
    labels = names_in_order(literal(model, "names"))
    if not labels:
        raise ModelError(
            "metadata 'names' can't be read, or is neither a list nor numbered from 0: give the class names by --labels"
        )
    if classes is not None and len(labels) != classes:
        raise ModelError(
            f"metadata 'names' has {len(labels)} class names, but the model's outputs have {classes} classes: if the "
            "head was recognised wrongly name it with --head, else give the class names by --labels"
        )
    return labels
