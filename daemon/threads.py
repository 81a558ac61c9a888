"""Threads named after their stage or camera, whose failure is recorded and stops the service."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import Callable, Iterable, Iterator, List

from sightd.errors import SightdError

__all__ = ["StageThread", "join_all", "recorded"]

_log = logging.getLogger(__name__)


class StageThread(threading.Thread):
    """Runs *target* once; when it raises, logs the exception and calls *on_failure* with the thread's name."""

    def __init__(self, name: str, target: Callable[[], None], on_failure: Callable[[str], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._work = target
        self._on_failure = on_failure

    def run(self) -> None:
        with recorded(self.name, self._on_failure):
            self._work()


@contextmanager
def recorded(name: str, on_failure: Callable[[str], None]) -> Iterator[None]:
    """The edge of a thread: what is raised within is logged, told to *on_failure* with *name*, and ends here."""
    try:
        yield
    except SightdError as error:
        _log.error("%s failed: %s", name, error)  # the message says it all
        on_failure(name)
    except Exception:
        _log.exception("%s failed", name)
        on_failure(name)


def join_all(threads: Iterable[threading.Thread], deadline_s: float) -> List[str]:
    """Wait for all of *threads* together *deadline_s* at most; the names of those that did not end, also in the log."""
    until = time.monotonic() + deadline_s
    for thread in threads:
        if thread.ident is not None:  # it was started
            thread.join(max(0.0, until - time.monotonic()))
    hanging = [thread.name for thread in threads if thread.is_alive()]
    if hanging:
        _log.warning("did not end in %.0f s and is left behind: %s", deadline_s, ", ".join(hanging))
    return hanging
