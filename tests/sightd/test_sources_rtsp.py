"""A camera that dies, hangs and returns, and the password in its address: on a real RTSP server."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Iterator, List, Tuple

import pytest

from sightd.errors import SourceError
from sightd.sources import frames, source_for
from tests.parts.clips import read_number, write_clip
from tests.parts.rtsp import RtspServer, age_s

PASSWORD = "hunter2@x"


class Viewer(threading.Thread):
    """Reads a camera on a thread of its own, as the daemon does, and notes what it sees."""

    def __init__(self, url: str) -> None:
        super().__init__(name="viewer")
        self._source = source_for(url)
        self._changed = threading.Condition()
        self._stop_event = threading.Event()
        self.states: List[Tuple[str, str]] = []
        self.ages_s: List[float] = []
        self.seqs: List[int] = []

    def run(self) -> None:
        for frame in frames("yard", self._source, max_fps=0, stop=self._stop_event, on_state=self._on_state):
            self.ages_s.append(age_s(frame.image))
            self.seqs.append(frame.seq)

    def _on_state(self, state: str, reason: str) -> None:
        with self._changed:
            self.states.append((state, reason))
            self._changed.notify_all()

    def wait_for(self, state: str, timeout_s: float) -> float:
        """Wait until the camera is *state* and return how long that took."""
        began = time.monotonic()
        with self._changed:
            assert self._changed.wait_for(lambda: bool(self.states) and self.states[-1][0] == state, timeout_s), (
                f"not {state} after {timeout_s} s: {self.states}"
            )
        return time.monotonic() - began

    def __enter__(self) -> Viewer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_event.set()
        self.join()


@pytest.fixture
def server() -> Iterator[RtspServer]:
    with RtspServer("clock:25") as server:
        yield server


def test_a_camera_that_dies_or_hangs_is_noticed_and_comes_back(server: RtspServer) -> None:
    with Viewer(server.url()) as viewer:
        viewer.wait_for("online", 5)
        time.sleep(0.3)
        server.kill()
        viewer.wait_for("offline", 3)
        assert "lost the connection" in viewer.states[-1][1]
        time.sleep(1.5)  # some attempts fail and the waits grow
        server.start()
        viewer.wait_for("online", 5)
        time.sleep(0.3)
        server.pause()
        viewer.wait_for("offline", 4)
        assert "stalled, no picture for 2.0 s" in viewer.states[-1][1]
        server.resume()
        viewer.wait_for("online", 5)
        time.sleep(0.3)
    assert [state for state, _ in viewer.states] == ["online", "offline", "online", "offline", "online"]
    assert max(viewer.ages_s) < 1.0, "a stale picture was taken for a live one"
    assert viewer.seqs == list(range(len(viewer.seqs)))


def test_a_camera_that_is_off_is_told_from_one_that_refuses(server: RtspServer) -> None:
    with pytest.raises(SourceError, match="there is no video: check the path, the user and the password"):
        source_for(server.url(7)).open()
    server.kill()
    with pytest.raises(SourceError, match=r"can't connect to 127\.0\.0\.1:\d+ \(.*refused.*\): check the address"):
        source_for(server.url()).open()


def test_a_viewer_who_comes_between_two_key_frames_waits_for_the_next(tmp_path: Path) -> None:
    count = 60
    clip = write_clip(tmp_path / "numbers.avi", count=count, fps=12)  # a key frame every 30 pictures, 2.5 s
    with RtspServer(str(clip)) as server:
        first, second = source_for(server.url()), source_for(server.url())
        first.open()
        second.open()
        numbers = []
        for _ in range(5):
            second.grab()
            numbers.append(read_number(second.retrieve()))
        assert numbers == [(numbers[0] + step) % count for step in range(5)]
        second.close()
        first.close()


class TestPassword:
    def test_opens_the_camera(self) -> None:
        with RtspServer("clock:25", user="cam", password="hunter2") as server:
            source = source_for(server.url())
            source.open()
            assert source.grab()
            source.close()

    def test_appears_nowhere(self, server: RtspServer, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        url = server.url(9).replace("rtsp://", f"rtsp://cam:{PASSWORD}@")
        with Viewer(url) as viewer:
            viewer.wait_for("offline", 5)
        assert "cam:***@127.0.0.1" in viewer.states[0][1]
        assert "hunter" not in viewer.states[0][1] + caplog.text

    @pytest.mark.parametrize("mount", [0, 9])
    def test_is_not_printed_by_opencv_or_ffmpeg_either(self, server: RtspServer, mount: int) -> None:
        script = (
            "import sys\n"
            "from sightd.sources import source_for\n"
            "source = source_for(sys.stdin.read())\n"
            "source.open()\n"
            "print(source.grab())\n"
        )
        debugging = {"OPENCV_LOG_LEVEL": "DEBUG", "OPENCV_FFMPEG_DEBUG": "1", "OPENCV_FFMPEG_LOGLEVEL": "56"}
        url = server.url(mount).replace("rtsp://", f"rtsp://cam:{PASSWORD}@")
        command = [sys.executable, "-c", script]
        environment = {**os.environ, **debugging}
        run = subprocess.run(command, env=environment, input=url, capture_output=True, text=True, check=False)
        assert ("True" in run.stdout) is (mount == 0), "a password that nobody asked for does no harm"
        assert "hunter" not in run.stdout + run.stderr
