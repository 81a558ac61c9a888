"""A camera that GStreamer reads: RTSP with a Jetson's decoder, CSI, or a pipeline of the user's."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Optional

from ..errors import SourceError, StalledError
from ..redact import redact
from ..settings.camera_url import shown
from ..types import Image
from .base import Source
from .gst import Pipeline
from .gst_library import PipelineError, has_element
from .live import LivePictures
from .network import KEY_FRAME_S, READ_TIMEOUT_S, STALE_S, STALLED_S, check_reachable, settle
from .pipelines import JETSON_ELEMENTS, PipelineText, explained

__all__ = ["GStreamerSource", "has_jetson_decoder"]

_L4T = Path("/etc/nv_tegra_release")


@lru_cache(maxsize=None)
def has_jetson_decoder() -> bool:
    """Whether this is a Jetson whose decoder GStreamer finds. Elsewhere GStreamer is not even loaded."""
    return _L4T.exists() and all(has_element(name) for name in JETSON_ELEMENTS)


class GStreamerSource(Source):
    """One pipeline, started anew at every opening; at its end it is opened again, as a camera that was lost."""

    live = True

    def __init__(self, address: str, text: PipelineText) -> None:
        """:param address: what errors name, as :func:`~sightd.settings.camera_url.shown` has it."""
        self._address, self._text = address, text
        self._pipeline: Optional[Pipeline] = None
        self._stalled_s = STALLED_S
        self._live = LivePictures()

    def open(self) -> None:
        self.close()
        check_reachable(self._address)
        self._live = LivePictures()
        try:
            self._pipeline = Pipeline(self._text.text, self._text.sink)
            for secret in self._text.secrets:
                self._pipeline.set(*secret)
            if self._text.gate:
                self._pipeline.skip_to_key_frame(self._text.gate, KEY_FRAME_S)
            self._pipeline.start()
            if not self._pipeline.pull(KEY_FRAME_S + STALE_S):
                raise StalledError(f"it started, but no picture came within {KEY_FRAME_S + STALE_S:.0f} s")
            self._wait_for_the_next(KEY_FRAME_S)
            if self._text.gate:
                settle(lambda: self._opened().pull(STALE_S), lambda: True)
        except SourceError as error:
            self.close()
            raise self._told(error) from None

    def grab(self) -> bool:
        try:
            if self._text.may_be_slow:
                self._wait_for_the_next(3 * self._advance())
            else:
                self._live.advance(self._advance)
        except SourceError as error:
            raise self._told(error) from None
        return True

    def _advance(self) -> float:
        began = time.monotonic()
        # What comes late from a pipeline of the user's can't be told from what it gives every few seconds.
        if not self._opened().pull(self._stalled_s if self._text.may_be_slow else READ_TIMEOUT_S):
            raise StalledError(f"stalled, no picture for {time.monotonic() - began:.1f} s")
        return time.monotonic() - began

    def retrieve(self, into: Optional[Image] = None) -> Image:
        try:
            return self._opened().picture(into)
        except PipelineError as error:
            raise self._told(error) from None

    def close(self) -> None:
        if self._pipeline is not None:
            self._pipeline.stop()
            self._pipeline = None

    def patience_s(self) -> float:
        return self._stalled_s

    def _opened(self) -> Pipeline:
        if self._pipeline is None:
            raise PipelineError("not open")
        return self._pipeline

    def _wait_for_the_next(self, seconds: float) -> None:
        """Set how long: a pipeline of the user's may be a camera that sends a picture every few seconds."""
        if self._text.may_be_slow:
            self._stalled_s = max(STALLED_S, min(seconds, KEY_FRAME_S))

    def _told(self, error: SourceError) -> SourceError:
        # Redacted, and without the original as its cause: that may hold a password.
        # rtspsrc of a camera that takes the connection and no more: "Timeout while waiting for server response".
        hangs = isinstance(error, StalledError) or "while waiting for server" in str(error)
        kind = StalledError if hangs else SourceError
        return kind(f"{shown(self._address)}: {redact(explained(str(error)))}")
