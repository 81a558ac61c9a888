"""A TensorRT plan on its way into memory: what the runtime says is kept, and a refusal says what to do about it."""

from __future__ import annotations

import logging
import re
from collections import deque
from pathlib import Path
from typing import Any, Deque, Dict, List, Optional, Sequence, Tuple

from ..errors import EngineError, EngineMismatch
from ..types import InputSpec

__all__ = ["TensorRtLog", "check_contract", "deserialize", "new_runtime", "tensorrt_log", "tensorrt_module"]

_log = logging.getLogger(__name__)

#: The numbers of tensorrt.ILogger.Severity.
_ERROR, _WARNING = 1, 2
#: What TensorRT's errors say -> what that means and what to do, the first that fits.
_MISMATCHES: Sequence[Tuple[str, str]] = (
    (r"expecting library version (\S+) got (\S+?),", "it was built by TensorRT {1}, this machine has {0}"),
    (r"expecting compute (\S+) got compute (\S+?),", "it was built for compute capability {1}, this GPU has {0}"),
    (r"[Vv]ersion tag does not match", "it was built by another version of TensorRT"),
    (r"incompatible device", "it was built for another GPU"),
)
_DAMAGES: Sequence[Tuple[str, str]] = (
    (r"magicTag|kPLAN_MAGIC_TAG", "it is no TensorRT engine, or a damaged one"),
    (
        (
            r"[Ss]ize specified in header|sizeRead|[Aa]rchive ?[Ss]ize|[Uu]nexpected end|past end of archive"
            r"|expectedTypehash|hasVersion<"
        ),
        "it is cut off or damaged",
    ),
)
_OUT_OF_MEMORY = r"[Oo]ut ?[Oo]f ?[Mm]emory|cudaErrorMemoryAllocation|cuMemAlloc|cudaMalloc"
#: The finished graph's outputs: name -> what follows [N, K] in its shape, type.
_OUTPUTS: Dict[str, Tuple[Tuple[int, ...], str]] = {
    "boxes": ((4,), "FLOAT"),
    "scores": ((), "FLOAT"),
    "classes": ((), "INT32"),
}
_INPUT = "images"


def tensorrt_module() -> Any:
    """The package tensorrt.

    :raises EngineError: it can't be imported; says what to install.
    """
    try:
        import tensorrt
    except ImportError as error:
        raise EngineError(
            f"TensorRT can't be imported ({error}): on a Jetson: sudo apt install python3-libnvinfer, and a virtual "
            "environment that sees it (sightd install makes one); elsewhere: pip install tensorrt"
        ) from error
    return tensorrt


class TensorRtLog:
    """What TensorRT says: warnings go to the log, errors are kept until they are asked for."""

    def __init__(self) -> None:
        self._errors: Deque[str] = deque(maxlen=20)

    def hear(self, severity: int, message: str) -> None:
        if severity <= _ERROR:
            self._errors.append(message)
        elif severity == _WARNING:
            _log.debug("TensorRT: %s", message)

    def errors(self) -> List[str]:
        """The errors since the last call."""
        heard = list(self._errors)
        self._errors.clear()
        return heard


def tensorrt_log(trt: Any, log: TensorRtLog) -> Any:
    """A TensorRT logger that tells *log*; it must live as long as what is made with it."""

    class _Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            log.hear(int(severity), msg)

    return _Logger()


def new_runtime(trt: Any, log: TensorRtLog, logger: Any) -> Any:
    """TensorRT's runtime, in the current CUDA context.

    :raises EngineError: it can't be made here.
    """
    try:
        return trt.Runtime(logger)
    except TypeError as error:  # so says pybind of a constructor that failed
        said = " ".join(log.errors()) or str(error)
        raise EngineError(
            f"TensorRT {trt.__version__} does not start here ({said}): does it belong to this GPU's driver and CUDA?"
        ) from error


def deserialize(runtime: Any, log: TensorRtLog, file: Path, content: Optional[bytes] = None) -> Any:
    """The engine in *file*, whose *content* may have been read before.

    :raises EngineMismatch: it was built for another TensorRT or GPU.
    :raises EngineError: it can't be read, is damaged, or there is too little memory.
    """
    try:
        plan = file.read_bytes() if content is None else content
    except OSError as error:
        raise EngineError(f"{file}: the engine can't be read ({error.strerror})") from error
    if not plan:
        raise EngineError(f"{file}: the engine is empty; convert the model again")
    if hasattr(runtime, "engine_host_code_allowed"):  # 8.6 and later: version compatible plans hold their runtime
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise _refused(file, log.errors())
    return engine


def check_contract(file: Path, engine: Any, spec: InputSpec, max_batch: int) -> str:
    """Compare *engine* with what a finished graph has (see ARCHITECTURE.md); the data type of its input.

    :raises EngineError: another model's engine, or one for other batches than 1 to *max_batch*.
    """
    found = {name: _tensor(engine, name) for name in map(engine.get_tensor_name, range(engine.num_io_tensors))}
    if set(found) != {_INPUT, *_OUTPUTS}:
        raise EngineError(f"{file}: not an engine of a finished model: it has {', '.join(found)}; convert the model")
    shape, kind = found.pop(_INPUT)
    wanted = (spec.height, spec.width, 3)
    if shape[1:] != wanted or kind not in ("UINT8", "FLOAT"):
        raise EngineError(
            f"{file}: its input is {kind} {shape}, the bundle's is UINT8 or FLOAT {('N', *wanted)}; convert again"
        )
    candidates = found["scores"][0][1:2]  # -1 where TensorRT does not tell before a batch is set
    for name, (last, expected) in _OUTPUTS.items():
        output, its_kind = found[name]
        if not _alike(output[1:], candidates + last) or its_kind != expected:
            raise EngineError(
                f"{file}: output {name!r} is {its_kind} {output}, not {expected} {('N', 'K', *last)}; "
                "convert the model again"
            )
    batches = [shape[0]] * 3 if shape[0] > 0 else [dims[0] for dims in engine.get_tensor_profile_shape(_INPUT, 0)]
    if batches[0] > 1 or max_batch > batches[2]:
        raise EngineError(
            f"{file}: built for batches of {batches[0]} to {batches[2]}, 1 to {max_batch} are asked for; "
            "convert the model again"
        )
    return kind


def _alike(shape: Sequence[int], other: Sequence[int]) -> bool:
    return len(shape) == len(other) and all(one == two or -1 in (one, two) for one, two in zip(shape, other))


def _tensor(engine: Any, name: str) -> Tuple[Tuple[int, ...], str]:
    return tuple(engine.get_tensor_shape(name)), str(engine.get_tensor_dtype(name).name)


def _refused(file: Path, errors: Sequence[str]) -> EngineError:
    said = " ".join(errors)
    for pattern, cause in _MISMATCHES:
        found = re.search(pattern, said)
        if found:
            return EngineMismatch(
                f"{file}: {cause.format(*found.groups())}; build it anew: sightd convert --rebuild {file.parent}"
            )
    for pattern, cause in _DAMAGES:
        if re.search(pattern, said):
            return EngineError(f"{file}: {cause}; convert the model again, or restore the bundle from a copy")
    if re.search(_OUT_OF_MEMORY, said):
        return EngineError(f"{file}: too little GPU memory to load it; end other programs, or take a smaller max_batch")
    quoted = said[:500] or "it gave no reason"
    return EngineError(f"{file}: TensorRT can't load it ({quoted}); convert the model again")
