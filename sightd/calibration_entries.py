"""Reading a calibration set: its index, or a plain folder of pictures, as entries whose pictures are verified."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Iterator, List, Literal, Tuple, cast

import cv2
import numpy as np

from .bounded import decode_json, read_bounded
from .errors import CalibrationError
from .frame_filters import look_at
from .types import Image

__all__ = [
    "FRAMES",
    "INDEX",
    "Busyness",
    "Entry",
    "Light",
    "busyness",
    "dataset_sha256",
    "indexed",
    "light",
    "read_entries",
    "read_image",
    "stratum",
]

INDEX = "index.jsonl"
FRAMES = "frames"

#: Below the first: what a camera sees at night without a lamp; from the second on: what it sees by day.
_DARK_LUMA, _BRIGHT_LUMA = 50.0, 100.0
#: From so many objects on a frame is busy.
_BUSY_OBJECTS = 3

Light = Literal["dark", "dim", "bright"]
Busyness = Literal["empty", "some", "busy", "unknown"]

#: Some hundred thousand frames.
_MAX_INDEX_BYTES = 256 << 20
_PICTURES = (".jpg", ".jpeg", ".png")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One picture of a set."""

    #: Its path relative to the set's folder.
    file: str
    camera: str
    #: Unix seconds; in a plain folder of pictures its place in the order of names.
    captured_at: float
    width: int
    height: int
    #: Mean luma, 0 to 255.
    luma: float
    #: As in :class:`sightd.frame_filters.Look`.
    dhash: str
    thumbnail: str
    #: Of the file.
    sha256: str
    #: How many the daemon detected in it; -1: nobody looked.
    objects: int = -1


def read_entries(folder: Path) -> List[Entry]:
    """The entries of a calibration set, or of a plain folder of pictures, by time; needs no lock.

    In a plain folder the sub-folder's name stands for the camera ("images" for the folder itself).

    :raises CalibrationError: there is no folder, no picture in it, or one that can't be read.
    """
    if not folder.is_dir():
        raise CalibrationError(f"{folder}: no such folder: capture frames first (sightd capture)")
    entries = list(indexed(folder) if (folder / INDEX).exists() else _pictures(folder))
    if not entries:
        raise CalibrationError(f"{folder}: holds no frame: capture some first (sightd capture), or put pictures there")
    return sorted(entries, key=lambda entry: (entry.captured_at, entry.file))


def read_image(folder: Path, entry: Entry) -> Image:
    """The picture of *entry*.

    :raises CalibrationError: it is gone, altered or damaged.
    """
    path = folder / entry.file
    data = _read(path)
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise CalibrationError(f"{path}: not the picture that was taken in (its sha256 differs): delete it")
    return _decoded(path, data)


def dataset_sha256(entries: Iterable[Entry]) -> str:
    """Identifies the pictures themselves, in whatever order and place they are kept."""
    return hashlib.sha256("\n".join(sorted(entry.sha256 for entry in entries)).encode()).hexdigest()


def stratum(entry: Entry) -> Tuple[str, int]:
    """Camera and hour of the day (UTC): a set is to be spread over these."""
    return entry.camera, int(entry.captured_at // 3600) % 24


def light(entry: Entry) -> Light:
    """How bright the picture is. Fixed bounds, so that a frame never changes its stratum."""
    if entry.luma < _DARK_LUMA:
        return "dark"
    return "dim" if entry.luma < _BRIGHT_LUMA else "bright"


def busyness(entry: Entry) -> Busyness:
    """How much there is to detect in it."""
    if entry.objects < 0:
        return "unknown"
    if entry.objects == 0:
        return "empty"
    return "some" if entry.objects < _BUSY_OBJECTS else "busy"


def indexed(folder: Path) -> Iterator[Entry]:
    """The entries of the index whose frame is there; what a crash left of others is passed over."""
    try:
        lines = read_bounded(folder / INDEX, _MAX_INDEX_BYTES).splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise CalibrationError(f"{folder / INDEX}: can't be read ({error.strerror}): check its permissions") from error
    except ValueError as error:
        raise CalibrationError(f"{folder / INDEX}: {error}, this is no index of ours: move it away") from error
    for number, line in enumerate(lines, 1):
        try:
            entry = decode_json(line, Entry)
        except ValueError:
            _log.warning("%s, line %d: not an entry, passed over", folder / INDEX, number)
            continue
        path = folder / entry.file
        # A name that leads elsewhere is not ours: the writer deletes files by these names.
        if path.parent == folder / FRAMES and path.is_file():
            yield entry


def _pictures(folder: Path) -> Iterator[Entry]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _PICTURES and path.is_file())
    for place, path in enumerate(paths):
        data = _read(path)
        image = _decoded(path, data)
        look = look_at(image)
        file = path.relative_to(folder)
        yield Entry(
            file=file.as_posix(),
            camera="images" if len(file.parts) == 1 else file.parent.as_posix(),
            captured_at=float(place),
            width=image.shape[1],
            height=image.shape[0],
            luma=look.luma,
            dhash=look.dhash,
            thumbnail=look.thumbnail,
            sha256=hashlib.sha256(data).hexdigest(),
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CalibrationError(f"{path}: can't be read ({error.strerror})") from error


def _decoded(path: Path, data: bytes) -> Image:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise CalibrationError(f"{path}: not a picture that can be decoded: delete it")
    return cast(Image, image)
