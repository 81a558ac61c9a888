"""GStreamer's pipelines: the user's own, ours for a Jetson (parsed only), and what is told when one fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest

from sightd.errors import SourceError
from sightd.settings.device_url import csi_camera
from sightd.sources import fallback, gst_library, gstreamer, network, source_for
from sightd.sources.pipelines import csi_pipeline, rtsp_pipeline, user_pipeline
from tests.parts.clips import read_number
from tests.parts.clips_encoded import H264, write_encoded
from tests.parts.requires import require
from tests.parts.rtsp import RtspServer, age_s

JETSON_ELEMENTS = Path(__file__).parents[1] / "parts/jetson_elements.py"


@pytest.fixture
def _gstreamer() -> None:
    require("gstreamer")


@pytest.mark.usefixtures("_gstreamer")
class TestUsersPipeline:
    @pytest.mark.parametrize(
        "text",
        [
            "gst: videotestsrc is-live=true pattern=red ! video/x-raw,width=318,height=200",
            "gst:videotestsrc is-live=true pattern=red ! video/x-raw,width=318,height=200 !",
            "gst: videotestsrc is-live=true pattern=red ! video/x-raw,format=BGR,width=318,height=200 ! appsink",
            "gst: videotestsrc pattern=red ! video/x-raw,width=318,height=200 ! videoconvert ! appsink name=mine",
        ],
    )
    def test_may_lack_the_appsink_and_gives_bgr(self, text: str) -> None:
        source = source_for(text)
        source.open()
        assert source.grab()
        image = source.retrieve()
        source.close()
        assert image.shape == (200, 318, 3)
        assert np.abs(image.astype(int) - (0, 0, 255)).max() < 3

    def test_gives_the_newest_picture_to_a_slow_reader(self) -> None:
        source = source_for("gst: videotestsrc is-live=true ! video/x-raw,framerate=50/1")
        source.open()
        time.sleep(0.5)
        before = time.monotonic()
        for _ in range(10):
            source.grab()
        assert time.monotonic() - before > 0.1, "ten pictures had piled up"
        source.close()

    def test_with_an_appsink_that_has_no_bound_does_not_fill_the_memory(self) -> None:
        source = source_for("gst: videotestsrc ! video/x-raw,format=BGR,width=640,height=480 ! appsink sync=false")
        source.open()
        before = rss_mb()
        time.sleep(0.5)
        assert rss_mb() - before < 50, "several hundred megabytes had piled up"
        source.close()

    def test_with_a_bound_of_its_own_keeps_it(self) -> None:
        source = source_for("gst: videotestsrc num-buffers=5 ! videoconvert ! appsink max-buffers=9 sync=false")
        source.open()
        time.sleep(0.3)
        assert all(source.grab() for _ in range(4)), "all five were kept"
        source.close()

    def test_may_give_a_picture_every_two_seconds_and_stalls_by_that_measure(self) -> None:
        source = source_for("gst: videotestsrc is-live=true ! video/x-raw,framerate=1/2")
        source.open()
        assert all(source.grab() for _ in range(2))
        assert source.patience_s() > 4
        source.close()
        quick = source_for("gst: videotestsrc is-live=true ! video/x-raw,framerate=25/1")
        quick.open()
        assert all(quick.grab() for _ in range(3))
        assert quick.patience_s() == network.STALLED_S
        quick.close()

    def test_that_ends_is_opened_again_like_a_camera_that_was_lost(self, tmp_path: Path) -> None:
        clip = write_encoded(tmp_path / "clip.mp4", H264, count=10)
        source = source_for(f"gst: filesrc location={clip} ! decodebin ! videoconvert ! appsink sync=false")
        source.open()
        with pytest.raises(SourceError, match="the stream has ended"):  # noqa: PT012  (it may come at any of them)
            for _ in range(20):
                source.grab()
        source.open()
        assert source.grab()
        assert read_number(source.retrieve()) < 10
        source.close()

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("nosuchsrc ! fakesink", "no element nosuchsrc; install the plug-in that has it, or correct its name"),
            ("videotestsrc ! nvvidconv", r"no element nvvidconv; sudo apt install nvidia-l4t-gstreamer"),
            ("videotestsrc patern=red", 'no property "patern" in element "videotestsrc"'),
            ("videotestsrc ! (", "syntax error"),
            ("filesrc location=/gone.mp4 ! decodebin", "No such file"),
            ("v4l2src device=/dev/video99", "Cannot identify device '/dev/video99'"),
            ("videotestsrc ! video/x-raw,format=I420 ! appsink", "not-negotiated.*must be BGR in the CPU's memory"),
            ("rtspsrc location=rtsp://u:hunter2@127.0.0.1:9/1 user-pw=hunter2 ! decodebin", "(?s)Could not|Failed"),
            ("rtspsrc user-pw=hunter2 location=rtsp://u:hunter2@h ! nosuch", "gst: rtspsrc ...: .*no element nosuch"),
            ('souphttpsrc extra-headers="h,Authorization=\\"Basic hunter2\\"" ! nosuch', "no element nosuch"),
            ("rtspsrc location='rtsp://u:a hunter2@h' ! nosuch", "no element nosuch"),
        ],
    )
    def test_that_fails_says_why_and_tells_no_password(self, text: str, says: str) -> None:
        source = source_for(f"gst: {text}")
        with pytest.raises(SourceError, match=says) as refusal:  # noqa: PT012  (some fail with their first picture)
            source.open()
            source.grab()
        assert "hunter2" not in str(refusal.value)
        assert refusal.value.__suppress_context__
        source.close()


@pytest.mark.usefixtures("_gstreamer")
class TestRtsp:
    def test_falls_back_to_ffmpeg_where_the_jetsons_decoder_fails_and_says_so_once(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        for module in ("sightd.sources", "sightd.sources.gstreamer"):
            monkeypatch.setattr(f"{module}.has_jetson_decoder", lambda: True)  # and it is not there
        with RtspServer("clock:25") as server:
            source = source_for(server.url())
            assert isinstance(source, fallback.FallbackSource)
            for _ in range(2):
                source.open()
                assert source.grab()
                assert age_s(source.retrieve()) < 1.0
            source.close()
        assert caplog.text.count("FFmpeg decodes on the CPU, for GStreamer fails: ") == 1
        assert "sudo apt install nvidia-l4t-gstreamer" in caplog.text

    def test_that_nobody_can_read_is_told_as_gstreamer_tells_it(self) -> None:
        with RtspServer("clock:25") as server:
            both = [source_for(server.url(7), decoder=decoder) for decoder in ("gstreamer", "ffmpeg")]
            with pytest.raises(SourceError, match="/7: there is no such stream: check the path"):
                fallback.FallbackSource(*both).open()

    def test_a_decoder_that_is_missing_is_named_with_its_package(self) -> None:
        script = (
            "import sys\nfrom sightd.errors import SourceError\nfrom sightd.sources import source_for\n"
            "try:\n    source_for(sys.argv[1], decoder='gstreamer').open()\n"
            "except SourceError as error:\n    print(error)"
        )
        without = {**os.environ, "GST_PLUGIN_FEATURE_RANK": "avdec_h265:NONE,libde265dec:NONE"}
        with RtspServer("clock:25:25:h265") as server:
            command = [sys.executable, "-c", script, server.url()]
            done = subprocess.run(command, env=without, capture_output=True, text=True, check=True, timeout=60)
        assert "GStreamer can't decode H.265" in done.stdout
        assert "sudo apt install gstreamer1.0-libav" in done.stdout

    def test_keeps_a_difficult_password_apart_from_the_text(self) -> None:
        text = rtsp_pipeline('rtsp://cam:p%40"x !y@192.0.2.1:554/a?b=c', "h264", jetson=True)
        assert "192.0.2.1" not in text.text
        assert {key: value for _, key, value in text.secrets} == {
            "location": "rtsp://192.0.2.1:554/a?b=c",
            "user-id": "cam",
            "user-pw": 'p@"x !y',
        }
        assert "p@" not in repr(text)


class TestJetson:
    def test_is_not_looked_for_elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(name: str) -> bool:
            raise AssertionError("GStreamer was loaded")

        monkeypatch.setattr(gstreamer, "has_element", fail)
        monkeypatch.setattr(gstreamer, "_L4T", tmp_path / "gone")
        gstreamer.has_jetson_decoder.cache_clear()
        assert gstreamer.has_jetson_decoder() is False

    @pytest.mark.usefixtures("_gstreamer")
    def test_without_its_elements_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "release").touch()
        monkeypatch.setattr(gstreamer, "_L4T", tmp_path / "release")
        gstreamer.has_jetson_decoder.cache_clear()
        assert gstreamer.has_jetson_decoder() is False
        monkeypatch.setattr(gstreamer, "JETSON_ELEMENTS", ("identity", "queue"))
        gstreamer.has_jetson_decoder.cache_clear()
        assert gstreamer.has_jetson_decoder() is True
        gstreamer.has_jetson_decoder.cache_clear()

    def test_pipelines_are_understood_by_gstreamer(self) -> None:
        """With stand-ins for NVIDIA's elements: names, properties and links are right; no camera was opened."""
        require("gst-rtsp-server")
        require("gstreamer")
        csi = ("csi://0", "csi://1?width=1920&height=1080&fps=29.97&flip=2&mode=3", "csi://0?flip=6")
        texts = [csi_pipeline(csi_camera(url)).text for url in csi]
        texts += [
            rtsp_pipeline("rtsp://h/1", codec, jetson=jetson).text
            for codec in ("auto", "h264", "h265", "mjpeg")
            for jetson in (True, False)
        ]
        assert parsed_with_stand_ins(texts) == dict.fromkeys(texts, "OK")
        assert "width=1920,height=1080,framerate=30000/1001" in texts[1]
        wrong = texts[1].replace("sensor-mode", "sensormode")
        assert parsed_with_stand_ins([wrong]) == {wrong: 'no property "sensormode" in element "nvarguscamerasrc"'}

    def test_csi_elsewhere_says_what_is_missing(self) -> None:
        require("gstreamer")
        with pytest.raises(
            SourceError, match=r"csi://0: GStreamer has no element nvarguscamerasrc; sudo apt install nv"
        ):
            source_for("csi://0").open()


def test_a_pipeline_that_already_ends_in_an_appsink_keeps_its_name() -> None:
    assert user_pipeline("videotestsrc ! appsink name=out max-buffers=3").sink == "out"
    named = user_pipeline("videotestsrc ! appsink max-buffers=3")
    assert (named.sink, named.text) == ("sightd", "videotestsrc ! appsink name=sightd max-buffers=3")


def test_without_gstreamer_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def __init__(self) -> None:
            raise OSError("libgstreamer-1.0.so.0: cannot open shared object file")

    monkeypatch.setattr(gst_library, "Library", Missing)
    gst_library.library.cache_clear()
    try:
        assert gst_library.has_element("identity") is False
        with pytest.raises(SourceError, match=r"GStreamer is not installed .*; sudo apt install libgstreamer1\.0-0"):
            source_for("gst: videotestsrc").open()
    finally:
        gst_library.library.cache_clear()


def rss_mb() -> float:
    resident = Path("/proc/self/statm").read_text().split()[1]
    return int(resident) * os.sysconf("SC_PAGE_SIZE") / 2**20


def parsed_with_stand_ins(texts: List[str]) -> Dict[str, str]:
    command = ["/usr/bin/python3", str(JETSON_ELEMENTS)]
    done = subprocess.run(command, input="\n".join(texts), capture_output=True, text=True, check=True, timeout=60)
    assert "out of range" not in done.stderr
    return dict(zip(texts, done.stdout.splitlines()))
