"""The virtual environment of one version: what goes into it, building it, and which ones are kept."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from ..errors import SightdError
from .changes import Change, run
from .layout import Layout
from .machine import Machine
from .source import Source, files_of

__all__ = ["BuildEnvironment", "Recipe", "built", "find_built", "in_use", "new_folder", "read_recipe", "recipe_for"]

_RECORD = "installed.json"
_CONSTRAINTS = "constraints.txt"
_CHECK = """\
import cv2, numpy
try:
    import onnxruntime
except ImportError:
    import tensorrt
"""


@dataclass(frozen=True)
class Recipe:
    """All that an environment depends on; the same recipe again needs no new one."""

    source: Source
    #: The interpreter and its minor version.
    python: Tuple[str, str]
    extras: Tuple[str, ...]
    constraints: Tuple[str, ...]


@dataclass(frozen=True)
class BuildEnvironment(Change):
    """A virtual environment that sees the system's packages, complete and checked or not there at all."""

    folder: Path
    recipe: Recipe
    #: CUDA's folder, where something may have to be compiled against it.
    cuda: Optional[Path]

    def describe(self) -> str:
        recipe = self.recipe
        limits = f", {', '.join(recipe.constraints)}" if recipe.constraints else ""
        return (
            f"build {self.folder} from {recipe.source.text} on {recipe.python[0]} {recipe.python[1]} "
            f"with {', '.join(recipe.extras)}{limits} (takes some minutes)"
        )

    def apply(self) -> None:
        try:
            self._build()
        except BaseException as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            if isinstance(error, (SightdError, OSError)):
                raise SightdError(
                    f"{error}\nWhat was installed before is as it was. See to the network and the free disk space, "
                    "then run this again"
                ) from error
            raise

    def _build(self) -> None:
        recipe, python = self.recipe, str(self.folder / "bin/python")
        environment = _environment(self.cuda)
        run((recipe.python[0], "-I", "-m", "venv", "--system-site-packages", str(self.folder)), environment)
        (self.folder / _CONSTRAINTS).write_text("".join(f"{line}\n" for line in recipe.constraints), "utf-8")
        # -I: what root has in its home folder must not count as installed.
        pip = (python, "-I", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check")
        # Old ones do not know today's names of wheels and would compile everything.
        run((*pip, "--upgrade", "pip"), environment)
        limits = ("--prefer-binary", "--constraint", str(self.folder / _CONSTRAINTS))
        with tempfile.TemporaryDirectory(prefix="sightd-install-") as copy:
            wanted = recipe.source.requirement(",".join(recipe.extras), _copy(recipe.source, Path(copy)))
            run((*pip, *limits, wanted), environment)
        run((python, "-I", "-c", _CHECK), environment)
        run((str(self.folder / "bin/sightd"), "--version"), environment)
        (self.folder / _RECORD).write_text(json.dumps(asdict(recipe), indent=2) + "\n", "utf-8")


def recipe_for(machine: Machine, source: Source) -> Tuple[Recipe, List[str]]:
    """What *machine* needs beside sightd itself, and what the user should know of what it lacks."""
    python = machine.python
    extras, notes = ["ort", "convert"], []
    own_cv2 = python.cv2 or (python.cv2_there and _major(python.numpy) >= 2)
    if not own_cv2:
        extras.append("opencv")
    if python.tensorrt and not python.pycuda:
        if machine.compiler and python.headers and machine.cuda:
            extras.append("gpu")
        else:
            notes.append(
                "TensorRT is here but can't be used: pycuda needs a compiler, Python's and CUDA's headers; "
                "sudo apt install build-essential python3-dev cuda-toolkit, then sudo sightd install"
            )
    if not python.journal:
        notes.append(
            "the journal gets text without fields; for fields: sudo apt install python3-systemd, "
            "then sudo systemctl restart sightd"
        )
    # A cv2 that was built for NumPy 1 can't be imported beside NumPy 2.
    limits = ("numpy<2",) if own_cv2 and (not python.cv2 or _major(python.numpy) < 2) else ()
    version = f"{python.version[0]}.{python.version[1]}"  # a patch release keeps what was built
    return Recipe(source, (str(python.path), version), tuple(extras), limits), notes


def find_built(layout: Layout, recipe: Recipe) -> Optional[Path]:
    """The complete environment of *recipe*: the one in use, else the newest."""
    fit = [folder for folder in built(layout) if read_recipe(folder) == recipe]
    current = in_use(layout)
    return current if current in fit else (fit[-1] if fit else None)


def built(layout: Layout) -> List[Path]:
    """The folders of the versions, oldest first, complete or not."""
    if not layout.versions.is_dir():
        return []
    return sorted(layout.versions.iterdir(), key=lambda path: path.name.rpartition("-")[2])


def in_use(layout: Layout) -> Optional[Path]:
    """The folder of the version that is in use."""
    return layout.versions / Path(os.readlink(layout.current)).name if layout.current.is_symlink() else None


def new_folder(layout: Layout, recipe: Recipe) -> Path:
    """Where an environment of *recipe* that is built now belongs."""
    return layout.versions / f"{recipe.source.version}-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"


def read_recipe(folder: Path) -> Optional[Recipe]:
    """The recipe of the environment in *folder*; None where there is no complete one."""
    try:
        record = json.loads((folder / _RECORD).read_text("utf-8"))
        return Recipe(
            Source(**record["source"]), tuple(record["python"]), tuple(record["extras"]), tuple(record["constraints"])
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _copy(source: Source, folder: Path) -> Optional[Path]:
    """The files of a checkout in *folder*: building in the checkout would leave root's files there."""
    if source.path is None or source.path.is_file():
        return None
    if not source.path.is_dir():
        raise SightdError(f"{source.path}: is not there any more; name what to install from with --source")
    for file in files_of(source.path):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.path / file, folder / file)
    return folder


def _environment(cuda: Optional[Path]) -> Dict[str, str]:
    """Ours without what turns Python to other packages, and with CUDA's compiler, which sudo's PATH lacks."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    if cuda:
        environment.update(CUDA_ROOT=str(cuda), PATH=f"{environment.get('PATH', os.defpath)}:{cuda / 'bin'}")
    return environment


def _major(version: str) -> int:
    return int(version.partition(".")[0] or 0)
