"""`python -m tests.shapes.train`: trains the detector of coloured shapes on generated pictures and writes shapes.onnx.

Needs PyTorch; about a quarter of an hour on two cores. See README.md beside it.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path
from typing import Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightd.resize import resize_into
from sightd.types import InputSpec

from .drawing import LABELS
from .loss import Targets, detection_loss
from .network import SIZE, STRIDES, ShapesNet
from .scene import ShapeTruth, picture

__all__ = ["TRAINING_SEEDS"]

#: Pictures of these seeds and above are for training, those below for tests.
TRAINING_SEEDS = 1_000_000
_SPEC = InputSpec(SIZE, SIZE)
_SHAPES = ((16, 9), (4, 3), (1, 1), (9, 16))
_LONGER = (160, 640)
#: Of objects that show less of themselves nothing is learnt; tests expect less than it learns.
_LEARNT_SHARE = 0.6
_MOST = 10  # objects a picture, as Scene has them
_BATCH, _RATE, _DECAY, _EMA = 16, 3e-3, 0.02, 0.998


def main() -> None:
    """Train, and write the model."""
    parser = argparse.ArgumentParser("python -m tests.shapes.train", description="See README.md beside it.")
    parser.add_argument("--pictures", type=int, default=6000, help="different pictures; each is seen in 16 ways")
    parser.add_argument("--steps", type=int, default=5000, help=f"of {_BATCH} pictures each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("shapes.onnx"))
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    began = time.monotonic()
    images, targets = _pool(arguments.pictures)
    print(f"{arguments.pictures} pictures after {time.monotonic() - began:.0f} s", flush=True)
    net = _trained(images, targets, arguments.steps)
    _export(net, arguments.out)
    weights = sum(weight.numel() for weight in net.parameters() if weight.requires_grad)
    size, seconds = arguments.out.stat().st_size, time.monotonic() - began
    print(f"{arguments.out}: {weights} parameters, {size} bytes, {seconds:.0f} s")


def _trained(images: NDArray[np.uint8], targets: Targets, steps: int) -> ShapesNet:
    """The running mean of the weights over the last steps."""
    net = ShapesNet().to(memory_format=torch.channels_last).train()
    mean = copy.deepcopy(net).eval()
    optimiser = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps, pct_start=0.1)
    random = np.random.default_rng(0)
    began, losses = time.monotonic(), []
    for step in range(steps):
        rows = random.choice(len(images), _BATCH, replace=False)
        batch = _varied(images[rows], Targets(*(values[rows] for values in targets)), random)
        loss = detection_loss(net, *batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        schedule.step()
        _follow(mean, net, min(_EMA, (1 + step) / (10 + step)))
        losses.append(loss.item())
        if step % 100 == 99:
            print(f"step {step + 1}: loss {np.mean(losses[-100:]):.3f}, {time.monotonic() - began:.0f} s", flush=True)
    return mean


def _follow(mean: ShapesNet, net: ShapesNet, keep: float) -> None:
    with torch.no_grad():
        for old, new in zip(mean.state_dict().values(), net.state_dict().values()):
            if old.dtype.is_floating_point:
                old.lerp_(new, 1 - keep)  # exact where the two are equal: constants stay


def _pool(count: int) -> Tuple[NDArray[np.uint8], Targets]:
    """*count* pictures in the network's size, [count, SIZE, SIZE, 3] BGR, and their truth."""
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    rows = [_placed(images[place], TRAINING_SEEDS + place) for place in range(count)]
    boxes, classes, hard = (
        np.zeros((count, _MOST, 4), np.float32),
        np.full((count, _MOST), -1),
        np.zeros((count, _MOST), bool),
    )
    for place, (truth, found) in enumerate(rows):
        kept = slice(len(truth))
        boxes[place, kept], classes[place, kept] = found, [one.class_id for one in truth]
        hard[place, kept] = [one.hard for one in truth]
    return images, Targets(*(torch.from_numpy(values) for values in (boxes, classes, hard)))


def _placed(buffer: NDArray[np.uint8], seed: int) -> Tuple[Sequence[ShapeTruth], NDArray[np.float32]]:
    """Draw the picture of *seed* into the network's input; its truth, and the boxes there."""
    random = np.random.default_rng(seed)
    across, down = _SHAPES[random.integers(len(_SHAPES))]
    unit = random.integers(*_LONGER) / max(across, down)
    image, truth = picture(seed, int(across * unit), int(down * unit), _LEARNT_SHARE)
    place = resize_into(buffer, image, _SPEC)
    boxes = np.array([one.box for one in truth], np.float32).reshape(-1, 4)
    scale = np.array([place.scale_x, place.scale_y] * 2, np.float32)
    return truth, boxes * scale + np.array([place.offset_x, place.offset_y] * 2, np.float32)


def _varied(images: NDArray[np.uint8], targets: Targets, random: np.random.Generator) -> Tuple[Tensor, Targets]:
    """[N, 3, SIZE, SIZE] RGB 0..1, the whole batch mirrored, turned on its side, red and blue swapped: or not."""
    across, down, turned, swapped = random.random(4) < 0.5
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).flip(1).float() / 255
    x1, y1, x2, y2 = targets.boxes.unbind(-1)
    classes = targets.classes
    if across:
        pixels, x1, x2 = pixels.flip(3), SIZE - x2, SIZE - x1
    if down:
        pixels, y1, y2 = pixels.flip(2), SIZE - y2, SIZE - y1
    if turned:
        pixels, x1, y1, x2, y2 = pixels.transpose(2, 3), y1, x1, y2, x2
    if swapped:
        pixels = pixels.flip(1)
        classes = torch.where(classes >= 0, _swapped()[classes.clamp(min=0)], classes)
    boxes = torch.stack([x1, y1, x2, y2], -1)
    return pixels.contiguous(memory_format=torch.channels_last), Targets(boxes, classes, targets.hard)


def _swapped() -> Tensor:
    """Class -> the class of the same shape in the other colour."""
    others = {"red": "blue", "blue": "red"}
    words = [label.split() for label in LABELS]
    return torch.tensor([LABELS.index(f"{others[colour]} {kind}") for colour, kind in words])


def _export(net: ShapesNet, file: Path) -> None:
    """ONNX with a symbolic batch and the metadata that Ultralytics' exports carry."""
    import onnx

    example = torch.zeros(2, 3, SIZE, SIZE)
    names = {
        "input_names": ["images"],
        "output_names": ["output0"],
        "dynamic_axes": {"images": {0: "batch"}, "output0": {0: "batch"}},
    }
    torch.onnx.export(net.eval(), (example,), str(file), opset_version=13, dynamo=False, **names)
    model = onnx.load(str(file))
    told = {
        "description": "sightd's coloured shapes",
        "task": "detect",
        "stride": str(max(STRIDES)),
        "imgsz": f"[{SIZE}, {SIZE}]",
        "names": str(dict(enumerate(LABELS))),
    }
    onnx.helper.set_model_props(model, told)
    onnx.checker.check_model(model)
    onnx.save(model, str(file))


if __name__ == "__main__":
    main()
