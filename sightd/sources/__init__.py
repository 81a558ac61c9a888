"""A camera or a file as a stream of frames: which source reads which address."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from ..errors import SourceError
from ..redact import redact
from .base import Source
from .file import PACES, FileSource
from .frames import frames
from .stream import StreamSource

__all__ = ["Source", "frames", "source_for"]

_STREAMS = ("rtsp", "rtsps", "http", "https")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def source_for(url: str, *, pace: str = "live", loop: bool = False) -> Source:
    """The closed source that reads *url*: rtsp, rtsps, http, https, file or a plain path.

    :param pace: files only: "live" plays a file as a camera would, "fast" reads it as fast as it is taken.
    :param loop: files only: begin again at the end, for ever.
    :raises SourceError: another scheme.
    """
    if pace not in PACES:
        raise ValueError(f"pace is {pace!r}, must be one of {', '.join(PACES)}")
    match = _SCHEME.match(url)
    if match is None:
        return FileSource(url, pace=pace, loop=loop)
    scheme = match.group(1).lower()
    if scheme in _STREAMS:
        return StreamSource(url)
    if scheme == "file":
        return FileSource(unquote(urlsplit(url).path), pace=pace, loop=loop)
    raise SourceError(f"{redact(url)}: can't read {scheme}://, use {', '.join(_STREAMS)}, file or a path")
