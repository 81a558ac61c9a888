"""What the service is installed from: the checkout or package that is running, or what the user names."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Iterator, Optional
from urllib.parse import unquote, urlsplit

from .. import __version__
from ..errors import SightdError
from ..redact import redact

__all__ = ["Source", "files_of", "given_source", "own_source"]

#: What setup.py needs of a checkout; nothing else of it is built or counted as a change.
_PACKAGED = ("LICENSE", "README.md", "config", "converter", "daemon", "pyproject.toml", "setup.py", "sightd", "systemd")


@dataclass(frozen=True)
class Source:
    """Something that pip installs sightd from."""

    #: A folder, a file, a URL or a requirement.
    text: str
    #: Of a folder or a file the hash of its content, else what tells one state of it from another.
    digest: str
    #: As far as it is known before it is built.
    version: str

    @property
    def path(self) -> Optional[Path]:
        """The folder or file, where it is one."""
        return Path(self.text) if self.text.startswith("/") else None

    def requirement(self, extras: str, folder: Optional[Path] = None) -> str:
        """What pip is told to install.

        :param folder: where the files of a checkout were copied to.
        """
        if self.path:
            return f"{folder or self.path}[{extras}]"
        if "://" in self.text:
            return f"sightd[{extras}] @ {self.text}"
        return re.sub(r"^[\w.-]+", rf"\g<0>[{extras}]", self.text)


def given_source(text: str) -> Source:
    """What the user named: a checkout, a wheel, a URL or a requirement such as ``sightd==1.2.0``.

    :raises SightdError: it is a path to something else, or holds a password.
    """
    if text.startswith(".") or ("/" in text and "://" not in text) or text.endswith(".whl"):
        return _local(Path(text).resolve())
    if redact(text) != text:
        raise SightdError(
            "--source must not hold a password, it is recorded; pip takes one from ~/.netrc, git an SSH key"
        )
    pinned = re.fullmatch(r"sightd==([\w.+!-]+)", text)
    if pinned:
        return Source(text, "", pinned.group(1))
    if "://" not in text and not re.match(r"sightd\b", text):
        raise SightdError(f"{text}: is neither a folder nor a requirement of sightd, such as sightd=={__version__}")
    # What it stands for today may be another thing than yesterday.
    return Source(text, datetime.now(timezone.utc).isoformat(), "latest")


def own_source() -> Source:
    """What the running program came from: its checkout, what pip recorded (PEP 610), or the package index."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "setup.py").is_file():
        return _local(checkout)
    try:
        recorded = metadata.distribution("sightd").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        recorded = None
    if recorded is None:
        return given_source(f"sightd=={__version__}")
    return _from_pip(json.loads(recorded))


def files_of(checkout: Path) -> Iterator[Path]:
    """The files of *checkout* that are packaged, relative to it, in a fixed order."""
    for name in _PACKAGED:
        top = checkout / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(checkout)


def _from_pip(recorded: Dict[str, Any]) -> Source:
    """The source in a direct_url.json (https://packaging.python.org/specifications/direct-url)."""
    url = str(recorded["url"])
    if url.startswith("file://"):
        return given_source(unquote(urlsplit(url).path))
    vcs = recorded.get("vcs_info")
    if vcs:
        return Source(f"{vcs['vcs']}+{url}@{vcs['commit_id']}", vcs["commit_id"], __version__)
    return Source(url, json.dumps(recorded, sort_keys=True), __version__)


def _local(path: Path) -> Source:
    try:
        if path.is_file():
            name = re.match(r"sightd-([^-]+)", path.name)
            return Source(str(path), hashlib.sha256(path.read_bytes()).hexdigest(), name.group(1) if name else "latest")
        version = re.search(r'__version__ = "(.+)"', (path / "sightd/__init__.py").read_text("utf-8"))
        return Source(str(path), _digest(path), version.group(1) if version else "latest")
    except OSError as error:
        raise SightdError(
            f"{path}: is no checkout of sightd and no wheel; name one, or sightd==VERSION, with --source"
        ) from error


def _digest(checkout: Path) -> str:
    digest = hashlib.sha256()
    for file in files_of(checkout):
        digest.update(f"{file}\0".encode())
        digest.update(hashlib.sha256((checkout / file).read_bytes()).digest())
    return digest.hexdigest()
