"""A disk whose power can be cut: what was not synced to it by then is gone."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

from tests.chaos.isolation import UnavailableError

__all__ = ["CutDisk", "stand_still"]

_SIZE = 64 << 20
#: FS_IOC_SHUTDOWN of Linux's fs.h, _IOR('X', 125, __u32), as xfstests use it, and its flag "not even what the journal
#: holds in memory".
_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, struct.pack("I", 2)
#: Who was killed may hold files for a moment longer.
_PATIENCE_S = 10.0


def stand_still(process: subprocess.Popen[bytes]) -> None:
    """Stop *process*; when this returns, none of its threads does anything any more.

    Else it would live on for a moment with a disk that gives errors, as no process does whose power is cut.
    """
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


class CutDisk:
    """An ext4 file system in a file beside *folder*, mounted there; only within a mount namespace of our own.

    :raises UnavailableError: it can't be made or mounted here.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._image, self._probe = folder, folder.with_name(f"{folder.name}.ext4"), folder / "probe"
        folder.mkdir()
        with self._image.open("wb") as image:
            image.truncate(_SIZE)
        make = shutil.which("mkfs.ext4", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
        if make is None or subprocess.run([make, "-q", "-F", str(self._image)], check=False).returncode:
            raise UnavailableError("no ext4 file system can be made here: mkfs.ext4")
        if self._mount().returncode:
            raise UnavailableError("no file can be mounted as a disk here")

    def cut(self) -> None:
        """Cut the power. Until :meth:`restore` whoever writes gets an error.

        :raises UnavailableError: this kernel does not do it.
        """
        probe = os.open(self._probe, os.O_CREAT | os.O_WRONLY)
        try:
            os.write(probe, b"not synced")
            fcntl.ioctl(probe, _SHUTDOWN, _NO_LOG_FLUSH)
        except OSError as error:
            raise UnavailableError(f"no file system can be shut down here: {error.strerror}") from error
        finally:
            os.close(probe)

    def restore(self) -> None:
        """Power on: the file system comes back with what was on the disk, when nobody has a file of it open any more.

        :raises AssertionError: what was not synced is there, so nothing was proven.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while subprocess.run(["umount", str(self._folder)], capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, f"somebody still uses {self._folder}"
            time.sleep(0.05)
        mounted = self._mount()
        assert mounted.returncode == 0, mounted.stderr
        # Its name may be on the disk, for whoever synced something else at that moment.
        assert not self._probe.exists() or not self._probe.read_bytes(), "the power was not cut"
        self._probe.unlink(missing_ok=True)

    def _mount(self) -> subprocess.CompletedProcess[str]:
        command = ["mount", "-o", "loop", str(self._image), str(self._folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False)
