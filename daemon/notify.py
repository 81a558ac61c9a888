"""What systemd is told: sd_notify(3), one datagram to the socket that it names in the environment."""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import Mapping

__all__ = ["Notifier"]

_log = logging.getLogger(__name__)

#: A supervisor that does not take a datagram for so long is not waited for, in seconds.
_PATIENCE_S = 1.0


class Notifier:
    """Main thread only. Does nothing where no supervisor listens.

    :param environment: of the process; NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are read from it.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL byte of Linux's abstract namespace.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        #: Seconds after which the watchdog bites when it was not fed; 0: there is none.
        self.watchdog_s = _watchdog_s(environment)

    def ready(self) -> None:
        """The service serves, for the first time or again after :meth:`reloading`."""
        self._send("READY=1")

    def reloading(self) -> None:
        """New settings are being applied."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The shutdown has begun."""
        self._send("STOPPING=1", "STATUS=stopping")

    def starting(self, seconds: float) -> None:
        """The start goes on and takes *seconds* more at most, counted from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}", "STATUS=starting: loading the models")

    def feed(self) -> None:
        """All is well: the watchdog waits anew."""
        self._send("WATCHDOG=1")

    def status(self, sentence: str) -> None:
        """One line for `systemctl status`."""
        self._send("STATUS=" + sentence.replace("\n", "; "))

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(_PATIENCE_S)
                channel.sendto("\n".join(assignments).encode(), self._address)
        except OSError as error:
            _log.debug("systemd can't be told %s: %s", assignments[0], error)


def _watchdog_s(environment: Mapping[str, str]) -> float:
    meant_for = environment.get("WATCHDOG_PID", str(os.getpid()))
    interval = environment.get("WATCHDOG_USEC", "0")
    return int(interval) / 1e6 if interval.isdigit() and meant_for == str(os.getpid()) else 0.0
