"""What engines run on: TensorRT, CUDA and pycuda where there is an NVIDIA GPU, ONNX Runtime everywhere."""

from __future__ import annotations

import re
import signal
import sys
from typing import Iterator, Tuple

from .finding import Area, Finding
from .hardware import has_nvidia, is_jetson
from .machine import Machine, Ran, tail

__all__ = ["AREA", "check"]

AREA = Area("libraries")

#: Importing TensorRT takes seconds on a Jetson whose disk is cold.
_IMPORT_S = 10.0
#: TensorRT releases that build INT8 engines wrongly or crash on them.
_BROKEN_TENSORRT = ("10.2.",)

_RUNTIME_CODE = "import onnxruntime as o; print(o.__version__, ' '.join(o.get_available_providers()))"
_CUDA_LIBRARIES: Tuple[Tuple[str, str], ...] = (("driver", "libcuda.so"), ("runtime", "libcudart.so"))


def check(machine: Machine) -> Iterator[Finding]:
    """Each library is imported in a process of its own: a bad CUDA installation crashes the interpreter."""
    yield _onnx_runtime(machine)
    if not (has_nvidia(machine) or is_jetson(machine)):
        yield AREA.ok("tensorrt", "not looked for: there is no NVIDIA GPU")
        return
    yield from _cuda(machine)
    yield _tensorrt(machine)
    yield _pycuda(machine)


def _onnx_runtime(machine: Machine) -> Finding:
    ran = machine.run_python("-c", _RUNTIME_CODE, timeout_s=_IMPORT_S)
    if ran.ok:
        release, _, providers = ran.out.strip().partition(" ")
        return AREA.ok("onnxruntime", f"{release}, computes with {providers}")
    fix = f"{sys.executable} -m pip install --force-reinstall onnxruntime"
    if _missing(ran, "onnxruntime"):
        says, fix = "not installed", f"{sys.executable} -m pip install onnxruntime"
        return AREA.warning("onnxruntime", f"{says}: only TensorRT bundles can run", fix)
    return AREA.problem("onnxruntime", _failure(ran), fix)


def _cuda(machine: Machine) -> Iterator[Finding]:
    ran = machine.run("ldconfig", "-p")
    cache = ran.out if ran is not None else ""
    for name, library in _CUDA_LIBRARIES:
        found = re.search(rf"^\s*({re.escape(library)}[\d.]*) .*=> (\S+)", cache, re.MULTILINE)
        if found:
            yield AREA.ok(f"cuda {name}", f"{found.group(1)} at {found.group(2)}")
        elif machine.glob(f"/usr/local/cuda/lib64/{library}*"):
            yield AREA.warning(
                f"cuda {name}",
                f"/usr/local/cuda/lib64/{library} is not known to the loader",
                "echo /usr/local/cuda/lib64 | sudo tee /etc/ld.so.conf.d/cuda.conf && sudo ldconfig",
            )
        else:
            yield AREA.problem(f"cuda {name}", f"{library} is missing", _install(machine, "the NVIDIA driver and CUDA"))


def _tensorrt(machine: Machine) -> Finding:
    ran = machine.run_python("-c", "import tensorrt; print(tensorrt.__version__)", timeout_s=_IMPORT_S)
    if ran.ok:
        release = ran.out.strip()
        if release.startswith(_BROKEN_TENSORRT):
            return AREA.warning(
                "tensorrt", f"{release} has errors in INT8 engines", _install(machine, "TensorRT 10.3 or newer")
            )
        return AREA.ok("tensorrt", release)
    if not _missing(ran, "tensorrt"):
        return AREA.problem("tensorrt", _failure(ran), _install(machine, "TensorRT"))
    if is_jetson(machine) and machine.glob("/usr/lib/python3*/dist-packages/tensorrt"):
        return AREA.warning(
            "tensorrt",
            "JetPack's TensorRT is installed, but this Python does not see it",
            f"make the virtual environment anew: python3 -m venv --system-site-packages {sys.prefix}",
        )
    return AREA.warning("tensorrt", "not installed: TensorRT bundles can't run", _install(machine, "tensorrt"))


def _pycuda(machine: Machine) -> Finding:
    code = "import pycuda, pycuda.driver as d; d.init(); print(pycuda.VERSION_TEXT, d.Device(0).name())"
    ran = machine.run_python("-c", code, timeout_s=_IMPORT_S)
    if ran.ok:
        release, _, device = ran.out.strip().partition(" ")
        return AREA.ok("pycuda", f"{release}, reaches {device}")
    install = f"CUDA_ROOT=/usr/local/cuda {sys.executable} -m pip install --no-cache-dir --force-reinstall pycuda"
    if _missing(ran, "pycuda"):
        return AREA.warning("pycuda", "not installed: TensorRT bundles can't run", install)
    return AREA.problem("pycuda", _failure(ran), f"{install}, against the CUDA that the driver supports")


def _install(machine: Machine, wanted: str) -> str:
    if is_jetson(machine):
        return "sudo apt install nvidia-jetpack"
    return f"install {wanted} from NVIDIA's apt repository, or for TensorRT: {sys.executable} -m pip install tensorrt"


def _missing(ran: Ran, module: str) -> bool:
    return f"No module named '{module}'" in ran.errors


def _failure(ran: Ran) -> str:
    if ran.code is None:
        return f"importing it did not end within {_IMPORT_S:.0f} s"
    if ran.code < 0:
        return f"importing it crashed the interpreter ({signal.Signals(-ran.code).name})"
    return f"can't be imported: {tail(ran.errors)}"
