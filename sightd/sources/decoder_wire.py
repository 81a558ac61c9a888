"""Messages between the daemon and its decoder processes: JSON, and file descriptors beside it, over AF_UNIX sockets."""

from __future__ import annotations

import array
import contextlib
import os
import socket
from typing import List, Sequence, Tuple

__all__ = ["pair", "receive", "send"]

#: Longest message, in bytes. A camera's address and a few lines of log have room.
MOST = 65536
_MOST_FDS = 4


def pair() -> Tuple[socket.socket, socket.socket]:
    """Two ends of a connection that keeps messages apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(connection: socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """Send *data*, and copies of *fds* with it.

    :raises OSError: nobody listens any more.
    """
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    connection.sendmsg([data], ancillary)


def receive(connection: socket.socket) -> Tuple[bytes, List[int]]:
    """The next message, and the descriptors that came with it, which are the caller's to close.

    :raises EOFError: the other end is closed.
    :raises OSError: the socket's timeout is over.
    """
    room = socket.CMSG_LEN(_MOST_FDS * array.array("i").itemsize)
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
