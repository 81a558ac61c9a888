"""The daemon as a process with a real detector on clips whose truth is known: the right boxes, and when."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.messages import DetectionsMessage
from tests.parts.broker import Broker, collect
from tests.parts.daemon import running_daemon
from tests.shapes.bundle import write_shapes_bundle
from tests.shapes.published import against_truth, published
from tests.shapes.scene import Scene
from tests.shapes.writing import write_clip

FRAMES = 40
#: A clip's name -> its scene's seed, and width and height in pixels: each is letterboxed in its own way into a square.
#: The detector has no trouble with these scenes, for the daemon is under test.
CLIPS = {"wide.avi": (29, 640, 360), "high.mp4": (28, 240, 400), "square.mp4": (31, 160, 160)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds the clips and a bundle of the float detector."""
    write_shapes_bundle(tmp_path)
    for name, scene in CLIPS.items():
        write_clip(tmp_path / name, Scene(*scene), FRAMES)
    return tmp_path


def test_what_is_published_is_where_it_was_drawn(broker: Broker, folder: Path) -> None:
    cameras = "".join(f"  {Path(clip).stem}: {{url: {clip}, pace: fast, loop: false, max_fps: 0}}\n" for clip in CLIPS)
    config = f"node: box\nmqtt: {{port: {broker.port}}}\ncameras:\n{cameras}"
    with collect(broker, "sightd/box/+/detections") as seen, running_daemon(folder, config) as daemon:
        seen.wait_until(lambda c: len(c.messages) >= FRAMES * len(CLIPS), 60)
        assert daemon.stop() == 0
    for clip, (_, *size) in CLIPS.items():
        messages = published(seen, Path(clip).stem)
        assert [message.seq for message in messages] == list(range(FRAMES))
        assert {(message.width, message.height) for message in messages} == {tuple(size)}
        measured = against_truth(folder / clip, messages)
        assert measured.recall >= 0.95, (clip, measured)
        assert measured.precision >= 0.95, (clip, measured)
        assert measured.iou >= 0.85, (clip, measured)
        for message in messages:
            assert_plausible(message)


def assert_plausible(message: DetectionsMessage) -> None:
    """Of its times, and of the two ways in which it tells its boxes."""
    stages = message.latency_ms
    parts = (stages.decode, stages.wait, stages.resize, stages.infer, stages.post)
    assert min(parts) >= 0
    assert stages.infer > 0
    assert stages.total == pytest.approx(sum(parts), abs=0.1)
    since_ms = (message.published_at - message.captured_at) * 1000  # captured when it left the decoder
    assert stages.total - stages.decode - 3 <= since_ms < 10_000
    for one in message.objects:
        sides = (message.width, message.height) * 2
        assert one.box_norm == pytest.approx([value / side for value, side in zip(one.box, sides)], abs=1e-3)
