"""What state a camera is said to be in, by what it sends; times are made up, pictures and damage are real."""

from __future__ import annotations

import random
import re
import threading
import time
from functools import partial
from pathlib import Path
from typing import List, Optional, Tuple

import numpy as np
import pytest

from sightd.sources import ProcessSource, Source, frames, source_for
from sightd.sources.health import FORGETS_IN_S, WINDOW_S, Health
from sightd.types import Image
from tests.parts.clips import write_clip
from tests.parts.clips_encoded import H264, H265, write_encoded

Told = List[Tuple[float, str]]


def picture(noise: int = 0) -> Image:
    generator = np.random.default_rng(noise)
    return generator.integers(0, 255, (60, 80, 3), np.uint8)


class Camera:
    """Sends pictures to a Health, on a clock of its own, and notes when the state changes."""

    def __init__(self, frozen_after_s: float = 20.0) -> None:
        self.health = Health(frozen_after_s)
        self.now_s = 1000.0
        self.told: Told = []
        self.reason = ""
        self.health.opened(self.now_s)

    def send(self, seconds: float, fps: float, *, damaged: float = 0.0, image: Optional[Image] = None) -> None:
        """For so long, that share of the pictures damaged; of an *image* always the same."""
        due = 0.0
        for index in range(round(seconds * fps)):
            self.now_s += 1 / fps
            due += damaged
            self.health.grabbed(self.now_s, damaged=due >= 1)
            due %= 1
            state, self.reason = self.health.state(picture(index) if image is None else image, self.now_s)
            if not self.told or self.told[-1][1] != state:
                self.told.append((self.now_s, state))

    @property
    def states(self) -> List[str]:
        return [state for _, state in self.told]


class TestFrozen:
    def test_is_one_picture_for_20_s_and_ends_with_the_first_other(self) -> None:
        camera = Camera()
        camera.send(2, 10)
        camera.send(30, 10, image=picture(7))
        camera.send(1, 10)
        assert camera.states == ["online", "frozen", "online"]
        assert camera.told[1][0] == pytest.approx(1022, abs=0.3)
        assert camera.told[2][0] == pytest.approx(1032.1, abs=0.01)

    def test_is_not_a_scene_without_noise_in_which_a_clock_counts_seconds(self) -> None:
        camera, image = Camera(), picture()
        for second in range(60):
            image[5:7, 5 + second] = 0  # between the samples
            camera.send(1, 10, image=image)
        assert camera.states == ["online"]

    def test_is_not_what_stands_still_between_two_key_frames(self) -> None:
        camera = Camera()
        for index in range(8):
            camera.send(10, 10, image=picture(index))
        assert camera.states == ["online"]

    def test_is_never_where_it_is_set_so(self) -> None:
        camera = Camera(frozen_after_s=0)
        camera.send(60, 5, image=picture())
        assert camera.states == ["online"]


class TestSlow:
    def test_is_a_camera_that_sends_less_than_half_of_what_it_used_to(self) -> None:
        camera = Camera()
        camera.send(20, 20)
        camera.send(20, 6)
        assert re.fullmatch(r"6\.\d pictures a second, it used to send 19\.\d", camera.reason)
        camera.send(20, 20)
        assert camera.states == ["online", "slow", "online"]
        assert camera.told[1][0] - 1020 < 2 * WINDOW_S
        assert camera.told[2][0] - 1040 < 2 * WINDOW_S

    @pytest.mark.parametrize("fps", [12, 14])
    def test_is_none_whose_rate_varies_a_little(self, fps: float) -> None:
        camera = Camera()
        for _ in range(5):
            camera.send(10, 20)
            camera.send(10, fps)
        assert camera.states == ["online"]

    def test_does_not_flap_between_the_two_shares(self) -> None:
        camera = Camera()
        camera.send(20, 20)
        for _ in range(4):
            camera.send(7, 8)
            camera.send(7, 13)
        assert camera.states == ["online", "slow"]

    def test_is_not_told_of_a_burst_after_the_opening_nor_for_ever_of_longer_exposures_at_night(self) -> None:
        camera = Camera()
        camera.send(0.1, 100)
        camera.send(20, 10)
        camera.send(FORGETS_IN_S * 3, 2)
        assert camera.states == ["online", "slow", "online"]

    def test_is_not_told_of_a_camera_that_was_frozen_over_a_connection_that_stands(self) -> None:
        camera = Camera()
        camera.send(20, 20)
        camera.now_s += 4
        camera.send(20, 20)
        assert camera.states == ["online"]

    def test_is_told_after_a_reconnection_too(self) -> None:
        camera = Camera()
        camera.send(20, 20)
        camera.health.opened(camera.now_s)
        camera.send(20, 5)
        assert camera.states == ["online", "slow"]


class TestCorrupt:
    def test_is_from_a_tenth_of_damaged_pictures_on_until_next_to_none_are(self) -> None:
        camera = Camera()
        camera.send(10, 20, damaged=0.05)
        assert camera.states == ["online"]
        camera.send(10, 20, damaged=0.3)
        assert camera.reason.startswith("30 % of the pictures are damaged")
        camera.send(20, 20, damaged=0.05)
        assert camera.states == ["online", "corrupt"]
        camera.send(10, 20)
        assert camera.states == ["online", "corrupt", "online"]

    @pytest.mark.parametrize("encode", [H264, H265], ids=["h264", "h265"])
    def test_is_found_by_ffmpegs_word_in_a_process_of_its_own(self, encode: str, tmp_path: Path) -> None:
        clip = write_encoded(tmp_path / "whole.ts", encode, count=60)
        data, generator = bytearray(clip.read_bytes()), random.Random(1)
        for packet in range(188 * 40, len(data) - 188, 188 * 5):
            for byte in range(packet + 60, packet + 180, 11):
                data[byte] = generator.randrange(256)
        (tmp_path / "damaged.ts").write_bytes(data)
        assert damaged(clip) == 0
        assert damaged(tmp_path / "damaged.ts") >= 2


def damaged(clip: Path) -> int:
    source = ProcessSource("yard", partial(source_for, str(clip), pace="fast"))
    try:
        source.open()
        return sum(source.is_damaged() for _ in iter(source.grab, False))
    finally:
        source.end()


class Still(Source):
    """20 pictures a second, from the fifth on one and the same; the 30th is another."""

    live = True

    def __init__(self) -> None:
        self._grabbed = 0

    def open(self) -> None:
        pass

    def grab(self) -> bool:
        time.sleep(0.05)
        self._grabbed += 1
        return True

    def retrieve(self, into: Optional[Image] = None) -> Image:
        return picture(self._grabbed if self._grabbed == 30 else min(self._grabbed, 5))

    def close(self) -> None:
        pass


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


def test_of_a_camera_that_is_frozen_nothing_is_yielded_until_it_moves(stop: threading.Event) -> None:
    states: List[str] = []
    seen: List[float] = []
    for frame in frames(
        "yard", Still(), max_fps=0, stop=stop, on_state=lambda state, _: states.append(state), frozen_after_s=0.5
    ):
        seen.append(float(frame.image[0, 0, 0]))
        if states[-2:] == ["frozen", "online"]:
            stop.set()
    assert states == ["online", "frozen", "online"]
    assert len(seen) < 28
    assert seen[-1] != seen[-2]


def test_a_file_may_show_one_picture_for_ever(tmp_path: Path, stop: threading.Event) -> None:
    clip, states = write_clip(tmp_path / "one.avi", count=1), []
    source = source_for(str(clip), pace="fast", loop=True)
    for frame in frames(
        "yard", source, max_fps=0, stop=stop, on_state=lambda state, _: states.append(state), frozen_after_s=0.05
    ):
        if frame.seq == 300:
            stop.set()
    assert states == ["online"]
