"""Which frames calibrate and which judge."""

from __future__ import annotations

import hashlib
from typing import List, Optional

import numpy as np
import pytest

from converter.select import choose, split
from sightd.calibration_entries import Entry
from sightd.errors import CalibrationError
from sightd.frame_filters import distances

HOUR = 3600.0


def entry(
    number: int,
    *,
    camera: str = "yard",
    captured_at: Optional[float] = None,
    luma: float = 100.0,
    dhash: Optional[str] = None,
    thumbnail: Optional[str] = None,
) -> Entry:
    """An entry that looks like no other, unless said otherwise."""
    digest = hashlib.sha512(f"{camera} {number}".encode()).hexdigest()
    return Entry(
        file=f"frames/{camera}-{number}.jpg",
        camera=camera,
        captured_at=float(number) if captured_at is None else captured_at,
        width=64,
        height=48,
        luma=luma,
        dhash=digest[:16] if dhash is None else dhash,
        thumbnail=digest if thumbnail is None else thumbnail,
        sha256=digest[:64],
    )


def numbers(entries: List[Entry]) -> List[int]:
    return [int(e.captured_at) for e in entries]


class TestSplit:
    @pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.8])
    def test_gives_each_part_its_share_of_every_camera(self, share: float) -> None:
        entries = [entry(number, camera=camera) for camera in ("yard", "gate") for number in range(200)]
        calibration, holdout = split(entries, share, seed=0)
        assert {e.file for e in calibration} | {e.file for e in holdout} == {e.file for e in entries}
        assert not {e.file for e in calibration} & {e.file for e in holdout}
        for camera in ("yard", "gate"):
            assert sum(e.camera == camera for e in holdout) == pytest.approx(200 * share, abs=20)

    def test_lets_both_parts_see_the_whole_time_in_blocks(self) -> None:
        calibration, holdout = split([entry(number) for number in range(300)], 0.3, seed=1)
        for part in (numbers(calibration), numbers(holdout)):
            assert min(part) < 40
            assert max(part) > 260
        borders = sum(after - before > 1 for before, after in zip(numbers(holdout), numbers(holdout)[1:]))
        assert 8 <= borders <= 11

    def test_goes_by_time_whatever_the_order(self) -> None:
        entries = [entry(number) for number in range(100)]
        shuffled = [entries[place] for place in np.random.default_rng(0).permutation(100)]
        assert split(shuffled, 0.3, seed=2) == split(entries, 0.3, seed=2)

    def test_is_the_same_for_the_same_seed_only(self) -> None:
        entries = [entry(number) for number in range(100)]
        assert split(entries, 0.3, seed=2) == split(entries, 0.3, seed=2)
        assert len({tuple(numbers(split(entries, 0.3, seed=seed)[1])) for seed in range(8)}) > 1

    def test_leaves_out_what_the_other_side_of_a_border_shows(self) -> None:
        scenes = np.random.default_rng(0).integers(0, 1 << 62, 70)
        entries = [entry(number, dhash=f"{scenes[number // 3] * 2 + number % 2:016x}") for number in range(210)]
        calibration, holdout = split(entries, 0.4, seed=3)
        assert holdout
        assert len(calibration) + len(holdout) < len(entries)
        apart = distances([e.dhash for e in holdout], [e.dhash for e in calibration])
        assert apart.min() > 4

    def test_keeps_a_scene_that_returns_at_another_time(self) -> None:
        scenes = np.random.default_rng(0).integers(0, 1 << 62, 20)
        entries = [entry(number, dhash=f"{scenes[number % 20]:016x}") for number in range(200)]
        assert len(split(entries, 0.3, seed=0)[1]) > 40

    @pytest.mark.parametrize("count", [0, 1])
    def test_refuses_too_few(self, count: int) -> None:
        with pytest.raises(CalibrationError, match=f"^{count} frames are too few, .*: capture more"):
            split([entry(number) for number in range(count)], 0.3, seed=0)

    def test_refuses_when_all_look_the_same(self) -> None:
        with pytest.raises(CalibrationError, match="too few"):
            split([entry(number, dhash="00" * 8) for number in range(50)], 0.3, seed=0)

    def test_manages_with_a_handful(self) -> None:
        for seed in range(10):
            calibration, holdout = split([entry(number) for number in range(4)], 0.3, seed=seed)
            assert len(calibration) + len(holdout) == 4


class TestChoose:
    def test_takes_all_when_there_are_not_more(self) -> None:
        entries = [entry(number) for number in range(5)]
        assert choose(entries, 5, seed=0) == choose(entries, 99, seed=0) == entries

    def test_spreads_over_cameras_and_hours_however_many_each_has(self) -> None:
        busy = [entry(number, captured_at=12 * HOUR + number) for number in range(500)]
        rare = [entry(number, captured_at=3 * HOUR + number) for number in range(600, 640)]
        gate = [entry(number, camera="gate") for number in range(50)]
        chosen = choose(busy + rare + gate, 90, seed=0)
        assert [sum(e in part for e in chosen) for part in (busy, rare, gate)] == [30, 30, 30]

    def test_gives_what_a_small_stratum_lacks_to_the_others(self) -> None:
        many = [entry(number) for number in range(100)]
        few = [entry(number, camera="gate") for number in range(4)]
        chosen = choose(many + few, 50, seed=0)
        assert (len(chosen), sum(e.camera == "gate" for e in chosen)) == (50, 4)

    def test_spreads_over_light(self) -> None:
        dark = [entry(number, luma=20.0 + number / 1000) for number in range(90)]
        bright = [entry(number, luma=200.0 + number / 1000) for number in range(90, 180)]
        chosen = choose(dark + bright, 60, seed=0)
        assert abs(sum(e.luma < 100 for e in chosen) - 30) <= 1

    def test_prefers_what_looks_different(self) -> None:
        usual = [entry(number, thumbnail=f"{100 + number % 3:02x}" * 64) for number in range(97)]
        rare = [entry(97 + place, thumbnail=f"{grey:02x}" * 64) for place, grey in enumerate((0, 180, 255))]
        chosen = choose(usual + rare, 5, seed=0)
        assert {97, 98, 99} <= set(numbers(chosen))

    def test_never_takes_a_picture_twice_even_when_all_are_equal(self) -> None:
        chosen = choose([entry(number, thumbnail="40" * 64) for number in range(20)], 15, seed=0)
        assert len(set(numbers(chosen))) == 15

    def test_is_the_same_for_the_same_seed_whatever_the_order(self) -> None:
        entries = [entry(number) for number in range(100)]
        shuffled = [entries[place] for place in np.random.default_rng(0).permutation(100)]
        assert choose(entries, 30, seed=5) == choose(shuffled, 30, seed=5)
        assert len({tuple(numbers(choose(entries, 30, seed=seed))) for seed in range(5)}) > 1

    def test_of_nothing_is_nothing(self) -> None:
        assert choose([], 10, seed=0) == []
