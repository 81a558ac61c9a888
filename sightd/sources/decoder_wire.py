"""Messages between the daemon and its decoder processes: JSON, and file descriptors beside it, over AF_UNIX sockets."""

from __future__ import annotations

import array
import contextlib
import os
import socket
from typing import List, Optional, Sequence, Tuple

import msgspec
from typing_extensions import Annotated

__all__ = ["TOO_LARGE", "Answer", "pair", "receive", "send"]

#: Longest message, in bytes. A camera's address and a few lines of log have room.
MOST = 65536
_MOST_FDS = 4
#: The exit code of a decoder process that has taken too much memory.
TOO_LARGE = 70


class Answer(msgspec.Struct, frozen=True):
    """What a decoder process says to a request. It may have run wild: who decodes this refuses what is none."""

    #: Which of the requests it is to, that are counted from 1.
    number: int = 0
    #: Why the request failed, and whether the stream stands still; "": it did not.
    error: str = ""
    stalled: bool = False
    #: No answer yet: the process is at work on it.
    alive: bool = False
    #: The server's word that the process has ended, and how.
    exit: Optional[Annotated[int, msgspec.Meta(ge=-255, le=255)]] = None
    #: And that it was started.
    pid: Annotated[int, msgspec.Meta(ge=0)] = 0
    cpu_s: float = 0.0
    #: Logger, level and text.
    logs: List[Tuple[str, Annotated[int, msgspec.Meta(ge=0, le=50)], str]] = []
    #: To open and grab, as :class:`.base.Source` has them.
    live: bool = False
    is_camera: bool = False
    #: A folder may show a picture a day; poll(2) takes no more than 24 days.
    patience_s: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 0.0
    grabbed: bool = False
    clock_s: float = 0.0
    damaged: bool = False
    #: And of the picture, where it was wanted: whether it is in the slot, and its size.
    stored: bool = False
    shape: Tuple[int, int, int] = (0, 0, 0)


def pair() -> Tuple[socket.socket, socket.socket]:
    """Two ends of a connection that keeps messages apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(connection: socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """Send *data*, and copies of *fds* with it.

    :raises OSError: nobody listens any more.
    """
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    connection.sendmsg([data], ancillary)


def receive(connection: socket.socket, most_fds: int = _MOST_FDS) -> Tuple[bytes, List[int]]:
    """The next message, and the descriptors that came with it, which are the caller's to close.

    :raises EOFError: the other end is closed, or sends more descriptors than that.
    :raises OSError: the socket's timeout is over.
    """
    room = socket.CMSG_LEN(most_fds * array.array("i").itemsize) if most_fds else 0
    try:
        data, ancillary, flags, _ = connection.recvmsg(MOST, room, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:  # it left something unread; what it said before comes now
        data, ancillary, flags, _ = connection.recvmsg(MOST, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    if not data or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        raise EOFError
    return data, list(fds)
