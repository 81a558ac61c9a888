"""`sightd capture --status`: what a calibration set holds, and what it still lacks."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterator, List, Sequence

from sightd.calibration_entries import Entry, busyness, indexed, light

from ..request import Request

__all__ = ["CameraHolding", "Holding", "holding", "sentences"]

#: What a conversion takes at most, to calibrate on and to judge by.
_TAKEN = Request.frames + Request.holdout
#: A camera with less than this part of an even share has few frames.
_FEW = 0.25


@dataclass(frozen=True)
class CameraHolding:
    """What the set holds of one camera."""

    frames: int = 0
    bytes: int = 0
    #: Hours of the day (UTC) that there are frames of.
    hours: List[int] = field(default_factory=list)
    #: "dark", "dim", "bright" -> frames.
    light: Dict[str, int] = field(default_factory=dict)
    #: "empty", "some", "busy", "unknown" -> frames.
    busyness: Dict[str, int] = field(default_factory=dict)
    #: Unix seconds; 0 without frames.
    oldest: float = 0.0
    newest: float = 0.0
    #: What would make it better, in words.
    missing: List[str] = field(default_factory=list)


@dataclass(frozen=True)
class Holding:
    """What a set holds; in `--json` as it is here."""

    folder: str
    frames: int
    bytes: int
    #: How many of them a conversion takes at most, to calibrate on and to judge by, and how many it would like.
    taken: int
    wanted: int
    #: The configured cameras, then others that the set holds frames of.
    cameras: Dict[str, CameraHolding]


def holding(folder: Path, cameras: Sequence[str]) -> Holding:
    """What the set in *folder* holds now, with nothing in it where there is none yet; needs no lock.

    :param cameras: names of those that are configured.
    :raises CalibrationError: its index can't be read.
    """
    sizes = {entry: size for entry in indexed(folder) for size in _size(folder / entry.file)}
    names = [*cameras, *sorted({entry.camera for entry in sizes} - set(cameras))]
    few = _FEW * min(len(sizes), _TAKEN) / max(1, len(cameras))
    return Holding(
        folder=str(folder),
        frames=len(sizes),
        bytes=sum(sizes.values()),
        taken=min(len(sizes), _TAKEN),
        wanted=_TAKEN,
        cameras={
            name: _of_camera({e: size for e, size in sizes.items() if e.camera == name}, few if name in cameras else 0)
            for name in names
        },
    )


def sentences(held: Holding) -> Iterator[str]:
    """*held* for people, a line at a time."""
    yield f"{held.folder}: {held.frames} frames, {held.bytes / (1 << 20):.1f} MB"
    for name, camera in held.cameras.items():
        yield ""
        yield f"{name}: {camera.frames} frames, {camera.bytes / (1 << 20):.1f} MB"
        if camera.frames:
            yield f"  taken    {_day(camera.oldest)} to {_day(camera.newest)} UTC"
            yield f"  hours    {_spans(camera.hours)} UTC"
            yield f"  light    {_counts(camera.light)}"
            yield f"  objects  {_counts(camera.busyness)}"
        for lack in camera.missing:
            yield f"  missing  {lack}"
    yield ""
    if held.frames < held.wanted:
        yield f"a conversion takes up to {held.wanted} frames, here all {held.taken}: more would serve it better"
    else:
        yield f"enough: a conversion takes {held.wanted}; next: sightd convert MODEL --calibration {held.folder}"


def _of_camera(sizes: Dict[Entry, int], few: float) -> CameraHolding:
    if not sizes:
        return CameraHolding(missing=["no frame at all"])
    hours = sorted({int(entry.captured_at // 3600) % 24 for entry in sizes})
    lights = Counter(light(entry) for entry in sizes)
    objects = Counter(busyness(entry) for entry in sizes)
    missing = [f"few frames: {len(sizes)}"] if len(sizes) < few else []
    others = sorted(set(range(24)) - set(hours))
    if others:
        missing.append(f"frames from {_spans(others)} UTC")
        # Only then: a room that is lit day and night never gets dark.
        missing += [f"{name} frames" for name in ("dark", "bright") if name not in lights]
    if not {"some", "busy", "unknown"} & set(objects):
        missing.append("frames with objects in them")
    return CameraHolding(
        frames=len(sizes),
        bytes=sum(sizes.values()),
        hours=hours,
        light={name: lights[name] for name in ("dark", "dim", "bright") if name in lights},
        busyness={name: objects[name] for name in ("empty", "some", "busy", "unknown") if name in objects},
        oldest=min(entry.captured_at for entry in sizes),
        newest=max(entry.captured_at for entry in sizes),
        missing=missing,
    )


def _size(path: Path) -> List[int]:
    """[] when the writer has just removed the file."""
    try:
        return [path.stat().st_size]
    except OSError:
        return []


def _spans(hours: Sequence[int]) -> str:
    """[22, 23, 0, 5] as "05-06, 22-01": what is joined over midnight is one span."""
    if len(hours) == 24:
        return "all day"
    starts = [hour for hour in hours if (hour - 1) % 24 not in hours]
    ends = []
    for start in starts:
        end = start
        while end % 24 in hours:
            end += 1
        ends.append(end % 24)
    return ", ".join(f"{start:02}-{end:02} h" for start, end in zip(starts, ends))


def _counts(counts: Dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
