"""What integer arithmetic a machine does well."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["AARCH64", "TENSORRT", "X86", "X86_VNNI", "Target", "this_machine"]


@dataclass(frozen=True)
class Target:
    """How the numbers of a quantised graph are laid out for one kind of machine."""

    #: "u8" or "s8"; weights are always s8.
    activations: str = "u8"
    #: Zero point 0 (s8) or 128 (u8) for every activation.
    symmetric: bool = False
    #: One weight scale an output channel instead of one a layer.
    per_channel: bool = True
    #: Weights use 7 of 8 bits: without VNNI, x86 adds two products in 16 bits and would saturate.
    reduce_range: bool = False
    #: Biases become INT32; ONNX Runtime has integer kernels only for such layers, TensorRT refuses them.
    quantize_bias: bool = True
    #: Each layer's result becomes INT8 at once: ONNX Runtime has integer kernels only for such layers. TensorRT needs
    #: quantised inputs alone; what it does with a result before the next layer (SiLU) is better left exact.
    quantize_results: bool = True
    #: SiLU is one float operator between INT8 layers (see converter.int8.silu).
    fuse_silu: bool = False


X86_VNNI = Target(fuse_silu=True)
X86 = replace(X86_VNNI, reduce_range=True)
AARCH64 = Target(activations="s8")
#: Explicit Q/DQ; also the grid of its dynamic ranges and calibration caches.
TENSORRT = Target(activations="s8", symmetric=True, quantize_bias=False, quantize_results=False)


def this_machine(machine: str = "", cpuinfo: Path = Path("/proc/cpuinfo")) -> Target:
    """The target for ONNX Runtime on this machine."""
    if (machine or platform.machine()) in ("aarch64", "arm64"):
        return AARCH64
    return X86_VNNI if "vnni" in cpuinfo.read_text("utf-8") else X86
