"""Calibration sets: what is kept, what a crash leaves, what is refused."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, List, Tuple

import cv2
import numpy as np
import pytest

from sightd.calibration_entries import busyness, indexed, light, stratum
from sightd.calibration_set import CalibrationSet, dataset_sha256, read_entries, read_image
from sightd.errors import CalibrationError
from sightd.masks import MASK_GREY
from sightd.types import Frame, Image

HOUR = 3600.0
GENERATOR = np.random.default_rng(1)


def scene(seed: int, *, width: int = 320, height: int = 180) -> Image:
    """Many sharp rectangles, lit from above; two seeds look nothing alike."""
    generator = np.random.default_rng(seed)
    image = np.full((height, width, 3), generator.integers(60, 200, 3), np.uint8)
    for _ in range(40):
        x, y = (int(value) for value in generator.integers(0, (width, height)))
        w, h = (int(value) for value in generator.integers(8, 80, 2))
        colour = tuple(int(value) for value in generator.integers(0, 256, 3))
        cv2.rectangle(image, (x, y), (x + w, y + h), colour, -1)
    return (image * np.linspace(1, 0.8, height)[:, None, None]).astype(np.uint8)


def frame(image: Image, captured_at: float = 0.0, camera: str = "yard") -> Frame:
    return Frame(camera, 0, captured_at, 0.0, 0.0, image)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "calibration"


@pytest.fixture
def roomy(folder: Path) -> Iterator[CalibrationSet]:
    with CalibrationSet(folder, 100, 1 << 30) as roomy:
        yield roomy


def index_lines(folder: Path) -> List[str]:
    return (folder / "index.jsonl").read_text("utf-8").splitlines()


class TestOffer:
    def test_keeps_a_frame_nearly_as_it_was_and_says_what_it_is(self, folder: Path, roomy: CalibrationSet) -> None:
        image = scene(1)
        assert roomy.offer(frame(image, 1700000000.1234)) == "kept"
        (entry,) = read_entries(folder)
        assert (entry.camera, entry.captured_at, entry.width, entry.height) == ("yard", 1700000000.1234, 320, 180)
        assert entry.luma == pytest.approx(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).mean(), abs=1)
        assert entry.sha256 == hashlib.sha256((folder / entry.file).read_bytes()).hexdigest()
        assert np.abs(read_image(folder, entry).astype(int) - image).mean() < 4
        assert json.loads(index_lines(folder)[0])["file"] == entry.file

    def test_drops_what_the_same_camera_has_shown_before(self, roomy: CalibrationSet) -> None:
        image = scene(1)
        noisy = np.clip(image + GENERATOR.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
        assert roomy.offer(frame(image)) == "kept"
        assert roomy.offer(frame(noisy, 1.0)) == "duplicate"
        assert roomy.offer(frame(noisy, 1.0, camera="gate")) == "kept"
        assert roomy.offer(frame(scene(2), 2.0)) == "kept"

    def test_drops_black_and_flat_frames_even_with_noise_and_text_in_them(self, roomy: CalibrationSet) -> None:
        for level in (0, 120, 255):
            image = np.full((720, 1280, 3), level, np.uint8)
            noisy = np.clip(image + GENERATOR.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
            cv2.putText(noisy, "2024-01-01 12:00:00", (20, 60), 0, 1.5, (255, 255, 255), 3)
            assert roomy.offer(frame(image)) == "black"
            assert roomy.offer(frame(noisy)) == "black"

    def test_drops_blurred_frames_even_with_sharp_text_in_them(self, roomy: CalibrationSet) -> None:
        blurred = cv2.GaussianBlur(cv2.resize(scene(1), (1280, 720)), (0, 0), 20)
        cv2.putText(blurred, "2024-01-01 12:00:00", (20, 60), 0, 1.5, (255, 255, 255), 3)
        assert roomy.offer(frame(np.asarray(blurred, np.uint8))) == "blurred"

    def test_keeps_frames_of_the_night(self, roomy: CalibrationSet) -> None:
        dark = scene(1) // 8
        assert roomy.offer(frame(dark)) == "kept"

    def test_tells_two_cameras_apart_that_show_the_same_at_the_same_time(self, folder: Path) -> None:
        with CalibrationSet(folder, 10, 1 << 30) as kept:
            kept.offer(frame(scene(1), 5.0, camera="a"))
            kept.offer(frame(scene(1), 5.0, camera="b"))
        assert [entry.camera for entry in sorted(read_entries(folder), key=lambda e: e.camera)] == ["a", "b"]
        assert len(list((folder / "frames").iterdir())) == 2

    def test_tells_a_picture_that_stands_still_from_one_that_only_looks_alike(self, roomy: CalibrationSet) -> None:
        image = scene(1)
        assert [roomy.offer(frame(image, at)) for at in (1.0, 2.0, 3.0)] == ["kept", "frozen", "frozen"]
        assert roomy.offer(frame(image, 3.0, camera="gate")) == "kept"
        image = image.copy()
        image[0, 0, 0] ^= 1
        assert roomy.offer(frame(image, 4.0)) == "duplicate"

    def test_drops_a_picture_that_was_lost_in_part(self, roomy: CalibrationSet) -> None:
        smeared, grey = scene(1), scene(2)
        smeared[90:] = smeared[90]
        grey[120:] = 128
        assert roomy.offer(frame(smeared)) == "corrupt"
        assert roomy.offer(frame(grey)) == "corrupt"

    def test_keeps_nothing_of_what_is_masked(self, folder: Path, roomy: CalibrationSet) -> None:
        right_half = [(0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)]
        given = scene(1)
        before = given.copy()
        assert roomy.offer(frame(given), [right_half]) == "kept"
        assert np.array_equal(given, before), "the frame is still detected on"
        (entry,) = read_entries(folder)
        stored = read_image(folder, entry)
        assert np.abs(stored[:, 160:].astype(int) - MASK_GREY).max() <= 1
        assert np.abs(stored[:, :152].astype(int) - given[:, :152]).mean() < 4
        looks = np.frombuffer(bytes.fromhex(entry.thumbnail), np.uint8).reshape(8, 8)
        assert (looks[:, 4:] == MASK_GREY).all()

    def test_judges_the_picture_as_it_came_not_its_masks(self, roomy: CalibrationSet) -> None:
        nearly_all = [(0.0, 0.0), (1.0, 0.0), (1.0, 0.97), (0.0, 0.97)]
        assert roomy.offer(frame(scene(1)), [nearly_all]) == "kept"
        blurred = np.asarray(cv2.GaussianBlur(scene(2), (0, 0), 6), np.uint8)
        stripes = [[(x / 9, 0.0), (x / 9 + 0.05, 0.0), (x / 9 + 0.05, 1.0)] for x in range(8)]
        assert roomy.offer(frame(blurred), stripes) == "blurred"


class TestBounds:
    def test_within_an_hour_a_full_set_spreads_over_light_and_busyness(self, folder: Path) -> None:
        with CalibrationSet(folder, 9, 1 << 30) as kept:
            for seed in range(20):
                kept.offer(frame(scene(seed) // 3 + 120, float(seed)), objects=0)
            for seed in range(20, 23):
                assert kept.offer(frame(scene(seed) // 3 + 120, float(seed)), objects=5) == "kept"
            for seed in range(23, 26):
                assert kept.offer(frame(scene(seed) // 6, float(seed)), objects=0) == "kept"
            entries = kept.entries()
        assert sum(busyness(entry) == "busy" for entry in entries) == 3
        assert sum(light(entry) == "dark" for entry in entries) == 3

    def test_a_varied_day_does_not_crowd_out_the_night(self, folder: Path) -> None:
        with CalibrationSet(folder, 12, 1 << 30) as kept:
            for seed in range(12):
                kept.offer(frame(scene(seed) // 6, float(seed)), objects=0)
            for seed in range(100, 160):
                kept.offer(frame(scene(seed), 12 * HOUR + seed), objects=seed % 5)
            assert [stratum(entry)[1] for entry in kept.entries()] == [0] * 6 + [12] * 6

    def test_what_is_too_old_goes_when_it_is_opened_and_when_it_is_told(self, folder: Path) -> None:
        now = time.time()
        with CalibrationSet(folder, 9, 1 << 30) as kept:
            for seed, age_s in enumerate((90_000.0, 50.0, 0.0)):
                kept.offer(frame(scene(seed), now - age_s))
        with CalibrationSet(folder, 9, 1 << 30, max_age_s=86_400) as kept:
            assert [entry.captured_at for entry in kept.entries()] == [now - 50, now]
            kept.expire()
            assert len(kept) == 2
        with CalibrationSet(folder, 9, 1 << 30, max_age_s=30) as kept:
            assert [entry.captured_at for entry in kept.entries()] == [now]
        assert len(list((folder / "frames").iterdir())) == 1

    def test_a_clock_that_is_set_forward_ages_nothing_before_it_has_run_on_for_an_hour(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, real_mono, ahead, passed = time.time, time.monotonic, [0.0], [0.0]
        monkeypatch.setattr(time, "time", lambda: real() + passed[0] + ahead[0])
        monkeypatch.setattr(time, "monotonic", lambda: real_mono() + passed[0])
        with CalibrationSet(folder, 9, 1 << 30, max_age_s=86_400) as kept:
            kept.offer(frame(scene(1), time.time()))
            ahead[0] = 1e9
            kept.expire()
            ahead[0] = 0.0
            passed[0] = 3000.0
            kept.expire()
            assert len(kept) == 1, "the clock was wrong for a while"
            ahead[0] = 1e9
            kept.expire()
            passed[0] = 6700.0
            kept.expire()
            assert len(kept) == 0, "it was right"

    def test_a_full_set_spreads_over_cameras_and_hours(self, folder: Path) -> None:
        with CalibrationSet(folder, 12, 1 << 30) as kept:
            for seed in range(12):
                kept.offer(frame(scene(seed), 10.0 + seed))
            for seed, hour in enumerate((1, 1, 1, 2, 2, 2), 100):
                assert kept.offer(frame(scene(seed), hour * HOUR + seed)) == "kept"
            for seed in (200, 201, 202):
                assert kept.offer(frame(scene(seed), float(seed), camera="gate")) == "kept"
            strata = [stratum(entry) for entry in kept.entries()]
        assert sorted((name, strata.count(name)) for name in set(strata)) == [
            (("gate", 0), 3),
            (("yard", 0), 3),
            (("yard", 1), 3),
            (("yard", 2), 3),
        ]

    def test_a_full_set_comes_to_rest(self, folder: Path) -> None:
        with CalibrationSet(folder, 8, 1 << 30) as kept:
            answers = [kept.offer(frame(scene(seed), float(seed))) for seed in range(300)]
        assert answers[:8] == ["kept"] * 8
        late = answers[150:]
        assert set(answers[8:]) <= {"kept", "full"}
        assert late.count("kept") < answers[8:158].count("kept")
        assert late.count("kept") < 15

    def test_of_the_two_most_alike_the_older_goes(self, folder: Path) -> None:
        image = scene(1)
        alike = image.copy()
        alike[:40] = scene(2)[:40]
        with CalibrationSet(folder, 3, 1 << 30) as kept:
            assert kept.offer(frame(image, 1.0)) == "kept"
            assert kept.offer(frame(alike, 2.0)) == "kept"
            assert kept.offer(frame(scene(3), 3.0)) == "kept"
            assert kept.offer(frame(scene(4), 4.0)) == "kept"
            assert [entry.captured_at for entry in kept.entries()] == [2.0, 3.0, 4.0]

    def test_bytes_are_bounded_too_and_dropped_files_are_gone(self, folder: Path) -> None:
        with CalibrationSet(folder, 1000, 60_000) as kept:
            for seed in range(30):
                kept.offer(frame(scene(seed), seed * HOUR))
            entries = kept.entries()
        files = list((folder / "frames").iterdir())
        assert 1 < len(files) == len(entries)
        assert sum(path.stat().st_size for path in files) <= 60_000

    def test_a_frame_larger_than_the_whole_set_is_full_and_costs_nothing(self, folder: Path) -> None:
        with CalibrationSet(folder, 10, 12_000) as kept:
            assert kept.offer(frame(scene(1, width=160, height=90), 1.0)) == "kept"
            assert kept.offer(frame(scene(2, width=1280, height=720), 2.0, camera="gate")) == "full"
            assert len(kept.entries()) == 1

    def test_smaller_bounds_than_before_hold_from_the_next_kept_frame_on(self, folder: Path) -> None:
        with CalibrationSet(folder, 10, 1 << 30) as kept:
            for seed in range(10):
                kept.offer(frame(scene(seed), float(seed)))
        with CalibrationSet(folder, 3, 1 << 30) as kept:
            assert kept.offer(frame(scene(50), HOUR)) == "kept"
            assert len(kept.entries()) == 3

    def test_the_index_does_not_grow_with_what_is_dropped(self, folder: Path) -> None:
        with CalibrationSet(folder, 2, 1 << 30) as kept:
            for seed in range(40):
                kept.offer(frame(scene(seed), seed * HOUR, camera=f"camera-{seed}"))
            assert len(index_lines(folder)) <= 6
            assert kept.entries() == read_entries(folder)


class TestCrash:
    def test_a_torn_last_line_is_passed_over_and_cleaned_up(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with CalibrationSet(folder, 10, 1 << 30) as kept:
            kept.offer(frame(scene(1), 1.0))
            kept.offer(frame(scene(2), 2.0))
        index = folder / "index.jsonl"
        index.write_bytes(index.read_bytes()[:-40])
        with caplog.at_level(logging.WARNING):
            assert [entry.captured_at for entry in read_entries(folder)] == [1.0]
        assert "line 2: not an entry" in caplog.text
        with CalibrationSet(folder, 10, 1 << 30) as kept:
            kept.offer(frame(scene(3), 3.0))
        assert [entry.captured_at for entry in read_entries(folder)] == [1.0, 3.0]
        assert len(list((folder / "frames").iterdir())) == 2, "the frame without its line is gone"

    def test_a_line_without_its_frame_is_passed_over(self, folder: Path) -> None:
        with CalibrationSet(folder, 10, 1 << 30) as kept:
            kept.offer(frame(scene(1), 1.0))
            kept.offer(frame(scene(2), 2.0))
            lost, left = kept.entries()
        (folder / lost.file).unlink()
        assert read_entries(folder) == [left]
        with CalibrationSet(folder, 10, 1 << 30) as kept:
            assert kept.offer(frame(scene(1), 3.0)) == "kept"

    def test_pictures_of_the_users_own_are_never_removed(self, folder: Path) -> None:
        own = folder / "frames" / "holiday.jpg"
        own.parent.mkdir(parents=True)
        own.write_bytes(b"mine")
        CalibrationSet(folder, 10, 1 << 30).close()
        assert own.read_bytes() == b"mine"

    def test_a_line_that_points_out_of_the_set_counts_for_nothing(self, folder: Path) -> None:
        with CalibrationSet(folder, 10, 1 << 30) as kept:
            kept.offer(frame(scene(1), 1.0))
        (folder.parent / "outside.jpg").write_bytes(b"mine")
        index = folder / "index.jsonl"
        line = json.loads(index.read_text("utf-8"))
        for file in ("../outside.jpg", "frames/../../outside.jpg", str(folder.parent / "outside.jpg")):
            index.write_text(json.dumps({**line, "file": file}) + "\n", "utf-8")
            assert list(indexed(folder)) == []

    def test_kill_9_in_the_midst_of_writing_leaves_a_good_set(self, folder: Path) -> None:
        script = (
            "import sys, itertools\n"
            "from pathlib import Path\n"
            "import numpy as np\n"
            "from sightd.calibration_set import CalibrationSet\n"
            "from sightd.types import Frame\n"
            "generator = np.random.default_rng()\n"
            "with CalibrationSet(Path(sys.argv[1]), 20, 1 << 30) as kept:\n"
            "    for seq in itertools.count():\n"
            "        image = np.kron(generator.integers(0, 256, (9, 16, 3)), np.ones((20, 20, 1))).astype(np.uint8)\n"
            "        kept.offer(Frame('yard', seq, seq * 400.0, 0.0, 0.0, image))\n"
            "        if seq == 30:\n"
            "            print('READY', flush=True)\n"
        )
        command = [sys.executable, "-c", script, str(folder)]
        for more in range(5):
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
                assert writer.stdout is not None
                assert writer.stdout.readline() == "READY\n"
                time.sleep(more * 0.003)  # another moment of the same work each time
                writer.send_signal(signal.SIGKILL)
            for entry in read_entries(folder):
                assert read_image(folder, entry).shape == (180, 320, 3)
        with CalibrationSet(folder, 20, 1 << 30) as kept:
            assert len(kept.entries()) >= 19
            assert kept.offer(frame(scene(1), 1e6, camera="gate")) == "kept"

    def test_a_full_disk_is_an_error_and_harms_nothing(self, folder: Path) -> None:
        with CalibrationSet(folder, 10, 1 << 30) as kept:
            for number in range(10):
                kept.offer(frame(scene(number), float(number)))
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            small, index_bytes = scene(20, width=64, height=36), (folder / "index.jsonl").stat().st_size
            for image, limit in ((scene(20), 2000), (small, index_bytes + 100)):  # in the frame; in the line
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
                try:
                    for _ in range(2):
                        with pytest.raises(CalibrationError, match=r"can't be written .*: free some space"):
                            kept.offer(frame(image, 20.0, camera="gate"))
                finally:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert len(list((folder / "frames").iterdir())) == 10, "none made room for what did not come"
            assert kept.offer(frame(scene(30), 30.0, camera="gate")) == "kept"
        assert [entry.captured_at for entry in read_entries(folder)][-1] == 30.0
        assert len(read_entries(folder)) == 10


class TestOpening:
    def test_a_second_writer_is_refused(self, folder: Path, roomy: CalibrationSet) -> None:
        with pytest.raises(CalibrationError, match="another sightd writes to it"):
            CalibrationSet(folder, 10, 1 << 30)
        roomy.close()
        CalibrationSet(folder, 10, 1 << 30).close()

    def test_an_index_from_before_objects_were_counted_is_read(self, folder: Path) -> None:
        with CalibrationSet(folder, 10, 1 << 30) as kept:
            kept.offer(frame(scene(1), 1.0), objects=2)
        (line,) = map(json.loads, index_lines(folder))
        assert line.pop("objects") == 2
        (folder / "index.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
        (entry,) = read_entries(folder)
        assert (entry.objects, busyness(entry)) == (-1, "unknown")

    def test_reading_needs_no_lock(self, folder: Path, roomy: CalibrationSet) -> None:
        roomy.offer(frame(scene(1)))
        assert len(read_entries(folder)) == 1

    def test_a_folder_that_can_not_be_made_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("", "utf-8")
        with pytest.raises(CalibrationError, match="can't be written"):
            CalibrationSet(tmp_path / "file" / "set", 10, 1 << 30)

    def test_an_index_that_can_not_be_rewritten_lets_the_lock_go(self, folder: Path) -> None:
        (folder / "index.tmp").mkdir(parents=True)
        with pytest.raises(CalibrationError, match="can't be written"):
            CalibrationSet(folder, 10, 1 << 30)
        (folder / "index.tmp").rmdir()
        CalibrationSet(folder, 10, 1 << 30).close()

    def test_is_not_for_every_user(self, folder: Path, roomy: CalibrationSet) -> None:
        assert folder.stat().st_mode & 0o007 == 0


class TestReading:
    @pytest.mark.parametrize("make", [False, True])
    def test_a_folder_that_is_missing_or_empty_is_refused(self, folder: Path, make: bool) -> None:
        if make:
            folder.mkdir()
        with pytest.raises(CalibrationError, match=r"sightd capture"):
            read_entries(folder)

    def test_a_set_without_frames_is_refused(self, folder: Path, roomy: CalibrationSet) -> None:
        with pytest.raises(CalibrationError, match="holds no frame"):
            read_entries(folder)

    @pytest.mark.parametrize("damage", ["altered", "gone"])
    def test_a_picture_that_is_not_as_it_was_is_refused(self, folder: Path, roomy: CalibrationSet, damage: str) -> None:
        roomy.offer(frame(scene(1)))
        (entry,) = roomy.entries()
        path = folder / entry.file
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-1] + b"x")
        with pytest.raises(CalibrationError, match=r"sha256 differs|can't be read"):
            read_image(folder, entry)

    def test_a_plain_folder_of_pictures_is_a_set_too(self, folder: Path) -> None:
        for file in ("b.jpg", "a.PNG", "gate/1.jpeg", "gate/2.jpg"):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / file), scene(len(file), width=100, height=60))
        (folder / "notes.txt").write_text("not a picture", "utf-8")
        entries = read_entries(folder)
        found: List[Tuple[str, str, float]] = [(entry.file, entry.camera, entry.captured_at) for entry in entries]
        assert found == [
            ("a.PNG", "images", 0.0),
            ("b.jpg", "images", 1.0),
            ("gate/1.jpeg", "gate", 2.0),
            ("gate/2.jpg", "gate", 3.0),
        ]
        assert read_image(folder, entries[0]).shape == (60, 100, 3)

    @pytest.mark.parametrize("content", [b"", b"not a picture"])
    def test_a_picture_that_can_not_be_decoded_is_named(self, folder: Path, content: bytes) -> None:
        folder.mkdir()
        (folder / "bad.jpg").write_bytes(content)
        with pytest.raises(CalibrationError, match=r"bad\.jpg: not a picture"):
            read_entries(folder)


def test_the_dataset_is_identified_by_its_pictures_alone(folder: Path, tmp_path: Path) -> None:
    with CalibrationSet(folder, 10, 1 << 30) as kept:
        for seed in range(3):
            kept.offer(frame(scene(seed), float(seed)))
        entries = kept.entries()
    copy = tmp_path / "copy"
    copy.mkdir()
    for place, entry in enumerate(reversed(entries)):
        (copy / f"{place}.jpg").write_bytes((folder / entry.file).read_bytes())
    assert dataset_sha256(read_entries(copy)) == dataset_sha256(entries)
    assert dataset_sha256(entries[1:]) != dataset_sha256(entries)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_captures_belongs_to_the_owner_of_the_state_folder(tmp_path: Path) -> None:
    try:
        os.chown(tmp_path, 65534, 65534)
    except OSError:
        pytest.skip("root of a namespace with one user")
    with CalibrationSet(tmp_path / "set", 4, 1 << 20) as kept:
        assert kept.offer(frame(scene(1))) == "kept"
    assert {path.stat().st_uid for path in (tmp_path / "set", *(tmp_path / "set").rglob("*"))} == {65534}
