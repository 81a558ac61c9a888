"""The reconnection loop and the thinning, on files."""

from __future__ import annotations

import random
import sys
import threading
import time
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

import numpy as np
import pytest

from sightd.errors import SourceError
from sightd.sources import Source, frames, source_for
from sightd.types import Frame, Image
from tests.parts.clips import read_number, write_clip

COUNT = 50
FPS = 25.0

States = List[Tuple[str, str]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "numbers.avi", count=COUNT, fps=FPS)


def run(source: Source, states: States, *, max_fps: float = 0, stop: threading.Event) -> Iterator[Frame]:
    def on_state(state: str, reason: str) -> None:
        states.append((state, reason))

    return frames("yard", source, max_fps=max_fps, stop=stop, on_state=on_state)


class TestFile:
    def test_that_ends_gives_all_its_frames_and_ends_the_iterator(self, clip: Path) -> None:
        states: States = []
        all_frames = list(run(source_for(str(clip), pace="fast"), states, stop=threading.Event()))
        assert [read_number(frame.image) for frame in all_frames] == list(range(COUNT))
        assert [frame.seq for frame in all_frames] == list(range(COUNT))
        assert {frame.camera for frame in all_frames} == {"yard"}
        assert states == [("online", "320 x 240 pixels")]

    def test_stamps_frames_with_both_clocks_and_the_time_spent_on_them(self, clip: Path) -> None:
        wall, mono = time.time(), time.monotonic()
        all_frames = list(run(source_for(str(clip)), [], stop=threading.Event()))
        assert all(wall <= frame.captured_at <= time.time() for frame in all_frames)
        times = [mono] + [frame.captured_mono for frame in all_frames] + [time.monotonic()]
        assert times == sorted(times)
        # Decoding, not waiting: the clip is played with 40 ms a frame.
        assert 0 < sum(frame.decode_s for frame in all_frames) / COUNT < 0.02

    def test_that_loops_never_goes_offline(self, tmp_path: Path) -> None:
        source = source_for(str(write_clip(tmp_path / "short.avi", count=4)), pace="fast", loop=True)
        states: States = []
        stop = threading.Event()
        for frame in run(source, states, stop=stop):
            if frame.seq == 15:
                stop.set()
        assert [state for state, _ in states] == ["online"]

    def test_that_vanishes_and_returns_goes_offline_and_counts_on(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "short.avi", count=3)
        data = path.read_bytes()
        states: States = []
        stop = threading.Event()
        numbers = []
        for frame in run(source_for(str(path), pace="fast", loop=True), states, stop=stop):
            numbers.append((frame.seq, read_number(frame.image)))
            if frame.seq == 1:
                path.unlink()
                threading.Timer(0.1, path.write_bytes, [data]).start()
            elif frame.seq == 4:
                stop.set()
        assert numbers == [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1)]
        assert [state for state, _ in states] == ["online", "offline", "online"]
        assert "no such file" in states[1][1]

    def test_that_is_no_video_is_tried_again_until_it_is_one(self, clip: Path, tmp_path: Path) -> None:
        path = tmp_path / "growing.avi"
        path.write_text("not yet", "utf-8")
        threading.Timer(0.4, path.write_bytes, [clip.read_bytes()]).start()
        states: States = []
        assert len(list(run(source_for(str(path), pace="fast"), states, stop=threading.Event()))) == COUNT
        assert [state for state, _ in states] == ["offline", "online"]
        assert "not a video" in states[0][1]


class TestThinning:
    @pytest.mark.parametrize("max_fps", [1, 7, 10, 12.5, 20, 25, 30])
    def test_keeps_the_wanted_rate_evenly_over_the_clip(self, clip: Path, max_fps: float) -> None:
        source = source_for(str(clip), pace="fast")
        thinned = list(run(source, [], max_fps=max_fps, stop=threading.Event()))
        numbers = [read_number(frame.image) for frame in thinned]
        wanted_fps = min(max_fps, FPS)
        assert len(numbers) == pytest.approx(COUNT / FPS * wanted_fps, abs=1)
        steps = [after - before for before, after in zip(numbers, numbers[1:])]
        assert max(steps) - min(steps) <= 1
        assert [frame.seq for frame in thinned] == list(range(len(thinned)))

    @pytest.mark.parametrize(("camera_fps", "max_fps"), [(25, 10), (25, 25), (30, 15), (15, 10), (10, 25)])
    def test_survives_jitter(self, camera_fps: float, max_fps: float) -> None:
        camera = JitteryCamera(camera_fps, count=2000)
        yielded = sum(1 for _ in run(camera, [], max_fps=max_fps, stop=threading.Event()))
        assert yielded / (2000 / camera_fps) == pytest.approx(min(camera_fps, max_fps), rel=0.02)

    def test_does_not_make_up_for_a_gap_with_a_burst(self) -> None:
        camera = JitteryCamera(25, count=200, gap_s=60)
        times = [camera.clock_s() for _ in run(camera, [], max_fps=5, stop=threading.Event())]
        steps = [after - before for before, after in zip(times, times[1:])]
        assert sum(step < 0.1 for step in steps) == 0


class TestStopping:
    def test_between_two_frames_closes_the_source(self, clip: Path) -> None:
        source = source_for(str(clip))
        stop = threading.Event()
        for _ in run(source, [], stop=stop):
            stop.set()
        with pytest.raises(SourceError, match="not open"):
            source.grab()

    def test_when_the_consumer_gives_up_closes_the_source(self, clip: Path) -> None:
        source = source_for(str(clip))
        iterator = run(source, [], stop=threading.Event())
        next(iterator)
        iterator.close()  # type: ignore[attr-defined]
        with pytest.raises(SourceError, match="not open"):
            source.grab()

    def test_does_not_wait_for_the_next_attempt(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.modules["sightd.sources.frames"], "FIRST_RETRY_S", 60.0)
        stop = threading.Event()
        threading.Timer(0.3, stop.set).start()
        began = time.monotonic()
        assert list(run(source_for(str(tmp_path / "gone.avi")), [], stop=stop)) == []
        assert time.monotonic() - began < 20

    def test_before_the_start_opens_nothing(self, tmp_path: Path) -> None:
        stop = threading.Event()
        stop.set()
        states: States = []
        assert list(run(source_for(str(tmp_path / "gone.avi")), states, stop=stop)) == []
        assert states == []


def test_attempts_come_at_most_two_and_a_half_seconds_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Waits(threading.Event):
        def __init__(self) -> None:
            super().__init__()
            self.seen: List[float] = []

        def wait(self, timeout: object = None) -> bool:
            assert isinstance(timeout, float)
            self.seen.append(timeout)
            if len(self.seen) == 8:
                self.set()
            return self.is_set()

    waits = Waits()
    monkeypatch.setattr(random, "uniform", lambda _, most: most)
    states: States = []
    list(run(source_for(str(tmp_path / "gone.avi")), states, stop=waits))
    assert waits.seen == pytest.approx([0.3125, 0.625, 1.25, 2.5, 2.5, 2.5, 2.5, 2.5], abs=0.06)
    assert len(states) == 1, "only a change of the state is reported"


class JitteryCamera(Source):
    """A camera on a made-up clock, whose frames come up to 3 ms early or late; *gap_s* halfway."""

    live = True

    def __init__(self, fps: float, *, count: int, gap_s: float = 0.0) -> None:
        generator = random.Random(1)
        self._times = [
            i / fps + generator.uniform(-0.003, 0.003) + (gap_s if i > count // 2 else 0) for i in range(count)
        ]
        self._grabbed = 0

    def open(self) -> None:
        pass

    def grab(self) -> bool:
        self._grabbed += 1
        return self._grabbed < len(self._times)

    def retrieve(self, into: Optional[Image] = None) -> Image:
        return PICTURE

    def close(self) -> None:
        pass

    def clock_s(self) -> float:
        return self._times[self._grabbed]


PICTURE: Image = np.zeros((8, 8, 3), np.uint8)
