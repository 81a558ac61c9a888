"""Python itself, and packages that get in each other's way."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Iterable, Iterator, List

from sightd import __version__

from .finding import Area, Finding
from .machine import Machine

__all__ = ["AREA", "check"]

AREA = Area("python")

_OPENCVS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")


def check(machine: Machine) -> Iterator[Finding]:
    """The interpreter, and pairs of packages that overwrite each other's files."""
    yield AREA.ok("version", f"sightd {__version__}, Python {sys.version.split()[0]} at {sys.executable}")
    yield _daemon_collision()
    yield from _several("opencv", _OPENCVS, "opencv-python-headless")
    gpu = "onnxruntime-gpu" if machine.exists("/dev/nvidiactl") else "onnxruntime"
    yield from _several("onnxruntime", _RUNTIMES, gpu)


def _installed(names: Iterable[str]) -> List[str]:
    """Those of *names* that this interpreter's packages hold, as "name version"."""
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _daemon_collision() -> Finding:
    """Ours is in front, else the command line would not have started; the next installation may turn that round."""
    found = _installed(["python-daemon"])
    if not found:
        return AREA.ok("package name", "no python-daemon beside sightd")
    return AREA.warning(
        "package name",
        f"{found[0]} is installed beside sightd, and both are imported as 'daemon'",
        f"{sys.executable} -m pip uninstall -y python-daemon, then install sightd again, into its own environment",
    )


def _several(name: str, rivals: Iterable[str], keep: str) -> Iterator[Finding]:
    found = _installed(rivals)
    if len(found) > 1:
        names = " ".join(one.split()[0] for one in found)
        yield AREA.warning(
            name,
            f"{' and '.join(found)} are installed over each other",
            f"{sys.executable} -m pip uninstall -y {names} && {sys.executable} -m pip install {keep}",
        )
