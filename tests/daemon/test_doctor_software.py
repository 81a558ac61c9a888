"""The doctor's checks of Python packages, libraries, OpenCV and the bundle."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Dict

import pytest

from daemon.doctor import engine, libraries, opencv, python_packages
from daemon.doctor.machine import Account, Machine, Ran, tail
from daemon.doctor.opencv_trial import try_opencv
from sightd.bundle import open_bundle, write_bundle
from sightd.golden import GOLDEN, read_golden, write_golden
from sightd.settings import EngineSettings
from tests.parts.daemon import write_quadrant_bundle
from tests.parts.doctor import BenchMachine, by_name, one
from tests.parts.tensorrt_bundle import fake_tensorrt_in_processes, publish_plan

YOU = Account("you", 1000, frozenset({1000}))
JETSON = {"/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3", "/dev/nvhost-gpu": ""}
LDCONFIG = (
    "\tlibcudart.so.12 (libc6,AArch64) => /usr/local/cuda/lib64/libcudart.so.12\n"
    "\tlibcuda.so.1 (libc6,AArch64) => /usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1\n"
)
HEALTHY_GPU = {
    "ldconfig -p": Ran(0, LDCONFIG),
    "import onnxruntime": Ran(0, "1.23.0 CPUExecutionProvider\n"),
    "import tensorrt": Ran(0, "10.3.0\n"),
    "import pycuda": Ran(0, "2025.1 Orin\n"),
}
HEALTHY_OPENCV = {
    "version": "4.5.4",
    "file": "/usr/lib/python3/dist-packages/cv2.so",
    "ffmpeg": "yes",
    "gstreamer": True,
    "no_element": [],
    "h264": True,
    "hevc": True,
}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine trials may take longer than people wait for the doctor."""
    for area in (engine, opencv):
        monkeypatch.setattr(area, "_TRIAL_S", 60.0)


def pretend_installed(folder: Path, monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    for package in packages:
        metadata = folder / f"{package.replace('-', '_')}-1.0.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(folder))


class TestPythonPackages:
    def test_warns_of_python_daemon(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pretend_installed(tmp_path, monkeypatch, "python-daemon")
        found = one(python_packages.check(BenchMachine(tmp_path)), "package name")
        assert found.level == "warning"
        assert "pip uninstall -y python-daemon" in found.fix

    def test_warns_of_wheels_that_overwrite_each_other(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pretend_installed(tmp_path, monkeypatch, "opencv-python", "opencv-contrib-python", "onnxruntime-gpu")
        found = by_name(python_packages.check(BenchMachine(tmp_path)))
        assert "opencv-python 1.0" in found["opencv"].says
        assert "onnxruntime-gpu 1.0" in found["onnxruntime"].says

    def test_is_content_here(self, tmp_path: Path) -> None:
        assert {finding.level for finding in python_packages.check(BenchMachine(tmp_path))} == {"ok"}


class TestLibraries:
    def test_are_all_found_on_a_sound_jetson(self, tmp_path: Path) -> None:
        found = by_name(libraries.check(BenchMachine(tmp_path, JETSON, HEALTHY_GPU)))
        assert {finding.level for finding in found.values()} == {"ok"}
        assert found["cuda driver"].says.startswith("libcuda.so.1 at ")
        assert found["pycuda"].says == "2025.1, reaches Orin"

    def test_of_nvidia_are_not_missed_without_a_gpu(self, tmp_path: Path) -> None:
        found = by_name(libraries.check(BenchMachine(tmp_path, programs=HEALTHY_GPU)))
        assert (list(found), found["tensorrt"].level) == (["onnxruntime", "tensorrt"], "ok")

    def test_that_are_missing_are_named_with_their_package(self, tmp_path: Path) -> None:
        found = by_name(libraries.check(BenchMachine(tmp_path, JETSON)))
        levels = {name: finding.level for name, finding in found.items()}
        assert levels == {
            "onnxruntime": "warning",
            "cuda driver": "problem",
            "cuda runtime": "problem",
            "tensorrt": "warning",
            "pycuda": "warning",
        }
        assert found["tensorrt"].fix == "sudo apt install nvidia-jetpack"

    def test_that_the_loader_does_not_know_are_told_from_missing_ones(self, tmp_path: Path) -> None:
        files = {**JETSON, "/usr/local/cuda/lib64/libcudart.so.12": ""}
        found = one(libraries.check(BenchMachine(tmp_path, files)), "cuda runtime")
        assert (found.level, "ldconfig" in found.fix) == ("warning", True)

    def test_that_a_closed_environment_hides_are_told_from_missing_ones(self, tmp_path: Path) -> None:
        files = {**JETSON, "/usr/lib/python3.10/dist-packages/tensorrt/__init__.py": ""}
        assert "--system-site-packages" in one(libraries.check(BenchMachine(tmp_path, files)), "tensorrt").fix

    @pytest.mark.parametrize(
        ("ran", "says"),
        [
            (Ran(-11, ""), "importing it crashed the interpreter (SIGSEGV)"),
            (Ran(None, ""), "importing it did not end within 10 s"),
            (Ran(1, "", "Traceback\nImportError: libnvinfer.so.10: cannot open"), "libnvinfer.so.10"),
        ],
    )
    def test_that_crash_hang_or_fail_do_so_outside_the_doctor(self, tmp_path: Path, ran: Ran, says: str) -> None:
        machine = BenchMachine(tmp_path, JETSON, {**HEALTHY_GPU, "import tensorrt": ran})
        found = one(libraries.check(machine), "tensorrt")
        assert found.level == "problem"
        assert says in found.says

    def test_of_a_release_with_known_errors_are_warned_of(self, tmp_path: Path) -> None:
        machine = BenchMachine(tmp_path, JETSON, {**HEALTHY_GPU, "import tensorrt": Ran(0, "10.2.0\n")})
        assert one(libraries.check(machine), "tensorrt").level == "warning"


class TestRunningPython:
    def test_sees_this_process_modules(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "only_here.py").write_text("print('found')")
        monkeypatch.syspath_prepend(str(tmp_path))
        assert Machine().run_python("-c", "import only_here", timeout_s=20).out == "found\n"

    def test_what_another_check_puts_on_the_path_meanwhile_is_not_seen(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """OpenCV does so while it is imported, and the `typing` in its folder is not Python's."""
        machine = Machine()
        (tmp_path / "typing.py").write_text("raise ImportError")
        monkeypatch.syspath_prepend(str(tmp_path))
        assert machine.run_python("-c", "import typing; print('sound')", timeout_s=20).out == "sound\n"

    def test_survives_a_crash_and_a_hang(self) -> None:
        machine = Machine()
        assert machine.run_python("-c", "import os; os.kill(os.getpid(), 11)", timeout_s=20).code == -11
        assert machine.run_python("-c", "import time; time.sleep(60)", timeout_s=0.5).code is None

    def test_a_program_that_is_not_installed_is_no_error(self) -> None:
        assert Machine().run("no-such-program-anywhere") is None

    def test_the_last_line_of_a_traceback_is_its_error(self) -> None:
        assert tail("Traceback\n  File x\nImportError: libGL.so.1\n\n") == "ImportError: libGL.so.1"


class TestOpenCv:
    def test_of_this_environment_decodes(self) -> None:
        found = by_name(opencv.check(Machine()))
        assert (found["H.264"].level, found["H.265"].level, found["ffmpeg"].level) == ("ok", "ok", "ok")
        assert found["version"].says.startswith(try_opencv()["version"])

    @pytest.mark.parametrize(
        ("error", "fix"),
        [
            ("AttributeError: _ARRAY_API not found\nImportError: numpy.core.multiarray failed", '"numpy<2"'),
            ("ModuleNotFoundError: No module named 'cv2'", "pip install opencv-python-headless"),
            ("ImportError: libGL.so.1: cannot open shared object file", "--force-reinstall opencv-python-headless"),
        ],
    )
    def test_that_does_not_import_says_what_to_install(self, tmp_path: Path, error: str, fix: str) -> None:
        machine = BenchMachine(tmp_path, programs={"opencv_trial": Ran(1, "", error)})
        found = one(opencv.check(machine), "version")
        assert found.level == "problem"
        assert found.fix.endswith(fix)

    @pytest.mark.parametrize("code", [-11, None])
    def test_that_crashes_or_hangs_is_a_problem(self, tmp_path: Path, code: int) -> None:
        machine = BenchMachine(tmp_path, programs={"opencv_trial": Ran(code, "")})
        assert one(opencv.check(machine), "version").level == "problem"

    def test_without_a_decoder_is_a_problem(self, tmp_path: Path) -> None:
        found = by_name(opencv.check(self.machine(tmp_path, {}, ffmpeg="", h264=False)))
        assert (found["ffmpeg"].level, found["H.264"].level, found["H.265"].level) == ("problem", "problem", "ok")

    @pytest.mark.parametrize(("files", "level"), [({}, "note"), (JETSON, "warning")])
    def test_without_gstreamer_matters_on_a_jetson(self, tmp_path: Path, files: Dict[str, str], level: str) -> None:
        found = by_name(opencv.check(self.machine(tmp_path, files, gstreamer=False)))
        assert (found["gstreamer"].level, "nvv4l2decoder" in found) == (level, False)

    def test_of_a_version_that_loses_track_of_resolutions_is_noted(self, tmp_path: Path) -> None:
        levels = {
            version: one(opencv.check(self.machine(tmp_path, {}, version=version)), "version").level
            for version in ("4.5.4", "4.6.0", "4.8.0", "4.12.0-dev", "4.13.0", "5.0.0")
        }
        assert levels == {
            **dict.fromkeys(("4.5.4", "4.13.0", "5.0.0"), "ok"),
            **dict.fromkeys(("4.6.0", "4.8.0", "4.12.0-dev"), "note"),
        }

    def test_of_jetpack_with_its_decoder_is_sound(self, tmp_path: Path) -> None:
        machine = self.machine(tmp_path, JETSON)
        assert {finding.level for finding in opencv.check(machine)} == {"ok"}

    def test_misses_the_jetsons_decoder(self, tmp_path: Path) -> None:
        machine = self.machine(tmp_path, JETSON, no_element=["nvv4l2decoder", "nvvidconv"])
        found = one(opencv.check(machine), "nvv4l2decoder")
        assert (found.level, found.fix) == ("warning", "sudo apt install nvidia-l4t-gstreamer")
        assert found.says == "GStreamer does not find nvv4l2decoder and nvvidconv"

    @staticmethod
    def machine(root: Path, files: Dict[str, str], **altered: object) -> BenchMachine:
        printed = json.dumps({**HEALTHY_OPENCV, **altered})
        return BenchMachine(root, files, {"opencv_trial": Ran(0, f"{printed}\n")})


class TestEngine:
    def test_is_loaded_and_run(self, tmp_path: Path) -> None:
        found = by_name(engine.check(Machine(), write_quadrant_bundle(tmp_path), EngineSettings(), YOU))
        assert {name: finding.level for name, finding in found.items()} == {"bundle": "ok", "trial": "ok"}
        assert "a picture takes" in found["trial"].says

    def test_without_a_bundle_says_how_to_make_one(self, tmp_path: Path) -> None:
        found = one(engine.check(Machine(), tmp_path / "none", EngineSettings(), YOU), "bundle")
        assert found.level == "problem"
        assert "sightd convert MODEL" in found.fix

    def test_of_another_kind_of_processor_is_refused(self, tmp_path: Path) -> None:
        folder = write_quadrant_bundle(tmp_path)
        manifest = open_bundle(folder).manifest
        foreign = replace(manifest, engine=replace(manifest.engine, machine="riscv64"))
        write_bundle(folder, tmp_path / "quadrants.onnx", foreign, {})
        found = one(engine.check(Machine(), folder, EngineSettings(), YOU), "trial")
        assert (found.level, found.says.startswith("the engine was made for riscv64")) == ("problem", True)
        assert found.fix == f"convert here: sightd convert --rebuild {folder}"

    def test_of_another_tensorrt_is_warned_of_where_its_fallback_serves(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = publish_plan(tmp_path, "8.5.2.2").folder
        fake_tensorrt_in_processes(tmp_path, monkeypatch, "10.3.0.26")
        found = by_name(engine.check(Machine(), folder, EngineSettings(), YOU))
        levels = {name: finding.level for name, finding in found.items()}
        assert levels == {"bundle": "ok", "fallback": "ok", "trial": "warning"}
        described = "int8 for tensorrt, built by TensorRT 8.5.2.2 for compute capability 8.7 (Orin)"
        assert described in found["bundle"].says
        assert "the bundle's fallback serves instead, fp32 on onnxruntime" in found["trial"].says
        assert "built by TensorRT 8.5.2.2, this machine has 10.3.0.26" in found["trial"].says
        assert "a picture takes" in found["trial"].says
        assert found["trial"].fix == f"build it anew: sightd convert --rebuild {folder}"

    def test_of_another_tensorrt_is_a_problem_where_nothing_would_serve(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = publish_plan(tmp_path, "8.5.2.2", fallback=False).folder
        fake_tensorrt_in_processes(tmp_path, monkeypatch, "10.3.0.26")
        found = one(engine.check(Machine(), folder, EngineSettings(), YOU), "trial")
        assert (found.level, found.fix) == ("problem", f"build it anew: sightd convert --rebuild {folder}")
        assert "built by TensorRT 8.5.2.2, this machine has 10.3.0.26" in found.says

    def test_of_this_tensorrt_runs_and_names_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = publish_plan(tmp_path, "10.3.0.26").folder
        fake_tensorrt_in_processes(tmp_path, monkeypatch, "10.3.0.26")
        found = by_name(engine.check(Machine(), folder, EngineSettings(), YOU))
        assert found["trial"].level == "ok", found["trial"]
        assert "by TensorRT 10.3.0.26, a picture takes" in found["trial"].says

    def test_whose_golden_picture_shows_something_else_is_warned_of(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bundle = publish_plan(tmp_path, "10.3.0.26")
        golden, fallback = read_golden(bundle), bundle.manifest.fallback
        assert golden is not None
        assert fallback is not None
        wrong = replace(golden.found, scores=golden.found.scores * 0.5)
        found_on_it = {bundle.manifest.engine.sha256: wrong, fallback.sha256: golden.found}
        write_golden(bundle.folder / GOLDEN, golden.pixels, found_on_it)
        fake_tensorrt_in_processes(tmp_path, monkeypatch, "10.3.0.26")
        found = one(engine.check(Machine(), bundle.folder, EngineSettings(), YOU), "trial")
        assert found.level == "warning"
        assert "computes something else than when it was converted" in found.says
        assert found.fix == f"sightd convert --rebuild {bundle.folder} builds it anew"

    def test_that_lost_its_golden_picture_or_fallback_is_warned_of(self, tmp_path: Path) -> None:
        bundle = publish_plan(tmp_path)
        assert bundle.fallback is not None
        bundle.fallback.engine_file.write_bytes(b"rot")
        (bundle.folder / GOLDEN).unlink()
        machine = BenchMachine(tmp_path, programs={"engine_trial": Ran(1, "", "what it says")})
        found = by_name(engine.check(machine, Path("/bundle"), EngineSettings(), YOU))
        assert (found["golden picture"].level, found["fallback"].level) == ("warning", "warning")
        assert "missing or damaged" in found["golden picture"].says
        assert "altered or damaged" in found["fallback"].says + found["fallback"].fix

    def test_that_is_no_model_is_a_problem(self, tmp_path: Path) -> None:
        folder = write_quadrant_bundle(tmp_path)
        (tmp_path / "junk.onnx").write_bytes(b"junk")
        write_bundle(folder, tmp_path / "junk.onnx", open_bundle(folder).manifest, {})
        assert one(engine.check(Machine(), folder, EngineSettings(), YOU), "trial").level == "problem"

    @pytest.mark.parametrize(("mode", "level"), [(0o777, "warning"), (0o755, "ok")])
    def test_that_the_service_could_replace_is_warned_of(self, tmp_path: Path, mode: int, level: str) -> None:
        folder = write_quadrant_bundle(tmp_path)
        folder.chmod(mode)
        service = Account("sightd", 64999, frozenset({64999}))
        assert one(engine.check(Machine(), folder, EngineSettings(), service), "protection").level == level

    @pytest.mark.parametrize(("code", "level"), [(-11, "problem"), (None, "warning")])
    def test_that_crashes_or_hangs_does_so_outside_the_doctor(self, tmp_path: Path, code: int, level: str) -> None:
        write_quadrant_bundle(tmp_path)
        machine = BenchMachine(tmp_path, programs={"engine_trial": Ran(code, "")})
        assert one(engine.check(machine, Path("/bundle"), EngineSettings(), YOU), "trial").level == level


def test_names_the_interpreter_in_what_to_type(tmp_path: Path) -> None:
    assert one(libraries.check(BenchMachine(tmp_path)), "onnxruntime").fix.startswith(sys.executable)
