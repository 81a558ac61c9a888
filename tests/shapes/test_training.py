"""The training's parts: pictures and truth stay together, the boxes' arithmetic, what the loss wants."""

from __future__ import annotations

from typing import Tuple

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no PyTorch for this Python")

from tests.shapes.drawing import LABELS  # noqa: E402  (they need torch)
from tests.shapes.loss import Targets, detection_loss  # noqa: E402
from tests.shapes.network import ANCHORS, BINS, SIZE, ShapesNet, anchor_points  # noqa: E402
from tests.shapes.train import _pool, _varied  # noqa: E402

#: x1, y1, x2, y2 in input pixels, and the class.
BOX, CLASS = (41.0, 30.0, 90.0, 77.0), 3


class Oracle(ShapesNet):
    """Predicts one box and class at all anchor points within the box, with certainty."""

    def __init__(self, box: Tuple[float, ...], class_id: int) -> None:
        super().__init__()
        points, strides = anchor_points()
        low, high = (torch.tensor(box).view(1, 4) / strides[:, None]).split(2, 1)
        distances = torch.cat([points - low, high - points], 1)
        inside = distances.min(1).values > 0
        wanted = distances.clamp(0, BINS - 1.01)[:, :, None]
        shares = (1 - (torch.arange(BINS) - wanted).abs()).clamp(min=0)  # the two bins beside, by nearness
        self._sides = shares.clamp(min=1e-6).log().permute(1, 2, 0).reshape(1, 4 * BINS, ANCHORS)
        self._classes = torch.full((1, len(LABELS), ANCHORS), -12.0)
        self._classes[0, class_id, inside] = 12.0

    def raw(self, images: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        return self._sides, self._classes


def loss_of(net: ShapesNet, *, box: Tuple[float, ...] = BOX, class_id: int = CLASS, hard: bool = False) -> float:
    targets = Targets(torch.tensor([[box]]), torch.tensor([[class_id]]), torch.tensor([[hard]]))
    return float(detection_loss(net, torch.zeros(1, 3, SIZE, SIZE), targets))


def test_mirrored_turned_and_swapped_pictures_keep_their_truth() -> None:
    images, targets = _pool(12)
    random = np.random.default_rng(3)
    seen = 0
    for _ in range(12):  # of 16 ways
        pixels, varied = _varied(images, targets, random)
        assert pixels.shape == (12, 3, SIZE, SIZE)
        for picture, boxes, classes, hard in zip(pixels, *varied):
            for (x1, y1, x2, y2), class_id in zip(boxes[(classes >= 0) & ~hard], classes[(classes >= 0) & ~hard]):
                red, _, blue = picture[:, int(y1 + y2) // 2, int(x1 + x2) // 2]
                seen += int((red > blue) == LABELS[class_id].startswith("red"))
    assert seen >= 0.9 * 12 * int(((targets.classes >= 0) & ~targets.hard).sum()), "a middle may be hidden, few are"


def test_boxes_are_the_means_of_their_sides_distributions() -> None:
    output = Oracle(BOX, CLASS)(torch.zeros(1, 3, SIZE, SIZE))
    assert output.shape == (1, 4 + len(LABELS), ANCHORS)
    x, y, width, height, *scores = output[0, :, output[0, 4 + CLASS] > 0.99]
    found = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1)
    assert len(found) > 40
    assert torch.allclose(found, torch.tensor(BOX).expand_as(found), atol=0.05)
    assert torch.stack(scores).argmax(0).tolist() == [CLASS] * len(found)


def test_the_loss_wants_the_right_box_and_the_right_class() -> None:
    net = Oracle(BOX, CLASS)
    right = loss_of(net)
    assert loss_of(net, box=(47.0, 36.0, 96.0, 83.0)) > right + 1
    assert loss_of(net, class_id=CLASS - 1) > right + 10


def test_a_hard_object_may_be_found_or_not() -> None:
    nowhere = Oracle((0.0, 0.0, 0.1, 0.1), CLASS)
    assert loss_of(Oracle(BOX, CLASS), hard=True) == pytest.approx(loss_of(nowhere, hard=True), abs=0.05)
    assert loss_of(nowhere, hard=True) < 0.05
