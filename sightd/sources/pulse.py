"""A thread beside the one that decodes: says that this one gets on, and ends a process that takes too much memory."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from .decoder_wire import TOO_LARGE, send

__all__ = ["BEATS_EVERY_S", "MOST_MEMORY", "Pulse"]

#: Memory of its own that a decoder process may take, in bytes; the pictures that it shares are not counted. H.264 of
#: 3840 x 2880 pixels with 16 references took 305 MiB in FFmpeg and 621 in GStreamer. No limit of the kernel's does it:
#: of addresses (RLIMIT_AS) GStreamer reserved three times as much, and the unit's sandbox lets nobody set limits.
MOST_MEMORY = min(2 << 30, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)
#: How often it is told that the thread gets on, in seconds.
BEATS_EVERY_S = 0.5
_STATM = Path("/proc/self/statm")


class Pulse:
    """Of the thread that it is made on.

    FFmpeg and GStreamer wait for the network in pieces of a tenth of a second, so a thread that uses no CPU time at all
    is not waiting: it is stuck in a lock, or stopped. Such a thread has no pulse.

    :param connection: to the daemon, which is told while a request is :attr:`under_way`.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        #: Whether the thread is at work on a request.
        self.under_way = False

    def start(self) -> None:
        """For the rest of the process."""
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def _run(self) -> None:
        used_s = 0.0
        while True:
            time.sleep(BEATS_EVERY_S)
            if _own_memory() > MOST_MEMORY:
                os._exit(TOO_LARGE)
            before_s, used_s = used_s, time.clock_gettime(self._clock)
            if self.under_way and used_s > before_s:
                with suppress(OSError):  # the daemon is gone, and so will be this process
                    send(self._connection, json.dumps({"alive": True}).encode())


def _own_memory() -> int:
    """Resident and not shared with a file or another process's mapping, in bytes."""
    _, resident, shared, *_ = map(int, _STATM.read_text("ascii").split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")
