"""Writes scenes for programs: a video beside its truth frame by frame, or pictures with COCO's annotations."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence

import cv2

from .drawing import LABELS
from .scene import Scene, ShapeTruth, picture

__all__ = ["read_truth", "truth_file", "write_clip", "write_frames", "write_labelled"]

#: Container -> codec: what OpenCV's own wheels can write on every platform.
_CODECS = {".avi": "MJPG", ".mp4": "mp4v"}


def write_clip(path: Path, scene: Scene, count: int) -> Path:
    """The first *count* frames of *scene* as an AVI (MJPG) or MP4 (MPEG-4), their truth in :func:`truth_file`.

    Both codecs lose a little: what the video holds is not to the bit what the scene drew.
    """
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*_CODECS[path.suffix]), scene.fps, (scene.width, scene.height)
    )
    assert writer.isOpened(), f"OpenCV can't write {path}"
    frames: List[List[Dict[str, Any]]] = []
    for image, truth in scene.frames(count):
        writer.write(image)
        frames.append([asdict(one) for one in truth])
    writer.release()
    told = {"seed": scene.seed, "width": scene.width, "height": scene.height, "fps": scene.fps, "labels": LABELS}
    truth_file(path).write_text(json.dumps({**told, "frames": frames}), "utf-8")
    return path


def truth_file(clip: Path) -> Path:
    """Where the truth of *clip* lies: a JSON object whose "frames" are lists of ShapeTruth's fields."""
    return clip.with_suffix(".json")


def read_truth(clip: Path) -> List[List[ShapeTruth]]:
    """The objects of each frame of *clip*."""
    frames = json.loads(truth_file(clip).read_text("utf-8"))["frames"]
    return [[ShapeTruth(**{**one, "box": tuple(one["box"])}) for one in frame] for frame in frames]


def write_frames(folder: Path, scenes: Iterable[Scene], count: int, every: int = 1) -> Path:
    """*count* frames of each scene, one in *every*, as PNG files, each scene in a folder like a camera's."""
    for scene in scenes:
        place = folder / f"scene-{scene.seed}"
        place.mkdir(parents=True)
        for number in range(0, count * every, every):
            cv2.imwrite(str(place / f"{number:05}.png"), scene.frame(number)[0])
    return folder


def write_labelled(folder: Path, seeds: Sequence[int], width: int = 640, height: int = 360) -> Path:
    """A picture of each seed, and instances.json in COCO's format, whose path is returned; hard objects are crowds."""
    (folder / "images").mkdir(parents=True)
    images: List[Dict[str, Any]] = []
    rows: List[Dict[str, Any]] = []
    for seed in seeds:
        image, truth = picture(seed, width, height)
        name = f"{seed:06}.png"
        cv2.imwrite(str(folder / "images" / name), image)
        images.append({"id": seed, "file_name": name, "width": width, "height": height})
        rows += [{"id": len(rows) + place, "image_id": seed, **_row(one)} for place, one in enumerate(truth, 1)]
    categories = [{"id": place, "name": label} for place, label in enumerate(LABELS, 1)]
    file = folder / "instances.json"
    file.write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}), "utf-8")
    return file


def _row(truth: ShapeTruth) -> Dict[str, Any]:
    x1, y1, x2, y2 = truth.box
    size = x2 - x1, y2 - y1
    return {
        "category_id": truth.class_id + 1,
        "bbox": [x1, y1, *size],
        "area": size[0] * size[1],
        "iscrowd": int(truth.hard),
    }
