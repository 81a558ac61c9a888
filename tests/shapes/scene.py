"""Scenes of moving coloured shapes whose truth is known: a frame and its objects, by seed and number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, List, NamedTuple, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.types import Image

from .backgrounds import Grain, Light, background
from .drawing import DISTRACTOR, Paint, class_of, cover, outline, paint_over, random_paint

__all__ = ["FPS", "Scene", "ShapeTruth", "picture"]

FPS = 25.0
#: An object that shows less of itself is hard, for what is left of it may be another's; so is one whose shorter side is
#: less than this share of the picture's longer side.
_CLEAR_SHARE, _CLEAR_SIZE = 0.75, 0.05
#: Of which less can be seen, it is not there.
_LEAST_SHARE = 0.05
#: Diameters, as shares of the picture's longer side.
_SIZES = (0.11, 0.36)
_KINDS, _COLOURS = ("circle", "square", "triangle"), ("red", "blue")
_OTHER_KINDS, _OTHER_COLOURS = ("star", "cross"), ("green", "yellow", "grey")


@dataclass(frozen=True)
class ShapeTruth:
    """One object of one frame."""

    #: Unique in its scene; an object that left and comes in again is another.
    object_id: int
    #: Index in LABELS.
    class_id: int
    #: x1, y1, x2, y2 in pixels, x2 and y2 exclusive: encloses the pixels that can be seen.
    box: Tuple[int, int, int, int]
    #: The share of it that can be seen: the rest is behind others or outside.
    visible: float
    #: Too little is to be seen for it to count: finding it is neither right nor wrong.
    hard: bool


@dataclass(frozen=True)
class _Mover:
    """A shape on its way; it leaves at one side and comes in at the other."""

    kind: str
    class_id: int
    paint: Paint
    #: Diameter, its swing (a share) and the swing's turns a second.
    size: float
    swing: float
    swing_hz: float
    #: Pixels, pixels a second, radians, radians a second.
    start: Tuple[float, float]
    speed: Tuple[float, float]
    angle: float
    spin: float

    def at(self, time_s: float, width: int, height: int) -> Tuple[NDArray[np.float32], int]:
        """Its outline, and how often it came in again."""
        margin = self.size
        spans = width + 2 * margin, height + 2 * margin
        ways = [start + speed * time_s for start, speed in zip(self.start, self.speed)]
        centre = ways[0] % spans[0] - margin, ways[1] % spans[1] - margin
        laps = sum(int(abs(way // span)) for way, span in zip(ways, spans))
        size = self.size * (1 + self.swing * np.sin(2 * np.pi * self.swing_hz * time_s))
        return outline(self.kind, centre, size, self.angle + self.spin * time_s), laps


class _Drawn(NamedTuple):
    """A shape in one frame."""

    #: Rows and columns that it lies in.
    part: Tuple[slice, slice]
    #: The whole of it, in square pixels.
    area: float
    object_id: int


class Scene:
    """Frames of one view. The same seed and size give the same frames, each for itself and in any order.

    Seeds from TRAINING_SEEDS on (train.py) belong to the training.
    """

    def __init__(
        self, seed: int, width: int = 640, height: int = 360, fps: float = FPS, clear_share: float = _CLEAR_SHARE
    ) -> None:
        self._clear_share = clear_share
        random = np.random.default_rng(seed)
        self.seed, self.width, self.height, self.fps = seed, width, height, fps
        self._background = background(random, width, height)
        self._light = Light(random)
        self._grain = Grain(random, width, height)
        wanted = [_wanted(random) for _ in range(random.integers(3, 11))]
        wanted += [_unwanted(random) for _ in range(random.integers(0, 5))]
        self._movers = [_mover(random, *wanted[place], width, height) for place in random.permutation(len(wanted))]

    def frame(self, number: int) -> Tuple[Image, List[ShapeTruth]]:
        """The picture [height, width, 3] uint8 BGR and its objects, those further away first."""
        time_s = number / self.fps
        image = self._background.copy()
        owner = np.full((self.height, self.width), -1, np.int16)
        drawn: List[_Drawn] = []
        for place, mover in enumerate(self._movers):
            corners, laps = mover.at(time_s, self.width, self.height)
            part, mask = cover(corners, self.width, self.height)
            paint_over(image, part, mask, mover.paint)
            owner[part][mask > 127] = place
            drawn.append(_Drawn(part, _area(corners), place + laps * len(self._movers)))
        lit = self._light.on(image, time_s)
        return self._grain.added(lit, np.random.default_rng((self.seed, number))), self._truth(owner, drawn)

    def frames(self, count: int) -> Iterator[Tuple[Image, List[ShapeTruth]]]:
        """The first *count* frames."""
        return (self.frame(number) for number in range(count))

    def _truth(self, owner: NDArray[np.int16], drawn: List[_Drawn]) -> List[ShapeTruth]:
        """Of the objects; *owner* says whose each pixel is."""
        truth = []
        for place, (mover, one) in enumerate(zip(self._movers, drawn)):
            rows, columns = np.nonzero(owner[one.part] == place)
            visible = min(1.0, len(rows) / one.area)
            if mover.class_id == DISTRACTOR or visible < _LEAST_SHARE:
                continue
            y, x = one.part[0].start, one.part[1].start
            box = int(x + columns.min()), int(y + rows.min()), int(x + columns.max()) + 1, int(y + rows.max()) + 1
            least = min(box[2] - box[0], box[3] - box[1]) / max(self.width, self.height)
            hard = visible < self._clear_share or least < _CLEAR_SIZE
            truth.append(ShapeTruth(one.object_id, mover.class_id, box, round(visible, 3), hard))
        return truth


def picture(
    seed: int, width: int = 640, height: int = 360, clear_share: float = _CLEAR_SHARE
) -> Tuple[Image, List[ShapeTruth]]:
    """One picture of a scene of its own; an object that shows less of itself than *clear_share* is hard."""
    return Scene(seed, width, height, clear_share=clear_share).frame(0)


def _wanted(random: np.random.Generator) -> Tuple[str, str]:
    """The colour and kind of an object."""
    return str(random.choice(_COLOURS)), str(random.choice(_KINDS))


def _unwanted(random: np.random.Generator) -> Tuple[str, str]:
    """The colour or the kind of no class."""
    if random.random() < 0.5:
        return str(random.choice(_OTHER_COLOURS)), str(random.choice(_KINDS))
    return str(random.choice([*_COLOURS, *_OTHER_COLOURS])), str(random.choice(_OTHER_KINDS))


def _mover(random: np.random.Generator, colour: str, kind: str, width: int, height: int) -> _Mover:
    longer = max(width, height)
    size = longer * np.exp(random.uniform(*np.log(_SIZES)))
    heading, speed = random.uniform(0, 2 * np.pi), longer * random.uniform(0.02, 0.3)
    return _Mover(
        kind,
        class_of(colour, kind),
        random_paint(random, colour),
        size,
        swing=random.uniform(0, 0.2),
        swing_hz=random.uniform(0.1, 0.5),
        start=(random.uniform(0, width + 2 * size), random.uniform(0, height + 2 * size)),
        speed=(speed * np.cos(heading), speed * np.sin(heading)),
        angle=random.uniform(0, 2 * np.pi),
        spin=random.uniform(-0.8, 0.8),
    )


def _area(corners: NDArray[np.float32]) -> float:
    """Of the polygon, in square pixels (the shoelace formula)."""
    x, y = corners.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
