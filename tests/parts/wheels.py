"""The checkout and all that it needs as wheels, so that it can be installed where there is no network."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

__all__ = ["copy_of_the_checkout", "wheels_for_the_system_python"]

_CHECKOUT = Path(__file__).parents[2]
_SYSTEM_PYTHON = "/usr/bin/python3"


def copy_of_the_checkout(folder: Path) -> None:
    """What git would carry, as it is now, committed or not."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=_CHECKOUT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (_CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(_CHECKOUT / name, folder / name)


def wheels_for_the_system_python(source: Path, folder: Path) -> None:
    """Fill *folder* for a `pip install --no-index --find-links` of *source* by the system's Python."""
    venv = folder.with_name("wheels-venv")
    subprocess.run([_SYSTEM_PYTHON, "-m", "venv", str(venv)], check=True)
    wanted = [f"{source}[ort,opencv,convert]", "setuptools>=61", "wheel", "pip"]
    wheel = [str(venv / "bin" / "pip"), "wheel", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([*wheel, *wanted], check=True)
    # Where the system has an OpenCV of its own, built for NumPy 1, sightd install keeps to that.
    subprocess.run([*wheel, f"{source}[ort,convert]", "numpy<2"], check=True)
    shutil.rmtree(venv)
