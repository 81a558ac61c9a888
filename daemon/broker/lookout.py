"""Whether the first broker is back while a fallback serves."""

from __future__ import annotations

import threading
import time
from typing import Optional

from .options import BrokerOptions
from .probe import probe_broker

__all__ = ["Lookout"]


class Lookout:
    """Tries the first broker now and then, as `sightd doctor` does, on threads of its own: a trial may take seconds."""

    def __init__(self, prefix: str, every_s: float) -> None:
        self._prefix, self._every_s = prefix, every_s
        self._trial: Optional[threading.Thread] = None
        self.reset()

    def reset(self) -> None:
        """Begin anew: what a trial that is under way will find counts no more."""
        self._back = threading.Event()
        self._due_at = time.monotonic() + self._every_s

    def is_back(self, first: BrokerOptions) -> bool:
        """Whether a trial went well since the last reset; begins one when it is time to. Returns at once."""
        if time.monotonic() > self._due_at and not (self._trial and self._trial.is_alive()):
            self._due_at = time.monotonic() + self._every_s
            self._trial = threading.Thread(target=self._try, args=(first, self._back), name="lookout", daemon=True)
            self._trial.start()
        return self._back.is_set()

    def _try(self, first: BrokerOptions, back: threading.Event) -> None:
        if probe_broker(first, self._prefix).ok:
            back.set()
