"""What a decoder process does: with one source what it is asked to, over a socket, its pictures into shared memory."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import time
from typing import Any, Dict, List, Optional

import msgspec
import numpy as np

from ..errors import SourceError, StalledError
from ..redact import redact
from ..types import Image
from .base import Source
from .complaints import Complaints
from .decoder_wire import receive, send
from .pulse import Pulse
from .shared_pictures import mapped

__all__ = ["Decoder"]

#: Of a text in an answer; the end of a long one says less than its beginning.
_MOST_CHARACTERS = 2000
_MOST_LOG_LINES = 10
_NOTHING: Image = np.zeros((0, 0, 3), np.uint8)


class Decoder:
    """Does with one source what is asked of it over *connection*."""

    def __init__(self, connection: socket.socket, complaints: Complaints) -> None:
        self._connection, self._complaints = connection, complaints
        self._source: Optional[Source] = None
        self._slots: Dict[int, Image] = {}
        #: The picture that found no room, until room for its size comes.
        self._kept: Image = _NOTHING
        self._log = _Log()
        self._pulse = Pulse(connection)

    def serve(self) -> None:
        """Until the other end is closed."""
        try:
            recipe, _ = receive(self._connection)
            self._pulse.start()
            while True:
                data, fds = receive(self._connection)
                self._pulse.under_way = True
                request = msgspec.json.decode(data)
                number = request.pop("number")
                answer = self._done(recipe, request, fds)
                self._pulse.under_way = False
                self._answer(number, answer)
        except (EOFError, OSError):
            return

    def _answer(self, number: int, answer: Dict[str, Any]) -> None:
        answer.update(number=number, cpu_s=time.process_time(), logs=self._log.taken())
        send(self._connection, msgspec.json.encode(answer))

    def _done(self, recipe: bytes, request: Dict[str, Any], fds: List[int]) -> Dict[str, Any]:
        try:
            if self._source is None:
                self._source = pickle.loads(recipe)()  # noqa: S301  (it is the daemon's; the reverse way is JSON)
            return getattr(self, f"_{request.pop('do')}")(self._source, *fds, **request)  # type: ignore[no-any-return]
        except SourceError as error:
            return {"error": redact(str(error))[:_MOST_CHARACTERS], "stalled": isinstance(error, StalledError)}
        except Exception as error:  # the process's edge: the daemon says it
            return {"error": redact(f"{type(error).__name__}: {error}")[:_MOST_CHARACTERS], "stalled": False}

    def _open(self, source: Source) -> Dict[str, Any]:
        source.open()
        self._complaints.taken()  # a stream that is joined between two key frames begins with some
        return {"live": source.live, "is_camera": source.is_camera, "patience_s": source.patience_s()}

    def _grab(self, source: Source, slot: int, from_s: float) -> Dict[str, Any]:
        """The next picture, and where it is of that time or later, what is seen in it.

        That goes into *slot*, or is kept for :meth:`_store` where its size is another.
        """
        grabbed, clock_s = source.grab(), source.clock_s()
        answer: Dict[str, Any] = {"grabbed": grabbed, "clock_s": clock_s, "patience_s": source.patience_s()}
        if grabbed and clock_s >= from_s:
            into = self._slots[slot]
            self._kept = source.retrieve(into)
            answer.update(shape=self._kept.shape, stored=self._kept.shape == into.shape)
            if answer["stored"]:
                self._store(source, slot)
        return {**answer, "damaged": self._complaints.taken() > 0}

    def _store(self, _: Source, slot: int) -> Dict[str, Any]:
        kept, self._kept = self._kept, _NOTHING
        if kept is not self._slots[slot]:
            np.copyto(self._slots[slot], kept)
        return {}

    def _map(self, _: Source, fd: int, slot: int, shape: List[int]) -> Dict[str, Any]:
        """Take *fd* as the memory of *slot*; the first one begins a new series, for pictures of another size."""
        if slot == 0:
            self._slots.clear()
        try:
            self._slots[slot] = mapped(fd, (shape[0], shape[1], 3))
        finally:
            os.close(fd)
        return {}

    def _close(self, source: Source) -> Dict[str, Any]:
        source.close()
        self._kept = _NOTHING
        return {}


class _Log(logging.Handler):
    """What the source has to say; the daemon puts it into its own log."""

    def __init__(self) -> None:
        super().__init__()
        self._records: List[List[Any]] = []
        logging.getLogger().handlers[:] = [self]
        logging.getLogger().setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        text = redact(record.getMessage())[:_MOST_CHARACTERS]
        self._records.append([record.name, record.levelno, text])

    def taken(self) -> List[List[Any]]:
        taken, self._records = self._records[:_MOST_LOG_LINES], []
        return taken
