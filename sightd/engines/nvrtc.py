"""Compiles CUDA source for the GPU at hand: by NVRTC, NVIDIA's compiler as a library, or without one by nvcc."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Iterator, List, Optional, Tuple

from ..errors import EngineError

__all__ = ["Nvrtc", "compile_kernels", "find_nvrtc"]

#: Newest first. All of CUDA 11 from 11.2 on share one name.
_SONAMES = ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2")
_TOOLKIT = Path("/usr/local/cuda")
_NVCC_S = 120.0


def compile_kernels(source: str, sm: str, cuda: str) -> bytes:
    """The image of *source* (cubin or PTX) that :meth:`sightd.engines.cuda.Cuda.load_kernel` takes.

    :param sm: the GPU's compute capability, "8.7".
    :param cuda: the newest CUDA that the driver serves, "12.6": it need not load what a later compiler makes.
    :raises EngineError: no compiler is found, it does not know the GPU, or it refuses the source.
    """
    major, _, minor = cuda.partition(".")
    number = int(sm.replace(".", ""))
    nvrtc = find_nvrtc(int(major))
    if nvrtc is not None:
        return nvrtc.compile(source, number)
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path=str(_TOOLKIT / "bin"))
    if nvcc is not None:
        return _by_nvcc(nvcc, source, number)
    raise EngineError(
        f"no CUDA compiler: pip install nvidia-cuda-nvrtc-cu{major} "
        f"(on a Jetson: sudo apt install cuda-nvrtc-{major}-{minor})"
    )


def find_nvrtc(newest: int) -> Optional[Nvrtc]:
    """The system's, the CUDA toolkit's or pip's NVRTC, whichever comes first and is of CUDA *newest* or before."""
    for path in _candidates():
        try:
            found = Nvrtc(path)
        except OSError:
            continue
        if found.version[0] <= newest:
            return found
    return None


class Nvrtc:
    """One libnvrtc. It needs neither a GPU nor a driver."""

    #: Of CUDA: (12, 6).
    version: Tuple[int, int]

    def __init__(self, path: str) -> None:
        """:raises OSError: it does not load."""
        self._library = ctypes.CDLL(path)
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("Version", ctypes.byref(major), ctypes.byref(minor))
        self.version = major.value, minor.value

    def architectures(self) -> List[int]:
        """The compute capabilities that it knows, ascending: [50, 52, ..., 87, 90]."""
        count = ctypes.c_int()
        self._call("GetNumSupportedArchs", ctypes.byref(count))
        numbers = (ctypes.c_int * count.value)()
        self._call("GetSupportedArchs", numbers)
        return sorted(numbers)

    def compile(self, source: str, sm: int) -> bytes:
        """A cubin for *sm* (87); PTX, which the driver compiles, where the GPU is newer than this NVRTC.

        :raises EngineError: the GPU is older than what it knows, or it refuses the source.
        """
        known = [number for number in self.architectures() if number <= sm]
        if not known:
            raise EngineError(f"{self} no longer knows GPUs of compute capability {sm}: install an older one")
        target, form = (f"sm_{sm}", "CUBIN") if sm in known else (f"compute_{known[-1]}", "PTX")
        with self._program(source) as program:
            options = (ctypes.c_char_p * 1)(f"--gpu-architecture={target}".encode())
            if self._library.nvrtcCompileProgram(program, 1, options):
                log = self._read(program, "ProgramLog").rstrip(b"\0\n").decode(errors="replace")
                raise EngineError(f"{self} refuses the kernels for {target}: {log}")
            return self._read(program, form)

    def __str__(self) -> str:
        return "NVRTC {}.{}".format(*self.version)

    @contextmanager
    def _program(self, source: str) -> Iterator[ctypes.c_void_p]:
        program = ctypes.c_void_p()
        self._call("CreateProgram", ctypes.byref(program), source.encode(), None, 0, None, None)
        try:
            yield program
        finally:
            self._call("DestroyProgram", ctypes.byref(program))

    def _read(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"Get{what}Size", program, ctypes.byref(size))
        content = ctypes.create_string_buffer(size.value)
        self._call(f"Get{what}", program, content)
        return content.raw

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, f"nvrtc{name}")(*arguments)
        if status:
            raise EngineError(f"{self}: nvrtc{name} failed with status {status}")


def _candidates() -> Iterator[str]:
    """What may be a libnvrtc, by name for the loader or by path."""
    yield from _SONAMES
    packages = find_spec("nvidia")  # pip's nvidia-cuda-nvrtc-cu12 and the like
    pip = (packages.submodule_search_locations if packages else None) or []
    for folder in (_TOOLKIT / "lib64", *(lib for root in pip for lib in sorted(Path(root).glob("*/lib")))):
        yield from map(str, sorted(folder.glob("libnvrtc.so.*"), reverse=True))


def _by_nvcc(nvcc: str, source: str, sm: int) -> bytes:
    with TemporaryDirectory(prefix="sightd-") as folder:
        given, made = Path(folder, "kernels.cu"), Path(folder, "kernels.cubin")
        given.write_text(source, "utf-8")
        command = [nvcc, "-cubin", f"-arch=sm_{sm}", "-o", str(made), str(given)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_NVCC_S)
        except subprocess.CalledProcessError as error:
            raise EngineError(f"{nvcc} refuses the kernels for sm_{sm}: {error.stderr.strip()}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EngineError(f"{nvcc} does not compile: {error}") from error
        return made.read_bytes()
