"""A camera's url as the user wrote it, checked and made independent of the working folder."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, List
from urllib.parse import SplitResult, quote, unquote, urlsplit

from ..redact import redact
from .device_url import csi_camera, v4l2_camera

__all__ = ["PIPELINE", "hosts", "normalise", "shown", "takes_password", "with_password"]

#: What a pipeline of GStreamer's begins with, in place of a URL.
PIPELINE = "gst:"

_SCHEMES = ("rtsp", "rtsps", "http", "https", "file", "v4l2", "csi")
_ENCODED = "in a password write %2F for /, %3F for ?, %23 for # and %40 for @"
#: USER:PASSWORD@HOST or an IPv4 address at the start: a camera whose rtsp:// was forgotten, not a file.
_BARE_HOST = re.compile(r".*:.*@|\d{1,3}(\.\d{1,3}){3}(?![^:/])")


def normalise(url: str, folder: Path) -> str:
    """*url* with its scheme in lower case; a ``file://`` URL or a path as an absolute path, relative to *folder*.

    :raises ValueError: what is wrong, never with a part of the url that may hold a password.
    """
    if url.lower().startswith(PIPELINE):
        return _pipeline(url[len(PIPELINE) :])
    if not url or any(ord(char) < 32 for char in url):
        raise ValueError("is empty or holds control characters")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?", url)
    if scheme is None or (scheme.group(2) is None and scheme.group(1).lower() not in _SCHEMES):
        return _path(url, folder)
    name = scheme.group(1).lower()
    if scheme.group(2) is None or name not in _SCHEMES:
        known = ", ".join(f"{known}://" for known in _SCHEMES)
        raise ValueError(f"must begin with {known} or {PIPELINE}, or be a path{_hint(name)}")
    parts = _split(url)
    if name == "file":
        return _file(parts)
    if name == "v4l2":
        v4l2_camera(url)
    elif name == "csi":
        csi_camera(url)
    else:
        _check_network(parts, url)
    return name + url[len(name) :]


def takes_password(url: Any) -> bool:
    """Whether *url*, as the user wrote it, is one of a network camera."""
    return isinstance(url, str) and re.match(r"(rtsps?|https?)://", url, re.IGNORECASE) is not None


def shown(url: str) -> str:
    """The normalised *url* for people: no password; of a pipeline, where secrets have many names, the first element."""
    start = re.match(rf"{PIPELINE}\s*[\w-]*", url)
    return redact(url) if start is None else f"{start.group()} ..."


def hosts(url: str) -> List[str]:
    """The hosts that the normalised *url* leads to; of a pipeline those in its URLs and its elements' ``host=``."""
    if not takes_password(url) and not url.startswith(PIPELINE):
        return []
    texts, found = [url], []
    if not takes_password(url):
        texts = re.findall(r"\w+://[^\s\"']+", url)
        found = re.findall(r"""(?<![\w-])host\s*=\s*(?:\(\w+\)\s*)?["']?([\w.:-]+)""", url)
    for text in texts:
        try:
            found.append(urlsplit(text).hostname)
        except ValueError:  # the pipeline may be right all the same, and says so when it is opened
            continue
    return [host for host in found if host]


def with_password(url: str, password: str) -> str:
    """The normalised *url* with *password* behind its user name.

    :raises ValueError: it has no user name, a password already, or is a file's; never with a part of the url.
    """
    if not takes_password(url):
        raise ValueError("takes no password: only rtsp://, rtsps://, http:// and https:// do; remove password_file")
    parts = _split(url)
    if not parts.username:
        raise ValueError(
            f"needs the user name that the password_file is for, {parts.scheme}://USER@host/path; "
            "or, where the camera wants no password, password_file: null beside it"
        )
    if parts.password is not None:
        raise ValueError("has a password already; remove it, or give the camera password_file: null")
    user, _, host = parts.netloc.rpartition("@")
    return url.replace(f"//{parts.netloc}", f"//{user}:{quote(password, safe='')}@{host}", 1)


def _path(text: str, folder: Path) -> str:
    if _BARE_HOST.match(text):
        raise ValueError("looks like a camera: write rtsp:// before it; or, of a file, file:// and its whole path")
    return str(folder / text)


def _pipeline(text: str) -> str:
    text = re.sub(r"[\r\n\t]", " ", text).strip()
    if not text or any(ord(char) < 32 for char in text):
        raise ValueError(f"write a pipeline as for gst-launch-1.0 behind {PIPELINE}, for example gst: videotestsrc")
    return f"{PIPELINE} {text}"


def _hint(scheme: str) -> str:
    nearest = difflib.get_close_matches(scheme, _SCHEMES, n=1)
    return f"; did you mean '{nearest[0]}://'?" if nearest else ""


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # its text holds the host part, password included
        raise ValueError("the host can't be read; an IPv6 address stands in [ ]") from None


def _file(parts: SplitResult) -> str:
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ValueError("a file:// URL has three slashes and an absolute path: file:///media/yard.mp4")
    return unquote(parts.path)


def _check_network(parts: SplitResult, url: str) -> None:
    if re.search(r"\s", url):
        raise ValueError("a URL has no spaces; write %20 for one")
    if "@" in parts.path + parts.query + parts.fragment:  # else half a password passes for the host
        raise ValueError(f"has an @ behind the host, write %40 there; {_ENCODED}")
    try:
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        port_ok = False
    if not port_ok:
        raise ValueError(f"the port is no number from 1 to 65535; {_ENCODED}")
    if not parts.hostname:
        raise ValueError(f"has no host; write {parts.scheme}://host/path")
