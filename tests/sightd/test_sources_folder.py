"""A folder of pictures as a source."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import List

import cv2
import pytest

from sightd.errors import SourceError
from sightd.settings import parse_settings
from sightd.sources import Source, camera_source, frames, source_for
from tests.parts.clips import numbered_picture, read_number


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures, 1.jpg to 12.png; their order as text is another."""
    for number in range(1, 13):
        write(tmp_path / f"{number}.{'png' if number > 8 else 'jpg'}", number)
    (tmp_path / "notes.txt").write_text("not a picture", "utf-8")
    return tmp_path


def write(path: Path, number: int) -> None:
    data = cv2.imencode(path.suffix, numbered_picture(number))[1].tobytes()
    path.write_bytes(data)


def read_all(source: Source) -> List[int]:
    source.open()
    numbers = []
    while source.grab():
        numbers.append(read_number(source.retrieve()))
    source.close()
    return numbers


def test_is_read_in_natural_order(folder: Path) -> None:
    assert read_all(source_for(str(folder), pace="fast")) == list(range(1, 13))
    assert read_all(source_for(folder.as_uri(), pace="fast")) == list(range(1, 13))


def test_a_name_with_odd_digits_is_a_name_like_others(tmp_path: Path) -> None:
    for number, name in enumerate(["1.png", "1²3.png", "٣.png"]):
        write(tmp_path / name, number)
    assert sorted(read_all(source_for(str(tmp_path), pace="fast"))) == [0, 1, 2]


@pytest.mark.parametrize("path", ["{}.jpg", "{}/*.jpg", "{}/"])
def test_what_the_system_refuses_to_look_at_is_a_camera_that_is_away(path: str, tmp_path: Path) -> None:
    source = source_for(str(tmp_path / path.format("x" * 300)))
    with pytest.raises(SourceError, match=r"can't be read \(File name too long\): check the path"):
        source.open()


def test_a_pattern_takes_some_of_it(folder: Path) -> None:
    assert read_all(source_for(f"{folder}/*.png", pace="fast")) == [9, 10, 11, 12]
    assert read_all(source_for(f"{folder}/1?.png", pace="fast")) == [10, 11, 12]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    write(folder / "[1].jpg", 77)
    assert read_all(source_for(str(folder / "[1].jpg"), pace="fast")) == [77]


def test_played_live_comes_at_the_cameras_frame_rate(folder: Path) -> None:
    settings = parse_settings(f"cameras: {{a: {{url: '{folder}', max_fps: 20, loop: false}}}}".encode(), folder / "c")
    source = camera_source(settings.cameras["a"])
    began = time.monotonic()
    seen = frames("a", source, max_fps=20, stop=threading.Event(), on_state=lambda *_: None)
    numbers = [read_number(frame.image) for frame in seen]
    assert time.monotonic() - began >= 11 / 20
    assert (numbers[0], numbers) == (1, sorted(set(numbers))), "a busy machine may skip some, as of a video"
    assert len(numbers) > 6


def test_looping_finds_what_was_added(folder: Path) -> None:
    source = source_for(f"{folder}/*.png", pace="fast", loop=True)
    source.open()
    numbers = []
    for turn in range(9):
        assert source.grab()
        numbers.append(read_number(source.retrieve()))
        if turn == 2:
            write(folder / "20.png", 20)
    assert numbers == [9, 10, 11, 12, 9, 10, 11, 12, 20]
    source.close()


def test_what_can_not_be_decoded_is_left_out_and_told_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = (folder / "3.jpg").read_bytes()
    (folder / "3.jpg").write_bytes(data[: len(data) * 2 // 3])  # OpenCV would make a half grey picture of it
    (folder / "10.png").write_bytes(b"no picture")
    (folder / "12.png").write_bytes(b"")
    source = source_for(str(folder), pace="fast", loop=True)
    source.open()
    numbers = []
    for _ in range(18):
        assert source.grab()
        numbers.append(read_number(source.retrieve()))
    source.close()
    assert numbers == 2 * [1, 2, 4, 5, 6, 7, 8, 9, 11]
    assert [record.getMessage().replace(str(folder), "") for record in caplog.records] == [
        "/3.jpg: can't be decoded, left out (1 so far)",
        "/10.png: can't be decoded, left out (2 so far)",
        "/12.png: can't be decoded, left out (3 so far)",
    ]


def test_pictures_of_different_sizes_keep_theirs(folder: Path) -> None:
    (folder / "2.jpg").write_bytes(cv2.imencode(".jpg", numbered_picture(2, 640, 480))[1].tobytes())
    source = source_for(str(folder), pace="fast")
    source.open()
    sizes = [source.retrieve().shape[:2] for _ in range(3) if source.grab()]
    source.close()
    assert sizes == [(240, 320), (480, 640), (240, 320)]


@pytest.mark.parametrize("loop", [False, True])
def test_without_a_single_good_picture_is_an_error(tmp_path: Path, loop: bool) -> None:
    with pytest.raises(SourceError, match=r"no pictures there; put in some of \.jpg"):
        source_for(str(tmp_path), loop=loop).open()
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    source = source_for(f"{tmp_path}/*.jpg", loop=loop, pace="fast")
    source.open()
    with pytest.raises(SourceError, match="holds no picture that can be decoded"):
        source.grab()


def test_that_appears_later_is_found_then(tmp_path: Path) -> None:
    source = source_for(str(tmp_path / "later"), pace="fast")
    with pytest.raises(SourceError, match="no such file"):
        source.open()
    (tmp_path / "later").mkdir()
    write(tmp_path / "later/1.jpg", 5)
    assert read_all(source) == [5]
