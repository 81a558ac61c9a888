"""Which frames calibrate and which judge."""

from __future__ import annotations

import hashlib
from typing import List, Optional

import numpy as np
import pytest

from converter.calibration.coverage import radius_of
from converter.calibration.select import choose, split, thumbnails
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
    objects: int = -1,
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
        objects=objects,
    )


def chosen(entries: List[Entry], count: int, seed: int = 0) -> List[Entry]:
    """By their thumbnails."""
    return [entries[place] for place in choose(entries, thumbnails(entries), count, seed)]


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
        assert sorted(numbers(chosen(entries, 5))) == sorted(numbers(chosen(entries, 99))) == numbers(entries)

    def test_spreads_over_cameras_and_hours_however_many_each_has(self) -> None:
        busy = [entry(number, captured_at=12 * HOUR + number) for number in range(500)]
        rare = [entry(number, captured_at=3 * HOUR + number) for number in range(600, 640)]
        gate = [entry(number, camera="gate") for number in range(50)]
        found = chosen(busy + rare + gate, 90)
        assert [sum(e in part for e in found) for part in (busy, rare, gate)] == [30, 30, 30]

    def test_gives_what_a_small_stratum_lacks_to_the_others(self) -> None:
        many = [entry(number) for number in range(100)]
        few = [entry(number, camera="gate") for number in range(4)]
        found = chosen(many + few, 50)
        assert (len(found), sum(e.camera == "gate" for e in found)) == (50, 4)

    def test_with_more_strata_than_frames_the_most_different_strata_come_first(self) -> None:
        alike = [entry(number, camera=f"a{number}", thumbnail="40" * 64) for number in range(50)]
        other = [entry(number, camera=f"z{number}", thumbnail=f"{number:02x}" * 64) for number in (0, 120, 250)]
        assert {e.camera for e in other} <= {e.camera for e in chosen(alike + other, 4)}

    def test_spreads_over_light(self) -> None:
        dark = [entry(number, luma=20.0) for number in range(120)]
        bright = [entry(number, luma=200.0) for number in range(120, 180)]
        assert sum(e.luma > 100 for e in chosen(dark + bright, 60)) == 30

    def test_a_varied_day_does_not_crowd_out_the_night(self) -> None:
        day = [
            entry(number, captured_at=12 * HOUR + number, luma=20 + number, objects=number % 5) for number in range(200)
        ]
        night = [entry(number, captured_at=3 * HOUR + number, luma=10.0, objects=0) for number in range(200, 260)]
        assert sum(e in night for e in chosen(day + night, 40)) == 20

    def test_spreads_over_busyness_where_it_is_known(self) -> None:
        usual = [entry(number, objects=0) for number in range(200)]
        some = [entry(number, objects=1 + number % 2) for number in range(200, 230)]
        many = [entry(number, objects=3 + number % 5) for number in range(230, 260)]
        unknown = [entry(number) for number in range(260, 290)]
        found = chosen(usual + some + many + unknown, 40)
        assert [sum(e in part for e in found) for part in (usual, some, many, unknown)] == [10, 10, 10, 10]

    def test_prefers_what_looks_different(self) -> None:
        usual = [entry(number, thumbnail=f"{100 + number % 3:02x}" * 64) for number in range(97)]
        rare = [entry(97 + place, thumbnail=f"{grey:02x}" * 64) for place, grey in enumerate((0, 180, 255))]
        assert {97, 98, 99} <= set(numbers(chosen(usual + rare, 5)))

    def test_goes_by_the_points_that_it_is_given(self) -> None:
        entries = [entry(number, thumbnail="40" * 64) for number in range(100)]
        points = np.zeros((100, 3), np.float32)
        points[[17, 42]] = [[1, 0, 0], [0, 1, 0]]
        assert {17, 42} <= set(choose(entries, points, 3, seed=0))

    def test_every_beginning_is_the_choice_of_so_many(self) -> None:
        entries = [entry(number, camera=f"{number % 3}", luma=number % 50) for number in range(300)]
        longest = chosen(entries, 100)
        for count in (1, 2, 10, 33):
            assert longest[:count] == chosen(entries, count)

    def test_leaves_no_candidate_as_far_away_as_random_choices_do(self) -> None:
        groups = np.random.default_rng(0).geometric(0.3, 300)  # a few scenes fill most of the set
        entries = [entry(number, thumbnail=f"{min(255, 20 * group):02x}" * 64) for number, group in enumerate(groups)]
        points = thumbnails(entries)
        ours = radius_of(points, choose(entries, points, 10, seed=0)).greatest
        random = [radius_of(points, np.random.default_rng(s).permutation(300)[:10].tolist()).greatest for s in range(5)]
        assert ours < np.mean(random) / 2

    def test_never_takes_a_picture_twice_even_when_all_are_equal(self) -> None:
        found = chosen([entry(number, thumbnail="40" * 64) for number in range(20)], 15)
        assert len(set(numbers(found))) == 15

    def test_is_the_same_for_the_same_seed_whatever_the_order(self) -> None:
        entries = [entry(number) for number in range(100)]
        shuffled = [entries[place] for place in np.random.default_rng(0).permutation(100)]
        assert chosen(entries, 30, seed=5) == chosen(shuffled, 30, seed=5)
        assert len({tuple(numbers(chosen(entries, 30, seed=seed))) for seed in range(5)}) > 1

    def test_is_the_same_on_every_python_and_numpy(self) -> None:
        entries = [entry(number, camera=f"{number % 2}") for number in range(60)]
        assert numbers(chosen(entries, 8, seed=1)) == [28, 7, 0, 15, 49, 26, 42, 27]

    def test_of_nothing_is_nothing(self) -> None:
        assert choose([], np.zeros((0, 64), np.float32), 10, seed=0) == []
