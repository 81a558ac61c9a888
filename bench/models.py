"""The real detectors that the benches measure, finished as the converter does it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Tuple

import onnx

from converter.model.finish import FinishedModel, finish
from converter.model.graph import load_onnx
from converter.model.labels import read_labels

from .assets import asset

__all__ = ["MODELS", "RealModel", "finished_file", "finished_model"]


@dataclass(frozen=True)
class RealModel:
    """A model of the assets."""

    name: str
    file: str

    def load(self) -> onnx.ModelProto:
        """The graph as its authors left it."""
        return load_onnx(asset(self.file))


MODELS: Tuple[RealModel, ...] = (
    RealModel("yolox_nano", "models/yolox_nano/yolox_nano.onnx"),
    RealModel("centernet_mbv3", "models/centernet_mbv3/centernet_mbv3_512.onnx"),
    RealModel("fastestdet", "models/fastestdet/FastestDet.onnx"),
)


def finished_model(model: RealModel) -> FinishedModel:
    """The finished float graph."""
    return finish(model.load(), labels=read_labels("coco80"))


def finished_file(model: RealModel, folder: Path) -> Tuple[Path, FinishedModel]:
    """The finished float graph, written into *folder*."""
    finished = finished_model(model)
    path = folder / f"{model.name}.onnx"
    onnx.save(finished.model, str(path))
    return path, finished
