"""Frames kept for calibration: a folder of JPEGs with an index, bounded, without useless frames, safe to kill.

    FOLDER/frames/*.jpg   the frames, quality 95
    FOLDER/index.jsonl    one entry a line, appended after its frame is in place
    FOLDER/.lock          held by the one who writes

A frame without a line and a line without a frame are what a crash leaves, or what had to make room: they count for
nothing and are cleaned up when the set is next opened for writing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Dict, Iterable, Iterator, List, Literal, Optional, Sequence, TextIO, Type, cast

import cv2
import msgspec
import numpy as np

from .calibration_entries import (
    FRAMES,
    INDEX,
    Entry,
    dataset_sha256,
    indexed,
    read_entries,
    read_image,
)
from .calibration_spread import dispensable
from .errors import CalibrationError
from .frame_filters import DUPLICATE_BITS, distances, is_corrupt, look_at
from .masks import Polygon, masked
from .types import Frame, Image
from .wall_clock import WallClock

__all__ = ["CalibrationSet", "Entry", "Verdict", "dataset_sha256", "read_entries", "read_image"]

#: High, and with full colour resolution where OpenCV has the option (4.6): a calibration frame stands for the
#: decoder's output, and JPEG's artefacts are activations too.
JPEG_QUALITY = 95

#: How long the clock must have run on after it was set before ages are believed again, in seconds.
_STEADY_S = 3600.0

_OURS = re.compile(r"\d+\.\d{3}-[0-9a-f]{12}\.(jpg|tmp)")


#: What becomes of an offered frame: kept; the very picture that the camera gave last; too dark or flat; part of it was
#: lost on the way; out of focus; the set has one of the camera that shows the same; it is full and would not be better.
Verdict = Literal["kept", "frozen", "black", "corrupt", "blurred", "duplicate", "full"]


class CalibrationSet:
    """A calibration set open for writing, by one process at a time; a context manager, one call at a time.

    When it is full, a frame of the largest stratum (camera and hour of the day, then light and busyness) makes room: of
    the two that look most alike the older. So the set spreads over these, grows more diverse within them, and comes to
    rest: nothing is written for a frame that would not better it.
    """

    def __init__(self, folder: Path, max_frames: int, max_bytes: int, max_age_s: float = 0.0) -> None:
        """Open *folder*, made if need be.

        :param max_age_s: older frames are dropped, now and by :meth:`expire`; 0: no age is too high.
        :raises CalibrationError: it can't be written, or another process writes to it.
        """
        self._folder = folder
        self._max_frames, self._max_bytes, self._max_age_s = max_frames, max_bytes, max_age_s
        #: Identifies the last picture offered, by camera.
        self._last_shown: Dict[str, bytes] = {}
        self._clock = WallClock()
        with _writing(folder), contextlib.ExitStack() as undo:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)  # pictures of people: not for every user
            (folder / FRAMES).mkdir(exist_ok=True)
            self._lock = undo.enter_context(_locked(folder))
            self._sizes = {entry: (folder / entry.file).stat().st_size for entry in indexed(folder)}
            self._remove_strays()
            self._index = undo.enter_context(self._rewritten_index())
            self.expire()
            undo.pop_all()

    def __enter__(self) -> CalibrationSet:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others write."""
        self._index.close()
        try:
            with _writing(self._folder):
                _hand_over(self._folder)
        finally:
            self._lock.close()

    def entries(self) -> List[Entry]:
        """What the set holds now, by time."""
        return sorted(self._sizes, key=lambda entry: (entry.captured_at, entry.file))

    def __len__(self) -> int:
        return len(self._sizes)

    def offer(self, frame: Frame, masks: Sequence[Polygon] = (), objects: int = -1) -> Verdict:
        """Keep *frame* if it is of use.

        :param masks: painted over before anything of the picture is stored.
        :param objects: how many were detected in it; -1: nobody looked.
        :raises CalibrationError: it can't be written, as when the disk is full; what is in the set stays good.
        """
        shown = hashlib.blake2b(np.ascontiguousarray(frame.image).data, digest_size=16).digest()
        if self._last_shown.get(frame.camera) == shown:
            return "frozen"
        verdict = _unfit(frame.image) or self._judged(frame, masks, objects)
        self._last_shown[frame.camera] = shown
        return verdict

    def expire(self) -> None:
        """Drop what is too old by now, unless the clock was set just now: one that is wrong ends no set.

        :raises CalibrationError: it can't be removed.
        """
        self._clock.look()
        if self._max_age_s and self._clock.steady_s > _STEADY_S:
            oldest = time.time() - self._max_age_s
            with _writing(self._folder):
                self._drop([entry for entry in self._sizes if entry.captured_at < oldest])

    def _judged(self, frame: Frame, masks: Sequence[Polygon], objects: int) -> Verdict:
        """Whether the set has a use for a good picture."""
        image = masked(frame.image, masks) if masks else frame.image
        look = look_at(image)
        same_camera = [entry.dhash for entry in self._sizes if entry.camera == frame.camera]
        if same_camera and distances([look.dhash], same_camera).min() <= DUPLICATE_BITS:
            return "duplicate"
        data = _jpeg(image)
        sha256 = hashlib.sha256(data).hexdigest()
        name = hashlib.sha256(f"{frame.camera} {sha256}".encode()).hexdigest()[:12]
        entry = Entry(
            file=f"{FRAMES}/{frame.captured_at:.3f}-{name}.jpg",
            camera=frame.camera,
            captured_at=frame.captured_at,
            width=image.shape[1],
            height=image.shape[0],
            luma=look.luma,
            dhash=look.dhash,
            thumbnail=look.thumbnail,
            sha256=sha256,
            objects=objects,
        )
        victims = dispensable(self._sizes, entry, len(data), self._max_frames, self._max_bytes)
        if entry in victims:
            return "full"
        with _writing(self._folder):
            self._append(entry, data)  # first: on a full disk nothing is lost for a frame that does not come
            self._drop(victims)
        return "kept"

    def _drop(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            (self._folder / entry.file).unlink(missing_ok=True)
            del self._sizes[entry]
        if self._lines > 2 * max(self._max_frames, len(self)):
            superseded, self._index = self._index, self._rewritten_index()
            superseded.close()

    def _append(self, entry: Entry, data: bytes) -> None:
        path = self._folder / entry.file
        end = self._index.seek(0, os.SEEK_END)
        try:
            _write_whole(path, data)
            line = _line(entry)
            if self._index.write(line) < len(line):  # unbuffered: what finds no more room is not an error by itself
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._index.fileno())  # a picture that it does not name is removed at the next start
        except OSError:
            with contextlib.suppress(OSError):
                self._index.truncate(end)
                path.unlink()
            raise
        self._sizes[entry] = len(data)
        self._lines += 1

    def _remove_strays(self) -> None:
        files = {entry.file for entry in self._sizes}
        for path in (self._folder / FRAMES).iterdir():
            # Only what we named ourselves: the folder might be one that holds pictures of the user's.
            if _OURS.fullmatch(path.name) and f"{FRAMES}/{path.name}" not in files:
                path.unlink()

    def _rewritten_index(self) -> BinaryIO:
        path = self._folder / INDEX
        _write_whole(path, b"".join(map(_line, self._sizes)))
        self._lines = len(self._sizes)
        return cast(BinaryIO, path.open("ab", buffering=0))


def _unfit(image: Image) -> Optional[Verdict]:
    """What the picture as the camera gave it, without masks, is refused for."""
    look = look_at(image)
    if look.is_black:
        return "black"
    if is_corrupt(image):
        return "corrupt"
    return "blurred" if look.is_blurred else None


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CalibrationError(
            f"{folder}: can't be written ({error.strerror}): free some space, or check owner and permissions"
        ) from error


def _hand_over(folder: Path) -> None:
    """What root wrote belongs to the owner of the folder around it, or the daemon could not go on with the set."""
    if os.geteuid() == 0:
        owner = folder.parent.stat()
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _locked(folder: Path) -> TextIO:
    lock = (folder / ".lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise CalibrationError(
            f"{folder}: another sightd writes to it: a capture, or the daemon, which keeps frames by itself while "
            "calibration.enabled is true (sightd capture --status); stop it first"
        ) from None
    return lock


def _jpeg(image: Image) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    if hasattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR"):
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    encoded, data = cv2.imencode(".jpg", image, options)
    if not encoded:
        raise CalibrationError(f"a frame of shape {image.shape} can't be encoded as JPEG")
    return data.tobytes()


def _write_whole(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            # Else a power cut may leave the name without the content.
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _line(entry: Entry) -> bytes:
    return msgspec.json.encode(entry) + b"\n"
