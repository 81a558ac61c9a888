"""Frames kept for calibration: a folder of JPEGs with an index, bounded, without useless frames, safe to kill.

    FOLDER/frames/*.jpg   the frames, quality 95
    FOLDER/index.jsonl    one entry a line, appended after its frame is in place
    FOLDER/.lock          held by the one who writes

A frame without a line and a line without a frame are what a crash leaves, or what had to make room: they count for
nothing and are cleaned up when the set is next opened for writing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, DefaultDict, Iterator, List, Literal, Optional, Sequence, TextIO, Tuple, Type, cast

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
    stratum,
)
from .errors import CalibrationError
from .frame_filters import DUPLICATE_BITS, distances, look_at
from .types import Frame, Image

__all__ = ["CalibrationSet", "Entry", "Verdict", "dataset_sha256", "read_entries", "read_image"]

#: High, and with full colour resolution where OpenCV has the option (4.6): a calibration frame stands for the
#: decoder's output, and JPEG's artefacts are activations too.
JPEG_QUALITY = 95

_OURS = re.compile(r"\d+\.\d{3}-[0-9a-f]{12}\.(jpg|tmp)")


#: What becomes of an offered frame: kept; the camera has one that shows the same; too dark or flat; out of focus; the
#: set is full and the frame would not better it.
Verdict = Literal["kept", "duplicate", "black", "blurred", "full"]


class CalibrationSet:
    """A calibration set open for writing, by one process at a time; a context manager, one call at a time.

    When it is full, a frame of the largest stratum (camera and hour of the day) makes room: of the two that look most
    alike the older. So the set spreads over cameras and hours, grows more diverse within them, and comes to rest:
    nothing is written for a frame that would not better it.
    """

    def __init__(self, folder: Path, max_frames: int, max_bytes: int) -> None:
        """Open *folder*, made if need be.

        :raises CalibrationError: it can't be written, or another process writes to it.
        """
        self._folder = folder
        self._max_frames, self._max_bytes = max_frames, max_bytes
        with _writing(folder), contextlib.ExitStack() as undo:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)  # pictures of people: not for every user
            (folder / FRAMES).mkdir(exist_ok=True)
            self._lock = undo.enter_context(_locked(folder))
            self._entries = {entry.file: entry for entry in indexed(folder)}
            self._sizes = {file: (folder / file).stat().st_size for file in self._entries}
            self._remove_strays()
            self._index, self._lines = self._rewritten_index(), len(self._entries)
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
        with _writing(self._folder):
            _hand_over(self._folder)
        self._lock.close()

    def entries(self) -> List[Entry]:
        """What the set holds now, by time."""
        return sorted(self._entries.values(), key=lambda entry: (entry.captured_at, entry.file))

    def offer(self, frame: Frame) -> Verdict:
        """Keep *frame*, privacy masks already applied, if it is of use.

        :raises CalibrationError: it can't be written, as when the disk is full; what is in the set stays good.
        """
        look = look_at(frame.image)
        if look.is_black:
            return "black"
        if look.is_blurred:
            return "blurred"
        same_camera = [entry.dhash for entry in self._entries.values() if entry.camera == frame.camera]
        if same_camera and distances([look.dhash], same_camera).min() <= DUPLICATE_BITS:
            return "duplicate"
        data = _jpeg(frame.image)
        sha256 = hashlib.sha256(data).hexdigest()
        name = hashlib.sha256(f"{frame.camera} {sha256}".encode()).hexdigest()[:12]
        entry = Entry(
            file=f"{FRAMES}/{frame.captured_at:.3f}-{name}.jpg",
            camera=frame.camera,
            captured_at=frame.captured_at,
            width=frame.image.shape[1],
            height=frame.image.shape[0],
            luma=look.luma,
            dhash=look.dhash,
            thumbnail=look.thumbnail,
            sha256=sha256,
        )
        dispensable = self._dispensable(entry, len(data))
        if entry in dispensable:
            return "full"
        with _writing(self._folder):
            self._drop(dispensable)
            self._append(entry, data)
        return "kept"

    def _dispensable(self, newcomer: Entry, size: int) -> List[Entry]:
        """What has to go for *newcomer* to fit; it may be the newcomer."""
        kept = [*self._entries.values(), newcomer]
        sizes = {**self._sizes, newcomer.file: size}
        total = sum(sizes.values())
        dispensable: List[Entry] = []
        while newcomer not in dispensable and (len(kept) > self._max_frames or total > self._max_bytes):
            victim = _most_dispensable(kept, newcomer)
            dispensable.append(victim)
            kept.remove(victim)
            total -= sizes[victim.file]
        return dispensable

    def _drop(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            (self._folder / entry.file).unlink(missing_ok=True)
            del self._entries[entry.file], self._sizes[entry.file]
        if self._lines > 2 * max(self._max_frames, len(self._entries)):
            self._index.close()
            self._index, self._lines = self._rewritten_index(), len(self._entries)

    def _append(self, entry: Entry, data: bytes) -> None:
        path = self._folder / entry.file
        end = self._index.seek(0, os.SEEK_END)
        try:
            _write_whole(path, data)
            self._index.write(_line(entry))
        except OSError:
            with contextlib.suppress(OSError):
                self._index.truncate(end)
                path.unlink()
            raise
        self._entries[entry.file], self._sizes[entry.file] = entry, len(data)
        self._lines += 1

    def _remove_strays(self) -> None:
        for path in (self._folder / FRAMES).iterdir():
            # Only what we named ourselves: the folder might be one that holds pictures of the user's.
            if _OURS.fullmatch(path.name) and f"{FRAMES}/{path.name}" not in self._entries:
                path.unlink()

    def _rewritten_index(self) -> BinaryIO:
        path = self._folder / INDEX
        _write_whole(path, b"".join(map(_line, self._entries.values())))
        return cast(BinaryIO, path.open("ab", buffering=0))


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
        raise CalibrationError(f"{folder}: another sightd writes to it: stop the daemon or the capture first") from None
    return lock


def _most_dispensable(entries: Sequence[Entry], newcomer: Entry) -> Entry:
    strata: DefaultDict[Tuple[str, int], List[Entry]] = defaultdict(list)
    for entry in entries:
        strata[stratum(entry)].append(entry)
    # Of strata equally large the newcomer's own: else two would take frames from one another for ever.
    crowd = max(strata.values(), key=lambda members: (len(members), newcomer in members))
    apart = distances([entry.dhash for entry in crowd], [entry.dhash for entry in crowd])
    np.fill_diagonal(apart, 65)
    ranks = [(int(near), entry is not newcomer, entry.captured_at) for near, entry in zip(apart.min(axis=1), crowd)]
    return crowd[ranks.index(min(ranks))]


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
