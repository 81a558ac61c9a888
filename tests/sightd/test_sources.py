"""One contract for every source, and what is special about files and addresses."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Iterator, List

import cv2
import numpy as np
import pytest

from sightd.errors import SourceError
from sightd.sources import Source, opencv, source_for
from sightd.sources.rotated import RotatedSource
from tests.parts.clips import numbered_picture, read_number, write_clip
from tests.parts.mjpeg import mjpeg_camera
from tests.parts.requires import require
from tests.parts.rtsp import RtspServer

COUNT = 50
FPS = 25.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "numbers.avi", count=COUNT, fps=FPS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(10):
        cv2.imwrite(str(folder / f"{number}.png"), numbered_picture(number))
    return folder


@pytest.fixture(scope="module")
def rtsp() -> Iterator[str]:
    with RtspServer("clock:25") as server:
        yield server.url()


@pytest.fixture(scope="module")
def http() -> Iterator[str]:
    with mjpeg_camera(fps=25) as url:
        yield url


def read_all(source: Source) -> List[int]:
    numbers = []
    while source.grab():
        numbers.append(read_number(source.retrieve()))
    return numbers


class TestEverySource:
    @pytest.fixture(params=["file-live", "file-fast", "folder-fast", "rtsp", "rtsp-gstreamer", "http", "rotated-fast"])
    def source(self, request: pytest.FixtureRequest, clip: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
        # How patient they are is asked elsewhere; a machine with much else to do may need longer for a first picture.
        monkeypatch.setattr("sightd.sources.network.FIRST_PICTURE_S", 20.0)
        kind: str = request.param
        if kind in ("rtsp", "http"):
            source = source_for(request.getfixturevalue(kind))
        elif kind == "rtsp-gstreamer":
            require("gstreamer")
            source = source_for(request.getfixturevalue("rtsp"), decoder="gstreamer")
        elif kind == "folder-fast":
            source = source_for(str(request.getfixturevalue("folder")), pace="fast")
        elif kind == "rotated-fast":
            source = RotatedSource(source_for(str(clip), pace="fast", rotate=180), 180)
        else:
            source = source_for(str(clip), pace=kind.partition("-")[2])
        yield source
        source.close()

    def test_refuses_to_be_read_before_it_is_open(self, source: Source) -> None:
        with pytest.raises(SourceError, match="not open"):
            source.grab()
        with pytest.raises(SourceError, match="not open"):
            source.retrieve()

    def test_gives_bgr_pictures_one_after_the_other(self, source: Source) -> None:
        source.open()
        numbers = []
        for _ in range(5):
            assert source.grab() is True
            image = source.retrieve()
            assert image.shape == (240, 320, 3)
            assert image.dtype == np.uint8
            numbers.append(read_number(image))
        assert numbers == sorted(set(numbers))

    def test_gives_every_picture_as_an_array_of_its_own(self, source: Source) -> None:
        source.open()
        source.grab()
        first = source.retrieve()
        kept = first.copy()
        source.grab()
        second = source.retrieve()
        assert not np.shares_memory(first, second)
        np.testing.assert_array_equal(first, kept)

    def test_has_a_clock_that_goes_forward(self, source: Source) -> None:
        source.open()
        source.grab()
        before = source.clock_s()
        source.grab()
        assert source.clock_s() > before

    def test_can_be_opened_and_closed_again_and_again(self, source: Source) -> None:
        source.open()
        source.open()
        assert source.grab()
        source.close()
        source.close()
        with pytest.raises(SourceError, match="not open"):
            source.grab()
        source.open()
        assert source.grab()


class TestFile:
    def test_read_fast_gives_every_picture_in_order_then_ends(self, clip: Path) -> None:
        source = source_for(str(clip), pace="fast")
        assert source.live is False
        source.open()
        assert read_all(source) == list(range(COUNT))
        assert source.grab() is False
        assert source.clock_s() == pytest.approx(COUNT / FPS)
        source.close()

    def test_played_live_takes_as_long_as_the_clip(self, clip: Path) -> None:
        source = source_for(str(clip), pace="live")
        assert source.live is True
        source.open()
        started = time.monotonic()
        numbers = read_all(source)
        assert time.monotonic() - started >= (COUNT - 1) / FPS
        assert numbers[-1] == COUNT - 1
        source.close()

    def test_played_live_skips_what_a_slow_reader_missed_and_is_back_in_time(self, clip: Path) -> None:
        source = source_for(str(clip), pace="live")
        source.open()
        source.grab()
        time.sleep(10 / FPS)
        source.grab()
        assert read_number(source.retrieve()) >= 9
        source.close()

    def test_played_live_does_not_rush_through_a_long_absence(
        self, clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = source_for(str(clip), pace="live")
        source.open()
        source.grab()
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 3600)
        source.grab()
        assert read_number(source.retrieve()) == 1
        source.close()

    @pytest.mark.parametrize("pace", ["live", "fast"])
    def test_looping_begins_again_without_an_end_or_a_step_back_in_time(self, tmp_path: Path, pace: str) -> None:
        source = source_for(str(write_clip(tmp_path / "short.avi", count=3, fps=100)), pace=pace, loop=True)
        source.open()
        numbers, times = [], []
        for _ in range(8):
            assert source.grab()
            numbers.append(read_number(source.retrieve()))
            times.append(source.clock_s())
        if pace == "fast":
            assert numbers == [0, 1, 2, 0, 1, 2, 0, 1]
        assert times == sorted(set(times))
        source.close()

    @pytest.mark.parametrize(("pace", "before", "after"), [("fast", 10, 100), ("live", 240, 10)])
    def test_replaced_by_one_of_another_rate_while_it_loops_goes_on_in_time(
        self, tmp_path: Path, pace: str, before: int, after: int
    ) -> None:
        write_clip(tmp_path / "other.avi", count=3, fps=after)
        source = source_for(str(write_clip(tmp_path / "clip.avi", count=60, fps=before)), pace=pace, loop=True)
        source.open()
        for _ in range(50):
            assert source.grab()
        (tmp_path / "other.avi").replace(tmp_path / "clip.avi")
        began, clocks = time.monotonic(), []
        for _ in range(14):
            assert source.grab()
            clocks.append(source.clock_s())
        assert clocks == sorted(clocks)
        assert time.monotonic() - began < 4, "the pictures until then are not played again at the new rate"
        source.close()

    def test_without_a_frame_rate_is_played_at_a_usual_one(self, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class WithoutRate:
            def __init__(self) -> None:
                self.capture = cv2.VideoCapture(str(clip))
                self.grab = self.capture.grab

            def get(self, _: int) -> float:
                return float("nan")

            def release(self) -> None:
                self.capture.release()

        monkeypatch.setattr("sightd.sources.file.open_capture", lambda *_: WithoutRate())
        source = source_for(str(clip), pace="fast")
        source.open()
        source.grab()
        assert source.clock_s() == pytest.approx(1 / 25)
        source.close()

    def test_missing_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match=r"gone\.avi: no such file"):
            source_for(str(tmp_path / "gone.avi")).open()

    def test_that_is_no_video_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "text.avi"
        path.write_text("this is no video\n" * 100, "utf-8")
        with pytest.raises(SourceError, match="not a video"):
            source_for(str(path)).open()

    def test_cut_short_gives_what_is_there(self, clip: Path, tmp_path: Path) -> None:
        path = tmp_path / "half.avi"
        data = clip.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        source = source_for(str(path), pace="fast")
        source.open()
        numbers = read_all(source)
        assert 10 < len(numbers) < COUNT
        source.close()

    def test_without_a_single_picture_is_an_error_even_in_a_loop(self, clip: Path, tmp_path: Path) -> None:
        path = tmp_path / "header.avi"
        data = clip.read_bytes()
        path.write_bytes(data[: data.index(b"movi") + 4])
        source = source_for(str(path), pace="fast", loop=True)
        source.open()
        with pytest.raises(SourceError, match="holds no picture"):
            source.grab()
        source.close()

    def test_removed_while_it_loops_is_an_error(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "short.avi", count=2)
        source = source_for(str(path), pace="fast", loop=True)
        source.open()
        path.unlink()
        assert [source.grab(), source.grab()] == [True, True]
        with pytest.raises(SourceError, match="no such file"):
            source.grab()
        source.close()


class TestAddress:
    def test_may_be_a_file_url_with_escapes(self, clip: Path, tmp_path: Path) -> None:
        path = tmp_path / "a clip.avi"
        path.write_bytes(clip.read_bytes())
        source = source_for(path.as_uri(), pace="fast")
        source.open()
        assert source.grab()
        source.close()

    @pytest.mark.parametrize("url", ["rtsp://cam/1", "RTSPS://cam/1", "http://cam/mjpg", "https://cam/mjpg"])
    def test_on_the_network_is_live(self, url: str) -> None:
        assert source_for(url).live is True

    def test_of_another_scheme_is_refused_without_its_password(self) -> None:
        with pytest.raises(SourceError, match=r"ftp://cam:\*\*\*@host/x: can't read ftp://, use rtsp") as refusal:
            source_for("ftp://cam:hunter2@host/x")
        assert "hunter2" not in str(refusal.value)

    @pytest.mark.parametrize(
        "url", ["rtsp:///1", "rtsp://cam:hunter2@[::1/1", "rtsp://cam:hunter2@host:port/1", "rtsp://u:hunter2@/1"]
    )
    def test_that_is_malformed_is_refused_on_opening(self, url: str) -> None:
        with pytest.raises(SourceError, match=r"malformed|names no host") as refusal:
            source_for(url).open()
        assert "hunter2" not in str(refusal.value)

    def test_with_an_unknown_pace_is_a_mistake_of_the_caller(self) -> None:
        with pytest.raises(ValueError, match="must be one of live, fast"):
            source_for("clip.avi", pace="slow")


class TestOpenCv:
    def test_older_than_4_7_is_not_asked_for_a_thread_count(self, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class OldCapture:
            """OpenCV 4.5.4: an unknown property makes open() fail."""

            def __init__(self) -> None:
                self.capture = real()

            def open(self, url: str, backend: int, parameters: List[int]) -> bool:
                known = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
                return set(parameters[::2]) <= set(known) and self.capture.open(url, backend)

        real = cv2.VideoCapture
        monkeypatch.setattr(cv2, "VideoCapture", OldCapture)
        monkeypatch.setattr(cv2, "CAP_PROP_N_THREADS", 70, raising=False)
        with pytest.raises(SourceError):
            opencv.open_capture(str(clip), "")
        monkeypatch.delattr(cv2, "CAP_PROP_N_THREADS")
        opencv.open_capture(str(clip), "")

    def test_a_raised_cv2_error_does_not_carry_the_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Raising:
            def open(self, url: str, *_: object) -> bool:
                raise cv2.error(f"can't open {url}")

            def retrieve(self, _into: object = None) -> None:
                raise cv2.error("out of memory at rtsp://cam:hunter2@host/1")

        monkeypatch.setattr(cv2, "VideoCapture", Raising)
        with pytest.raises(SourceError, match="can't open rtsp://cam:") as refusal:
            opencv.open_capture("rtsp://cam:hunter2@host/1", "")
        assert "hunter2" not in str(refusal.value)
        assert refusal.value.__suppress_context__
        with pytest.raises(SourceError, match="out of memory") as refusal:
            opencv.picture(Raising())  # type: ignore[arg-type]
        assert "hunter2" not in str(refusal.value)

    def test_a_picture_that_can_not_be_converted_is_an_error(self) -> None:
        with pytest.raises(SourceError, match="can't be converted"):
            opencv.picture(cv2.VideoCapture())

    def test_options_of_the_user_are_kept(self, clip: Path) -> None:
        script = (
            "import os, sys\n"
            "from sightd.sources import source_for\n"
            "assert 'OPENCV_FFMPEG_LOGLEVEL' not in os.environ, 'importing must change nothing'\n"
            "source_for(sys.argv[1]).open()\n"
            "print(os.environ['OPENCV_FFMPEG_CAPTURE_OPTIONS'])\n"
        )
        command = [sys.executable, "-c", script, str(clip)]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV_")}

        def options(**environment: str) -> str:
            run = subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, check=True)
            return run.stdout.strip()

        assert options() == "rtsp_transport;tcp|fpsprobesize;2"
        assert options(OPENCV_FFMPEG_CAPTURE_OPTIONS="rtsp_transport;udp") == "rtsp_transport;udp"

    @pytest.mark.skipif(tuple(map(int, cv2.__version__.split(".")[:2])) < (4, 9), reason="needs OpenCV 4.9")
    def test_a_camera_that_never_answers_does_not_hold_up_the_others(self, clip: Path) -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            source = source_for(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/1")
            refusals: List[SourceError] = []

            def open_silent() -> None:
                try:
                    source.open()
                except SourceError as refusal:
                    refusals.append(refusal)

            thread = threading.Thread(target=open_silent)
            thread.start()
            silent.accept()[0].close()  # the test for reachability
            connection, _ = silent.accept()
            other = source_for(str(clip))
            other.open()
            other.close()
            assert thread.is_alive()
            thread.join()
            connection.close()
            assert "does not answer within 3 s" in str(refusals[0])


def test_numbered_pictures_can_be_read_back() -> None:
    for number in (0, 1, 255, 40_000, 65_535):
        assert read_number(numbered_picture(number)) == number
