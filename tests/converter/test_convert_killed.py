"""Conversions that end badly, killed or on a full disk: the bundle is the old one, the new one or none."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from sightd.bundle import MANIFEST, open_bundle
from sightd.bundle_check import check_runs
from sightd.bundle_versions import publish, versions
from tests.parts.blobs import blob_detector, names, write_blob_pictures
from tests.parts.daemon import command, write_quadrant_bundle


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blob_pictures(tmp_path_factory.mktemp("set") / "pictures", 24)


@pytest.fixture
def arguments(tmp_path: Path, pictures: Path) -> List[str]:
    """Of a conversion of a second or two: float is shipped for want of evidence."""
    model, labels = blob_detector(tmp_path / "blobs.onnx"), names(tmp_path / "labels.txt")
    return command("convert", str(model), "--calibration", str(pictures), "--labels", str(labels))


def converted(arguments: List[str], out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*arguments, "--out", str(out)], capture_output=True, text=True, check=False)


#: Imports once what takes longer than the conversion, then does one for each line, which says after how many seconds
#: it is killed if it has not ended; answers how many it took.
_CONVERTER = (
    "import os, signal, sys, time\n"
    "import cv2, onnx, onnxruntime\n"
    "import converter.convert\n"
    "from sightd.cli import main\n"
    "for line in sys.stdin:\n"
    "    began = time.monotonic()\n"
    "    child = os.fork()\n"
    "    if child == 0:\n"
    "        sys.stdout = sys.stderr\n"
    "        main()\n"
    "    while os.waitpid(child, os.WNOHANG) == (0, 0):\n"
    "        time.sleep(0.001)\n"
    "        if time.monotonic() > began + float(line):\n"
    "            os.kill(child, signal.SIGKILL)\n"
    "            os.waitpid(child, 0)\n"
    "            break\n"
    "    print(time.monotonic() - began, flush=True)\n"
)


@contextlib.contextmanager
def converter(arguments: List[str]) -> Iterator[Callable[[float], float]]:
    """Converts when it is called with a deadline, seconds; what is not done by then is killed. Gives what it took."""
    command = [sys.executable, "-c", _CONVERTER, *arguments[arguments.index("convert") :]]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said, asked = process.stdout, process.stdin

        def convert(deadline_s: float) -> float:
            print(deadline_s, file=asked, flush=True)
            return float(said.readline())

        yield convert


@pytest.mark.parametrize("kills", [20, pytest.param(120, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_a_conversion_killed_at_any_moment_leaves_no_half_bundle(
    arguments: List[str], tmp_path: Path, kills: int
) -> None:
    out, rng = tmp_path / "out" / "bundle", random.Random(kills)
    with converter([*arguments, "--out", str(tmp_path / "elsewhere" / "bundle")]) as convert:
        convert(60.0)
        whole_s = convert(60.0)  # the first one warms up
    assert (tmp_path / "elsewhere" / "bundle" / MANIFEST).exists()
    with converter([*arguments, "--out", str(out)]) as convert:
        for _ in range(kills):
            convert(rng.uniform(0, 1.0) * whole_s)
            if (out / MANIFEST).exists():
                check_runs(open_bundle(out))
    assert converted(arguments, out).returncode in (0, 3)
    check_runs(open_bundle(out))
    assert [path.name for path in out.parent.iterdir()] == ["bundle"], "killed conversions' folders are gone"


_WRITER = (
    "import sys, pathlib, dataclasses, itertools\n"
    "from sightd.bundle import open_bundle\n"
    "from sightd.bundle_versions import publish, rollback\n"
    "source, folder = map(pathlib.Path, sys.argv[1:])\n"
    "bundle = open_bundle(source)\n"
    "engine = source.with_name('grown.onnx')\n"
    "print('ready', flush=True)\n"
    "for turn in itertools.count():\n"
    "    engine.write_bytes(bytes([turn % 256]) * 200_000)\n"
    "    manifest = dataclasses.replace(bundle.manifest, created_at=f'2026-01-01T00:00:{turn % 60:02}')\n"
    "    publish(folder, engine, manifest, {'annotated.jpg': engine})\n"
    "    if turn % 3 == 2:\n"
    "        rollback(folder)\n"
)


@pytest.mark.parametrize("kills", [20, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_writer_killed_between_any_two_steps_leaves_a_bundle_and_sound_versions(tmp_path: Path, kills: int) -> None:
    """The moments of writing are a small part of a conversion; here they are all of it."""
    source, folder, rng = write_quadrant_bundle(tmp_path), tmp_path / "target" / "bundle", random.Random(kills)
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(source), str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        with process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
        if (folder / MANIFEST).exists():
            kept = list((folder / "versions").glob("[!.]*"))
            assert {version.name for version in versions(folder)} >= {path.name for path in kept}
    assert versions(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a tmpfs")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("free_kb", [4, 24, 48])
def test_a_full_disk_is_said_and_what_was_there_stays(
    arguments: List[str], small_disk: Path, tmp_path: Path, free_kb: int
) -> None:
    out = small_disk / "bundle"
    old = open_bundle(write_quadrant_bundle(tmp_path))
    publish(out, old.engine_file, old.manifest, {})
    filler = small_disk / "filler"
    filler.write_bytes(b"\0" * (free(small_disk) - (free_kb << 10)))
    full = converted(arguments, out)
    assert full.returncode == 1
    assert "disk is full" in full.stderr or "No space left" in full.stderr, full.stderr
    assert "Traceback" not in full.stderr
    assert open_bundle(out).manifest.labels == old.manifest.labels
    check_runs(open_bundle(out))
    assert sorted(path.name for path in small_disk.iterdir()) == ["bundle", "filler"]


def free(disk: Path) -> int:
    """Bytes that are free."""
    return shutil.disk_usage(disk).free
