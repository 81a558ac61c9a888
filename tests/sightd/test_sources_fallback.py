"""When the second way to read a camera is taken; tests/sightd/test_sources_gstreamer.py does it with real ones."""

from __future__ import annotations

from typing import List, Optional

import pytest

from sightd.errors import SourceError
from sightd.sources import Source
from sightd.sources.fallback import FallbackSource
from sightd.types import Image


class Scripted(Source):
    """Opens or not as *answers* say, in turn; then as the last one does."""

    live = True

    def __init__(self, *answers: bool) -> None:
        self._answers = list(answers)
        self.opened = 0
        self.is_open = False

    def open(self) -> None:
        self.opened += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if not answer:
            raise SourceError(f"reason {self.opened}")
        self.is_open = True

    def grab(self) -> bool:
        if not self.is_open:
            raise SourceError("not open")
        return True

    def retrieve(self, into: Optional[Image] = None) -> Image:
        raise AssertionError("not asked for here")

    def close(self) -> None:
        self.is_open = False


def warnings(caplog: pytest.LogCaptureFixture) -> List[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_camera_that_comes_back_between_the_two_tries_is_read_the_preferred_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    preferred, other = Scripted(False, True), Scripted(True)
    source = FallbackSource(preferred, other)
    source.open()
    assert source.grab()
    assert (preferred.is_open, other.is_open) == (True, False)
    assert warnings(caplog) == []


def test_one_that_can_be_read_in_the_other_way_only_is_and_is_tried_twice_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    preferred, other = Scripted(False), Scripted(True)
    source = FallbackSource(preferred, other)
    for _ in range(3):
        source.open()
        assert source.grab()
        assert (preferred.is_open, other.is_open) == (False, True)
    assert (preferred.opened, other.opened) == (4, 4)
    assert warnings(caplog) == ["FFmpeg decodes on the CPU, for GStreamer fails: reason 2"]


def test_one_that_goes_away_while_it_is_tried_is_away(caplog: pytest.LogCaptureFixture) -> None:
    source = FallbackSource(Scripted(False), Scripted(True, False))
    for _ in range(2):
        with pytest.raises(SourceError, match="reason"):
            source.open()
        with pytest.raises(SourceError, match="not open"):
            source.grab()
    assert warnings(caplog) == []
