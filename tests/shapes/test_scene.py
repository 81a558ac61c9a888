"""The generator: the same for a seed, and its truth is where the pixels are."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Dict, List, Set

import cv2
import numpy as np
import pytest

from converter.agreement.ground_truth import read_ground_truth, read_labelled_image
from sightd.sources import source_for
from tests.shapes.drawing import LABELS
from tests.shapes.scene import Scene, ShapeTruth, picture
from tests.shapes.writing import read_truth, write_clip, write_frames, write_labelled

FRAMES = 60


@pytest.fixture(scope="module")
def lives() -> List[List[ShapeTruth]]:
    """The truth of a scene over a minute, a frame a second."""
    return [truth for _, truth in Scene(7, 320, 180, fps=1).frames(FRAMES)]


def test_a_seed_makes_the_same_frames_alone_and_in_any_order() -> None:
    scene, again = Scene(3, 320, 180), Scene(3, 320, 180)
    for number in (9, 0, 9):
        (image, truth), (other, other_truth) = scene.frame(number), again.frame(number)
        assert np.array_equal(image, other)
        assert truth == other_truth
    assert not np.array_equal(scene.frame(0)[0], scene.frame(1)[0])
    assert not np.array_equal(scene.frame(0)[0], Scene(4, 320, 180).frame(0)[0])


def test_every_class_comes_and_red_is_red() -> None:
    truth = [(image, one) for seed in range(40) for image, found in (picture(seed, 320, 180),) for one in found]
    assert {one.class_id for _, one in truth} == set(range(len(LABELS)))
    for image, one in truth:
        if one.visible < 0.99:
            continue
        x, y = (one.box[0] + one.box[2]) // 2, (one.box[1] + one.box[3]) // 2
        blue, _, red = image[y, x].astype(int)
        assert (red > blue) == LABELS[one.class_id].startswith("red"), (one, image[y, x])


def test_boxes_enclose_what_differs_from_a_scene_without_the_object() -> None:
    scene = Scene(11, 320, 180)
    image, truth = scene.frame(0)
    for one in truth:
        emptier = Scene(11, 320, 180)
        del emptier._movers[one.object_id % len(emptier._movers)]
        changed = np.argwhere((emptier.frame(0)[0] != image).any(axis=2))
        (y1, x1), (y2, x2) = changed.min(axis=0), changed.max(axis=0) + 1
        assert np.abs(np.array([x1, y1, x2, y2]) - one.box).max() <= 1, one  # soft edges reach a pixel further


def test_objects_come_in_leave_hide_and_change_their_size(lives: List[List[ShapeTruth]]) -> None:
    ids = [{one.object_id for one in truth} for truth in lives]
    first_seen = [min(n for n, seen in enumerate(ids) if key in seen) for key in set().union(*ids)]
    assert sum(first > 0 for first in first_seen) >= 5
    classes = {(one.object_id, one.class_id) for truth in lives for one in truth}
    assert len(classes) == len(first_seen), "an object's class does not change"
    assert any(one.visible < 0.7 for truth in lives for one in truth)
    assert all(one.hard for truth in lives for one in truth if one.visible < 0.7)
    circles: Dict[int, Set[int]] = defaultdict(set)  # a circle does not look wider when it turns
    for one in (one for truth in lives for one in truth if one.visible > 0.99 and "circle" in LABELS[one.class_id]):
        circles[one.object_id].add(one.box[2] - one.box[0])
    assert max(map(len, circles.values())) > 3
    assert all(
        0 <= x1 < x2 <= 320 and 0 <= y1 < y2 <= 180 for truth in lives for x1, y1, x2, y2 in (one.box for one in truth)
    )


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_clip_holds_the_scenes_frames_and_its_truth_lies_beside_it(tmp_path: Path, suffix: str) -> None:
    scene = Scene(5, 320, 180)
    clip = write_clip(tmp_path / f"clip{suffix}", scene, 12)
    assert read_truth(clip) == [truth for _, truth in scene.frames(12)]
    source = source_for(str(clip), pace="fast", loop=False)
    source.open()
    for number in range(12):
        assert source.grab()
        difference = np.abs(source.retrieve().astype(float) - scene.frame(number)[0]).mean()
        assert difference < 12, f"frame {number}"
    assert not source.grab()
    source.close()


def test_annotations_are_what_the_converter_reads(tmp_path: Path) -> None:
    annotations = write_labelled(tmp_path / "labelled", range(4), 320, 180)
    for seed, labelled in enumerate(read_ground_truth(annotations, LABELS)):
        image, truth = picture(seed, 320, 180)
        assert np.array_equal(read_labelled_image(labelled), image)
        assert labelled.boxes.tolist() == [list(map(float, one.box)) for one in truth]
        assert labelled.classes.tolist() == [one.class_id for one in truth]
        assert labelled.crowd.tolist() == [one.hard for one in truth]


def test_each_scene_is_a_camera(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "set", [Scene(1, 64, 48), Scene(2, 64, 48)], count=3, every=5)
    assert [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*.png"))] == [
        f"scene-{seed}/{number:05}.png" for seed in (1, 2) for number in (0, 5, 10)
    ]
    assert cv2.imread(str(folder / "scene-2" / "00010.png")).shape == (48, 64, 3)
