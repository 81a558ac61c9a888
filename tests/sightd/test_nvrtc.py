"""The compiler of the GPU's kernels: NVRTC itself where it is installed, which needs no GPU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import sightd.engines
from sightd.engines import nvrtc
from sightd.engines.nvrtc import Nvrtc, compile_kernels, find_nvrtc
from sightd.errors import EngineError

SOURCE = Path(sightd.engines.__file__).with_name("letterbox.cu").read_text("utf-8")
KERNELS = (b"letterbox_uint8", b"letterbox_float32")
NEWEST = 99


@pytest.fixture
def compiler() -> Nvrtc:
    found = find_nvrtc(NEWEST)
    if found is None:
        pytest.skip("no libnvrtc: pip install -r tests/requirements.txt (x86-64 Linux)")
    return found


@pytest.fixture
def no_nvrtc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "find_nvrtc", lambda newest: None)


@pytest.mark.parametrize("sm", [72, 75, 87, 90])
def test_the_letterbox_compiles_for_gpus_that_this_nvrtc_knows(compiler: Nvrtc, sm: int) -> None:
    if sm not in compiler.architectures():
        pytest.skip(f"{compiler} does not know sm_{sm}")
    image = compiler.compile(SOURCE, sm)
    assert image.startswith(b"\x7fELF")
    assert all(name in image for name in KERNELS)


def test_for_a_newer_gpu_it_makes_ptx_that_the_driver_compiles(compiler: Nvrtc) -> None:
    newest = max(compiler.architectures())
    image = compiler.compile(SOURCE, newest + 1)
    assert f".target sm_{newest}".encode() in image
    assert image.endswith(b"\0")
    assert all(b".entry " + name in image for name in KERNELS)


def test_for_a_gpu_that_is_too_old_it_says_so(compiler: Nvrtc) -> None:
    with pytest.raises(EngineError, match=r"NVRTC \d+\.\d+ no longer knows GPUs of compute capability 20"):
        compiler.compile(SOURCE, 20)


def test_a_source_that_is_wrong_is_refused_with_the_compilers_words(compiler: Nvrtc) -> None:
    with pytest.raises(EngineError, match=r"refuses the kernels for sm_75.*error: .*nonsense"):
        compiler.compile('extern "C" __global__ void broken() { nonsense(); }', 75)


def test_a_compiler_newer_than_the_driver_is_passed_over(compiler: Nvrtc) -> None:
    assert find_nvrtc(compiler.version[0]) is not None
    assert find_nvrtc(10) is None


def test_a_failing_call_is_told_by_its_name(compiler: Nvrtc) -> None:
    with pytest.raises(EngineError, match="nvrtcGetSupportedArchs failed with status"):
        compiler._call("GetSupportedArchs", None)


def test_a_library_that_does_not_load_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64" / "libnvrtc.so.12").write_bytes(b"not a library")
    monkeypatch.setattr(nvrtc, "_SONAMES", ("libnvrtc.so.none",))
    monkeypatch.setattr(nvrtc, "_TOOLKIT", tmp_path)
    monkeypatch.setattr(nvrtc, "find_spec", lambda name: None)
    assert find_nvrtc(NEWEST) is None


def test_pips_nvrtc_is_found_beside_the_others(monkeypatch: pytest.MonkeyPatch, compiler: Nvrtc) -> None:
    monkeypatch.setattr(nvrtc, "_SONAMES", ())
    monkeypatch.setattr(nvrtc, "_TOOLKIT", Path("/nowhere"))
    if nvrtc.find_spec("nvidia") is None:
        pytest.skip("this machine's libnvrtc is not pip's")
    assert find_nvrtc(NEWEST) is not None


def test_compile_kernels_takes_nvrtc_where_there_is_one(compiler: Nvrtc) -> None:
    major, minor = compiler.version
    assert compile_kernels(SOURCE, "8.7", f"{major}.{minor}").startswith(b"\x7fELF")


@pytest.mark.usefixtures("no_nvrtc")
class TestWithoutNvrtc:
    def test_nvcc_compiles(self) -> None:
        if shutil.which("nvcc") is None:
            pytest.skip("no nvcc")
        image = compile_kernels(SOURCE, "8.7", "13.0")
        assert all(name in image for name in KERNELS)

    def test_nvcc_is_run_for_the_gpu_at_hand(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        script = '#!/bin/sh\n[ "$1 $2 $3" = "-cubin -arch=sm_87 -o" ] && cp "$5" "$4"\n'
        self._nvcc(monkeypatch, tmp_path, script)
        assert compile_kernels(SOURCE, "8.7", "12.6") == SOURCE.encode()

    def test_nvcc_that_refuses_is_quoted(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self._nvcc(monkeypatch, tmp_path, "#!/bin/sh\necho \"Unsupported gpu architecture 'sm_87'\" >&2; exit 1\n")
        with pytest.raises(EngineError, match=r"refuses the kernels for sm_87: Unsupported gpu architecture 'sm_87'"):
            compile_kernels(SOURCE, "8.7", "12.6")

    def test_nvcc_that_hangs_is_ended(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self._nvcc(monkeypatch, tmp_path, "#!/bin/sh\nexec sleep 60\n")
        monkeypatch.setattr(nvrtc, "_NVCC_S", 0.05)
        with pytest.raises(EngineError, match=r"nvcc does not compile.*timed out") as failure:
            compile_kernels(SOURCE, "8.7", "12.6")
        assert isinstance(failure.value.__cause__, subprocess.TimeoutExpired)

    def test_without_any_compiler_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "which", lambda *args, **kwargs: None)
        with pytest.raises(EngineError, match=r"pip install nvidia-cuda-nvrtc-cu12.*apt install cuda-nvrtc-12-6"):
            compile_kernels(SOURCE, "8.7", "12.6")

    def _nvcc(self, monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
        (folder / "nvcc").write_text(script)
        (folder / "nvcc").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")
