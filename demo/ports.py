"""Ports for servers that are started later: of the demo, the benches and the tests."""

from __future__ import annotations

import os
import random
import socket
from collections import deque
from typing import Deque

__all__ = ["free_port"]

#: So many ports stay reserved; who got one before these has long begun to listen.
_MOST = 64
#: Their sockets' descriptors, which the end of the process closes.
_reserved: Deque[int] = deque()


def free_port() -> int:
    """A loopback port that nobody listens on, below those that the kernel gives to clients.

    Until the server listens, and while it is dead, nobody else gets it here, other processes neither: a name in the
    kernel's abstract namespace (Linux only) is taken for each port, and let go of when this process ends.
    """
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311  (nothing secret)
        reservation = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe:
            try:
                reservation.bind(f"\0sightd-port-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                reservation.close()
                continue
        _reserved.append(reservation.detach())
        while len(_reserved) > _MOST:
            os.close(_reserved.popleft())
        return port
