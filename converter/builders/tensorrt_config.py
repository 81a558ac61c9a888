"""A TensorRT builder's configuration, by what the version at hand has."""

from __future__ import annotations

from typing import Any, Optional

from .tensorrt_memory import Limits
from .tensorrt_network import Refusal
from .tensorrt_order import Failed, Order, TensorRtOptions

__all__ = ["add_profiles", "create_config"]


def create_config(trt: Any, builder: Any, order: Order, limits: Limits) -> Any:
    """The configuration of *order*, still without profiles, calibrator and timing cache.

    :raises Refusal: this TensorRT does not have what the options ask for.
    """
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the precisions of the layers are counted afterwards
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, limits.workspace_mb << 20)
    if limits.tactic_dram_mb and hasattr(trt.MemoryPoolType, "TACTIC_DRAM"):  # from 8.6 on
        config.set_memory_pool_limit(trt.MemoryPoolType.TACTIC_DRAM, limits.tactic_dram_mb << 20)
    _set_precision(trt, config, order)
    _set_sources(trt, config, order.options)
    _set_reach(trt, config, order.options)
    if order.options.dla_core is not None:
        _set_dla(trt, builder, config, order.options.dla_core)
    return config


def add_profiles(builder: Any, config: Any, network: Any, order: Order) -> None:
    """Dynamic batch for serving, and a fixed one for calibrating."""
    tensor = network.get_input(0)
    pixels = tuple(tensor.shape)[1:]
    profile = order.profile
    for _ in range(order.copies):
        config.add_optimization_profile(_profile(builder, tensor, pixels, (profile.min, profile.opt, profile.max)))
    if order.calibrator:
        config.set_calibration_profile(_profile(builder, tensor, pixels, (profile.opt,) * 3))


def _profile(builder: Any, tensor: Any, pixels: Any, batches: Any) -> Any:
    made = builder.create_optimization_profile()
    made.set_shape(tensor.name, *((batch, *pixels) for batch in batches))
    return made


def _set_precision(trt: Any, config: Any, order: Order) -> None:
    if order.precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)
    if order.typed or order.precision == "fp32":
        return
    config.set_flag(trt.BuilderFlag.FP16)
    if order.precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
    if order.half_nodes or order.float_nodes:
        flags = trt.BuilderFlag
        config.set_flag(flags.OBEY_PRECISION_CONSTRAINTS if order.obey else flags.PREFER_PRECISION_CONSTRAINTS)


def _set_sources(trt: Any, config: Any, options: TensorRtOptions) -> None:
    if options.tactic_sources is not None:
        sources = [_named(trt.TacticSource, name, "tactic source") for name in options.tactic_sources]
        config.set_tactic_sources(sum(1 << int(source) for source in sources))
    for name in options.preview_features:
        config.set_preview_feature(_named(trt.PreviewFeature, name, "preview feature"), True)


def _set_reach(trt: Any, config: Any, options: TensorRtOptions) -> None:
    """On which machines the engine runs, and how long the best one for this is looked for."""
    if options.version_compatible:
        config.set_flag(_named(trt.BuilderFlag, "VERSION_COMPATIBLE", "builder flag"))
    if options.hardware_compatible:
        levels = _had(trt, "HardwareCompatibilityLevel", "hardware compatibility")
        config.hardware_compatibility_level = levels.AMPERE_PLUS
    if options.optimization_level is not None:
        _had(config, "builder_optimization_level", "optimization level")
        config.builder_optimization_level = options.optimization_level
    if options.compute_capability:
        _had(config, "set_compute_capability", "building for a GPU that is not here")
        name = f"SM{options.compute_capability.replace('.', '')}"
        config.num_compute_capabilities = 1
        config.set_compute_capability(_named(trt.ComputeCapability, name, "compute capability"), 0)


def _set_dla(trt: Any, builder: Any, config: Any, core: int) -> None:
    if core >= builder.num_DLA_cores:
        raise _refused(f"there is no DLA core {core}: TensorRT sees {builder.num_DLA_cores} here; build for the GPU")
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(_named(trt.BuilderFlag, "GPU_FALLBACK", "builder flag"))


def _named(kind: Any, name: str, what: str) -> Any:
    """The member *name* of one of TensorRT's enumerations."""
    found: Optional[Any] = kind.__members__.get(name)
    if found is None:
        raise _refused(f"this TensorRT has no {what} {name}; it has {', '.join(kind.__members__)}")
    return found


def _had(owner: Any, name: str, what: str) -> Any:
    if not hasattr(owner, name):
        raise _refused(f"this TensorRT has no {what} (8.6 and later, or TensorRT-RTX): leave that option away")
    return getattr(owner, name)


def _refused(reason: str) -> Refusal:
    return Refusal(Failed("refused", reason))
