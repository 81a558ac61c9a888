"""An installation on a folder in place of the root, owned by who runs the tests; its environment is only pretended."""

from __future__ import annotations

import grp
import json
import os
import pwd
from dataclasses import asdict
from pathlib import Path
from typing import Iterable, List

from sightd.install.changes import Change
from sightd.install.environment import BuildEnvironment
from sightd.install.layout import Layout
from sightd.install.machine import Machine, Python

__all__ = ["PYTHON", "bare_machine", "carry_out", "layout_in", "tree"]

PYTHON = Python(path=Path("/usr/bin/python3"), version=(3, 10, 12))


def layout_in(root: Path) -> Layout:
    me = f"{pwd.getpwuid(os.geteuid()).pw_name}:{grp.getgrgid(os.getegid()).gr_name}"
    return Layout(root=root, admin=me, shared=me, service=me)


def bare_machine() -> Machine:
    """No GPU, no cameras, no systemd; the account exists."""
    return Machine(python=PYTHON, user=True)


def carry_out(changes: Iterable[Change]) -> List[str]:
    """Make *changes*, but build no environment: write the record of one. What was done, a line each."""
    done = []
    for change in changes:
        if isinstance(change, BuildEnvironment):
            change.folder.mkdir()
            (change.folder / "installed.json").write_text(json.dumps(asdict(change.recipe)), "utf-8")
        else:
            change.apply()
        done.append(change.describe())
    return done


def tree(root: Path) -> List[str]:
    """Every path below *root*, links with where they lead."""
    return sorted(
        f"{path.relative_to(root)}{f' -> {os.readlink(path)}' if path.is_symlink() else ''}" for path in root.rglob("*")
    )
