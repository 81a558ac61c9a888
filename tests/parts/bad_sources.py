"""Sources that misbehave in a process of their own, and a real clip that does; importable there by name."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Optional, Sequence

import numpy as np

from sightd.errors import SourceError, StalledError
from sightd.settings import CameraSettings
from sightd.sources import Source, pulse
from sightd.sources.decoder_wire import send
from sightd.types import Image
from tests.parts.clips import numbered_picture

__all__ = ["Bad", "crashing", "write_crashing_clip"]


class Bad(Source):
    """Numbered pictures, and from the picture *after* on what *how* names; a new process begins anew.

    "tell": it logs that a picture is retrieved; "crash": SIGSEGV in this process; "hang": grab() does not return;
    "wait": it does after 5 s, as from a slow network; "leak": it takes memory until it is ended, 333 MiB being the
    limit; "stall", "lose": the errors; "bug": an exception of another kind; "grow": pictures are larger from then on;
    "end": there are no more; "{...}": the process, taken over, says that by itself before it answers, "alive" without
    an end; "fds": it hands over descriptors with it;
    "": nothing.
    """

    is_camera = False

    def __init__(self, how: str = "", after: int = 3, *, live: bool = False) -> None:
        self._how, self._after, self.live = how, after, live
        self._grabbed = 0

    def open(self) -> None:
        logging.getLogger("sightd.sources.bad").warning("opened rtsp://cam:hunter2@host/1")
        if self._how == "never opens":
            time.sleep(1000)

    def grab(self) -> bool:
        self._grabbed += 1
        if self._grabbed <= self._after:
            return True
        if self._how == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif self._how == "hang":
            time.sleep(1000)
        elif self._how == "wait":
            for _ in range(50):
                select.select([], [], [], 0.1)
        elif self._how == "leak":
            _leak()
        elif self._how == "stall":
            raise StalledError("rtsp://cam:hunter2@host/1: stalled")
        elif self._how == "lose":
            raise SourceError("rtsp://cam:hunter2@host/1: lost")
        elif self._how == "bug":
            raise ZeroDivisionError("rtsp://cam:hunter2@host/1")
        elif self._how == "end":
            return False
        elif self._how == "fds":
            _say(b'{"grabbed": true}', [0, 1, 2])
        elif self._how.startswith("{"):
            _say(self._how.encode(), times=1_000_000 if "alive" in self._how else 1)
        return True

    def retrieve(self, into: Optional[Image] = None) -> Image:
        if self._how == "tell":
            logging.getLogger("sightd.sources.bad").warning("retrieved %d", self._grabbed)
        size = 640 if self._how == "grow" and self._grabbed > self._after else 320
        picture = numbered_picture(self._grabbed - 1, size, size * 3 // 4)
        if into is None or into.shape != picture.shape:
            return picture
        np.copyto(into, picture)
        return into

    def close(self) -> None:
        pass

    def patience_s(self) -> float:
        return 1.5


def crashing(camera: CameraSettings) -> Source:
    """What reads *camera* is killed by its first picture."""
    return Bad("crash", 0)


def _leak() -> None:
    pulse.MOST_MEMORY = 333 << 20
    taken = []
    while True:
        taken.append(b"x" * (1 << 20))
        time.sleep(0.002)


def _say(answer: bytes, fds: Sequence[int] = (), times: int = 1) -> None:
    """Over the connection to the daemon, which is the only socket of its kind here."""
    for fd in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as connection:
            if connection.type == socket.SOCK_SEQPACKET:
                for _ in range(times):
                    send(connection, answer, fds)


def write_crashing_clip(path: Path) -> Path:
    """An AVI of uncompressed pictures, 1 x 7, that corrupts OpenCV's heap: the process that reads it is aborted."""
    width, height, count, size = 1, 7, 200, 36
    begin = struct.pack("<14I", 40_000, 0, 0, 0x10, count, 0, 1, size, width, height, 0, 0, 0, 0)
    stream = struct.pack(
        "<4s4sIHHIIIIIIIIhhhh", b"vids", b"", 0, 0, 0, 0, 1, 25, 0, count, size, 2**32 - 1, 0, 0, 0, width, height
    )
    picture_format = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, size, 0, 0, 0, 0)
    lists = _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", picture_format))
    content = _list(b"hdrl", _chunk(b"avih", begin) + lists)
    content += _list(b"movi", count * _chunk(b"00db", bytes(size)))
    path.write_bytes(_chunk(b"RIFF", b"AVI " + content))
    return path


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data


def _list(name: bytes, data: bytes) -> bytes:
    return _chunk(b"LIST", name + data)
