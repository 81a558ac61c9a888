"""The builder half of a fake TensorRT: parses ONNX for real, calibrates for real, and writes a fake plan.

What makes builds fail stands in the environment (:data:`FAULTS`), for it happens in a process of its own: a JSON
object with any of ``workspace_mb`` (out of memory above), ``obey`` (no implementation while precisions are obeyed),
``refused`` (an operator that the parser does not know), ``signal`` (dies of it in INT8), ``silent`` (None without a
word), ``no_int8`` (chooses no INT8), ``step_s`` (so slow is a step), ``noise`` (text on stdout), ``no_gpu``,
``dla_cores``.
"""

from __future__ import annotations

import json
import os
import struct
import time
from enum import IntEnum
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.parts.fake_cuda import FakeGpu
from tests.parts.fake_tensorrt_runtime import ILogger, Severity, make_plan, numbers

__all__ = ["FAULTS", "names"]

FAULTS = "SIGHTD_TEST_TENSORRT_FAULTS"
_STEPS = 8
_KINDS = {TensorProto.FLOAT: "FLOAT", TensorProto.FLOAT16: "HALF", TensorProto.UINT8: "UINT8", TensorProto.INT8: "INT8"}
_KINDS.update({TensorProto.INT32: "INT32", TensorProto.INT64: "INT32", TensorProto.BOOL: "BOOL"})
_WEIGHING = ("Conv", "Gemm", "MatMul")


def _faults() -> Dict[str, Any]:
    found: Dict[str, Any] = json.loads(os.environ.get(FAULTS, "{}"))
    return found


class _Strict:
    """As an object of pybind11: what it does not have can't be set."""

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and not hasattr(self, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        object.__setattr__(self, name, value)


class MemoryPoolType85(IntEnum):
    WORKSPACE = 0
    DLA_MANAGED_SRAM = 1


class MemoryPoolType86(IntEnum):
    WORKSPACE = 0
    DLA_MANAGED_SRAM = 1
    TACTIC_DRAM = 4


class LayerType(IntEnum):
    CONVOLUTION = 0
    ACTIVATION = 2
    ELEMENTWISE = 8
    SHUFFLE = 12
    CONSTANT = 17
    IDENTITY = 19
    SHAPE = 21


class DeviceType(IntEnum):
    GPU = 0
    DLA = 1


class ProfilingVerbosity(IntEnum):
    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class HardwareCompatibilityLevel(IntEnum):
    NONE = 0
    AMPERE_PLUS = 1


class IInt8EntropyCalibrator2:
    """As pybind has it: without these four in a subclass nothing works."""

    def get_batch_size(self) -> int:
        raise NotImplementedError

    def get_batch(self, names: List[str]) -> Optional[List[int]]:
        raise NotImplementedError

    def read_calibration_cache(self) -> Optional[bytes]:
        raise NotImplementedError

    def write_calibration_cache(self, cache: Any) -> None:
        raise NotImplementedError


class IInt8MinMaxCalibrator(IInt8EntropyCalibrator2):
    pass


class IProgressMonitor:
    def phase_start(self, phase_name: str, parent_phase: Optional[str], num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


def _enum(name: str, members: Sequence[str]) -> Any:
    return IntEnum(name, {member: number for number, member in enumerate(members)})


def _flags(version: Tuple[int, ...]) -> Any:
    flags = ["DEBUG", "GPU_FALLBACK", "REFIT", "DISABLE_TIMING_CACHE", "TF32", "SPARSE_WEIGHTS"]
    if version < (11,):
        flags += ["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"]
    if version >= (8, 6):
        flags.append("VERSION_COMPATIBLE")
    return _enum("BuilderFlag", flags)


def names(version: str, gpu: FakeGpu, runtime: Mapping[str, Any]) -> Dict[str, Any]:
    """What the builder of *version* has in its module, as far as this project may use it."""
    number = numbers(version)
    creation = ["EXPLICIT_BATCH"] if number < (11,) else []
    sources = [] if number >= (11,) else ["CUBLAS", "CUBLAS_LT", "CUDNN"]
    previews = ["DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805"] if number < (10,) else ["ALIASED_PLUGIN_IO_10_03"]
    found: Dict[str, Any] = {
        "NetworkDefinitionCreationFlag": _enum(
            "NetworkDefinitionCreationFlag", [*creation, *(["STRONGLY_TYPED"] if number >= (10,) else [])]
        ),
        "BuilderFlag": _flags(number),
        "MemoryPoolType": MemoryPoolType86 if number >= (8, 6) else MemoryPoolType85,
        "TacticSource": _enum("TacticSource", [*sources, "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"]),
        "PreviewFeature": _enum("PreviewFeature", previews),
        "LayerType": LayerType,
        "DeviceType": DeviceType,
        "ProfilingVerbosity": ProfilingVerbosity,
    }
    if number >= (8, 6):
        found["HardwareCompatibilityLevel"] = HardwareCompatibilityLevel
    if number >= (10,):
        found["IProgressMonitor"] = IProgressMonitor
    if number < (11,):
        found.update(IInt8EntropyCalibrator2=IInt8EntropyCalibrator2, IInt8MinMaxCalibrator=IInt8MinMaxCalibrator)
    here = _Here(version, gpu, {**runtime, **found})
    found["Builder"] = lambda logger: _Builder(logger, here)
    found["OnnxParser"] = _Parser
    return found


class _Here:
    """What all parts know."""

    def __init__(self, version: str, gpu: FakeGpu, module: Mapping[str, Any]) -> None:
        self.version, self.number, self.gpu, self.module = version, numbers(version), gpu, module


class _Builder(_Strict):
    num_DLA_cores = 0  # noqa: N815 (TensorRT's name)

    def __init__(self, logger: ILogger, here: _Here) -> None:
        if _faults().get("no_gpu"):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger, self._here = logger, here
        object.__setattr__(self, "num_DLA_cores", _faults().get("dla_cores", 0))

    def create_network(self, flags: int = 0) -> _Network:
        if self._here.number < (10,):
            explicit = 1 << int(self._here.module["NetworkDefinitionCreationFlag"].EXPLICIT_BATCH)
            assert flags & explicit, "a network with an implicit batch does not parse ONNX"
        return _Network(self._here)

    def create_builder_config(self) -> Any:
        return _config_class(self._here)()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: Any) -> Optional[bytes]:
        return _Build(self._here, self._logger, network, config).plan()


class _Profile(_Strict):
    def __init__(self) -> None:
        self._shapes: Dict[str, Tuple[Any, ...]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002 (TensorRT's names)
        assert min[1:] == opt[1:] == max[1:]
        assert min[0] <= opt[0] <= max[0]
        self._shapes[input] = (min, opt, max)


class _Tensor(_Strict):
    def __init__(self, name: str, dtype: Any, shape: Tuple[int, ...]) -> None:
        self._name, self._dtype, self._shape = name, dtype, shape

    name = property(lambda self: self._name)
    dtype = property(lambda self: self._dtype)
    shape = property(lambda self: self._shape)
    is_execution_tensor = True


class _Layer(_Strict):
    def __init__(self, name: str, kind: LayerType, inputs: List[_Tensor], outputs: List[_Tensor]) -> None:
        self._name, self._type, self._inputs, self._outputs = name, kind, inputs, outputs
        self._types: Dict[int, Any] = {}

    name = property(lambda self: self._name)
    type = property(lambda self: self._type)
    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: len(self._outputs))

    def get_input(self, index: int) -> _Tensor:
        return self._inputs[index]

    def get_output(self, index: int) -> _Tensor:
        return self._outputs[index]


class _WeaklyTypedLayer(_Layer):
    precision: Any = None

    def set_output_type(self, index: int, dtype: Any) -> None:
        assert self._outputs[index].dtype.name in ("FLOAT", "HALF"), f"{self._name}: an output that is no float"
        self._types[index] = dtype


class _TellingLayer(_WeaklyTypedLayer):
    metadata = property(lambda self: f"[ONNX Layer: {self._name}]" if "ONNXTRT" not in self._name else "")


class _Network(_Strict):
    def __init__(self, here: _Here) -> None:
        self._here = here
        self._layers: List[_Layer] = []
        self._inputs: List[_Tensor] = []
        self._model = onnx.ModelProto()

    num_layers = property(lambda self: len(self._layers))
    num_inputs = property(lambda self: len(self._inputs))

    def get_layer(self, index: int) -> _Layer:
        return self._layers[index]

    def get_input(self, index: int) -> _Tensor:
        return self._inputs[index]

    def fill(self, model: onnx.ModelProto) -> None:
        self._model = model
        types = self._here.module["DataType"]
        graph = onnx.shape_inference.infer_shapes(model).graph
        kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
        kinds.update({value.name: value.type.tensor_type.elem_type for value in graph.output})
        kinds.update({weight.name: weight.data_type for weight in graph.initializer})

        def tensor(name: str) -> _Tensor:
            return _Tensor(name, types[_KINDS[kinds.get(name, TensorProto.FLOAT)]], ())

        for value in graph.input:
            shape = tuple(dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim)
            self._inputs.append(_Tensor(value.name, tensor(value.name).dtype, shape))
        weights = {weight.name for weight in graph.initializer}
        for node in graph.node:
            inputs, outputs = [tensor(name) for name in node.input if name], [tensor(name) for name in node.output]
            if node.op_type in ("Add", "Mul") and set(node.input) & weights:
                self._add(f"ONNXTRT_Broadcast_{len(self._layers)}", LayerType.SHUFFLE, inputs[1:], inputs[1:])
            self._add(node.name, _TYPES.get(node.op_type, LayerType.ELEMENTWISE), inputs, outputs)

    def _add(self, name: str, kind: LayerType, inputs: List[_Tensor], outputs: List[_Tensor]) -> None:
        number = self._here.number
        make = _Layer if number >= (11,) else _TellingLayer if number >= (8, 6) else _WeaklyTypedLayer
        self._layers.append(make(name, kind, inputs, outputs))


_TYPES = {"Conv": LayerType.CONVOLUTION, "Cast": LayerType.IDENTITY, "Constant": LayerType.CONSTANT}
_TYPES["Shape"] = LayerType.SHAPE


class _Error:
    def __init__(self, node: int, desc: str) -> None:
        self._node, self._desc = node, desc

    def node(self) -> int:
        return self._node

    def desc(self) -> str:
        return self._desc


class _Parser(_Strict):
    def __init__(self, network: _Network, logger: ILogger) -> None:
        self._network, self._logger = network, logger
        self._errors: List[_Error] = []

    num_errors = property(lambda self: len(self._errors))

    def get_error(self, index: int) -> _Error:
        return self._errors[index]

    def parse(self, model: bytes) -> bool:
        found = onnx.load_from_string(model)
        for number, node in enumerate(found.graph.node):
            if node.op_type == _faults().get("refused"):
                self._errors.append(_Error(number, f"No importer registered for op: {node.op_type}"))
        if not self._errors:
            self._network.fill(found)
        return not self._errors


class _TimingCache(_Strict):
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> bytes:
        return self._content


def _config_class(here: _Here) -> Any:
    class Config(_Strict):
        profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        default_device_type = DeviceType.GPU
        DLA_core = -1
        if here.number >= (8, 6):
            builder_optimization_level = 3
            hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        if here.number >= (10,):
            progress_monitor: Any = None
        if here.number < (11,):
            int8_calibrator: Any = None

            def set_calibration_profile(self, profile: _Profile) -> bool:
                self._calibration_profile = profile
                return True

        def __init__(self) -> None:
            self._flags: Set[str] = {"TF32"}
            self._pools: Dict[str, int] = {}
            self._profiles: List[_Profile] = []
            self._calibration_profile: Optional[_Profile] = None
            self._sources: Optional[int] = None
            self._previews: Dict[str, bool] = {}
            self._timing: Optional[_TimingCache] = None

        def set_flag(self, flag: Any) -> None:
            self._flags.add(here.module["BuilderFlag"](flag).name)

        def clear_flag(self, flag: Any) -> None:
            self._flags.discard(here.module["BuilderFlag"](flag).name)

        def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            self._pools[pool.name] = pool_size

        def set_tactic_sources(self, tactic_sources: int) -> bool:
            self._sources = tactic_sources
            return True

        def set_preview_feature(self, feature: Any, enable: bool) -> None:
            self._previews[feature.name] = enable

        def add_optimization_profile(self, profile: _Profile) -> int:
            self._profiles.append(profile)
            return len(self._profiles) - 1

        def create_timing_cache(self, serialized_timing_cache: bytes) -> _TimingCache:
            return _TimingCache(serialized_timing_cache)

        def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
            if cache._content and not cache._content.startswith(_mark(here)) and not ignore_mismatch:
                return False
            self._timing = cache
            return True

        def get_timing_cache(self) -> Optional[_TimingCache]:
            return self._timing

    return Config


def _mark(here: _Here) -> bytes:
    return f"timed {here.version} {here.gpu.device} ".encode()


class _Build:
    def __init__(self, here: _Here, logger: ILogger, network: _Network, config: Any) -> None:
        self._here, self._logger, self._network, self._config = here, logger, network, config
        self._faults = _faults()

    def plan(self) -> Optional[bytes]:
        if "noise" in self._faults:
            os.write(1, self._faults["noise"].encode())
        typed = self._here.number >= (11,)
        int8 = "INT8" in self._config._flags
        assert self._config._profiles, "a dynamic input needs a profile"
        if not self._step():
            return self._failed("the build was cancelled by its progress monitor")
        scales = self._scales() if int8 and self._config.int8_calibrator else {}
        if "signal" in self._faults and int8:
            os.kill(os.getpid(), self._faults["signal"])
        failure = self._failure()
        if failure is not None:
            return failure or None
        precisions = self._typed() if typed else self._chosen(int8, scales)
        self._log(Severity.WARNING, "TensorRT was linked against a fake of everything")
        if self._config._timing is not None:
            self._config._timing._content = self._config._timing._content or _mark(self._here)
            self._config._timing._content += b"."
        if numbers(self._here.version) < (8, 6):
            self._log(Severity.VERBOSE, "\n".join(["Engine Layer Information:", *self._listed(precisions)]))
        shapes = next(iter(self._config._profiles[0]._shapes.values()))
        return make_plan(
            _quantised(self._network._model, {name: scales[name] for name in scales if scales[name] > 0}, precisions),
            tensorrt=self._here.version,
            sm="{}.{}".format(*self._here.gpu.sm),
            device=self._here.gpu.device,
            profile=tuple(shape[0] for shape in shapes),  # type: ignore[arg-type]
            profiles=len(self._config._profiles),
            precisions=precisions,
            int8_scales=scales,
        )

    def _listed(self, precisions: Mapping[str, str]) -> Iterator[str]:
        """As the real 8.5.2 lists the layers of an engine, once for each profile."""
        for number in range(len(self._config._profiles)):
            profile = f" [profile {number}]" if number else ""
            for name, precision in precisions.items():
                entry, left = (f"{name}.{end}{profile} ({precision.title()}[-1,8,96,96])" for end in ("in", "out"))
                yield f"Layer(CaskConvolution): {name}{profile}, Tactic: 0x40a12e3938221818, {entry} -> {left}"
        yield "Layer(NoOp): Reformatting CopyNode, Tactic: 0x0000000000000000, a (Float[-1,8]) -> b (Float[-1,8])"

    def _failure(self) -> Optional[bytes]:
        """b"": it fails."""
        faults = self._faults
        if "silent" in faults:
            return b""
        if self._config._pools["WORKSPACE"] > faults.get("workspace_mb", 1 << 30) << 20:
            self._log(Severity.ERROR, "2: [virtualMemoryBuffer.cpp::resizePhysical::145] Error Code 2: OutOfMemory")
            return b""
        if "obey" in faults and "OBEY_PRECISION_CONSTRAINTS" in self._config._flags:
            self._log(
                Severity.ERROR, "10: [optimizer.cpp::computeCosts::3728] Could not find any implementation for node c1."
            )
            return b""
        return None

    def _step(self) -> bool:
        """Whether the monitor lets it go on; TensorRT before 10 takes its time without one."""
        monitor = getattr(self._config, "progress_monitor", None)
        seconds = self._faults.get("step_s", 0)
        if monitor is None:
            time.sleep(seconds * _STEPS)
            return True
        monitor.phase_start("Building Engine", None, 2)
        monitor.phase_start("Timing", "Building Engine", _STEPS)
        for step in range(_STEPS):
            time.sleep(seconds)
            if not monitor.step_complete("Timing", step):
                return False
        monitor.phase_finish("Timing")
        for step in range(2):
            monitor.step_complete("Building Engine", step)
        monitor.phase_finish("Building Engine")
        return True

    def _failed(self, why: str) -> None:
        self._log(Severity.ERROR, why)

    def _log(self, severity: Severity, text: str) -> None:
        self._logger.log(severity, text)

    def _typed(self) -> Dict[str, str]:
        graph = self._network._model.graph
        paired: Set[str] = set()
        for node in graph.node:
            if node.op_type == "DequantizeLinear" or (node.op_type == "Cast" and node.input[0] in paired):
                paired.update(node.output)
        return {
            layer.name: "INT8" if layer.get_input(0).name in paired else layer.get_input(0).dtype.name
            for layer in self._network._layers
            if layer.type == LayerType.CONVOLUTION
        }

    def _chosen(self, int8: bool, scales: Mapping[str, float]) -> Dict[str, str]:
        best = "HALF" if "FP16" in self._config._flags else "FLOAT"
        found = {}
        for layer in self._network._layers:
            if layer.num_inputs and layer.get_input(0).dtype.name == "FLOAT":
                can = int8 and layer.type == LayerType.CONVOLUTION and layer.get_input(0).name in scales
                free = "INT8" if can and "no_int8" not in self._faults else best
                found[layer.name] = layer.precision.name if layer.precision is not None else free
        return found

    def _scales(self) -> Dict[str, float]:
        calibrator = self._config.int8_calibrator
        minmax = isinstance(calibrator, IInt8MinMaxCalibrator)
        major, minor, patch = self._here.number[:3]
        number = major * (1000 if major < 10 else 10000) + minor * 100 + patch
        title = f"TRT-{number}-{'MinMaxCalibration' if minmax else 'EntropyCalibration2'}"
        known = calibrator.read_calibration_cache()
        if known is not None and bytes(known).decode().splitlines()[0] == title:
            return _parsed(bytes(known).decode())
        seen = _Seen(self._network._model, 100 if minmax else 99.99)
        self._pull(calibrator, seen)
        lines = [f"{name}: {struct.pack('>f', scale).hex()}" for name, scale in seen.scales.items()]
        calibrator.write_calibration_cache(memoryview("\n".join([title, *lines, ""]).encode()))
        return seen.scales

    def _pull(self, calibrator: Any, seen: _Seen) -> None:
        """Batches until there are no more; as pybind's trampoline has it, an exception is the end too."""
        entry = self._network.get_input(0)
        profile = self._config._calibration_profile
        assert profile is not None, "a dynamic input needs a calibration profile"
        shape = profile._shapes[entry.name][1]
        assert calibrator.get_batch_size() == shape[0]
        dtype = {"FLOAT": np.float32, "UINT8": np.uint8}[entry.dtype.name]
        while True:
            try:
                addresses = calibrator.get_batch([entry.name])
            except Exception as error:
                self._log(Severity.ERROR, f"Exception caught in get_batch(): {error}")
                return
            if not addresses:
                return
            count = int(np.prod(shape)) * np.dtype(dtype).itemsize
            seen.add(entry.name, self._here.gpu.read(addresses[0], count).view(dtype).reshape(shape))


class _Seen:
    """The largest magnitudes of all float tensors of a graph, over batches."""

    def __init__(self, model: onnx.ModelProto, percentile: float) -> None:
        import onnxruntime

        watching = onnx.ModelProto()
        watching.CopyFrom(onnx.shape_inference.infer_shapes(model))
        floats = [v.name for v in watching.graph.value_info if v.type.tensor_type.elem_type == TensorProto.FLOAT]
        del watching.graph.output[:]
        watching.graph.output.extend(onnx.ValueInfoProto(name=name) for name in floats)
        self._session = onnxruntime.InferenceSession(watching.SerializeToString(), providers=["CPUExecutionProvider"])
        self._floats, self._percentile = floats, percentile
        self.scales: Dict[str, float] = {}

    def add(self, entry: str, batch: np.ndarray) -> None:
        for name, values in zip(self._floats, self._session.run(None, {entry: batch.copy()})):
            largest = float(np.percentile(np.abs(values), self._percentile)) / 127
            self.scales[name] = max(self.scales.get(name, 0.0), largest)


def _parsed(cache: str) -> Dict[str, float]:
    lines = (line.rpartition(": ") for line in cache.splitlines()[1:])
    return {name: struct.unpack(">f", bytes.fromhex(scale))[0] for name, _, scale in lines}


def _quantised(model: onnx.ModelProto, scales: Mapping[str, float], precisions: Mapping[str, str]) -> bytes:
    """*model* with Q/DQ pairs before what computes in INT8 by *scales*, so that wrong ones show."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes: List[onnx.NodeProto] = []
    for node in copy.graph.node:
        tensor = node.input[0] if node.input else ""
        if precisions.get(node.name) == "INT8" and tensor in scales:
            name = f"{node.name}/int8"
            parts = [np.array(scales[tensor], np.float32), np.array(0, np.int8)]
            weights = [numpy_helper.from_array(part, f"{name}/{i}") for i, part in enumerate(parts)]
            copy.graph.initializer.extend(weights)
            arguments = [weight.name for weight in weights]
            nodes.append(helper.make_node("QuantizeLinear", [tensor, *arguments], [f"{name}/q"], f"{name}/q"))
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}/q", *arguments], [name], f"{name}/dq"))
            node.input[0] = name
        nodes.append(node)
    ordered = onnx.GraphProto()
    ordered.node.extend(nodes)
    del copy.graph.node[:]
    copy.graph.node.extend(ordered.node)
    return copy.SerializeToString()
