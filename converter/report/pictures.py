"""The report's pictures, small enough for one file: frames side by side and the contact sheet, as data URIs."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Iterable, Sequence, cast

import cv2
import numpy as np

from sightd.annotate import annotated
from sightd.errors import BundleError
from sightd.types import Detections, Image

from .html import Html

__all__ = ["MOST_PAIRS", "MOST_THUMBNAILS", "Pair", "Pictures", "contact_sheet", "pair"]

MOST_PAIRS = 6
MOST_THUMBNAILS = 64
_WIDTH = 480
_QUALITY = 80
_THUMBNAIL = (120, 90)
_COLUMNS = 8


@dataclass(frozen=True)
class Pair:
    """One hold-out frame as the reference and as the engine see it."""

    caption: str
    #: "data:image/jpeg;base64,..."
    reference: str
    engine: str


@dataclass(frozen=True)
class Pictures:
    """All pictures of a report."""

    pairs: Sequence[Pair] = ()
    #: "" without calibration frames.
    sheet: str = ""
    #: The SVG of the model's graph; "" without one.
    graph: Html = field(default_factory=Html)


def pair(image: Image, truth: Detections, found: Detections, labels: Sequence[str], caption: str) -> Pair:
    """*image* twice: with what the reference finds and with what the engine finds."""
    return Pair(caption, *(_data_uri(_drawn(image, detections, labels)) for detections in (truth, found)))


def contact_sheet(images: Iterable[Image]) -> str:
    """One JPEG of at most MOST_THUMBNAILS of *images*, held one at a time; "" when there are none."""
    cells = [_cell(image) for _, image in zip(range(MOST_THUMBNAILS), images)]
    if not cells:
        return ""
    rows = -(-len(cells) // _COLUMNS)
    width, height = _THUMBNAIL
    sheet = np.full((rows * height, min(_COLUMNS, len(cells)) * width, 3), 128, np.uint8)
    for place, cell in enumerate(cells):
        y, x = place // _COLUMNS * height, place % _COLUMNS * width
        sheet[y : y + height, x : x + width] = cell
    return _data_uri(sheet)


def _drawn(image: Image, detections: Detections, labels: Sequence[str]) -> Image:
    """*image* 480 pixels wide, with its boxes drawn at that size so that their labels can be read."""
    scale = _WIDTH / image.shape[1]
    small = _resized(image, _WIDTH, max(1, round(image.shape[0] * scale)))
    boxes = (detections.boxes * np.float32(scale)).astype(np.float32)
    return annotated(small, Detections(boxes, detections.scores, detections.classes), labels)


def _cell(image: Image) -> Image:
    """*image* within a thumbnail, whole, on grey, a pixel of border around."""
    width, height = _THUMBNAIL
    scale = min((width - 2) / image.shape[1], (height - 2) / image.shape[0])
    small = _resized(image, max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale)))
    cell = np.full((height, width, 3), 128, np.uint8)
    y, x = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    cell[y : y + small.shape[0], x : x + small.shape[1]] = small
    return cell


def _resized(image: Image, width: int, height: int) -> Image:
    smaller = width < image.shape[1]
    return cast(
        Image, cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    )


def _data_uri(image: Image) -> str:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise BundleError("a picture of the report can't be encoded as JPEG; is OpenCV complete?")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
