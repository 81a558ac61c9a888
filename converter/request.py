"""What a conversion is asked for, and what came out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping, Optional, Sequence, Tuple

from sightd.bundle import Bundle

from .agreement.thresholds import Thresholds
from .verdict import Verdict

__all__ = ["Request", "Result"]


@dataclass(frozen=True)
class Request:
    """A model, frames to calibrate on, and where the bundle goes."""

    #: An ONNX file, or PyTorch weights when there is a factory.
    model: Path
    #: A calibration set, or a folder of pictures.
    calibration: Path
    out: Path
    #: "module:function" that makes the torch.nn.Module for the weights.
    factory: str = ""
    #: Head family; "" recognises it.
    head: str = ""
    head_options: Mapping[str, str] = field(default_factory=dict)
    #: "coco80" or a file with one name a line; "" takes those in the model.
    labels: str = ""
    #: Fields of InputSpec that win over the family's preset.
    spec: Mapping[str, object] = field(default_factory=dict)
    #: Width and height in pixels; needed for weights and for graphs that leave it open.
    size: Optional[Tuple[int, int]] = None
    opset: int = 13
    #: Frames to calibrate on, and to judge by, at most; the gate takes as many as give evidence enough.
    frames: int = 512
    holdout: int = 500
    seed: int = 0
    #: INT8 engines to build and judge, at most.
    max_trials: int = 12
    #: After which no further one is begun.
    max_minutes: float = 60.0
    thresholds: Thresholds = field(default_factory=Thresholds)
    #: Labelled pictures for a real mAP: annotations in COCO's instances format, and the pictures' folder (None: the
    #: annotations' own, or "images" in it).
    truth: Optional[Path] = None
    truth_images: Optional[Path] = None
    #: Take the frames of these cameras only; none names all.
    cameras: Sequence[str] = ()
    #: The command line that asked, for the report; "" for a program.
    command: str = ""


@dataclass(frozen=True)
class Result:
    """A finished conversion."""

    bundle: Bundle
    verdict: Verdict
