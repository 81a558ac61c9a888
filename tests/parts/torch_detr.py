"""A tiny DETR in torch with random weights, exported in the deploy mode of RT-DETR and D-FINE."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Tuple

import torch
from torch import Tensor, nn

__all__ = ["Deployed", "export_deployed"]

_QUERIES, _CLASSES, _WIDTH = 20, 3, 32


class Deployed(nn.Module):
    """Picture [B, 3, 96, 64] and sizes [B, 2] -> labels [B, 15], boxes [B, 15, 4], scores [B, 15]."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, _WIDTH, 8, 8), nn.ReLU(), nn.Conv2d(_WIDTH, _WIDTH, 2, 2))
        self.queries = nn.Parameter(torch.randn(1, _QUERIES, _WIDTH))
        self.decoder = nn.TransformerDecoderLayer(_WIDTH, 4, 64, batch_first=True)
        self.classes, self.boxes = nn.Linear(_WIDTH, _CLASSES), nn.Linear(_WIDTH, 4)

    def forward(self, images: Tensor, orig_target_sizes: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        memory = self.backbone(images).flatten(2).permute(0, 2, 1)
        found = self.decoder(self.queries.repeat(images.shape[0], 1, 1), memory)
        cx, cy, w, h = self.boxes(found).sigmoid().unbind(-1)
        boxes = torch.stack([cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h], dim=-1)
        boxes = boxes * orig_target_sizes.repeat(1, 2).unsqueeze(1)
        scores, index = torch.topk(self.classes(found).sigmoid().flatten(1), 15, dim=-1)
        labels = index - index // _CLASSES * _CLASSES
        place = (index // _CLASSES).unsqueeze(-1).repeat(1, 1, 4)
        return labels, boxes.gather(1, place), scores


def export_deployed(path: Path) -> Deployed:
    """Write the ONNX file and return the module, in eval mode."""
    torch.manual_seed(1)
    module = Deployed().eval()
    names = ["images", "orig_target_sizes"]
    outputs = ["labels", "boxes", "scores"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.rand(2, 3, 96, 64), torch.tensor([[64, 96]] * 2)),
            str(path),
            input_names=names,
            output_names=outputs,
            dynamic_axes={name: {0: "N"} for name in [*names, *outputs]},
            opset_version=16,
            dynamo=False,
        )
    return module
