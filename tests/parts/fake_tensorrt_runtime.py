"""The runtime half of a fake TensorRT: plans that hold an ONNX graph, computed by ONNX Runtime in the stream's order.

A plan is ``b"FAKETRT1"``, the length of a JSON header (4 bytes, little-endian), the header, the ONNX bytes. What the
real deserialiser refuses is refused here with the real one's words in the logger. ONNX Runtime is loaded at the first
enqueue only: the builder's process has none.
"""

from __future__ import annotations

import json
import struct
import weakref
from enum import IntEnum
from types import SimpleNamespace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from tests.parts.fake_cuda import Error, FakeGpu

__all__ = ["MAGIC", "make_plan", "names", "numbers", "read_plan"]

MAGIC = b"FAKETRT1"
_DTYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}
_DTYPES["INT64"] = np.int64
_ONNX_TO_NAME = {1: "FLOAT", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF"}
#: What a real plan of 8.5.2 has before its first archive.
_HEADER_BYTES = 24
_FORMATS = {"INT8": "Row major Int8 format", "HALF": "Row major linear FP16 format", "FLOAT": "Row major linear FP32"}


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class TensorIOMode(IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class LayerInformationFormat(IntEnum):
    ONELINE = 0
    JSON = 1


class ILogger:
    """As pybind has it: a subclass that does not call this __init__ can't be used."""

    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def __init__(self) -> None:
        self._constructed = True

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class Logger(ILogger):
    def __init__(self, min_severity: Severity = Severity.WARNING) -> None:
        super().__init__()
        self.min_severity = min_severity

    def log(self, severity: Severity, msg: str) -> None:
        pass


def numbers(version: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def make_plan(
    model: bytes,
    *,
    tensorrt: str = "8.5.2.2",
    sm: str = "8.7",
    device: str = "Orin",
    profile: Tuple[int, int, int] = (1, 4, 4),
    profiles: int = 1,
    precisions: Optional[Mapping[str, str]] = None,
    int8_scales: Optional[Mapping[str, float]] = None,
) -> bytes:
    """The plan of a finished ONNX graph, as a builder of this *tensorrt* on this GPU would have made it."""
    header = {
        "tensorrt": tensorrt,
        "sm": sm,
        "device": device,
        "profile": dict(zip(("min", "opt", "max"), profile)),
        "profiles": profiles,
        "bytes": len(model),
        "precisions": dict(precisions or {}),
        "int8_scales": dict(int8_scales or {}),
    }
    packed = json.dumps(header).encode()
    return MAGIC + struct.pack("<I", len(packed)) + packed + model


def read_plan(plan: bytes) -> Tuple[Dict[str, Any], bytes]:
    """The header and the ONNX bytes of a sound plan."""
    length = struct.unpack_from("<I", plan, len(MAGIC))[0]
    start = len(MAGIC) + 4
    header: Dict[str, Any] = json.loads(plan[start : start + length])
    return header, plan[start + length :]


def names(version: str, gpu: FakeGpu) -> Dict[str, Any]:
    """What a runtime of *version* has in its module, as far as this project may use it."""
    types = _data_types(numbers(version))
    aliases = {
        "float32": "FLOAT",
        "float16": "HALF",
        "int8": "INT8",
        "int32": "INT32",
        "uint8": "UINT8",
        "bool": "BOOL",
    }
    return {
        "__version__": version,
        "ILogger": ILogger,
        "Logger": Logger,
        "Runtime": lambda logger: _Runtime(logger, version, gpu, types),
        "TensorIOMode": TensorIOMode,
        "LayerInformationFormat": LayerInformationFormat,
        "DataType": types,
        **{alias: types[name] for alias, name in aliases.items()},
    }


def _data_types(version: Tuple[int, ...]) -> Any:
    known = ["FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8"]
    if version >= (8, 6):
        known.append("FP8")
    if version >= (10,):
        known += ["BF16", "INT64", "INT4"]
    return IntEnum("DataType", {name: number for number, name in enumerate(known)})


class _Counted:
    """Something of TensorRT's that lives until its last reference goes; its CUDA context should live longer."""

    def __init__(self, kind: str, gpu: FakeGpu) -> None:
        self._kind, self._gpu = kind, gpu
        gpu.live[kind] += 1

    def __del__(self) -> None:
        if hasattr(self, "_gpu"):  # not where the constructor failed
            self._gpu.live[self._kind] -= 1


class _Runtime(_Counted):
    def __init__(self, logger: ILogger, version: str, gpu: FakeGpu, types: Any) -> None:
        if not getattr(logger, "_constructed", False):
            raise TypeError("tensorrt.tensorrt.ILogger.__init__() must be called when overriding __init__")
        try:
            gpu.call("cudaGetDevice")
        except Error as error:
            raise TypeError("pybind11::init(): factory function returned nullptr") from error
        super().__init__("runtime", gpu)
        self.logger, self._version, self._types = logger, version, types
        if numbers(version) >= (8, 6):
            self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: Any) -> Optional[_Engine]:
        plan = bytes(serialized_engine)
        refusal = _refusal(plan, self._version, self._gpu)
        if refusal is None:
            try:
                self._gpu.call("cudaMalloc")
                return _Engine(self, plan)
            except Error as error:
                refusal = f"1: [defaultAllocator.cpp::allocate::20] Error Code 1: Cuda Runtime ({error})"
        self.logger.log(Severity.ERROR, refusal)
        deserialize = "4: [runtime.cpp::deserializeCudaEngine::66] Error Code 4: Internal Error"
        self.logger.log(Severity.ERROR, f"{deserialize} (Engine deserialization failed.)")
        return None


def _refusal(plan: bytes, version: str, gpu: FakeGpu) -> Optional[str]:
    serialization = "Error Code 1: Serialization (Serialization assertion"
    if not plan.startswith(MAGIC):
        assertion = "plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed."
        return f"1: [runtime.cpp::parsePlan::314] {serialization} {assertion})"
    if not _whole(plan):
        past = (
            "archiveReader.cpp::consumeBytes::56",
            "count <= mEnd - mCurrent failed.Trying to consume past end of archive",
        )
        size = "Size specified in header does not match archive size"
        short = (
            "stdArchiveReader.cpp::StdArchiveReader::54",
            f"sizeRead == static_cast<uint64_t>(mEnd - mCurrent) failed.{size}",
        )
        where, assertion = past if len(plan) < _HEADER_BYTES else short
        return f"1: [{where}] {serialization} {assertion})"
    header = read_plan(plan)[0]
    built, here = numbers(header["tensorrt"]), numbers(version)
    if built[:2] != here[:2]:
        tags = f"Current Version: {200 + here[1]}, Serialized Engine Version: {200 + built[1]}"
        assertion = f"stdVersionRead == serializationVersion failed.Version tag does not match. Note: {tags}"
        return f"1: [stdArchiveReader.cpp::StdArchiveReader::42] {serialization} {assertion})"
    if built != here:
        wrong = f"expecting library version {version} got {header['tensorrt']}"
        return f"6: The engine plan file is not compatible with this version of TensorRT, {wrong}, please rebuild."
    compute = "{}.{}".format(*gpu.sm)
    if header["sm"] != compute:
        wrong = f"expecting compute {compute} got compute {header['sm']}"
        return f"6: The engine plan file is generated on an incompatible device, {wrong}, please rebuild."
    return None


def _whole(plan: bytes) -> bool:
    try:
        header, model = read_plan(plan)
        numbers(header["tensorrt"])
        return _kinds(header) == _kinds(read_plan(make_plan(b""))[0]) and header["bytes"] == len(model)
    except (struct.error, ValueError, TypeError, KeyError, AttributeError):
        return False


def _kinds(header: Mapping[str, Any]) -> Dict[str, type]:
    """The types of all that a header always has."""
    return {key: type(value) for key, value in (*header.items(), *header["profile"].items())}


class _Engine(_Counted):
    def __init__(self, runtime: _Runtime, plan: bytes) -> None:
        super().__init__("engine", runtime._gpu)
        import onnx

        self.runtime, (self.header, self._model) = runtime, read_plan(plan)
        self._session: Any = None
        if self.header["device"] != runtime._gpu.device:
            runtime.logger.log(
                Severity.WARNING,
                "Using an engine plan file across different models of devices is not recommended and is likely to "
                "affect performance or even cause errors.",
            )
        if numbers(runtime._version) < (11,):
            self.device_memory_size = 1 << 20
        if numbers(runtime._version) >= (10,):
            self.device_memory_size_v2 = 1 << 20
        graph = onnx.load_from_string(self._model).graph
        self._tensors = {value.name: value.type.tensor_type for value in (*graph.input, *graph.output)}
        self._inputs = {value.name for value in graph.input}
        self.taken: Dict[int, weakref.ref[_Context]] = {}
        self.num_io_tensors = len(self._tensors)
        self.num_optimization_profiles = self.header.get("profiles", 1)
        self.num_layers = len(self.header["precisions"])

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> Tuple[int, ...]:
        return tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in self._tensors[name].shape.dim)

    def get_tensor_dtype(self, name: str) -> Any:
        return self.runtime._types[_ONNX_TO_NAME[self._tensors[name].elem_type]]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> List[Tuple[int, ...]]:
        assert 0 <= profile_index < self.num_optimization_profiles
        rest = self.get_tensor_shape(name)[1:]
        return [(self.header["profile"][key], *rest) for key in ("min", "opt", "max")]

    def create_execution_context(self) -> Optional[_Context]:
        try:
            self._gpu.call("cudaMalloc")
        except Error as error:
            self.log(f"2: [virtualMemoryBuffer.cpp::resizePhysical::145] Error Code 2: OutOfMemory ({error})")
            return None
        return _Context(self)

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=self._information)

    def _information(self, format: LayerInformationFormat) -> str:  # noqa: A002 (TensorRT's name)
        if numbers(self.runtime._version) < (8, 6):  # told no precisions of such engines on a real GPU
            return json.dumps({"Layers": list(self.header["precisions"])})
        layers = [
            {
                "Name": name,
                "LayerType": "CaskConvolution",
                "Inputs": [{"Name": f"{name}.in", "Format/Datatype": _FORMATS[precision]}],
                "Outputs": [{"Name": f"{name}.out", "Format/Datatype": _FORMATS[precision]}],
            }
            for name, precision in self.header["precisions"].items()
        ]
        bindings = "Bindings" if numbers(self.runtime._version) < (11,) else "I/O Tensors"
        return json.dumps({"Layers": layers, bindings: list(self._tensors)})

    # What the context below needs.

    @property
    def session(self) -> Any:
        if self._session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            self._session = onnxruntime.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])
        return self._session

    def shares_profiles(self) -> bool:
        static = -1 not in self.get_tensor_shape(next(iter(self._inputs)))
        return static or numbers(self.runtime._version) >= (10,)

    def log(self, message: str, severity: Severity = Severity.ERROR) -> None:
        self.runtime.logger.log(severity, message)


class _Context(_Counted):
    def __init__(self, engine: _Engine) -> None:
        super().__init__("context", engine._gpu)
        self.engine = engine
        self.active_optimization_profile = -1
        self._shapes: Dict[str, Tuple[int, ...]] = {}
        self._addresses: Dict[str, int] = {}
        self._flushed: Optional[Tuple[int, ...]] = None
        self._streams_under_way: List[int] = []
        if not self._choose(0):
            engine.log(
                "Could not set default profile 0 for execution context. Profile index must be set explicitly.",
                Severity.WARNING,
            )

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        try:
            self._gpu.call("cudaMemcpyAsync")
        except Error as error:
            self.engine.log(f"1: [executionContext.cpp::setOptimizationProfileAsync] Cuda Runtime ({error})")
            return False
        self._gpu.enqueue(stream_handle, lambda: None)
        return self._choose(profile_index)

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        profile = self.engine.header["profile"]
        wanted, built = tuple(shape), self.engine.get_tensor_shape(name)
        fits = wanted == built or (built[0] == -1 and wanted[1:] == built[1:])
        if not fits or not profile["min"] <= wanted[0] <= profile["max"]:
            self.engine.log(
                f"3: [executionContext.cpp::setInputShape::2278] Error Code 3: API Usage Error ({name} {wanted})"
            )
            return False
        self._shapes[name] = wanted
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert name in self.engine._tensors
        self._addresses[name] = memory
        return memory % 256 == 0

    def get_tensor_shape(self, name: str) -> Tuple[int, ...]:
        batch = next(iter(self._shapes.values()))[0] if self._shapes else -1
        shape = self.engine.get_tensor_shape(name)
        return (batch if shape[0] == -1 else shape[0], *shape[1:])

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine = self.engine
        where = "[executionContext.cpp::enqueueV3::2650]"
        missing = engine._tensors.keys() - self._addresses.keys()
        if self.active_optimization_profile < 0 or missing or not self._shapes:
            engine.log(f"3: {where} Error Code 3: API Usage Error (no profile, shape or address for {sorted(missing)})")
            return False
        (name, shape), addresses = next(iter(self._shapes.items())), dict(self._addresses)
        capturing = self._gpu.capturing(stream_handle)
        try:
            if capturing and self._flushed != shape:
                self._gpu.refuse_in_capture("cudaMemcpy")  # the update of what a new shape changes
            self._gpu.call("cudaLaunchKernel")
        except Error as error:
            engine.log(f"1: {where} Error Code 1: Cuda Runtime ({error})")
            return False
        self._flushed = shape
        engine.session  # noqa: B018 (made on this thread, once)
        if not capturing:
            self._claim(stream_handle)
        self._gpu.enqueue(stream_handle, lambda: self._compute(name, shape, addresses, capturing))
        return True

    def _claim(self, stream_handle: int) -> None:
        assert set(self._streams_under_way) <= {stream_handle}, "one context on two streams at the same time"
        self._streams_under_way.append(stream_handle)

    def _compute(self, name: str, shape: Tuple[int, ...], addresses: Dict[str, int], captured: bool) -> None:
        pixels = self._tensor(name, addresses[name], shape)
        session = self.engine.session
        results = session.run(None, {name: pixels})
        for output, values in zip(session.get_outputs(), results):
            if captured and output.name == "scores":
                values[values >= self._gpu.graphs_lose_from] = 0
            self._tensor(output.name, addresses[output.name], values.shape)[...] = values
        if not captured:
            self._streams_under_way.pop()

    def _tensor(self, name: str, address: int, shape: Tuple[int, ...]) -> np.ndarray:
        dtype = np.dtype(_DTYPES[self.engine.get_tensor_dtype(name).name])
        memory = self._gpu.read(address, int(np.prod(shape)) * dtype.itemsize)
        return memory.view(dtype).reshape(shape)

    def _choose(self, profile: int) -> bool:
        engine = self.engine
        if not 0 <= profile < engine.num_optimization_profiles:
            engine.log(f"3: Error Code 3: API Usage Error (profileIndex {profile} >= 0 && profileIndex < nbProfiles)")
            return False
        owner = engine.taken[profile]() if profile in engine.taken else None
        if owner is not None and owner is not self and not engine.shares_profiles():
            engine.log(
                f"Profile {profile} has been chosen by another IExecutionContext. Use another profileIndex or destroy "
                "the IExecutionContext that use this profile."
            )
            return False
        engine.taken[profile] = weakref.ref(self)
        self.active_optimization_profile = profile
        return True
