"""A camera that sends JPEGs over HTTP, well and badly."""

from __future__ import annotations

import time
from typing import List

import pytest

from sightd.errors import SourceError
from sightd.sources import Source, live, opencv, source_for, stream
from tests.parts.clips import read_number
from tests.parts.mjpeg import mjpeg_camera


def next_numbers(source: Source, count: int) -> List[int]:
    numbers = []
    for _ in range(count):
        assert source.grab()
        numbers.append(read_number(source.retrieve()))
    return numbers


@pytest.mark.parametrize(
    ("lengths", "stray"), [(True, b""), (True, b"\r\n\r\n"), (False, b""), (False, b"rubbish\r\n")]
)
def test_pictures_come_in_order_however_the_parts_are_written(lengths: bool, stray: bytes) -> None:
    with mjpeg_camera(fps=50, lengths=lengths, stray=stray) as url:
        source = source_for(url)
        source.open()
        numbers = next_numbers(source, 8)
        source.close()
    assert numbers == list(range(numbers[0], numbers[0] + 8))


def test_a_broken_boundary_is_told_and_the_camera_opened_again() -> None:
    with mjpeg_camera(fps=50, stray=b"rubbish\r\n") as url:
        source = source_for(url)
        for _ in range(2):
            with pytest.raises(SourceError, match=r"can't be decoded|no picture came"):  # noqa: PT012  (either may say so)
                source.open()
                next_numbers(source, 100)
        source.close()


def test_one_that_ends_is_lost_and_can_be_opened_again() -> None:
    with mjpeg_camera(fps=25, stops_after=20) as url:
        source = source_for(url)
        source.open()
        with pytest.raises(SourceError, match="lost the connection"):
            next_numbers(source, 30)
        source.open()
        assert source.grab()
        source.close()


def test_one_that_falls_silent_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (live, opencv, stream):
        monkeypatch.setattr(module, "READ_TIMEOUT_S", 3.0)
    with mjpeg_camera(fps=25, stops_after=20, hangs=True) as url:
        source = source_for(url)
        source.open()
        began = time.monotonic()
        with pytest.raises(SourceError, match="stalled, no picture for"):
            next_numbers(source, 30)
        assert time.monotonic() - began < 8
        source.close()
