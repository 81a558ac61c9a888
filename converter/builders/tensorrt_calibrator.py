"""The calibrators that TensorRT up to 10 asks for batches, over pictures that come from the converter."""

from __future__ import annotations

from typing import Any, Callable, List, Optional

import numpy as np
from numpy.typing import NDArray

from sightd.errors import CalibrationError

__all__ = ["Batches", "make_calibrator"]


class Batches:
    """Calibration pictures as batches on the GPU, and the cache that comes of them.

    TensorRT takes an exception from its calibrator for the end of the data and goes on with what it has: the first one
    is kept in ``error``, after which there are no more batches, and nothing is written.
    """

    def __init__(
        self,
        *,
        read: Callable[[int], NDArray[np.uint8]],
        upload: Callable[[NDArray[Any]], int],
        write: Callable[[bytes], None],
        count: int,
        batch: int,
        as_float: bool,
        cache: bytes = b"",
    ) -> None:
        """Over *count* pictures.

        :param read: so many pictures more, [n, H, W, 3]; raises when there are none.
        :param upload: copies a batch [*batch*, H, W, 3] to the GPU and returns its address there.
        :param write: gets the calibration cache that TensorRT made.
        :param as_float: upload float32 0..255 instead of uint8.
        :param cache: what an earlier calibration wrote: nothing is read then.
        """
        self._read, self._upload, self._write = read, upload, write
        self._left, self.batch, self._as_float, self._cache = count, batch, as_float, cache
        self.error: Optional[BaseException] = None

    def next_batch(self, names: List[str]) -> Optional[List[int]]:
        """The address of the next batch, None after the last.

        A last batch that is not full repeats its own pictures until it is: a shape of its own would be a batch that
        the profile does not allow, and the pictures before would go uncounted without it.
        """
        if self.error is not None or (self._left == 0 and not self._cache):
            return None
        try:
            return [self._next(names)]
        except BaseException as error:  # raised by who built
            self.error = error
            return None

    def read_cache(self) -> Optional[bytes]:
        """The cache of an earlier calibration, None without one."""
        return self._cache or None

    def write_cache(self, cache: Any) -> None:
        """Hand TensorRT's cache on, if it is one of all the pictures."""
        if self.error is None and not self._cache:
            try:
                if self._left:
                    raise CalibrationError(f"TensorRT did not take the last {self._left} calibration pictures")
                self._write(bytes(cache))
            except BaseException as error:  # raised by who built
                self.error = error

    def _next(self, names: List[str]) -> int:
        if self._cache:
            raise CalibrationError("TensorRT did not accept the calibration cache that it was given")
        if len(names) != 1:
            raise CalibrationError(f"TensorRT asks for {', '.join(names)}: a finished graph has one input, images")
        taken = min(self.batch, self._left)
        self._left -= taken
        pictures = self._read(taken)
        full = pictures[np.arange(self.batch) % taken]
        return self._upload(np.ascontiguousarray(full, np.float32 if self._as_float else np.uint8))


def make_calibrator(trt: Any, algorithm: str, batches: Batches) -> Any:
    """A trt.IInt8EntropyCalibrator2 ("entropy") or trt.IInt8MinMaxCalibrator ("minmax") over *batches*.

    Both classes are gone in TensorRT 11, so that ours can exist only from here on.
    """
    base = trt.IInt8MinMaxCalibrator if algorithm == "minmax" else trt.IInt8EntropyCalibrator2

    class Calibrator(base):  # type: ignore[misc,valid-type]
        def get_batch_size(self) -> int:
            return batches.batch

        def get_batch(self, names: List[str]) -> Optional[List[int]]:
            return batches.next_batch(names)

        def read_calibration_cache(self) -> Optional[bytes]:
            return batches.read_cache()

        def write_calibration_cache(self, cache: Any) -> None:
            batches.write_cache(cache)

    return Calibrator()
