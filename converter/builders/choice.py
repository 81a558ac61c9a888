"""The choice among the engine kinds that can be built."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping

from sightd.errors import BuildError, ConfigError
from sightd.manifest import Profile

from ..progress import Progress
from .base import Builder, Built
from .onnxruntime import OnnxRuntimeBuilder
from .options import tensorrt_options
from .tensorrt import TensorRtBuilder

__all__ = ["ENGINES", "choose_builder"]

#: What can be asked for.
ENGINES = ("auto", "onnxruntime", "tensorrt")


def choose_builder(
    name: str, given: Mapping[str, str], profile: Profile, folder: Path, earlier: Mapping[str, Path], progress: Progress
) -> Builder:
    """The builder of the engine kind *name*; "auto" takes TensorRT where it answers, and says which and why.

    :param given: options of a TensorRT build as text; with any, "auto" means TensorRT.
    :param folder: for what it makes on its way.
    :param earlier: files of the bundle that is made anew, by name: caches that may make the build quicker.
    :raises BuildError: TensorRT was asked for and can't be used here.
    :raises ConfigError: an unknown kind or option.
    """
    if name not in ENGINES:
        raise ConfigError(f"engine {name!r} is not known; there are {', '.join(ENGINES)}")
    options = tensorrt_options(given)
    if name == "onnxruntime":
        if given:
            raise ConfigError(
                "options for TensorRT (--trt) do not go with --engine onnxruntime: leave one of them away"
            )
        return OnnxRuntimeBuilder()
    try:
        builder = TensorRtBuilder(options, profile, folder, earlier, progress)
    except BuildError as error:
        if name == "tensorrt" or given:
            raise BuildError(f"TensorRT was asked for: {error}\nwithout it: --engine onnxruntime") from error
        progress.say(f"engine: ONNX Runtime on this machine's CPU. {str(error).splitlines()[0]}")
        return OnnxRuntimeBuilder()
    versions = builder.record(Built(folder, builder.floats[0])).versions
    progress.say(f"engine: TensorRT {versions['tensorrt']} on {versions.get('device', 'no GPU of this machine')}")
    return builder
