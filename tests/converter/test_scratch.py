"""Scratch folders: gone at the end, and those of the dead with them, but not those of the living."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from converter.scratch import scratch_folder

CODE = (
    "import sys, time, pathlib\n"
    "from converter.scratch import scratch_folder\n"
    "with scratch_folder(pathlib.Path(sys.argv[1])) as folder:\n"
    "    (folder / 'big').write_text('x')\n"
    "    print(folder, flush=True)\n"
    "    sys.stdin.read()\n"
)


def test_it_is_gone_at_the_end(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "new") as folder:
        (folder / "file").write_text("x")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_living_ones_stays_and_a_killed_ones_goes(tmp_path: Path) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path)], **pipes) as other:  # type: ignore[call-overload]
        theirs = Path(other.stdout.readline().decode().strip())
        with scratch_folder(tmp_path):
            assert (theirs / "big").exists()
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert theirs.exists()
        with scratch_folder(tmp_path) as ours:
            assert list(tmp_path.iterdir()) == [ours]


def test_what_is_not_ours_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with scratch_folder(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
