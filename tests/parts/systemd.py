"""A script run as root inside a really booted systemd, on a throw-away overlay of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["boot", "skip_unless_bootable"]

_PARTS = Path(__file__).parent
_TRY = (
    "set -e; base=$(mktemp -d); mount -t tmpfs t $base; mkdir $base/u $base/w $base/r; "
    "mount -t overlay o -o lowerdir=/,upperdir=$base/u,workdir=$base/w $base/r"
)


def skip_unless_bootable() -> None:
    """Skip where we are not root, or the kernel or a container around us allows no namespaces of our own."""
    if os.geteuid() != 0:
        pytest.skip("booting a systemd in namespaces needs root")
    if not (shutil.which("unshare") and Path("/lib/systemd/systemd").exists()):
        pytest.skip("no systemd is installed here")
    tried = subprocess.run(
        ["unshare", "-mpfnui", "--cgroup", "--propagation", "private", "bash", "-c", _TRY],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip(f"no systemd can be booted in namespaces here: {tried.stderr.strip()}")


def boot(script: Path, out: Path, deadline_s: float) -> str:
    """What *script* (for the system's Python) printed; *out* is /out in there. See boot_systemd.sh."""
    command = ["bash", str(_PARTS / "boot_systemd.sh"), str(script), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=deadline_s, check=False)
    log = out / "log"
    return log.read_text("utf-8", "replace") if log.exists() else done.stdout + done.stderr
