"""What a conversion is asked for, what the manifest remembers of it, and what came out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Type

import msgspec

from sightd.bundle import Bundle
from sightd.errors import BundleError

from .agreement.thresholds import Thresholds
from .verdict import Verdict

__all__ = ["GIVEN_MODEL", "Request", "Result", "recorded", "restored"]

#: The model as it was given, by its name in the bundle.
GIVEN_MODEL = "model.onnx"


@dataclass(frozen=True)
class Request:
    """A model, frames to calibrate on, and where the bundle goes."""

    #: An ONNX file, TorchScript, a program of torch.export, or PyTorch weights when there is a factory.
    model: Path
    #: A calibration set, or a folder of pictures.
    calibration: Path
    out: Path
    #: "module:function" that makes the torch.nn.Module for the weights.
    factory: str = ""
    #: Head family; "" recognises it.
    head: str = ""
    head_options: Mapping[str, str] = field(default_factory=dict)
    #: "coco80" or a file with one name a line; "" takes *names*, or those in the model.
    labels: str = ""
    #: Fields of InputSpec that win over the family's preset.
    spec: Mapping[str, Any] = field(default_factory=dict)
    #: Width and height in pixels; needed for weights and for graphs that leave it open.
    size: Optional[Tuple[int, int]] = None
    opset: int = 13
    #: One of converter.model.export.EXPORTERS, and whether control flow is to be kept; for what PyTorch saved.
    exporter: str = "torchscript"
    script: bool = False
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
    #: "auto", or the kind of engine to build.
    engine: str = "auto"
    #: Options of a TensorRT build by name, as text (:func:`converter.builders.tensorrt_options`).
    trt: Mapping[str, str] = field(default_factory=dict)
    #: Names of the classes, where *labels* does not say.
    names: Sequence[str] = ()
    #: The bundle that is made anew: *model* is its copy, and its ranges and caches are used where they fit.
    rebuilt: Optional[Bundle] = None


@dataclass(frozen=True)
class Result:
    """A finished conversion."""

    bundle: Bundle
    verdict: Verdict


#: The manifest says these elsewhere, or they were used up before there was an ONNX file.
_NOT_RECORDED = ("model", "out", "factory", "opset", "exporter", "script", "labels", "command", "rebuilt")


def recorded(request: Request, names: Sequence[str]) -> Dict[str, Any]:
    """What :func:`restored` needs beside the bundle to repeat *request*; JSON-able, paths absolute, no secrets.

    :param names: of the classes, whatever they were read from.
    """
    whole = replace(
        request,
        calibration=request.calibration.absolute(),
        truth=request.truth and request.truth.absolute(),
        truth_images=request.truth_images and request.truth_images.absolute(),
        names=names,
        rebuilt=None,
    )
    asked: Dict[str, Any] = msgspec.to_builtins(whole, enc_hook=str)
    return {key: value for key, value in asked.items() if key not in _NOT_RECORDED}


def restored(bundle: Bundle) -> Request:
    """The request that *bundle* came from: its copy of the given model, to the same place.

    :raises BundleError: the manifest does not say what was asked for.
    """
    asked = {**bundle.manifest.request, "model": str(bundle.folder / GIVEN_MODEL), "out": str(bundle.folder)}
    try:
        request = msgspec.convert(asked, Request, dec_hook=_decoded)
    except msgspec.ValidationError as error:
        raise BundleError(
            f"{bundle.folder}: its manifest does not say what it was made from ({error}), an older sightd made it: "
            "convert the model again with: sightd convert MODEL --calibration DIR --out BUNDLE"
        ) from error
    spec = {key: tuple(value) if isinstance(value, list) else value for key, value in request.spec.items()}
    return replace(request, spec=spec, rebuilt=bundle)


def _decoded(kind: Type[Any], value: Any) -> Any:
    return kind(value)
