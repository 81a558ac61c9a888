"""Memory that a decoder process writes its pictures into, and that the daemon uses without a copy."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import weakref
from collections import deque
from contextlib import suppress
from typing import Deque, Optional, Tuple

import numpy as np

from ..types import Image

__all__ = ["MOST_SLOTS", "SharedPictures", "Slot", "mapped"]

#: Slots of a camera. One is written, one waits to be inferred, some are in a batch, before the analysis, or wait for
#: the calibration set; where all are in use, pictures are copied.
MOST_SLOTS = 8


def mapped(fd: int, shape: Tuple[int, int, int]) -> Image:
    """The memory of *fd* as an array [H, W, 3] uint8; the descriptor may be closed."""
    image: Image = np.frombuffer(mmap.mmap(fd, int(np.prod(shape))), np.uint8).reshape(shape)
    return image


class Slot:
    """Room for one picture: memory without a name, which only those have that its descriptor was sent to."""

    def __init__(self, number: int, shape: Tuple[int, int, int]) -> None:
        """:raises OSError: the system has no memory, or no descriptor, left."""
        self.number = number
        self.fd = _memory_file(int(np.prod(shape)))
        try:
            self.image = mapped(self.fd, shape)
        except BaseException:
            self.forget_fd()
            raise

    def forget_fd(self) -> None:
        """Both sides have it mapped."""
        os.close(self.fd)
        self.fd = -1


class SharedPictures:
    """Slots for the pictures of one size; those that are lent come back when nobody has the picture any more.

    One thread takes and lends; the pictures may be let go of on any.
    """

    def __init__(self, shape: Tuple[int, int, int]) -> None:
        self.shape = shape
        self._count = 0
        self._free: Deque[Slot] = deque()

    def free(self) -> Optional[Slot]:
        """A slot that nobody uses; None where one is to be :meth:`added`."""
        return self._free[0] if self._free else None

    def added(self) -> Slot:
        """A new free slot, which the decoder process does not know yet."""
        slot = Slot(self._count, self.shape)
        self._count += 1
        self._free.append(slot)
        return slot

    def lent(self, slot: Slot) -> Image:
        """The picture in *slot*, which is not free until it, and all views of it, are gone. The last one is copied."""
        image: Image
        if self._count == MOST_SLOTS and len(self._free) == 1:
            image = slot.image.copy()
            return image
        self._free.remove(slot)
        loan = _Loan(slot.image)
        weakref.finalize(loan, self._free.append, slot).atexit = False
        image = np.asarray(loan)
        return image


class _Loan:
    """What NumPy holds on to as long as an array of its memory exists."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self.__array_interface__ = image.__array_interface__


def _memory_file(size: int) -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("sightd-picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:  # a Python that was built for a glibc before 2.27
        fd = ctypes.CDLL(None, use_errno=True).memfd_create(b"sightd-picture", 3)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "no memory can be shared with a decoder process")
    try:
        os.truncate(fd, size)
        # A decoder that has run wild may not take away what the daemon reads: that would be a SIGBUS.
        with suppress(AttributeError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(fd)
        raise
    return fd
