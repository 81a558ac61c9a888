"""The machine as the checks see it: files below a root, programs, users, disks; tests give it a root of their own."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import FrozenSet, List, Mapping, Optional

__all__ = ["Account", "Machine", "Ran", "Space", "tail"]

_MAX_FILE_BYTES = 1 << 20
_SYSTEM_PROGRAMS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/cuda/bin")


@dataclass(frozen=True)
class Ran:
    """How a program ended."""

    #: Its exit code, negative: the signal that killed it; None: it was killed at its time limit.
    code: Optional[int]
    out: str
    errors: str = ""

    @property
    def ok(self) -> bool:
        return self.code == 0


@dataclass(frozen=True)
class Account:
    """A user with all of its groups."""

    name: str
    uid: int
    gids: FrozenSet[int]


@dataclass(frozen=True)
class Space:
    """The file system that a path lies on, or would."""

    free_bytes: int
    free_inodes: int
    #: 0 where the file system does not count inodes.
    inodes: int
    read_only: bool


class Machine:
    """Reads facts and changes nothing; any method may be called from any thread."""

    def __init__(self, root: Path = Path("/"), *, architecture: str = "", now: Optional[float] = None) -> None:
        self._root = root
        self._now = now
        # Taken before the checks run side by side: while one imports cv2, that has a path of its own in sys.path, and
        # a process that gets it finds a cv2 that does not load.
        self._modules = [str(Path(entry).absolute()) for entry in sys.path if entry]
        #: As platform.machine() says: x86_64, aarch64 ...
        self.architecture = architecture or platform.machine()

    @property
    def now(self) -> float:
        """Unix seconds."""
        return time.time() if self._now is None else self._now

    @property
    def is_root(self) -> bool:
        return os.geteuid() == 0

    def path(self, absolute: object) -> Path:
        """Where *absolute* really lies."""
        return self._root / str(absolute).lstrip("/")

    def read(self, absolute: object) -> Optional[str]:
        """The text of a file, of /proc and /sys too; None when it is missing or not ours to read."""
        try:
            with self.path(absolute).open("rb") as file:
                return file.read(_MAX_FILE_BYTES).decode("utf-8", "replace").strip("\0\n ")
        except OSError:
            return None

    def exists(self, absolute: object) -> bool:
        return self.path(absolute).exists()

    def glob(self, pattern: str) -> List[Path]:
        """What matches the absolute *pattern*, sorted; as absolute paths of the machine."""
        found = sorted(self._root.glob(pattern.lstrip("/")))
        return [Path("/") / path.relative_to(self._root) for path in found]

    def stat(self, absolute: object) -> Optional[os.stat_result]:
        """None when it is missing or in a folder that is closed to us."""
        try:
            return self.path(absolute).stat()
        except OSError:
            return None

    def hidden(self, absolute: object) -> bool:
        """Whether it lies in a folder that is closed to us, so that nothing can be said about it."""
        try:
            self.path(absolute).stat()
        except PermissionError:
            return True
        except OSError:
            return False
        return False

    def space(self, absolute: Path) -> Optional[Space]:
        """Of the nearest folder above *absolute* that is there."""
        for folder in (absolute, *absolute.parents):
            try:
                found = os.statvfs(self.path(folder))
            except OSError:
                continue
            read_only = bool(found.f_flag & os.ST_RDONLY)
            return Space(found.f_bavail * found.f_frsize, found.f_favail, found.f_files, read_only)
        return None

    def account(self, name: str) -> Optional[Account]:
        """A user of /etc/passwd, with the groups that /etc/group gives it."""
        users = [line.split(":") for line in (self.read("/etc/passwd") or "").splitlines()]
        user = next((fields for fields in users if fields[0] == name and len(fields) >= 4), None)
        if user is None:
            return None
        groups = [line.split(":") for line in (self.read("/etc/group") or "").splitlines()]
        own = [
            fields for fields in groups if len(fields) >= 4 and (fields[2] == user[3] or name in fields[3].split(","))
        ]
        gids = frozenset({int(user[3]), *(int(fields[2]) for fields in own)})
        return Account(name, int(user[2]), gids)

    def run(self, *command: str, timeout_s: float = 4.0, env: Optional[Mapping[str, str]] = None) -> Optional[Ran]:
        """Run a program of PATH or the system's own folders, without input; None: it is not installed."""
        search = os.pathsep.join([os.environ.get("PATH", ""), *_SYSTEM_PROGRAMS])
        program = shutil.which(command[0], path=search)
        if program is None:
            return None
        full_env = {**os.environ, "LC_ALL": "C", **(env or {})}
        try:
            done = subprocess.run(
                [program, *command[1:]],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
                cwd="/",
                env=full_env,
            )
        except subprocess.TimeoutExpired:
            return Ran(None, "")
        except OSError as error:
            return Ran(126, "", str(error))
        return Ran(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    def run_python(self, *arguments: str, timeout_s: float) -> Ran:
        """Run this interpreter with this process's modules, as a process of its own: what it loads may crash."""
        modules = {"PYTHONPATH": os.pathsep.join(self._modules)}
        ran = self.run(sys.executable, *arguments, timeout_s=timeout_s, env=modules)
        return ran or Ran(127, "", f"{sys.executable} is gone")


def tail(text: str) -> str:
    """The last line that says something: of a traceback, the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"
