"""Threads named after their stage or camera, whose failure is recorded and stops the service."""

from __future__ import annotations

import logging
import threading
from typing import Callable

__all__ = ["StageThread"]

_log = logging.getLogger(__name__)


class StageThread(threading.Thread):
    """Runs *target* once; when it raises, logs the exception and calls *on_failure* with the thread's name."""

    def __init__(self, name: str, target: Callable[[], None], on_failure: Callable[[str], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._work = target
        self._on_failure = on_failure

    def run(self) -> None:
        try:
            self._work()
        except Exception:
            _log.exception("%s failed; the service stops", self.name)
            self._on_failure(self.name)
