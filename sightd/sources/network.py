"""What cameras on the network share: whether one can be reached, and from when on its pictures are whole."""

from __future__ import annotations

import re
import socket
import time
from typing import Callable, Tuple
from urllib.parse import unquote, urlsplit

from ..errors import SourceError
from ..redact import redact

__all__ = [
    "FIRST_PICTURE_S",
    "KEY_FRAME_S",
    "READ_TIMEOUT_S",
    "STALE_S",
    "STALLED_S",
    "check_reachable",
    "credentials",
    "settle",
]

CONNECT_TIMEOUT_S = 2.0
#: A camera shows nothing until its next key frame, which may take some seconds.
FIRST_PICTURE_S = 4.0
#: How long pictures are thrown away that came before a key frame. A stream that renews itself bit by bit has none.
KEY_FRAME_S = 10.0
#: A picture that took longer to come is stale.
STALE_S = 1.5
#: A camera of which no picture comes for so long is frozen.
STALLED_S = 3.2
#: A connection over which nothing comes for so long is opened anew. Where a tenth of the packets is lost, so is a tenth
#: of what TCP sends again, each time after twice as long: after 6.2 s for the fifth time, after 12.6 s for the sixth.
READ_TIMEOUT_S = 13.0

# A picture that comes faster was waiting in a buffer; at 60 frames a second the wait is 16 ms.
_PILED_UP_S = 0.005
_SETTLE_ATTEMPTS = 150
_RTSP_PORTS = {"rtsp": 554, "rtsps": 322}


def settle(grab: Callable[[], bool], is_whole: Callable[[], bool]) -> bool:
    """Grab until a whole picture came that had to be waited for: the ones before piled up while opening (0.4 s at 25
    frames a second, 2 s at 5), and before the first key frame nothing can be decoded. False: no picture.

    :param is_whole: whether the picture that was just grabbed, and so all later ones, builds on a key frame.
    """
    began = time.monotonic()
    seen, attempts = False, 0
    while attempts < _SETTLE_ATTEMPTS:
        started = time.monotonic()
        if started > began + (KEY_FRAME_S if seen else FIRST_PICTURE_S):
            break
        grabbed = grab()
        seen = seen or grabbed
        if grabbed and not is_whole():
            continue
        attempts += 1
        if grabbed and time.monotonic() - started > _PILED_UP_S:
            break
    return seen


def check_reachable(url: str) -> None:
    """Connect once ahead of the decoder, which doesn't say why it failed, and in old versions blocks other cameras.

    RTSP only: an HTTP stream may be behind a proxy that FFmpeg knows and we don't.

    :raises SourceError: nobody answers there.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in _RTSP_PORTS:
        return
    host, port = _host_and_port(url, _RTSP_PORTS[scheme])
    try:
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, UnicodeError) as error:
        raise SourceError(
            f"{redact(url)}: can't connect to {host}:{port} ({error}): check the address and that the camera is on"
        ) from error


def credentials(url: str) -> Tuple[str, str, str]:
    """*url* without its user and password, and these two, unquoted; "" where it has none."""
    scheme, _, rest = url.partition("://")
    authority = _authority(url)
    given, _, host = authority.rpartition("@")
    user, _, password = given.partition(":")
    return f"{scheme}://{host}{rest[len(authority) :]}", unquote(user), unquote(password)


def _authority(url: str) -> str:
    """USER:PASSWORD@HOST:PORT, as FFmpeg reads it: a password may hold '@' and ':', not '/', '?' or '#'."""
    return re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]


def _host_and_port(url: str, default_port: int) -> Tuple[str, int]:
    try:
        parts = urlsplit(f"//{_authority(url).rpartition('@')[2]}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SourceError(f"{redact(url)}: the host or port is malformed: {error}") from error
    if not host:
        raise SourceError(f"{redact(url)}: names no host")
    return host, port or default_port
