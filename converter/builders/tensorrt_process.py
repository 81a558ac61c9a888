"""Runs one TensorRT worker: sends the pictures it asks for, watches the memory, and ends it when it must."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from sightd.errors import CalibrationError

from .tensorrt_memory import RESERVE_MB, available_mb
from .tensorrt_order import Failed, Message, Order, Wanted, decode_message, write_order

__all__ = ["WorkerFailure", "run_worker"]

_COMMAND = (sys.executable, "-m", "converter.builders.tensorrt_worker")
_ROOT = Path(__file__).resolve().parents[2]
_WATCH_S = 0.25
#: The worker itself gives up 5 s after it was asked to stop.
_STOP_S = 6.0
_LOG_LINES = 15


class WorkerFailure(Exception):  # noqa: N818 (it carries a message; the builder tries again or raises a BuildError)
    """The worker failed; ``failed`` says how."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.reason)
        self.failed = failed


def run_worker(
    order: Order,
    folder: Path,
    pictures: Iterator[NDArray[np.uint8]],
    heard: Callable[[Message], None],
    available: Callable[[], int] = available_mb,
) -> None:
    """Carry out *order* in a process of its own; returns when its plan is written.

    Whatever ends this call, KeyboardInterrupt for one, ends the worker as well.

    :param folder: the worker's working folder, where its log is kept.
    :param pictures: as many as the order says, each [1, H, W, 3] uint8; taken when they are wanted.
    :param heard: is told every message, on this thread.
    :param available: the memory of the machine that is free, in MB.
    :raises WorkerFailure: there is no plan.
    """
    log = folder / "tensorrt.log"
    with log.open("wb") as errors, _started(folder, errors) as process:
        try:
            _send_order(process, order)
            _converse(process, pictures, heard, available)
            process.stdin.close()
            code = process.wait(_STOP_S)
        except BaseException:
            _stop(process)
            _forget(order)
            raise
    if code != 0:
        _forget(order)
        raise WorkerFailure(_crash(code, log))


def _started(folder: Path, errors: IO[bytes]) -> Any:
    """The worker, in a session of its own: Ctrl-C is for the converter, which then stops it."""
    found = "" if _ROOT.name.endswith("-packages") else str(_ROOT)  # a checkout; PYTHONPATH goes before the library
    path = os.pathsep.join(filter(None, [found, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        _COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
        bufsize=0,
    )


def _send_order(process: Any, order: Order) -> None:
    with suppress(BrokenPipeError):  # its end tells more
        write_order(process.stdin, order)


def _converse(
    process: Any,
    pictures: Iterator[NDArray[np.uint8]],
    heard: Callable[[Message], None],
    available: Callable[[], int],
) -> None:
    """Until the worker has nothing more to say.

    :raises WorkerFailure: it says that it failed, or takes memory that others need.
    """
    rest = b""
    watched = time.monotonic()
    while True:
        ready = select.select([process.stdout], [], [], _WATCH_S)[0]
        if time.monotonic() >= watched + _WATCH_S:
            watched = time.monotonic()
            _watch(process.pid, available())
        data = os.read(process.stdout.fileno(), 1 << 16) if ready else None
        if data == b"":
            return
        *lines, rest = (rest + (data or b"")).split(b"\n")
        for line in lines:
            _answer(process, decode_message(line), pictures, heard)


def _answer(
    process: Any, message: Message, pictures: Iterator[NDArray[np.uint8]], heard: Callable[[Message], None]
) -> None:
    if isinstance(message, Failed):
        raise WorkerFailure(message)
    if isinstance(message, Wanted):
        for number in range(message.pictures):
            picture = next(pictures, None)
            if picture is None:
                raise CalibrationError(
                    f"{message.pictures - number} calibration pictures are missing: were some removed?"
                )
            _send(process, picture)
    heard(message)


def _send(process: Any, picture: NDArray[np.uint8]) -> None:
    data = memoryview(picture.tobytes())
    with suppress(BrokenPipeError):  # its end tells more
        while data:
            data = data[process.stdin.write(data) :]


def _watch(pid: int, available: int) -> None:
    """:raises WorkerFailure: the machine is about to run out of memory, and the worker is what can go."""
    if available < RESERVE_MB:
        rss_mb = _rss_mb(pid)
        reason = (
            f"only {available} MB of memory were left on this machine (the build held {rss_mb} MB): stopped in time"
        )
        raise WorkerFailure(Failed("memory", reason))


def _rss_mb(pid: int) -> int:
    """0 when it has just ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def _stop(process: Any) -> None:
    """Ask it to stop, by closing its standard input, and kill it if it does not."""
    process.stdin.close()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _forget(order: Order) -> None:
    """Remove the plan of a build that failed: its worker may have been quicker than what ended it."""
    if order.plan:
        with suppress(FileNotFoundError):
            Path(order.plan).unlink()


def _crash(code: int, log: Path) -> Failed:
    """What became of a worker that ended without a word."""
    lines = log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]
    if code == -signal.SIGKILL:
        return Failed("memory", "the build was killed: the machine ran out of memory, most likely", lines)
    if code < 0:
        return Failed("crash", f"the build crashed ({signal.Signals(-code).name})", lines)
    return Failed("build", f"the build ended with code {code}", lines)
