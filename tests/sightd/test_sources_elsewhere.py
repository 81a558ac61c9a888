"""The tests of the sources once more, with other OpenCVs than the newest from PyPI: JetPack's, and Debian's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import List, Optional

import pytest

from tests.parts.wheels import copy_of_the_checkout

_DEBIANS = "/usr/bin/python3"
_RUNNER = ("pytest>=8", "pytest-timeout>=2", "pytest-xdist>=3.6")
#: They wait for cameras most of the time.
_QUIETLY = ("-q", "-p", "no:cacheprovider", "-n", "3")
_TESTS = sorted(str(path.name) for path in Path(__file__).parent.glob("test_sources*.py") if path != Path(__file__))


@pytest.mark.slow
@pytest.mark.net
@pytest.mark.xdist_group("another opencv")  # one after the other: each has processes of its own, and cameras that wait
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("python", "opencv"),
    [("3.8", "opencv-python-headless==4.5.4.60"), ("3.10", "opencv-python-headless==4.8.0.76"), (_DEBIANS, "")],
    ids=["jetpack5", "jetpack6", "debian"],
)
def test_the_sources_work_with_another_opencv(python: str, opencv: str, tmp_path: Path) -> None:
    found = _interpreter(python)
    if found is None:
        pytest.skip(f"there is no Python {python} here")
    if not opencv and subprocess.run([found, "-c", "import cv2"], capture_output=True, check=False).returncode:
        pytest.skip("Debian's OpenCV is missing: apt-get install python3-opencv")
    checkout, venv = tmp_path / "checkout", tmp_path / "venv"
    copy_of_the_checkout(checkout)
    _run(found, "-m", "venv", *([] if opencv else ["--system-site-packages"]), str(venv))
    pip = (str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    # An old one would compile what there is a wheel for.
    _run(*pip, "--upgrade", "pip")
    _run(*pip, str(checkout), "numpy<2", *_RUNNER, *([opencv] if opencv else []))
    version = _run(str(venv / "bin/python"), "-c", "import cv2; print(cv2.__version__)").strip()
    assert not opencv or opencv.rpartition("==")[2].startswith(version)
    _run(str(venv / "bin/python"), "-m", "pytest", *_QUIETLY, *_tests(checkout), cwd=checkout)


def _tests(checkout: Path) -> List[str]:
    return [str(checkout / "tests/sightd" / name) for name in _TESTS]


def _interpreter(python: str) -> Optional[str]:
    """A path as it is; a version of pyenv's (what it puts into PATH may refuse to run) or from PATH."""
    if python.startswith("/"):
        return python if Path(python).exists() else None
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    built = sorted(pyenv.glob(f"{python}.*/bin/python"))
    return str(built[-1]) if built else shutil.which(f"python{python}")


def _run(*command: str, cwd: Optional[Path] = None) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command[:4])}:\n{(done.stdout + done.stderr)[-5000:]}"
    return done.stdout
