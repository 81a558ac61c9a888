"""A port for a server of the test's own, which stays its own while that server is dead."""

from __future__ import annotations

import contextlib
import random
import socket

__all__ = ["free_port"]


def free_port() -> int:
    """A loopback port that nobody listens on, below those that the kernel gives to clients.

    While a server is dead nobody must get its port, of the tests that run beside this one neither.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
