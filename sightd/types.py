"""The data that flows between the stages: frozen, arrays documented with shape and dtype.

Coordinates: a box is ``x1, y1, x2, y2`` in pixels, origin top left, x2 and y2 exclusive. "Source
pixels" are those of the camera's picture, "input pixels" those of the engine's input.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import List, Mapping, Tuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Attribute", "Batch", "Candidates", "Detections", "Frame", "Image", "InputSpec", "Placement"]

#: A picture as OpenCV has it: [height, width, 3] uint8, BGR.
Image = NDArray[np.uint8]

RESIZES = ("letterbox-topleft", "letterbox-centre", "stretch")
INTERPOLATIONS = ("linear", "area", "nearest")
CHANNEL_ORDERS = ("bgr", "rgb")
LAYOUTS = ("nchw", "nhwc")


@dataclass(frozen=True)
class Frame:
    """One decoded picture of one camera."""

    camera: str
    #: Counts the frames of this camera since the process started, from 0; a gap is a dropped frame.
    seq: int
    #: Wall clock (Unix seconds, UTC) when the frame left the decoder.
    captured_at: float
    #: Monotonic clock (seconds) of the same moment, for intervals.
    captured_mono: float
    #: Seconds spent decoding and converting this frame.
    decode_s: float
    image: Image


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in the engine's input: input = source * scale + offset, per axis."""

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float
    #: The source picture's size in pixels.
    width: int
    height: int

    def to_source(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, 4] boxes in input pixels as [N, 4] float32 in source pixels, clipped to the picture."""
        offset = np.array([self.offset_x, self.offset_y] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        limit = np.array([self.width, self.height] * 2, np.float32)
        source: NDArray[np.float32] = np.clip((boxes - offset) / scale, np.float32(0), limit)
        return source


@dataclass(frozen=True)
class Candidates:
    """What every engine returns for n pictures: the K best anchors of each, before NMS. Owned copies."""

    #: [n, K, 4] float32, x1 y1 x2 y2 in input pixels.
    boxes: NDArray[np.float32]
    #: [n, K] float32, descending in each row.
    scores: NDArray[np.float32]
    #: [n, K] int32, the best class of the anchor.
    classes: NDArray[np.int32]


@dataclass(frozen=True)
class Attribute:
    """What a classifier says of one object."""

    label: str
    score: float


@dataclass(frozen=True)
class Detections:
    """The objects of one frame after NMS, best first."""

    #: [N, 4] float32, x1 y1 x2 y2 in source pixels.
    boxes: NDArray[np.float32]
    #: [N] float32.
    scores: NDArray[np.float32]
    #: [N] int32, indices into the bundle's labels.
    classes: NDArray[np.int32]
    #: Of each object by classifier, empty where it is not sure or was not asked; () where none was about the batch.
    attributes: Tuple[Mapping[str, Attribute], ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    def where(self, keep: NDArray[np.bool_]) -> Detections:
        """Those objects for which *keep* ([N] bool) is true."""
        kept = keep.tolist()
        if all(kept):
            return self  # as mostly
        attributes = tuple(compress(self.attributes, kept))
        return Detections(self.boxes[keep], self.scores[keep], self.classes[keep], attributes)


@dataclass(frozen=True)
class Batch:
    """Frames that are inferred together; ``placements[i]`` belongs to ``frames[i]``."""

    frames: List[Frame]
    placements: List[Placement]


@dataclass(frozen=True)
class InputSpec:
    """How a picture becomes a model's input. It can't be read from a graph; a wrong one ruins any engine.

    The host only resizes (uint8, NHWC, BGR: :mod:`sightd.resize`); the engine's graph does the rest,
    per channel in ``channel_order``: ``x = (pixel * scale - mean) / std`` with pixel in 0..255.
    """

    width: int
    height: int
    resize: str = "letterbox-centre"
    pad_value: int = 114
    interpolation: str = "linear"
    channel_order: str = "bgr"
    layout: str = "nchw"
    scale: float = 1.0
    mean: Tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: Tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for value, allowed, name in (
            (self.resize, RESIZES, "resize"),
            (self.interpolation, INTERPOLATIONS, "interpolation"),
            (self.channel_order, CHANNEL_ORDERS, "channel_order"),
            (self.layout, LAYOUTS, "layout"),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}, must be one of {', '.join(allowed)}")
        if min(self.width, self.height) < 1 or not 0 <= self.pad_value <= 255:
            raise ValueError("width and height must be positive, pad_value 0..255")
        if 0.0 in self.std or self.scale == 0.0:
            raise ValueError("scale and std must not be 0")
