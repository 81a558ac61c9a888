"""Reports to look at: one with every figure, one with none."""

from __future__ import annotations

from typing import Any, Dict

import numpy as np

from converter.report import Engine, Layer, Pictures, ReportData
from converter.report.pictures import contact_sheet, pair
from sightd.manifest import EngineRecord, Manifest, ModelRecord
from sightd.settings import AgreementSettings
from sightd.types import Detections, InputSpec
from tests.parts.blobs import blob_picture

__all__ = ["bare_report", "full_report", "pictures"]

_DETECTIONS = Detections(np.array([[10, 10, 40, 40]], np.float32), np.array([0.9], np.float32), np.array([0], np.int32))


def bare_report() -> ReportData:
    """Nothing was measured."""
    return ReportData("unproven", _manifest("bare.onnx", "too little to judge by"), "float", {}, {})


def full_report(name: str = "front door") -> ReportData:
    """Every figure is there; *name* is what the model, a class, a camera, a layer and more are called."""
    group = {"name": name, "frames": 40, "evidence": 130, "recall": 0.7, "recall_interval": (0.6, 0.8), "ap": 0.7}
    thresholds = {**vars(AgreementSettings())}
    figures: Dict[str, Any] = {
        "frames": 40,
        "evidence": 230,
        "ap": 0.91,
        "ap50": 0.987,
        "recall": 0.99,
        "precision": 0.98,
        "extra": 0.03,
        "matched_iou": 0.95,
        "score_shift": -0.004,
        "shift_p5": -0.03,
        "shift_p95": 0.02,
        "verdict": "agrees",
        "reason": name,
    }
    recipe = {"algorithm": "percentile-99.999", "scope": "all", "float_layers": 8}
    return ReportData(
        outcome="int8",
        manifest=_manifest(name, f"INT8 agrees with the float model and is faster: {name}"),
        judged="INT8",
        agreement={
            **figures,
            "intervals": {"ap": (0.85, 0.93), "ap50": (0.97, 0.995), "recall": (0.9, 1.0)},
            "classes": [group, {**group, "name": "car", "evidence": 3}],
            "cameras": [{**group, "recall": 0.99}],
            "shift_counts": [*[0] * 20, 1, 3, 9, 40, 80, 70, 12, 2, *[0] * 22],
        },
        thresholds=thresholds,
        noise={name: figures},
        labelled={name: {"AP": 0.28, "AP50": 0.45}},
        trials=[
            {**recipe, **figures, "speedup": 1.9},
            {**recipe, **figures, "ap": 0.4, "ap50": 0.6, "verdict": "disagrees", "speedup": 2.2},
        ],
        layers=[
            Layer(name, 0.4, 18.5, "float"),
            Layer("/stem/Conv", 0.2, 25.0, "int8"),
            Layer("far", None, None, "int8"),
        ],
        calibration={
            "frames": 64,
            "holdout": 40,
            "sha256": "ab" * 32,
            "seed": 7,
            "silent_tensors": [name],
            "coverage": {
                "candidates": 300,
                "space": "embeddings",
                "radius": {"greatest": 0.4, "mean": 0.1},
                "random_radius": {"greatest": 0.7, "mean": 0.12},
                "strata": {"camera": {name: (200, 40), "yard": (100, 24)}, "hour": {"07": (300, 64)}},
                "saturation": [
                    {"frames": frames, "mean": mean, "twentieth": mean - 0.2, "least": 0.3}
                    for frames, mean in ((8, 0.8), (16, 0.9), (32, 0.97), (64, 1.0))
                ],
            },
        },
        sizes={"float engine": 3_700_000, "INT8 engine": 1_400_000},
        command=f"sightd convert '{name}' --calibration frames",
        request={"size": (416, 416), "model": name, "thresholds": thresholds},
        notes=[name],
        engines=[
            Engine("fp32", False, "agrees", 61.0, {"fp32": 90}),
            Engine("fp16", True, "agrees", 75.5, {"fp16": 88, "fp32": 2}),
            Engine(name, False, "agrees", 140.0, {"int8": 70, "fp16": 15, "fp32": 5}),
        ],
    )


def pictures(count: int, caption: str = "camera front, 12:00") -> Pictures:
    """*count* frames side by side and as a contact sheet."""
    images = [blob_picture(seed) for seed in range(count)]
    return Pictures(
        [pair(image, _DETECTIONS, _DETECTIONS, ["person"], caption) for image in images], contact_sheet(images)
    )


def _manifest(name: str, verdict: str) -> Manifest:
    times = {"1": {"p50_ms": 12.3, "p95_ms": 14.0}, "4": {"p50_ms": 40.0, "p95_ms": 44.4}}
    return Manifest(
        engine=EngineRecord("onnxruntime", "int8", sha256="cd" * 32, versions={"onnxruntime": "1.2"}, machine="x86_64"),
        model=ModelRecord(name, "ef" * 32, 13),
        head="yolox",
        input=InputSpec(416, 416),
        labels=[name, "car"],
        created_at="2026-11-23T12:00:00+00:00",
        verdict=verdict,
        latency={"float": times, "int8": times} if verdict != "too little to judge by" else {},
        build={"seconds": 61.0, "peak_rss_mb": 700.0} if verdict != "too little to judge by" else {},
    )
