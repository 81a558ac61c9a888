"""The single steps of an installation: each says what it does, and does it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Optional, Tuple

from ..errors import SightdError
from ..redact import redact

__all__ = ["Change", "HandOver", "Link", "MakeFolder", "Remove", "Run", "SetAccess", "WriteFile", "access_of", "run"]

_LAST_LINES = 15


class Change(ABC):
    """One difference between the machine as it is and as it should be."""

    @abstractmethod
    def describe(self) -> str:
        """One line for --dry-run, in the imperative."""

    @abstractmethod
    def apply(self) -> None:
        """Make the change.

        :raises SightdError: a program that was needed failed.
        :raises OSError: a file can't be written or removed.
        """


@dataclass(frozen=True)
class WriteFile(Change):
    """A text file, new or replaced as a whole: a reader sees the old text or the new one."""

    path: Path
    text: str
    mode: int
    owner: str

    def describe(self) -> str:
        return f"write {self.path} ({self.mode:04o} {self.owner})"

    def apply(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f".{self.path.name}.new")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.write(self.text)
            _set_access(new, self.mode, self.owner)
            new.replace(self.path)
        finally:
            if new.exists():
                new.unlink()


@dataclass(frozen=True)
class MakeFolder(Change):
    """A folder, and those above it where they are missing."""

    path: Path
    mode: int
    owner: str

    def describe(self) -> str:
        return f"make the folder {self.path} ({self.mode:04o} {self.owner})"

    def apply(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        _set_access(self.path, self.mode, self.owner)


@dataclass(frozen=True)
class SetAccess(Change):
    """Mode and owner of something that is there."""

    path: Path
    mode: int
    owner: str

    def describe(self) -> str:
        return f"set mode and owner of {self.path} ({self.mode:04o} {self.owner})"

    def apply(self) -> None:
        _set_access(self.path, self.mode, self.owner)


@dataclass(frozen=True)
class Link(Change):
    """A symbolic link, swapped in one step where it pointed elsewhere."""

    path: Path
    target: Path

    def describe(self) -> str:
        return f"link {self.path} to {self.target}"

    def apply(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f".{self.path.name}.new")
        if new.is_symlink():
            new.unlink()
        new.symlink_to(self.target)
        new.replace(self.path)


@dataclass(frozen=True)
class Remove(Change):
    """A file, a link (not what it points to) or a folder with all that is in it."""

    path: Path

    def describe(self) -> str:
        return f"remove {self.path}"

    def apply(self) -> None:
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        else:
            self.path.unlink()


@dataclass(frozen=True)
class Run(Change):
    """A program of the system."""

    command: Tuple[str, ...]

    def describe(self) -> str:
        return f"run {redact(' '.join(self.command))}"

    def apply(self) -> None:
        run(self.command)


@dataclass(frozen=True)
class HandOver(Run):
    """A program that talks to the user itself."""

    def apply(self) -> None:
        if subprocess.run(self.command, check=False).returncode:
            raise SightdError(f"`{' '.join(self.command)}` did not finish; mend what it says and run this again")


def run(command: Tuple[str, ...], environment: Optional[Mapping[str, str]] = None) -> str:
    """What *command* wrote to stdout.

    :raises SightdError: it can't be started or fails; the message has the last lines of its output.
    """
    shown = redact(" ".join(command))
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except OSError as error:
        raise SightdError(f"`{shown}` can't be started ({error.strerror}); install it and run this again") from error
    if done.returncode:
        output = (done.stdout + done.stderr).strip().splitlines()[-_LAST_LINES:]
        said = "".join(f"\n  {redact(line)}" for line in output)
        raise SightdError(f"`{shown}` failed (exit code {done.returncode}):{said or ' it said nothing'}")
    return done.stdout


def access_of(path: Path) -> Tuple[int, str]:
    """Mode and owner of *path* as a change takes them; an owner without a name is empty."""
    try:
        return stat.S_IMODE(path.stat().st_mode), f"{path.owner()}:{path.group()}"
    except KeyError:
        return stat.S_IMODE(path.stat().st_mode), ""


def _set_access(path: Path, mode: int, owner: str) -> None:
    user, _, group = owner.partition(":")
    shutil.chown(path, user, group)
    path.chmod(mode)
