"""The names of NVIDIA's own tensorrt modules by version, read without a GPU.

The wheel's Python extension is imported untouched; the libraries that it wants (hundreds of megabytes, and some ask
for a GPU) are replaced by stubs with just the functions that the extension names. Nothing can be built or run with
that, but ``dir()`` of the module and its classes is the real one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import FrozenSet, Iterator, List, Mapping, Tuple

import pytest

from tests.parts.module_names import public_names

__all__ = ["RELEASES", "Names", "Release", "read_names"]

_PROGRAM = Path(__file__).with_name("module_names.py")


@dataclass(frozen=True)
class Release:
    """One release of TensorRT on the package index."""

    requirement: str
    #: Of the interpreters that it has wheels for, the ones to try.
    pythons: Tuple[str, ...]
    #: TensorRT-RTX, which counts its versions anew and has the API of TensorRT 11.
    rtx: bool = False

    @property
    def version(self) -> Tuple[int, ...]:
        """Of the API, as numbers: text compares 10.3 below 8.5."""
        return (11,) if self.rtx else tuple(map(int, self.requirement.partition("==")[2].split(".")))

    def __str__(self) -> str:
        return f"{'RTX ' if self.rtx else ''}{self.requirement.partition('==')[2]}"


#: 8.5.2 is JetPack 5's, 550 MB since its wheel holds the libraries; 8.6 and 10.3 are JetPack 6's; 1 MB each.
RELEASES = (
    Release("tensorrt==8.5.2.2", ("3.9", "3.8")),
    Release("tensorrt-bindings==8.6.1", ("3.10", "3.9", "3.8")),
    Release("tensorrt-cu12-bindings==10.3.0", ("3.10", "3.9", "3.8", "3.11", "3.12")),
    Release("tensorrt-cu12-bindings==10.16.1.11", ("3.10", "3.11", "3.12")),
    Release("tensorrt-cu13-bindings==11.4.0.106", ("3.10", "3.11", "3.12")),
    Release("tensorrt-rtx-cu12-bindings==1.7.1.116", ("3.10", "3.11", "3.12"), rtx=True),
)


@dataclass(frozen=True)
class Names:
    """What a tensorrt module offers."""

    #: Public names of the module.
    module: FrozenSet[str]
    #: Class -> its public names; enumerations are classes, their members names. Nested classes too: "Logger.Severity".
    classes: Mapping[str, FrozenSet[str]]

    def has(self, path: str) -> bool:
        """Whether the dotted *path* exists below the module, as far as it leads through classes."""
        owner, names = "", self.module
        for name in path.split("."):
            if name not in names:
                return False
            owner = f"{owner}.{name}".lstrip(".")
            if owner not in self.classes:
                return True
            names = self.classes[owner]
        return True

    def anywhere(self) -> FrozenSet[str]:
        """The public names of all classes."""
        return frozenset().union(*self.classes.values())

    @classmethod
    def of(cls, module: object) -> Names:
        """Of a module object in this process: a fake."""
        return cls._decoded(public_names(module))

    @classmethod
    def _decoded(cls, found: Mapping[str, List[str]]) -> Names:
        classes = {name: frozenset(members) for name, members in found.items() if name}
        return cls(frozenset(found[""]), classes)


def read_names(release: Release, folder: Path, cache: pytest.Cache) -> Names:
    """The names of *release*, downloaded into *folder* unless *cache* knows them.

    Skips the calling test where the wheel can't be had or no interpreter for it is here; fails it in CI.
    """
    key = f"tensorrt/{release.requirement}"
    found = cache.get(key, None)
    if found is None:
        python, wheel = _download(release, folder)
        found = json.loads(_imported(python, _unpacked(wheel, folder / "site"), folder / "stubs"))
        cache.set(key, found)
        wheel.unlink()  # 550 MB
    return Names._decoded(found)


def _download(release: Release, folder: Path) -> Tuple[str, Path]:
    interpreters = {python: path for python in release.pythons for path in _interpreters(python)}
    if not interpreters:
        _give_up(f"TensorRT {release} needs one of Python {', '.join(release.pythons)}")
    python = next(iter(interpreters))
    tag = f"cp{python.replace('.', '')}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-cache-dir", "--no-deps", "--only-binary=:all:"]
    pip += ["--python-version", python, "--implementation", "cp", "--abi", tag, "--abi", "none"]
    pip += ["--platform", "manylinux_2_17_x86_64", "--platform", "manylinux_2_28_x86_64"]
    done = subprocess.run(
        [*pip, "--dest", str(folder), release.requirement], capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        _give_up(f"no wheel of {release.requirement}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return interpreters[python], wheels[0]


def _interpreters(version: str) -> Iterator[str]:
    """Interpreters of that *version* that start."""
    named = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))) / "versions"
    found = [named] if named else []
    found += map(str, sorted(pyenv.glob(f"{version}.*/bin/python{version}")))
    for path in found:
        probe = subprocess.run([path, "-c", "import ctypes"], capture_output=True, check=False)
        if probe.returncode == 0:  # pyenv's shims exist for interpreters that are switched off
            yield path


def _unpacked(wheel: Path, folder: Path) -> Path:
    """The folder of the package inside *folder*: its Python files and its extension, nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        wanted = [name for name in archive.namelist() if re.search(r"/__init__\.py$|/tensorrt\w*\.so$", name)]
        archive.extractall(folder, wanted)
    return next(path.parent for path in folder.rglob("tensorrt*.so"))


def _imported(python: str, package: Path, stubs: Path) -> str:
    _make_stubs(next(package.glob("tensorrt*.so")), stubs)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(stubs), "PYTHONPATH": str(package.parent)}
    command = [python, "-W", "ignore", str(_PROGRAM), package.name]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def _make_stubs(extension: Path, folder: Path) -> None:
    """Libraries of the names that *extension* wants; all its unresolved functions are in each, and return null."""
    folder.mkdir()
    source = folder / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in sorted(_unresolved(extension))))
    for library in sorted(_needed(extension)):
        options = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{library}"]
        subprocess.run(["gcc", *options, str(source), "-o", str(folder / library)], check=True)


def _needed(extension: Path) -> List[str]:
    listed = subprocess.run(["readelf", "-d", str(extension)], capture_output=True, text=True, check=True).stdout
    return re.findall(r"NEEDED.*\[(lib(?:nv|tensorrt)\S+)\]", listed)


def _unresolved(extension: Path) -> List[str]:
    """Functions from TensorRT's libraries: those with a symbol version are the C library's, the others Python's."""
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", str(extension)], capture_output=True, text=True, check=True
    ).stdout
    names = re.findall(r" U (\w+)$", listed, re.MULTILINE)
    return [name for name in names if not re.match(r"_?Py", name)]


def _give_up(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
