"""The manifest of a bundle: all that is needed to load, serve and explain its engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from .types import InputSpec

__all__ = ["CLASSIFIER", "SCHEMA", "EngineRecord", "Manifest", "ModelRecord", "OutputSpec", "Profile"]

#: The head family whose engines look at crops; all others find objects.
CLASSIFIER = "classifier"
#: Version of the manifest's layout; a reader refuses any other.
SCHEMA = 1
#: Of a full batch of pictures, in each of an engine's slots: 54 pictures of 2560 x 2560 pixels.
_MAX_BATCH_BYTES = 1 << 30
_MAX_BATCH = 1024


@dataclass(frozen=True)
class EngineRecord:
    """The engine file and what made it."""

    #: "onnxruntime" or "tensorrt": which module of sightd.engines loads it.
    kind: str
    #: "int8", "fp16" or "fp32": what the engine is, not what was asked for.
    precision: str
    #: File name in the bundle; filled in by write_bundle, as are sha256 and size.
    file: str = ""
    sha256: str = ""
    size: int = 0
    #: Versions that matter for loading: onnxruntime, or tensorrt, cuda, sm, driver, l4t ...
    versions: Dict[str, str] = field(default_factory=dict)
    #: Processor architecture as platform.machine() says (x86_64, aarch64).
    machine: str = ""
    #: Precision found -> number of layers that compute in it; empty where the engine does not tell.
    layers: Dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelRecord:
    """Where the engine came from."""

    #: The user's file name, no folders.
    name: str
    #: sha256 of the ONNX graph that was finished.
    onnx_sha256: str
    opset: int
    #: sha256 of the weights file when the model was exported here, else "".
    weights_sha256: str = ""
    #: "torch 2.13.0 torchscript", or "given" for an ONNX file.
    exporter: str = "given"


@dataclass(frozen=True)
class OutputSpec:
    """How candidates become detections on the host."""

    #: Candidates a picture that leave the engine.
    candidates: int = 300
    #: IoU above which NMS drops the lower of two boxes of a class.
    nms_iou: float = 0.45
    #: Score below which nothing is reported unless the camera's min_score says otherwise.
    min_score: float = 0.3


@dataclass(frozen=True)
class Profile:
    """Batch sizes that the engine was built for and verified with."""

    min: int = 1
    opt: int = 4
    max: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max <= _MAX_BATCH:
            sizes = f"{self.min}, {self.opt}, {self.max}"
            raise ValueError(f"batch sizes {sizes}: they must rise (min, opt, max), within 1..{_MAX_BATCH}")


@dataclass(frozen=True)
class Manifest:
    """The bundle's sidecar: everything needed to load, serve and explain the engine."""

    engine: EngineRecord
    model: ModelRecord
    #: Head family: "yolox", "centernet", "boxes-scores", CLASSIFIER ...
    head: str
    input: InputSpec
    labels: List[str]
    output: OutputSpec = OutputSpec()
    profile: Profile = Profile()
    schema: int = SCHEMA
    sightd_version: str = ""
    #: UTC, ISO 8601.
    created_at: str = ""
    #: Precision asked for and why it is what it is, one sentence for people.
    verdict: str = ""
    #: Algorithm, frame count, sha256 of the set, seed, layers kept float ...; None for a float engine.
    calibration: Optional[Dict[str, Any]] = None
    #: What the agreement gate measured (see converter.agreement.agree).
    agreement: Optional[Dict[str, Any]] = None
    #: p50_ms and p95_ms a batch size and precision, measured while converting.
    latency: Dict[str, Any] = field(default_factory=dict)
    #: seconds and peak_rss_mb of the conversion.
    build: Dict[str, Any] = field(default_factory=dict)
    #: sha256 of the manifest that this bundle replaced, else "".
    parent: str = ""
    #: Names of the extras: files for people, beside the engine; filled in by write_bundle.
    extras: List[str] = field(default_factory=list)
    #: An engine for any CPU, served where ``engine`` does not load after an upgrade; None where that is one itself.
    fallback: Optional[EngineRecord] = None
    #: What the conversion was asked for, to repeat it.
    request: Dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        batch_bytes = self.profile.max * self.input.width * self.input.height * 3
        if batch_bytes > _MAX_BATCH_BYTES:
            pictures = f"{self.profile.max} pictures of {self.input.width} x {self.input.height} pixels"
            raise ValueError(f"a batch of {pictures} would take more than {_MAX_BATCH_BYTES >> 20} MiB of memory")
