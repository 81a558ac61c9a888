"""A real RTSP server on a loopback port that can be killed, paused and started again."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Optional, Type

from demo.ports import free_port
from sightd.types import Image
from tests.parts.certificates import Pair
from tests.parts.clips import read_number
from tests.parts.requires import require

__all__ = ["RtspServer", "age_s"]

_SERVER = Path(__file__).with_name("rtsp_server.py")


class RtspServer:
    """Serves each mount under its index: ``clock:FPS[:GOP[:CODEC[:SIZE,...]]]`` or a clip's path, see rtsp_server.py.

    It keeps its port for life.

    Use it as a context manager; skips the test where GStreamer is missing.
    """

    def __init__(self, *mounts: str, user: str = "", password: str = "", tls: Optional[Pair] = None) -> None:
        require("gst-rtsp-server")
        self.port = free_port()
        self._mounts = mounts
        self._user = user
        self._password = password
        self._tls = tls
        self._process: Optional[subprocess.Popen[str]] = None

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.kill()

    def url(self, mount: int = 0) -> str:
        credentials = f"{self._user}:{self._password}@" if self._password else ""
        return f"rtsp{'s' if self._tls else ''}://{credentials}127.0.0.1:{self.port}/{mount}"

    def start(self) -> None:
        """Start and wait until it listens."""
        tls = f"{self._tls.cert_file}:{self._tls.key_file}" if self._tls else ""
        command = ["/usr/bin/python3", str(_SERVER), str(self.port), self._user, self._password, tls, *self._mounts]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "READY\n":
            self.kill()
            raise AssertionError("the RTSP server did not start")

    def kill(self) -> None:
        """Kill -9, as when the camera loses power and its switch says so; harmless when it is dead."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    def pause(self) -> None:
        """The connection stays up, nothing comes: a camera that hangs."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        self._send(signal.SIGCONT)

    def stop_clock(self) -> None:
        """The pictures go on, and show the same time: a camera whose encoder hangs."""
        self._send(signal.SIGUSR1)

    def run_clock(self) -> None:
        self._send(signal.SIGUSR2)

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None, "the RTSP server is not running"
        self._process.send_signal(number)


def age_s(image: Image) -> float:
    """How long ago a ``clock`` mount made *image*, to 10 ms; it counts around every 655 s."""
    return ((int(time.time() * 100) - read_number(image)) & 0xFFFF) / 100
