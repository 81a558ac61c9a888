"""The detector's network: convolutions with SiLU, strides 8, 16 and 32, sides as distributions (DFL), decoded inside.

The output is laid out as YOLOv8's exports are: [N, 4 + C, A], the rows centre x, centre y, width and height in input
pixels, then the class scores.
"""

from __future__ import annotations

from typing import Tuple

import torch
from torch import Tensor, nn

from .drawing import LABELS

__all__ = ["ANCHORS", "BINS", "SIZE", "STRIDES", "ShapesNet", "anchor_points"]

#: Input pixels, each side.
SIZE = 160
STRIDES = (8, 16, 32)
#: Of each side's distribution, in strides.
BINS = 16
ANCHORS = sum((SIZE // stride) ** 2 for stride in STRIDES)
_PLANES = 4 * BINS + len(LABELS)
#: Channels at strides 2, 4, 8, 16 and 32, and before the predictions.
_WIDTHS = (12, 20, 28, 36, 40)
_HEAD = 24


class ShapesNet(nn.Module):
    """[N, 3, SIZE, SIZE] RGB 0..1; see forward() and raw() for what comes out."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth, last = _WIDTHS
        self.to_eighth = nn.Sequential(
            _Conv(3, half, 3, 2), _Conv(half, quarter, 3, 2), _Conv(quarter, eighth, 3, 2), _Split(eighth)
        )
        self.to_sixteenth = nn.Sequential(_Conv(eighth, sixteenth, 3, 2), _Split(sixteenth))
        self.to_last = _Conv(sixteenth, last, 3, 2)
        self.doubled = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.join_sixteenth = _Conv(last + sixteenth, sixteenth, 1)
        self.join_eighth = _Conv(sixteenth + eighth, eighth, 1)
        fine = _Head(_Conv(eighth, _HEAD, 3))
        middle = _Head(_Conv(sixteenth, _HEAD, 1), _Conv(_HEAD, _HEAD, 3))
        coarse = _Head(_Conv(last, _HEAD, 1))
        self.heads = nn.ModuleList([fine, middle, coarse])
        self.expected = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(False)
        self.expected.weight.data = torch.arange(BINS, dtype=torch.float32).view(1, BINS, 1, 1)
        points, strides = anchor_points()
        self.register_buffer("points", points.T[None])
        self.register_buffer("strides", strides[None, None])

    def raw(self, images: Tensor) -> Tuple[Tensor, Tensor]:
        """Logits: of the sides' distributions [N, 4 * BINS, A], and of the classes [N, C, A]."""
        eighth = self.to_eighth(images)
        sixteenth = self.to_sixteenth(eighth)
        last = self.to_last(sixteenth)
        sixteenth = self.join_sixteenth(torch.cat([self.doubled(last), sixteenth], 1))
        eighth = self.join_eighth(torch.cat([self.doubled(sixteenth), eighth], 1))
        levels = [
            head(level).reshape(-1, _PLANES, (SIZE // stride) ** 2)
            for head, level, stride in zip(self.heads, (eighth, sixteenth, last), STRIDES)
        ]
        sides, classes = torch.cat(levels, 2).split((4 * BINS, len(LABELS)), 1)
        return sides, classes

    def distances(self, sides: Tensor) -> Tensor:
        """[N, 4, A] left, top, right and bottom of the anchor points, in strides: the distributions' means."""
        shares = sides.reshape(-1, 4, BINS, ANCHORS).transpose(1, 2).softmax(1)
        return self.expected(shares).reshape(-1, 4, ANCHORS)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 4 + C, A] as the module says."""
        sides, classes = self.raw(images)
        near, far = self.distances(sides).split((2, 2), 1)
        low, high = self.points - near, self.points + far
        boxes = torch.cat([(low + high) / 2, high - low], 1) * self.strides
        return torch.cat([boxes, classes.sigmoid()], 1)


def anchor_points() -> Tuple[Tensor, Tensor]:
    """[A, 2] the cells' centres in strides of their level, and [A] those strides in pixels."""
    points, strides = [], []
    for stride in STRIDES:
        cells = torch.arange(SIZE // stride, dtype=torch.float32) + 0.5
        y, x = torch.meshgrid(cells, cells, indexing="ij")
        points.append(torch.stack([x, y], -1).view(-1, 2))
        strides.append(torch.full((len(points[-1]),), float(stride)))
    return torch.cat(points), torch.cat(strides)


class _Split(nn.Module):
    """Cross-stage partial block: half of the channels passes by two convolutions, and all are joined."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.half = half = channels // 2
        self.enter = _Conv(channels, channels, 1)
        self.inner = nn.Sequential(_Conv(half, half, 3), _Conv(half, half, 3))
        self.leave = _Conv(3 * half, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        past, through = self.enter(features).split((self.half, self.half), 1)
        return self.leave(torch.cat([past, through, through + self.inner(through)], 1))


class _Head(nn.Sequential):
    """Predicts one level: the sides' distributions and the classes, [N, 4 * BINS + C, rows, columns]."""

    def __init__(self, *layers: nn.Module) -> None:
        predict = nn.Conv2d(_HEAD, _PLANES, 1)
        nn.init.constant_(predict.bias[4 * BINS :], -4.6)  # a score of .01: nearly every anchor is background
        super().__init__(*layers, predict)


class _Conv(nn.Module):
    """Convolution, batch normalisation (export folds it into the convolution) and SiLU."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.SiLU()

    def forward(self, features: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(features)))
