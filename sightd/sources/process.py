"""Any source in a process of its own, so that what it reads can crash or hang that process and nothing else."""

from __future__ import annotations

import math
import pickle
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

from ..errors import SourceError
from ..types import Image
from .base import Source
from .decoder_process import DecoderProcess
from .decoder_wire import Answer
from .network import READ_TIMEOUT_S
from .shared_pictures import SharedPictures, Slot

__all__ = ["ProcessSource"]

#: The sum of all that a source may take to open, two ways of reading a camera tried twice included. It ends sooner by
#: itself, unless the library below hangs.
_OPEN_S = 60.0
#: How long a source may take to answer after its patience is over; a stream's gives up sooner, unless it hangs. That
#: long, for one that waits for a slow network looks the same from here, and opening it anew would only take longer.
_HANGS_S = READ_TIMEOUT_S
#: But one without a pulse (see :class:`.pulse.Pulse`) waits for nothing: so long after its patience, and in all while
#: it opens, where a name server is waited for in one piece of 5 s, and some GStreamer elements start slowly.
_SILENT_S, _SILENT_OPENING_S = 2.0, 15.0
_CLOSE_S = 5.0
_STORE_S = 5.0
_MOST_PIXELS = 1 << 27
#: The size of the pictures before the first.
_UNKNOWN = (1, 1, 3)


class ProcessSource(Source):
    """The source that *make* makes, in a process that lasts from one opening to the next.

    Its pictures lie in memory that both processes share; they are not copied. The process that crashes, or does not
    answer, is ended, and replaced at the next opening.

    :param name: what the process is called in ps, of which 15 bytes are shown.
    :param make: is pickled.
    :param ends: whether there may be an end: of a file that is not looped.
    """

    live = True

    def __init__(self, name: str, make: Callable[[], Source], *, ends: bool = True) -> None:
        self._name, self._recipe, self._ends = name, pickle.dumps(make), ends
        self._process: Optional[DecoderProcess] = None
        self._pictures = SharedPictures(_UNKNOWN)
        self._cpu_before_s = 0.0
        #: Of the picture grabbed last: where it was to go, and what the process says of it.
        self._slot: Optional[Slot] = None
        self._told = Answer()

    def open(self) -> None:
        if self._process is None or not self._process.is_alive:
            self.end()
            self._process = DecoderProcess(self._name, self._recipe)
        self._told = self._ask({"do": "open"}, _OPEN_S, silent_s=_SILENT_OPENING_S)
        self.live, self.is_camera = self._told.live, self._told.is_camera

    def grab(self) -> bool:
        patience_s, self._slot = self.patience_s(), self._free_slot()
        request = {"do": "grab", "slot": self._slot.number, "from_s": self._from_s}
        self._told = self._ask(request, patience_s + _HANGS_S, silent_s=patience_s + _SILENT_S)
        if not self._told.grabbed and not self._ends:  # what says so is not to be trusted any more
            self.end()
            raise SourceError("the decoder process says that the stream has ended; it is started anew")
        return self._told.grabbed

    def retrieve(self, into: Optional[Image] = None) -> Image:
        if self._slot is None or not self._told.stored:
            self._pictures = SharedPictures(_checked(self._told.shape))
            self._slot = self._free_slot()
            self._ask({"do": "store", "slot": self._slot.number}, _STORE_S)
        return self._pictures.lent(self._slot)

    def close(self) -> None:
        if self._process is not None and self._process.is_alive:
            try:
                self._ask({"do": "close"}, _CLOSE_S)
            except SourceError:
                self.end()

    def end(self) -> None:
        if self._process is not None:
            self._cpu_before_s += self._process.cpu_s
            self._process.end()
        self._process, self._pictures, self._slot = None, SharedPictures(_UNKNOWN), None

    def clock_s(self) -> float:
        return self._told.clock_s

    def patience_s(self) -> float:
        return self._told.patience_s

    def cpu_s(self) -> float:
        return self._cpu_before_s + (0.0 if self._process is None else self._process.cpu_s)

    def is_damaged(self) -> bool:
        return self._told.damaged

    def _ask(
        self, request: Dict[str, Any], deadline_s: float, fds: Sequence[int] = (), *, silent_s: float = math.inf
    ) -> Answer:
        if self._process is None:
            raise SourceError(f"{self._name}: not open")
        return self._process.ask(request, deadline_s, fds, silent_s=silent_s)

    def _free_slot(self) -> Slot:
        """Where the next picture goes."""
        slot = self._pictures.free()
        if slot is not None:
            return slot
        try:
            slot = self._pictures.added()
        except OSError as error:
            raise SourceError(f"{self._name}: no memory for a picture: {error}") from error
        try:
            self._ask({"do": "map", "slot": slot.number, "shape": slot.image.shape}, _STORE_S, [slot.fd])
        except SourceError:
            self.end()  # it may not know the slot, which counts as free
            raise
        finally:
            slot.forget_fd()
        return slot


def _checked(shape: Tuple[int, int, int]) -> Tuple[int, int, int]:
    """The size that the process says its picture has, which it may have read from a broken stream."""
    height, width, channels = shape
    if min(height, width) < 1 or height * width > _MOST_PIXELS or channels != 3:
        raise SourceError(f"a picture of {width} x {height} pixels: what comes can't be right")
    return shape
