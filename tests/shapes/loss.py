"""The detector's loss: anchors assigned by score and overlap together, then classes, boxes and distributions.

Sources: TOOD (arXiv 2108.07755) for the assignment and the classes' targets, generalised focal loss (arXiv 2006.04388)
for the distributions, GIoU (arXiv 1902.09630) for the boxes.
"""

from __future__ import annotations

from typing import NamedTuple, Tuple

import torch
from torch import Tensor
from torch.nn import functional

from .network import BINS, ShapesNet

__all__ = ["Targets", "detection_loss"]

_TOP, _ALPHA, _BETA = 10, 0.5, 6.0
_BOX_GAIN, _DISTRIBUTION_GAIN, _CLASS_GAIN = 5.0, 1.0, 1.0


class Targets(NamedTuple):
    """The truth of N pictures, M rows a picture; rows beyond a picture's objects are of class -1."""

    #: [N, M, 4] x1 y1 x2 y2 in input pixels.
    boxes: Tensor
    #: [N, M] int64, index in LABELS, -1 for none.
    classes: Tensor
    #: [N, M] bool: neither object nor background.
    hard: Tensor


def detection_loss(net: ShapesNet, images: Tensor, targets: Targets) -> Tensor:
    """The mean over the assigned anchors, a scalar."""
    sides, logits = net.raw(images)
    points, strides = net.points[0].T, net.strides[0, 0]
    distances = net.distances(sides).transpose(1, 2)
    boxes = torch.cat([points - distances[..., :2], points + distances[..., 2:]], -1) * strides[:, None]
    logits = logits.transpose(1, 2)
    with torch.no_grad():
        chosen, quality, ignored = _assigned(boxes, logits.sigmoid(), points * strides[:, None], targets)
    wanted = torch.zeros_like(logits)
    positive = chosen >= 0
    picture, anchor = positive.nonzero(as_tuple=True)
    row = chosen[picture, anchor]
    weight = quality[picture, anchor]
    wanted[picture, anchor, targets.classes[picture, row]] = weight
    total = weight.sum().clamp(min=1.0)
    of_classes = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    class_loss = (of_classes * ~(ignored & ~positive)[..., None]).sum() / total
    true = targets.boxes[picture, row]
    box_loss = ((1 - _giou(boxes[picture, anchor], true)) * weight).sum() / total
    stride = strides[anchor, None]
    near_far = torch.cat([points[anchor] - true[:, :2] / stride, true[:, 2:] / stride - points[anchor]], 1)
    spread = sides.unflatten(1, (4, BINS)).permute(0, 3, 1, 2)[picture, anchor]
    distribution_loss = (_distribution(spread, near_far) * weight).sum() / total
    return _CLASS_GAIN * class_loss + _BOX_GAIN * box_loss + _DISTRIBUTION_GAIN * distribution_loss


def _assigned(boxes: Tensor, scores: Tensor, centres: Tensor, targets: Targets) -> Tuple[Tensor, Tensor, Tensor]:
    """For each anchor [N, A]: its row of the truth or -1, its wanted score, whether it lies in a hard object."""
    inside = _inside(centres, targets.boxes)
    real = (targets.classes >= 0) & ~targets.hard
    overlap = _iou(targets.boxes[:, :, None], boxes[:, None])
    own = scores.transpose(1, 2).gather(1, targets.classes.clamp(min=0)[:, :, None].expand_as(overlap))
    metric = own**_ALPHA * overlap**_BETA * inside * real[:, :, None]
    top = metric.topk(_TOP, dim=2)
    taken = torch.zeros_like(metric, dtype=torch.bool).scatter_(2, top.indices, top.values > 0)
    rival = torch.where(taken, overlap, overlap.new_tensor(-1.0))
    best, row = rival.max(dim=1)
    chosen = torch.where(best > 0, row, -1)
    mine = taken & (torch.arange(taken.shape[1])[:, None] == chosen[:, None])
    metric, overlap = metric * mine, overlap * mine
    share = metric / metric.amax(2, keepdim=True).clamp(min=1e-9) * overlap.amax(2, keepdim=True)
    ignored = (inside & (targets.hard & (targets.classes >= 0))[:, :, None]).any(1)
    return chosen, share.amax(1), ignored


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """[N, M, A] whether the points [A, 2] lie in the boxes [N, M, 4]."""
    low, high = points - boxes[:, :, None, :2], boxes[:, :, None, 2:] - points
    return torch.cat([low, high], -1).amin(-1) > 0


def _iou(first: Tensor, second: Tensor) -> Tensor:
    shared, union = _shared_and_union(first, second)
    return shared / union


def _giou(first: Tensor, second: Tensor) -> Tensor:
    shared, union = _shared_and_union(first, second)
    around = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])
    hull = around.prod(-1).clamp(min=1e-6)
    return shared / union - (hull - union) / hull


def _shared_and_union(first: Tensor, second: Tensor) -> Tuple[Tensor, Tensor]:
    overlap = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    shared = overlap.clamp(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (first, second)]
    return shared, (areas[0] + areas[1] - shared).clamp(min=1e-6)


def _distribution(spread: Tensor, wanted: Tensor) -> Tensor:
    """[P] cross-entropy of the distributions [P, 4, BINS] with the two bins beside each wanted distance [P, 4]."""
    wanted = wanted.clamp(0, BINS - 1.01)
    below = wanted.long()
    share = wanted - below
    logs = spread.log_softmax(-1)
    low, high = (logs.gather(2, (below + step)[..., None])[..., 0] for step in (0, 1))
    return -(low * (1 - share) + high * share).mean(1)
