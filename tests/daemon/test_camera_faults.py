"""Cameras that fail beside others: what is said of them, how soon, what is inferred; and the others don't notice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from pathlib import Path
from typing import Iterator, List

import pytest

from daemon.plan import CameraPlan
from sightd.sources import decoder_process
from sightd.sources.network import STALLED_S
from tests.parts.clips_encoded import H264, write_encoded
from tests.parts.proxy import Proxy
from tests.parts.rtsp import RtspServer
from tests.parts.watched_cameras import WatchedCameras

pytestmark = pytest.mark.slow

FPS = 10
#: What this machine may add while it does other things.
SLACK_S = 1.0
#: A picture of a camera that is well is younger.
STALE_S = 1.5


@contextlib.contextmanager
def servers(count: int) -> Iterator[List[RtspServer]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(RtspServer(f"clock:{FPS}")) for _ in range(count)]


@pytest.fixture(params=["process", "thread"])
def decoding(request: pytest.FixtureRequest) -> str:
    decoding: str = request.param
    return decoding


def test_one_of_four_cameras_freezes_then_dies_and_the_others_go_on(decoding: str) -> None:
    with servers(4) as running:
        plans = {f"cam{i}": CameraPlan(server.url(), decoding=decoding) for i, server in enumerate(running)}
        with WatchedCameras(plans) as cameras:
            for name in plans:
                cameras.wait_for(name, "online")
            began = time.monotonic()
            time.sleep(6)

            frozen_at = time.monotonic()
            running[0].pause()
            noticed_s = cameras.wait_for("cam0", "frozen") - frozen_at
            time.sleep(6)
            assert cameras.states("cam0")[-1] == "frozen", "its next attempts are not answered"
            thawed_at = time.monotonic()
            running[0].resume()
            back_s = cameras.wait_for_picture("cam0", thawed_at) - thawed_at

            time.sleep(1)
            killed_at = time.monotonic()
            running[0].kill()
            missed_s = cameras.wait_for("cam0", "offline") - killed_at
            time.sleep(4)
            running[0].start()
            returned_at = time.monotonic()
            returned_s = cameras.wait_for_picture("cam0", returned_at) - returned_at
            ended = time.monotonic()
        assert noticed_s <= 2 * STALLED_S + SLACK_S
        assert back_s <= 2 + SLACK_S
        assert missed_s <= 1 + SLACK_S
        assert returned_s <= 5 + SLACK_S
        assert cameras.states("cam0")[1:] == ["online", "frozen", "online", "offline", "online"]
        assert max(one.age_s for one in cameras.seen("cam0")) < STALE_S, "a stale picture was inferred"
        for name in list(plans)[1:]:
            rates = [cameras.rate(name, began, frozen_at), cameras.rate(name, frozen_at, ended)]
            assert rates[1] == pytest.approx(rates[0], rel=0.1)
            assert cameras.states(name)[1:] == ["online"]


def test_a_stream_that_stands_still_for_seconds_is_frozen_and_goes_on_over_its_connection(decoding: str) -> None:
    """As where TCP has to send a packet again and again; what piled up meanwhile is not looked at."""
    with servers(1) as (server,), Proxy(server.port) as proxy:
        plan = CameraPlan(f"rtsp://127.0.0.1:{proxy.port}/0", decoding=decoding)
        with WatchedCameras({"cam0": plan}) as cameras:
            cameras.wait_for("cam0", "online")
            time.sleep(2)
            connections, stalled_at = proxy.connections, time.monotonic()
            proxy.stall()
            noticed_s = cameras.wait_for("cam0", "frozen") - stalled_at
            time.sleep(4)  # longer than a decoder that is stuck is left alone
            healed_at = time.monotonic()
            proxy.heal()
            back_s = cameras.wait_for_picture("cam0", healed_at) - healed_at
            cameras.wait_for("cam0", "online")
            time.sleep(1)
        assert proxy.connections == connections
        assert STALLED_S - STALE_S < noticed_s <= STALLED_S + SLACK_S
        assert back_s <= 2 + SLACK_S
        assert cameras.states("cam0")[1:] == ["online", "frozen", "online"]
        assert max(one.age_s for one in cameras.seen("cam0")) < STALE_S, "a stale picture was inferred"


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """The address of a camera that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"rtsp://127.0.0.1:{listener.getsockname()[1]}/0"


def test_a_camera_that_takes_the_connection_and_says_nothing_is_frozen_within_the_bounds_of_opening(
    decoding: str,
) -> None:
    with black_hole() as url, WatchedCameras({"hole": CameraPlan(url, decoding=decoding)}) as cameras:
        began = time.monotonic()
        assert cameras.wait_for("hole", "frozen") - began <= 3 + SLACK_S
        assert "does not answer within 3 s" in cameras.reason("hole")


def test_a_decoder_process_that_is_stuck_is_frozen_and_replaced() -> None:
    """As when a library waits for ever; here the process is stopped."""
    with servers(2) as running:
        plans = {f"cam{i}": CameraPlan(server.url()) for i, server in enumerate(running)}
        with WatchedCameras(plans) as cameras:
            for name in plans:
                cameras.wait_for(name, "online")
            time.sleep(2)
            stuck_at = time.monotonic()
            signal_decoder("cam0", signal.SIGSTOP)
            noticed_s = cameras.wait_for("cam0", "frozen") - stuck_at
            back_s = cameras.wait_for("cam0", "online") - stuck_at
            signal_decoder("cam0", signal.SIGSEGV)
            cameras.wait_for("cam0", "offline")
            assert "crashed (SIGSEGV)" in cameras.reason("cam0")
            cameras.wait_for("cam0", "online")
            assert cameras.states("cam1")[1:] == ["online"]
        assert noticed_s < STALLED_S + SLACK_S
        assert back_s < STALLED_S + 2 + 2 + SLACK_S


def test_a_server_of_decoders_that_is_stuck_is_replaced_and_all_cameras_come_back() -> None:
    with servers(2) as running:
        plans = {f"cam{i}": CameraPlan(server.url()) for i, server in enumerate(running)}
        with WatchedCameras(plans) as cameras:
            for name in plans:
                cameras.wait_for(name, "online")
            server = decoder_process._server._process
            assert server is not None
            stuck_at = time.monotonic()
            os.kill(server.pid, signal.SIGSTOP)
            signal_decoder("cam0", signal.SIGKILL)  # which its server does not tell
            cameras.wait_for("cam0", "frozen")
            cameras.wait_for("cam0", "online")
            assert time.monotonic() - stuck_at < 40, "it took a minute, again and again"
            assert server.poll() == -signal.SIGKILL
            cameras.wait_for_picture("cam1", time.monotonic())


def test_a_stream_whose_pictures_are_damaged_on_the_way_is_corrupt_and_looked_at(tmp_path: Path) -> None:
    whole, damaged = write_encoded(tmp_path / "whole.ts", H264, count=100, fps=10), tmp_path / "damaged.ts"
    data, generator = bytearray(whole.read_bytes()), random.Random(1)
    for packet in range(188 * 40, len(data) - 188, 188 * 9):
        for byte in range(packet + 60, packet + 180, 11):
            data[byte] = generator.randrange(256)
    damaged.write_bytes(data)
    with RtspServer(str(whole), str(damaged)) as server:
        plans = {name: CameraPlan(server.url(mount)) for mount, name in enumerate(["whole", "damaged"])}
        with WatchedCameras(plans) as cameras:
            corrupt_at = cameras.wait_for("damaged", "corrupt")
            assert "of the pictures are damaged" in cameras.reason("damaged")
            cameras.wait_for_picture("damaged", corrupt_at)
            assert cameras.states("whole")[1:] == ["online"]


def signal_decoder(camera: str, number: signal.Signals) -> None:
    server = decoder_process._server._process
    assert server is not None
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    pid = next(pid for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == camera)
    os.kill(int(pid), number)
