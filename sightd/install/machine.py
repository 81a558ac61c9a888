"""What there is on this machine that decides how sightd is installed."""

from __future__ import annotations

import grp
import ipaddress
import json
import pwd
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple

from ..errors import SightdError
from .changes import run
from .layout import UNIT, Layout

__all__ = ["Machine", "Python", "Service", "has_user", "probe_machine", "probe_service"]

#: Run by the system's interpreter, isolated: what users have in their home folders the daemon will not see.
_PROBE = """\
import json, os, sys, sysconfig
from importlib import import_module, util

def works(name):
    try:
        import_module(name)
    except Exception:
        return False
    return True

found = {
    "version": list(sys.version_info[:3]),
    "venv": util.find_spec("ensurepip") is not None,
    "headers": os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")),
    "numpy": getattr(import_module("numpy"), "__version__", "") if works("numpy") else "",
    "cv2_there": util.find_spec("cv2") is not None,
    **{key: works(name) for key, name in
       {"cv2": "cv2", "tensorrt": "tensorrt", "pycuda": "pycuda.driver", "journal": "systemd.journal"}.items()},
}
print("\\n" + json.dumps(found))
"""
_PROBE_TIMEOUT_S = 120
#: Below /dev. Jetson's nodes and those of a card in a PC; symbolic links lead to a node that is found by itself.
_GPU_NODES = ("nvidia*", "nvmap", "nvhost*", "nvgpu/**/*", "host1x*", "dri/renderD*")


@dataclass(frozen=True)
class Python:
    """The system's interpreter, below which the virtual environment is made, and what it can import."""

    path: Path
    version: Tuple[int, int, int]
    venv: bool = True
    headers: bool = False
    numpy: str = ""
    #: Whether there is an OpenCV at all, and whether it can be imported.
    cv2_there: bool = False
    cv2: bool = False
    tensorrt: bool = False
    pycuda: bool = False
    journal: bool = False


@dataclass(frozen=True)
class Service:
    """The running systemd, and what it says of our unit."""

    version: int
    enabled: bool = False
    active: bool = False


@dataclass(frozen=True)
class Machine:
    """Everything that planning asks about the machine, but for the files that it writes."""

    python: Python
    #: None where systemd is not running: a container.
    service: Optional[Service] = None
    user: bool = False
    groups: Tuple[str, ...] = ()
    #: Those of *groups* that the daemon's account is a member of.
    member_of: Tuple[str, ...] = ()
    #: Whether C extensions can be built, and CUDA's folder.
    compiler: bool = False
    cuda: Optional[Path] = None
    gpu_nodes: Tuple[str, ...] = ()
    video_nodes: bool = False
    argus: bool = False
    nameservers: Tuple[str, ...] = ()


def probe_machine(layout: Layout, python: Path) -> Machine:
    """Look at the machine; changes nothing.

    :raises SightdError: *python* can't be used.
    """
    root, groups = layout.root, grp.getgrall()
    return Machine(
        python=_probe_python(python),
        service=probe_service(root),
        user=has_user(layout.service),
        groups=tuple(group.gr_name for group in groups),
        member_of=tuple(group.gr_name for group in groups if layout.service.partition(":")[0] in group.gr_mem),
        compiler=shutil.which("gcc") is not None,
        cuda=next((path for path in [root / "usr/local/cuda"] if (path / "include/cuda.h").exists()), None),
        gpu_nodes=tuple(_nodes(root / "dev")),
        video_nodes=any((root / "dev").glob("video[0-9]*")),
        argus=any((root / path).exists() for path in ("usr/sbin/nvargus-daemon", "tmp/argus_socket")),
        nameservers=_nameservers(root / "etc/resolv.conf"),
    )


def _probe_python(path: Path) -> Python:
    try:
        said = subprocess.run(
            [str(path), "-I", "-c", _PROBE], capture_output=True, timeout=_PROBE_TIMEOUT_S, check=True
        )
        found = json.loads(said.stdout.decode("utf-8", "replace").splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise SightdError(f"{path}: is no Python that runs; name another with --python") from error
    version = tuple(found.pop("version"))
    if version < (3, 8):
        raise SightdError(f"{path}: is Python {version[0]}.{version[1]}; sightd needs 3.8 or newer, see --python")
    if not found["venv"]:
        raise SightdError(
            f"{path}: can't make virtual environments: sudo apt install python3-venv, then run this again"
        )
    return Python(path=path, version=version, **found)


def probe_service(root: Path) -> Optional[Service]:
    """The running systemd; None where it is not running or does not serve *root*."""
    if root != Path("/") or not Path("/run/systemd/system").is_dir():
        return None
    said = re.match(r"systemd (\d+)", run(("systemctl", "--version")))
    return Service(
        version=int(said.group(1)) if said else 0,
        enabled=_succeeds("systemctl", "--quiet", "is-enabled", UNIT),
        active=_succeeds("systemctl", "--quiet", "is-active", UNIT),
    )


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def has_user(owner: str) -> bool:
    """Whether there is an account for the user of ``user:group``."""
    try:
        pwd.getpwnam(owner.partition(":")[0])
    except KeyError:
        return False
    return True


def _nodes(dev: Path) -> List[str]:
    found = {path for pattern in _GPU_NODES for path in dev.glob(pattern)}
    return sorted(f"/dev/{path.relative_to(dev)}" for path in found if stat.S_ISCHR(path.lstat().st_mode))


def _nameservers(path: Path) -> Tuple[str, ...]:
    try:
        words = [line.split() for line in path.read_text("utf-8", "replace").splitlines()]
    except OSError:
        return ()
    return tuple(line[1] for line in words if len(line) > 1 and line[0] == "nameserver" and _is_address(line[1]))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
