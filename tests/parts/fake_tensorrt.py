"""Puts a fake `tensorrt` of a given version and a fake `pycuda` in place of what this machine lacks."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Dict, Tuple

from sightd.engines import cuda_graph
from tests.parts import fake_tensorrt_runtime
from tests.parts.fake_cuda import FakeGpu, driver_module, libcuda

if TYPE_CHECKING:
    import pytest

__all__ = ["assemble", "install", "install_here"]

_BUILDER = "tests.parts.fake_tensorrt_builder"


def install(
    monkeypatch: pytest.MonkeyPatch,
    version: str = "8.5.2.2",
    sm: Tuple[int, int] = (8, 7),
    device: str = "Orin",
    integrated: bool = False,
) -> FakeGpu:
    """For one test. Returns the GPU, to look at and to break."""
    gpu = FakeGpu(sm=sm, device=device, integrated=integrated)
    for name, module in _modules(version, gpu).items():
        monkeypatch.setitem(sys.modules, name, module)
    library = libcuda(gpu)
    monkeypatch.setattr(cuda_graph, "_libcuda", lambda: library)
    return gpu


def install_here(
    version: str = "8.5.2.2",
    sm: Tuple[int, int] = (8, 7),
    device: str = "Orin",
    integrated: bool = False,
) -> FakeGpu:
    """For the rest of this process: a child process of a test calls it first."""
    gpu = FakeGpu(sm=sm, device=device, integrated=integrated)
    sys.modules.update(_modules(version, gpu))
    library = libcuda(gpu)
    cuda_graph._libcuda = lambda: library
    return gpu


def assemble(version: str, gpu: FakeGpu) -> ModuleType:
    """The fake `tensorrt` module: the runtime's names and, where it exists, the builder's.

    tests/parts/fake_tensorrt_builder.py offers ``names(version, gpu, runtime) -> Dict[str, Any]`` as the runtime does;
    *runtime* are the runtime's names, for the enums and classes that both need.
    """
    names: Dict[str, Any] = fake_tensorrt_runtime.names(version, gpu)
    if find_spec(_BUILDER) is not None:
        names.update(import_module(_BUILDER).names(version, gpu, names))
    module = ModuleType("tensorrt")
    for name, value in names.items():
        setattr(module, name, value)
    return module


def _modules(version: str, gpu: FakeGpu) -> Dict[str, ModuleType]:
    package, driver = ModuleType("pycuda"), driver_module(gpu)
    package.driver = driver  # type: ignore[attr-defined]
    return {"pycuda": package, "pycuda.driver": driver, "tensorrt": assemble(version, gpu)}
