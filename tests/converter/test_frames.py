"""The frames of one conversion, from a folder of pictures."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from converter.calibration import frames
from converter.calibration.frames import read_frames
from converter.progress import Silent
from sightd.calibration_entries import Entry
from sightd.errors import CalibrationError
from sightd.types import Image
from tests.parts.blobs import blob_picture, write_blob_pictures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blob_pictures(tmp_path_factory.mktemp("set") / "pictures", 80)


class Embedding:
    """Says that pictures of number *rare* look like no other, and counts what it was shown."""

    def __init__(self, *rare: int) -> None:
        self.rare = [blob_picture(number) for number in rare]
        self.seen = 0

    def __call__(self, image: Image) -> NDArray[np.float32]:
        self.seen += 1
        same = [np.array_equal(picture, image) for picture in self.rare]
        return np.array([*same, not any(same)], np.float32)


def files(entries: List[Entry]) -> List[int]:
    return [int(Path(entry.file).stem) for entry in entries]


def test_half_of_the_frames_are_held_out_and_come_from_other_times(pictures: Path) -> None:
    read = read_frames(pictures, count=512, holdout=500, seed=0)
    assert (len(read.calibration), len(read.holdout)) == (40, 40)
    assert not set(files(read.calibration)) & set(files(read.holdout))
    held = sorted(files(read.holdout))
    assert sum(after - before > 1 for before, after in zip(held, held[1:])) <= 10


def test_no_more_than_asked_for(pictures: Path) -> None:
    read = read_frames(pictures, count=12, holdout=7, seed=0)
    assert (len(read.calibration), len(read.holdout)) == (12, 7)


def test_the_holdout_begins_with_what_differs_most(tmp_path: Path) -> None:
    for number in range(60):
        cv2.imwrite(str(tmp_path / f"{number:04}.png"), blob_picture(number, squares=9 if number % 20 < 3 else 0))
    read = read_frames(tmp_path, count=512, holdout=500, seed=0)
    busy = [number % 20 < 3 for number in files(read.holdout)]
    assert sum(busy[: len(busy) // 4]) == sum(busy) >= 3


def test_the_same_frames_for_the_same_seed_in_the_same_order(pictures: Path) -> None:
    first, again, other = (read_frames(pictures, count=12, holdout=30, seed=seed) for seed in (4, 4, 5))
    assert first == again
    assert first.calibration != other.calibration
    assert len(first.sha256) == 64
    assert first.sha256 == again.sha256 != other.sha256


def test_what_the_model_finds_unlike_is_chosen(pictures: Path) -> None:
    pool = files(read_frames(pictures, count=512, holdout=1, seed=0).calibration)
    embed = Embedding(pool[3], pool[11])
    read = read_frames(pictures, count=8, holdout=30, seed=0, embed=embed)
    assert {pool[3], pool[11]} <= set(files(read.calibration))
    assert embed.seen == 40
    assert read.coverage is not None
    assert (read.coverage.space, read.coverage.candidates, read.coverage.chosen) == ("embeddings", 40, 8)
    assert read.coverage.radius.greatest == 0 < read.coverage.random_radius.greatest


def test_where_all_are_taken_the_model_is_not_asked(pictures: Path) -> None:
    embed = Embedding()
    read = read_frames(pictures, count=40, holdout=30, seed=0, embed=embed)
    assert embed.seen == 0
    assert read.coverage is not None
    assert (read.coverage.space, read.coverage.radius.greatest) == ("thumbnails", 0)


def test_a_model_that_fails_on_pictures_leaves_the_choice_to_thumbnails(pictures: Path) -> None:
    read = read_frames(pictures, count=8, holdout=30, seed=0, embed=lambda image: np.full(3, np.nan, np.float32))
    assert read.coverage is not None
    assert read.coverage.space == "thumbnails"
    assert read.calibration == read_frames(pictures, count=8, holdout=30, seed=0).calibration


def test_of_very_many_only_the_most_different_are_shown_to_the_model(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "_MAX_EMBEDDED", 20)
    embed = Embedding()
    read = read_frames(pictures, count=8, holdout=30, seed=0, embed=embed)
    assert (embed.seen, len(read.calibration)) == (20, 8)


def test_of_more_than_the_model_can_be_shown_thumbnails_choose(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_MAX_EMBEDDED", 20)
    embed = Embedding()
    read = read_frames(pictures, count=30, holdout=30, seed=0, embed=embed)
    assert read.coverage is not None
    assert (embed.seen, len(read.calibration), read.coverage.candidates) == (0, 30, 40)


def test_the_saturation_of_activations_is_added_when_it_was_measured(pictures: Path) -> None:
    read = read_frames(pictures, count=10, holdout=7, seed=0)
    measured = read.with_saturation(np.ones((10, 3), np.float32))
    assert measured.coverage is not None
    assert read.coverage is not None
    assert [growth.frames for growth in measured.coverage.saturation] == [8, 10]
    assert (measured.calibration, measured.coverage.radius) == (read.calibration, read.coverage.radius)


def test_every_candidate_is_a_step_of_progress(pictures: Path) -> None:
    steps: List[int] = []

    class Steps(Silent):
        @contextmanager
        def stage(self, title: str, total: int) -> Iterator[Callable[[], None]]:
            yield lambda: steps.append(total)

    read_frames(pictures, count=8, holdout=30, seed=0, embed=Embedding(), progress=Steps())
    assert steps == [40] * 40


def test_pictures_are_read_when_needed_and_verified(tmp_path: Path) -> None:
    write_blob_pictures(tmp_path / "set", 20)
    read = read_frames(tmp_path / "set", count=5, holdout=5, seed=0)
    images = read.images(read.calibration)
    assert np.array_equal(next(images), blob_picture(files(read.calibration)[0]))
    (tmp_path / "set" / read.calibration[1].file).write_bytes(b"something else")
    with pytest.raises(CalibrationError, match="not the picture"):
        next(images)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_are_refused(tmp_path: Path, count: int) -> None:
    write_blob_pictures(tmp_path / "set", count)
    with pytest.raises(CalibrationError):
        read_frames(tmp_path / "set", count=5, holdout=5, seed=0)
