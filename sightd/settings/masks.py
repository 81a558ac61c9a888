"""A camera's privacy masks as the user wrote them, checked: a mistake here would keep what was to be hidden."""

from __future__ import annotations

from itertools import combinations
from typing import Any, List, Tuple

from pydantic import BeforeValidator, WithJsonSchema
from typing_extensions import Annotated

__all__ = ["Masks"]

_Point = Tuple[float, float]
_Polygon = Tuple[_Point, ...]

_MAX_CORNERS = 100
_EXAMPLE = "for example [[[0, 0], [0.3, 0], [0.3, 0.2], [0, 0.2]]] for one"


def _masks(value: Any) -> List[_Polygon]:
    if not isinstance(value, list):
        raise ValueError(f"must be a list of masks, each a list of corners [x, y], {_EXAMPLE}")
    return [_polygon(mask, f"mask {number}") for number, mask in enumerate(value, 1)]


def _polygon(value: Any, name: str) -> _Polygon:
    if not isinstance(value, list) or not 3 <= len(value) <= _MAX_CORNERS:
        raise ValueError(f"{name} must be a list of 3 to {_MAX_CORNERS} corners [x, y], {_EXAMPLE}")
    corners = tuple(_point(corner, f"{name}, corner {number}") for number, corner in enumerate(value, 1))
    sides = list(zip(corners, (*corners[1:], corners[0])))
    if any(_cross(*one, *other) for one, other in combinations(sides, 2)):
        # Else what lies between the crossing sides would stay visible.
        raise ValueError(f"{name} crosses itself: give its corners in the order in which they lie around it")
    if not sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in sides):
        raise ValueError(f"{name} covers nothing: its corners lie on one line")
    return corners


def _point(value: Any, name: str) -> _Point:
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 2 or any(isinstance(n, bool) or not isinstance(n, (int, float)) for n in numbers):
        raise ValueError(f"{name} must be [x, y]")
    if not all(0 <= number <= 1 for number in numbers):
        raise ValueError(f"{name} is outside the picture: x and y are shares of its width and height, from 0 to 1")
    return float(numbers[0]), float(numbers[1])


def _cross(a: _Point, b: _Point, c: _Point, d: _Point) -> bool:
    """Whether the lines ab and cd meet at a point inside both."""
    return _turn(a, b, c) * _turn(a, b, d) < 0 and _turn(c, d, a) * _turn(c, d, b) < 0


def _turn(a: _Point, b: _Point, c: _Point) -> float:
    """Twice the area of the triangle, negative when it turns the other way."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


Masks = Annotated[
    List[_Polygon],
    BeforeValidator(_masks),
    WithJsonSchema(
        {
            "type": "array",
            "items": {
                "type": "array",
                "minItems": 3,
                "maxItems": _MAX_CORNERS,
                "items": {
                    "type": "array",
                    "minItems": 2,
                    "maxItems": 2,
                    "items": {"type": "number", "minimum": 0, "maximum": 1},
                },
            },
        }
    ),
]
