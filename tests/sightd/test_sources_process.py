"""A source in a process of its own: its pictures, its end, and what it may do to itself without doing it to us."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List

import cv2
import numpy as np
import pytest

from sightd.errors import SourceError, StalledError
from sightd.sources import Source, frames, process, source_for
from sightd.sources import decoder_process as module
from sightd.sources.decoder_wire import Answer
from sightd.sources.shared_pictures import MOST_SLOTS
from tests.parts.bad_sources import Bad, write_crashing_clip
from tests.parts.clips import numbered_picture, read_number, write_clip
from tests.parts.decoding import in_process, is_there, pid_of, read, wait_until

PASSWORD = "hunter2"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "numbers.avi", count=30)


def fast(path: Path) -> Callable[[], Source]:
    return partial(source_for, str(path), pace="fast")


class TestPictures:
    def test_are_those_of_the_clip_and_can_be_read_again_from_the_start(self, clip: Path) -> None:
        with in_process(fast(clip)) as source:
            for _ in range(2):
                source.open()
                numbers = []
                while source.grab():
                    numbers.append(read_number(source.retrieve()))
                assert numbers == list(range(30))
                assert source.clock_s() == pytest.approx(30 / 25, abs=0.1)
                source.close()
            assert (source.live, source.is_camera) == (False, False)
            assert source.cpu_s() > 0

    def test_stay_as_they_are_however_many_are_kept(self, clip: Path) -> None:
        with in_process(fast(clip)) as source:
            source.open()
            kept = [source.retrieve() for _ in range(3 * MOST_SLOTS) if source.grab()]
            assert [read_number(image) for image in kept] == list(range(3 * MOST_SLOTS))

    def test_are_not_copied_and_their_memory_is_used_again(self, clip: Path) -> None:
        with in_process(fast(clip)) as source:
            source.open()
            addresses = set()
            while source.grab():
                addresses.add(source.retrieve().ctypes.data)
            assert len(addresses) <= 2

    def test_are_kept_by_a_part_of_them_too(self, clip: Path) -> None:
        with in_process(fast(clip)) as source:
            source.open()
            source.grab()
            part = source.retrieve()[10:200, ::2]
            before = part.copy()
            while source.grab():
                source.retrieve()
            np.testing.assert_array_equal(part, before)

    def test_may_become_larger(self) -> None:
        with in_process(partial(Bad, "grow")) as source:
            source.open()
            images = [source.retrieve() for _ in range(6) if source.grab()]
        assert [image.shape for image in images] == 3 * [(240, 320, 3)] + 3 * [(480, 640, 3)]
        assert [read_number(image) for image in images] == list(range(6))

    def test_cost_one_question_each(self, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: List[str] = []
        ask = module.DecoderProcess.ask

        def counted(self: module.DecoderProcess, request: Dict[str, Any], *args: Any, **options: Any) -> Answer:
            asked.append(request["do"])
            return ask(self, request, *args, **options)

        monkeypatch.setattr(module.DecoderProcess, "ask", counted)
        with in_process(fast(clip)) as source:
            read(source, openings=1)
            asked.clear()
            read(source, openings=1)
        assert asked == ["open", *["grab"] * 31]

    def test_that_are_not_wanted_are_not_made(self, caplog: pytest.LogCaptureFixture) -> None:
        stop = threading.Event()
        seqs: List[int] = []
        with in_process(partial(Bad, "tell", 1_000_000)) as source:
            for frame in frames("yard", source, max_fps=20, stop=stop, on_state=lambda *_: None):
                seqs.append(read_number(frame.image))
                if len(seqs) == 5:
                    stop.set()
        assert seqs[-1] > 5, "it grabs as fast as it can"
        told = [record.getMessage() for record in caplog.records if "retrieved" in record.getMessage()]
        assert told == [f"retrieved {number + 1}" for number in seqs]

    def test_outlive_the_process(self, clip: Path) -> None:
        with in_process(fast(clip)) as source:
            source.open()
            source.grab()
            image = source.retrieve()
        gc.collect()
        assert read_number(image) == 0


class TestContainment:
    def test_a_clip_that_aborts_the_process_that_reads_it_does_nothing_to_us(self, tmp_path: Path) -> None:
        clip = write_crashing_clip(tmp_path / "bad.avi")
        program = "import cv2, sys\nc = cv2.VideoCapture(sys.argv[1])\nwhile c.grab(): c.retrieve()\nc.release()"
        alone = subprocess.run([sys.executable, "-c", program, str(clip)], capture_output=True, check=False)
        if alone.returncode >= 0:
            pytest.skip("this OpenCV reads the clip")
        with in_process(fast(clip)) as source, pytest.raises(SourceError, match=r"crashed \(SIG(ABRT|SEGV|BUS)\)"):
            read(source, openings=20)  # memory is damaged at every picture; when that shows is chance

    def test_a_crash_is_a_camera_that_is_lost_and_opened_again(self) -> None:
        states: List[str] = []
        stop = threading.Event()
        with in_process(partial(Bad, "crash", live=True)) as source:
            numbers = []
            for frame in frames(
                "yard", source, max_fps=0, stop=stop, on_state=lambda state, reason: states.append(f"{state}: {reason}")
            ):
                numbers.append((frame.seq, read_number(frame.image)))
                if frame.seq == 5:
                    stop.set()
        assert numbers == [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1), (5, 2)]
        assert states[1] == "offline: the decoder process crashed (SIGSEGV); it is started anew"
        assert [state.partition(":")[0] for state in states] == ["online", "offline", "online"]

    def test_a_process_that_hangs_is_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process, "_HANGS_S", 0.5)
        with in_process(partial(Bad, "hang")) as source:
            source.open()
            pid = pid_of(source)
            with pytest.raises(StalledError, match="did not answer for 2 s and was ended"):
                read(source)
            wait_until(lambda: not is_there(pid))
            source.open()
            assert source.grab()
            assert pid_of(source) != pid

    def test_one_that_is_stuck_is_ended_long_before_one_that_waits_for_a_slow_network(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(process, "_SILENT_S", 1.5)
        with in_process(partial(Bad, "wait")) as slow, in_process(partial(Bad, "hang")) as stuck:
            for source in (slow, stuck):
                source.open()
                for _ in range(3):
                    assert source.grab()
            began = time.monotonic()
            with pytest.raises(StalledError, match="did not answer for 3 s"):
                stuck.grab()
            assert time.monotonic() - began < process._HANGS_S
            began = time.monotonic()
            assert slow.grab()
            assert time.monotonic() - began >= 4.5

    def test_one_that_takes_more_and_more_memory_is_ended_and_that_is_told(self) -> None:
        with in_process(partial(Bad, "leak")) as source, in_process(Bad) as other:
            other.open()
            source.open()
            with pytest.raises(
                SourceError, match=r"took more than \d+ MiB of memory and was ended; it is started anew"
            ):
                read(source)
            source.open()
            assert source.grab()
            assert other.grab()

    def test_the_kernel_ends_it_before_the_daemon_when_memory_runs_out(self) -> None:
        with in_process(Bad) as source:
            source.open()
            ours, its = (int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (os.getpid(), pid_of(source)))
            assert its == min(ours + 200, 1000)

    def test_one_that_is_stopped_is_ended_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process, "_HANGS_S", 0.5)
        with in_process(Bad) as source:
            source.open()
            os.kill(pid_of(source), signal.SIGSTOP)
            with pytest.raises(StalledError):
                source.grab()

    @pytest.mark.parametrize(
        ("how", "kind", "says"),
        [
            ("stall", StalledError, "stalled"),
            ("lose", SourceError, "lost"),
            ("bug", SourceError, "ZeroDivisionError"),
        ],
    )
    def test_what_the_source_says_is_said_without_passwords(self, how: str, kind: type, says: str) -> None:
        with in_process(partial(Bad, how, 0)) as source:
            source.open()
            with pytest.raises(SourceError, match=says) as told:
                source.grab()
            assert type(told.value) is kind
            assert PASSWORD not in str(told.value)
            source.open()

    def test_one_that_shows_a_picture_a_day_is_in_order(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "1.png"), numbered_picture(1, 320, 240))
        with in_process(partial(source_for, str(tmp_path), picture_fps=1 / 86400)) as source:
            source.open()
            assert source.grab(), "the first at once"
            assert source.patience_s() > 86400

    def test_one_that_had_no_memory_for_a_picture_once_is_not_lost_for_ever(self, clip: Path) -> None:
        with in_process(fast(clip)) as source:
            source.open()
            assert source.grab()
            resource.prlimit(pid_of(source), resource.RLIMIT_AS, (1, resource.RLIM_INFINITY))
            with pytest.raises(SourceError):
                source.retrieve()
            source.close()
            source.open()
            assert source.grab()
            assert read_number(source.retrieve()) == 0

    def test_what_it_logs_is_logged_here(self, caplog: pytest.LogCaptureFixture) -> None:
        with in_process(Bad) as source:
            source.open()
        said = [record for record in caplog.records if record.name == "sightd.sources.bad"]
        assert [(one.levelno, one.getMessage()) for one in said] == [(logging.WARNING, "opened rtsp://cam:***@host/1")]


class TestEnd:
    def test_of_a_source_ends_its_process(self) -> None:
        with in_process(Bad) as source:
            source.open()
            pid = pid_of(source)
        wait_until(lambda: not is_there(pid))
        with pytest.raises(SourceError, match="not open"):
            source.grab()

    def test_of_the_server_ends_all_and_another_is_started(self) -> None:
        with in_process(Bad) as source:
            source.open()
            pid = pid_of(source)
            assert module._server._process is not None
            module._server._process.kill()
            with pytest.raises(SourceError, match="the decoder process is gone"):
                read(source)
            wait_until(lambda: not is_there(pid))
            source.open()
            assert source.grab()

    def test_of_a_server_that_hangs_comes_when_it_is_asked_and_another_is_started(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(module, "_FORK_S", 1.0)
        with in_process(Bad) as source, in_process(Bad) as other:
            source.open()
            server = module._server._process
            assert server is not None
            os.kill(server.pid, signal.SIGSTOP)
            assert source.grab(), "its decoders need it no more"
            other.open()
            assert other.grab()
            assert not is_there(server.pid)
            assert "is gone, or hangs; it is started anew" in caplog.text
            with pytest.raises(SourceError, match="the decoder process is gone; it is started anew"):
                source.grab()
            source.open()
            assert source.grab()

    def test_of_the_daemon_by_kill_9_ends_them_even_in_the_middle_of_a_hang(self, tmp_path: Path) -> None:
        script = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "from functools import partial\n"
            "from sightd.sources import ProcessSource\n"
            "from tests.parts.bad_sources import Bad\n"
            "source = ProcessSource('yard', partial(Bad, 'never opens'))\n"
            "import threading; threading.Thread(target=source.open, daemon=True).start()\n"
            "import time\n"
            "while source._process is None or not source._process._pid: time.sleep(0.01)\n"
            "from sightd.sources import decoder_process\n"
            "print(source._process._pid, decoder_process._server._process.pid, flush=True)\n"
            "time.sleep(1000)\n"
        )
        root = str(Path(__file__).parents[2])
        with subprocess.Popen([sys.executable, "-c", script, root], stdout=subprocess.PIPE, text=True) as daemon:
            assert daemon.stdout is not None
            pids = [int(pid) for pid in daemon.stdout.readline().split()]
            assert len(pids) == 2
            assert all(map(is_there, pids))
            daemon.kill()
        for pid in pids:
            wait_until(lambda pid=pid: not is_there(pid))  # type: ignore[misc]

    def test_leaves_no_descriptor_behind(self) -> None:
        def count() -> int:
            return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

        with in_process(Bad) as source:
            source.open()  # the server has its own
        gc.collect()
        before = count()
        for _ in range(3):
            with in_process(partial(Bad, "crash")) as source, pytest.raises(SourceError):
                read(source, openings=1)
        gc.collect()
        assert count() == before


def test_the_server_has_one_thread_for_it_forks() -> None:
    with in_process(Bad) as source:
        source.open()
        server = module._server._process
        assert server is not None
        assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) == 1


def test_the_process_shows_its_camera_and_neither_address_nor_memory() -> None:
    address = f"rtsp://cam:{PASSWORD}@127.0.0.1:9/1"
    with in_process(partial(source_for, address)) as source:
        with pytest.raises(SourceError, match=r"cam:\*\*\*@127.0.0.1:9/1: can't connect"):
            source.open()
        proc = Path(f"/proc/{pid_of(source)}")
        assert (proc / "comm").read_text() == "yard\n"
        for name in ("cmdline", "environ"):
            assert PASSWORD not in (proc / name).read_text("utf-8", "replace")
        limits = next(line for line in (proc / "limits").read_text().splitlines() if line.startswith("Max core"))
        assert limits.split()[4:6] == ["0", "0"]
        os.kill(pid_of(source), signal.SIGINT)  # the terminal's Ctrl-C is the daemon's
        os.kill(pid_of(source), signal.SIGTERM)  # systemd sends it to all processes of the service
        with pytest.raises(SourceError, match="can't connect"):
            source.open()
