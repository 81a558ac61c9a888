"""Two ways to read one camera: the second is taken where the first fails."""

from __future__ import annotations

import logging
from typing import Optional

from ..errors import SourceError
from ..types import Image
from .base import Source

__all__ = ["FallbackSource"]

_log = logging.getLogger(__name__)


class FallbackSource(Source):
    """*preferred*, or *other* for as long as it can be read and *preferred* can't."""

    live = True

    def __init__(self, preferred: Source, other: Source) -> None:
        self._preferred = self._used = preferred
        self._other = other
        self._told = False

    def open(self) -> None:
        self.close()
        self._used = self._preferred
        try:
            self._preferred.open()
        except SourceError as reason:
            self._open_other(reason)

    def _open_other(self, reason: SourceError) -> None:
        try:
            self._other.open()
        except SourceError:
            raise reason from None  # GStreamer says more than FFmpeg
        if self._told or not self._opens_after_all():
            self._used = self._other

    def _opens_after_all(self) -> bool:
        """Whether the camera was away at the first try, and is back: else it would be decoded on the CPU for months."""
        self._other.close()
        try:
            self._preferred.open()
        except SourceError as reason:
            self._other.open()
            self._told = True
            _log.warning("FFmpeg decodes on the CPU, for GStreamer fails: %s", reason)
            return False
        return True

    def grab(self) -> bool:
        return self._used.grab()

    def retrieve(self, into: Optional[Image] = None) -> Image:
        return self._used.retrieve(into)

    def patience_s(self) -> float:
        return self._used.patience_s()

    def close(self) -> None:
        self._preferred.close()
        self._other.close()
