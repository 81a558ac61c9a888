"""A camera's url as the user wrote it, checked and made independent of the working folder."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

__all__ = ["normalise"]

_SCHEMES = ("rtsp", "rtsps", "http", "https", "file")
_ENCODED = "in a password write %2F for /, %3F for ?, %23 for # and %40 for @"


def normalise(url: str, folder: Path) -> str:
    """*url* with its scheme in lower case; a ``file://`` URL or a path as an absolute path, relative to *folder*.

    :raises ValueError: what is wrong, never with a part of the url, which may hold a password.
    """
    if not url or any(ord(char) < 32 for char in url):
        raise ValueError("is empty or holds control characters")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?", url)
    if scheme is None or (scheme.group(2) is None and scheme.group(1).lower() not in _SCHEMES):
        return str(folder / url)
    name = scheme.group(1).lower()
    if scheme.group(2) is None or name not in _SCHEMES:
        raise ValueError(f"must begin with {', '.join(f'{known}://' for known in _SCHEMES)} or be a path{_hint(name)}")
    parts = _split(url)
    if name == "file":
        return _file(parts)
    _check_network(parts, url)
    return name + url[len(name) :]


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
