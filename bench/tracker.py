"""The tracker: time a frame, and how well it follows people in a real clip and shapes in generated ones.

The clip is vtest.avi with its true boxes and identities, seen by YOLOX-nano; the shapes are seen by the detector that
was trained on them. So the figures are of tracker and detector together, as a user has them, and of the tracker alone
where it is given the true boxes. Its parameters were chosen on the first half of the clip and on other scenes: "chosen
on" are those, everything else was not looked at before.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple
from unittest import mock

import cv2
import numpy as np
import onnx

from converter.agreement.measure import detect
from converter.model.finish import FinishedModel, finish
from converter.model.graph import load_onnx
from daemon.rules import Rule
from daemon.tracking import Tracker, tracker
from daemon.tracking.matching import Overlap
from sightd.engines import EngineOptions, load_engine
from sightd.manifest import OutputSpec
from sightd.types import Detections, Image
from tests.shapes.detector import MODEL
from tests.shapes.scene import Scene

from .assets import asset, has_assets
from .assignment import assignment
from .models import MODELS, finished_model
from .result import Result
from .tracking_metrics import Box, Scored, score

__all__ = ["run"]

_CLIP_FPS, _CLIP_FRAMES = 10.0, 100
_CHOSEN_SEEDS, _SEEDS, _SEEDS_QUICK = range(100, 112), range(112, 124), range(112, 115)
_SCENE_FRAMES = 250
#: One in so many frames is seen: what the daemon gets of a camera when it drops the others.
_CLIP_STEPS, _SCENE_STEPS = (1, 2, 3), (1, 3, 6)
_COLUMNS = ("data", "fps", "IDF1", "MOTA", "switches", "misses", "false", "objects")

#: A frame's detections, its truth, and boxes that count neither way.
_Seen = Tuple[Detections, List[Box], List[Sequence[float]]]
_RULE = Rule(OutputSpec().min_score)
_LOST_AFTER_S = _RULE.events.lost_after_s


def run(quick: bool) -> Result:
    """Times of synthetic boxes; IDF1, MOTA and switches by clip and rate; and with the best instead of greedy pairs."""
    figures: Dict[str, Any] = {f"ms_{count}": round(_ms(count, 50 if quick else 200), 3) for count in (10, 50, 200)}
    rows: List[Sequence[Any]] = [
        [f"{count} objects", f"{figures[f'ms_{count}']:.3f} ms a frame", *[""] * 6] for count in (10, 50, 200)
    ]
    if has_assets():
        clip = _people()
        half = len(clip) // 2
        _report(rows, "people, chosen on", {1: [clip[:half]]}, _CLIP_FPS)
        scored = _report(rows, "people", {step: [clip[half:]] for step in _CLIP_STEPS}, _CLIP_FPS)
        true = [(_true(seen[1]), seen[1], []) for seen in clip[half:]]
        _report(rows, "people, true boxes", {step: [true] for step in _CLIP_STEPS}, _CLIP_FPS)
        figures.update(idf1=round(scored[1].idf1, 4), mota=round(scored[1].mota, 4), id_switches=scored[1].switches)
    scenes = _shapes(_SEEDS_QUICK if quick else _SEEDS)
    if not quick:
        _report(rows, "shapes, chosen on", {1: _shapes(_CHOSEN_SEEDS)}, 25.0)
    scored = _report(rows, "shapes", dict.fromkeys(_SCENE_STEPS, scenes), 25.0)
    with mock.patch.object(tracker, "best_pairs", _best_assignment):
        best = _report(rows, "shapes, best assignment", {1: scenes}, 25.0)
        figures["ms_200_best_assignment"] = round(_ms(200, 10), 3)
    for step, one in scored.items():
        figures.update({f"shapes_idf1_{step}": round(one.idf1, 4), f"shapes_switches_{step}": one.switches})
    figures["shapes_idf1_best_assignment"] = round(best[1].idf1, 4)
    conditions = {
        "min_score": _RULE.min_score,
        "clip": "vtest.avi 51-100",
        "detector": "yolox_nano",
        "scenes": len(scenes),
    }
    return Result("tracker", figures, _COLUMNS, rows, conditions)


def _report(
    rows: List[Sequence[Any]], name: str, by_step: Dict[int, List[List[_Seen]]], fps: float
) -> Dict[int, Scored]:
    """Score clips of *fps*, each at every step, and append the rows."""
    scored = {}
    for step, clips in by_step.items():
        one = sum((_scored(clip[first::step], fps / step) for clip in clips for first in range(step)), Scored())
        scored[step] = one
        rows.append([name, fps / step, one.idf1, one.mota, one.switches, one.misses, one.false, one.objects])
    return scored


def _scored(clip: List[_Seen], fps: float) -> Scored:
    own = Tracker(itertools.count(1))
    return score(
        (truth, _boxes(found, _followed(own, found, number / fps)), ignored)
        for number, (found, truth, ignored) in enumerate(clip)
    )


def _followed(own: Tracker, found: Detections, at: float) -> List[int]:
    own.forget(at - _LOST_AFTER_S)
    return own.update(found, at, _RULE.min_score)


def _boxes(found: Detections, ids: Sequence[int]) -> List[Box]:
    """What of *found* is reported."""
    rows = zip(ids, found.classes.tolist(), found.boxes.tolist(), (found.scores >= _RULE.min_score).tolist())
    return [(identity, class_id, box) for identity, class_id, box, reported in rows if reported]


def _people() -> List[_Seen]:
    """The annotated frames of vtest.avi, persons only."""
    truth: Dict[int, List[Box]] = {}
    for line in asset("tracking/vtest_gt_frames001-100.txt").read_text("ascii").splitlines():
        frame, identity, x, y, width, height = map(float, line.split(",")[:6])
        truth.setdefault(int(frame) - 1, []).append((int(identity), 0, (x, y, x + width, y + height)))
    found = _detections(finished_model(MODELS[0]), _pictures(asset("videos/vtest.avi"), _CLIP_FRAMES))
    persons = [one.where(one.classes == 0) for one in found]
    return [(one, truth.get(number, []), []) for number, one in enumerate(persons)]


def _true(truth: Sequence[Box]) -> Detections:
    """What a detector without faults would see."""
    boxes = np.array([box for _, _, box in truth], np.float32).reshape(-1, 4)
    return Detections(boxes, np.ones(len(truth), np.float32), np.zeros(len(truth), np.int32))


def _shapes(seeds: Sequence[int]) -> List[List[_Seen]]:
    finished = finish(load_onnx(MODEL))
    clips = []
    for seed in seeds:
        frames = list(Scene(seed).frames(_SCENE_FRAMES))
        found = _detections(finished, (image for image, _ in frames))
        clear = [[(one.object_id, one.class_id, one.box) for one in truth if not one.hard] for _, truth in frames]
        hard = [[one.box for one in truth if one.hard] for _, truth in frames]
        clips.append(list(zip(found, clear, hard)))
    return clips


def _detections(finished: FinishedModel, images: Iterator[Image]) -> List[Detections]:
    """Down to the score that a tracker is given."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        onnx.save(finished.model, str(file))
        with load_engine("onnxruntime", file, finished.spec, 1, EngineOptions(threads=1)) as engine:
            return detect(engine, images, OutputSpec(), _RULE.tracked_score)


def _pictures(clip: Path, count: int) -> Iterator[Image]:
    capture = cv2.VideoCapture(str(clip))
    for _ in range(count):
        yield capture.read()[1]
    capture.release()


def _best_assignment(found: List[Overlap]) -> List[Tuple[int, int]]:
    """The pairs whose sum is the most, in the place of the greedy choice."""
    iou = {(row, column): -minus for minus, row, column in found}
    shape = np.array(list(iou), int).reshape(-1, 2).max(axis=0, initial=-1) + 1
    cost = np.full(shape, 1e3)
    for pair, value in iou.items():
        cost[pair] = 1.0 - value
    return [pair for pair in assignment(cost) if pair in iou]


def _ms(count: int, frames: int) -> float:
    """Median milliseconds of an update with *count* boxes that wander over 1920 x 1080 pixels, a third of them low."""
    random = np.random.default_rng(0)
    own = Tracker(itertools.count(1))
    place, speed = random.random((count, 2)) * (1920, 1080), random.normal(0, 40, (count, 2))
    sides, spent = random.random((count, 2)) * 60 + 20, []
    for number in range(frames):
        centres = place + speed * number / 10 + random.normal(0, 1, (count, 2))
        boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1).astype(np.float32)
        scores = np.where(random.random(count) < 1 / 3, 0.2, 0.7).astype(np.float32)
        found = Detections(boxes, scores, np.zeros(count, np.int32))
        spent.append(_seconds(lambda: _followed(own, found, number / 10)))  # noqa: B023  (called at once)
    return 1000 * float(np.median(spent))


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
