"""A folder of pictures, read one after the other as if they were a video."""

from __future__ import annotations

import glob
import logging
import re
from pathlib import Path
from typing import Iterator, List, Optional, Set, Tuple, Union, cast

import cv2
import numpy as np

from ..errors import SourceError
from ..types import Image

__all__ = ["PictureFolder", "is_folder"]

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

_log = logging.getLogger(__name__)


def is_folder(path: str) -> bool:
    """Whether *path* names several pictures: a folder, or a pattern as ``/data/*.jpg`` that is no file's name."""
    return Path(path).is_dir() or (glob.has_magic(path) and not Path(path).exists())


class PictureFolder:
    """The pictures that *path* names, in natural order (2 before 10); as much of a VideoCapture as FileSource uses.

    :param broken: names that were found undecodable; those that are found now are told in the log and added.
    :raises SourceError: there is none.
    """

    def __init__(self, path: str, broken: Set[str]) -> None:
        self._broken = broken
        found = _pictures(path)
        if not found:
            raise SourceError(f"{path}: no pictures there; put in some of {', '.join(_SUFFIXES)}, or correct the path")
        self._left: Iterator[Path] = iter(found)
        self._image: Optional[Image] = None

    def grab(self) -> bool:
        """Decode the next picture that can be; False: there is none left."""
        for path in self._left:
            self._image = _decoded(path)
            if self._image is not None:
                return True
            if path.name not in self._broken:
                self._broken.add(path.name)
                _log.warning("%s: can't be decoded, left out (%d so far)", path, len(self._broken))
        return False

    def retrieve(self, _into: Optional[Image] = None) -> Tuple[bool, Optional[Image]]:
        """As cv2.VideoCapture: whether there is one, and the picture."""
        return self._image is not None, self._image

    def release(self) -> None:
        """Let go of the picture."""
        self._image = None


def _pictures(path: str) -> List[Path]:
    if Path(path).is_dir():
        found = [file for file in Path(path).iterdir() if file.suffix.lower() in _SUFFIXES]
    else:
        found = [Path(name) for name in glob.glob(path, recursive=True)]  # noqa: PTH207  (Path.glob takes no absolute one)
    return sorted((file for file in found if file.is_file()), key=_natural)


def _natural(path: Path) -> List[Tuple[int, Union[int, str]]]:
    parts = re.split(r"(\d+)", str(path).lower())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def _decoded(path: Path) -> Optional[Image]:
    """None: it can't be read, or only in part."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    # Of a JPEG that was cut off OpenCV gives the upper part, the rest grey: the last scan must have its end.
    if not data or (data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")):
        return None
    try:
        return cast("Optional[Image]", cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    except cv2.error:
        return None
