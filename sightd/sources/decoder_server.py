"""The program that decoder processes are forked from.

    daemon ── a camera's name, a socket ──▶ server ── fork ──▶ decoder ◀── open, grab, store, close ──▶ daemon

The server has loaded OpenCV and NumPy, of which a decoder so costs no memory of its own, has one thread, so that it may
fork, and never touches a camera. A decoder reads one source. Its address comes over the socket: no command line and no
environment holds it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, Tuple

import cv2

from .complaints import Complaints
from .decoder import Decoder
from .decoder_wire import receive, send

__all__ = ["main"]

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NAME = 1, 4, 15
#: Than the daemon, in thousandths of the memory there is.
_MORE_EXPENDABLE = 200


def main(control_fd: int) -> None:
    """Fork a decoder for every request on the socket *control_fd*, until it is closed, and answer with its process id.

    How a decoder ended goes over its own connection: ``{"exit": status}`` is the last that is heard of it.
    """
    # They end when the daemon does, which gets the terminal's and systemd's signals itself.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _prctl(_PR_SET_NAME, b"sightd-decoders")
    control = socket.socket(fileno=control_fd)
    ended, tell_ended = os.pipe()
    os.set_blocking(ended, False)
    os.set_blocking(tell_ended, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(tell_ended, warn_on_full_buffer=False)
    cv2.setNumThreads(1)  # as in the daemon: the cameras fill the cores
    gc.collect()
    gc.freeze()  # a decoder's garbage collection would write into every object's page
    connections: Dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), ended], [], [])
        if ended in ready:
            os.read(ended, 512)
            _say_who_ended(connections)
        if control.fileno() not in ready:
            continue
        try:
            name, fds = receive(control)
        except EOFError:
            return  # with it go the decoders: PR_SET_PDEATHSIG
        connection = socket.socket(fileno=fds[0])
        server = os.getpid()
        try:
            child = os.fork()
        except OSError as error:  # too many processes, or no memory
            connection.close()
            _answer(control, {"error": str(error)})
            continue
        if child == 0:
            for other in (control, *connections.values()):
                other.close()
            _become_decoder(name, server, (ended, tell_ended), connection)
        connections[child] = connection
        _answer(control, {"pid": child})


def _answer(control: socket.socket, answer: Dict[str, Any]) -> None:
    with suppress(OSError):  # nobody listens any more: receive() says so
        send(control, json.dumps(answer).encode())


def _say_who_ended(connections: Dict[int, socket.socket]) -> None:
    for child in list(connections):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            with connections.pop(child) as connection, suppress(OSError):
                send(connection, json.dumps({"exit": code}).encode())


def _become_decoder(name: bytes, server: int, wakeup: Tuple[int, int], connection: socket.socket) -> None:
    """Serve one source in this process, which was just forked, and end it."""
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:
            return
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # GStreamer starts programs
        for fd in wakeup:
            os.close(fd)
        _prctl(_PR_SET_NAME, name)
        _be_killed_first()
        _prctl(_PR_SET_DUMPABLE, 0)  # no core dump and no debugger: its memory holds a password
        with suppress(OSError, ValueError):  # within the unit's sandbox nobody sets limits
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        Decoder(connection, Complaints()).serve()
    finally:
        os._exit(0)  # without the end of libraries that may just have been broken


def _be_killed_first() -> None:
    """Where memory runs out faster than we look, the kernel is to take the decoder rather than the daemon."""
    path = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):
        path.write_text(str(min(int(path.read_text("ascii")) + _MORE_EXPENDABLE, 1000)), "ascii")


def _prctl(option: int, value: Any) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
