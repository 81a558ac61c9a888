"""A decoder process, seen from the daemon: started, asked, and ended when it does not answer."""

from __future__ import annotations

import atexit
import json
import logging
import math
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any, Dict, Optional, Sequence, Tuple

import msgspec

from ..bounded import decode_json
from ..errors import SourceError, StalledError
from ..redact import redact
from .decoder_wire import TOO_LARGE, Answer, pair, receive, send
from .pulse import BEATS_EVERY_S, MOST_MEMORY

__all__ = ["DecoderProcess"]

#: The server loads OpenCV first, from a slow disk perhaps; all that it does after that is to fork.
_START_S, _FORK_S = 60.0, 5.0
#: Besides the beats of its pulse: one that came late, after the last answer, and the answer.
_SPARE_BEATS = 3
_PROGRAM = (
    "import json, sys; sys.path[:] = json.load(sys.stdin); "
    "from sightd.sources.decoder_server import main; main(int(sys.argv[1]))"
)
#: A decoder computes on its own core; the pools of threads that NumPy brings along would only cost memory.
_SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
#: systemd's: only the daemon itself reports there.
_NOT_FOR_IT = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")

_log = logging.getLogger(__name__)


class DecoderProcess:
    """One process that reads one source; one thread asks it.

    :param name: the camera's, which the process shows in ps.
    :param recipe: a pickled function that makes the source in the process.
    :raises SourceError: it does not start.
    """

    def __init__(self, name: str, recipe: bytes) -> None:
        self._name = name
        self._connection, self._pid = _server.fork(name)
        self._answers = select.poll()
        self._answers.register(self._connection, select.POLLIN)
        self.is_alive = True
        self._number = 0
        #: CPU seconds that it has used, as it said last.
        self.cpu_s = 0.0
        with suppress(OSError):  # it is gone: that is the answer to the first request
            send(self._connection, recipe)

    def ask(
        self, request: Dict[str, Any], deadline_s: float, fds: Sequence[int] = (), *, silent_s: float = math.inf
    ) -> Answer:
        """Its answer.

        :param silent_s: how long it may be without a pulse.
        :raises StalledError: it said so; or it did not answer in time and was ended.
        :raises SourceError: it said so; or it has crashed, or answered nonsense, and is not alive any more.
        """
        self._number += 1
        with suppress(OSError):
            send(self._connection, msgspec.json.encode({**request, "number": self._number}), fds)
        answer = self._answer(deadline_s, silent_s)
        if answer.error:
            raise (StalledError if answer.stalled else SourceError)(_line(answer.error))
        return answer

    def end(self) -> None:
        """End it at once; harmless when it has ended."""
        if self.is_alive:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self.is_alive = False
        self._connection.close()

    def _wait(self, seconds: float) -> None:
        """Until it says something. (To set the socket's own timeout would be one more system call.)

        :raises socket.timeout: it did not.
        """
        if not self._answers.poll(max(0.0, seconds) * 1000):
            raise socket.timeout

    def _answer(self, deadline_s: float, silent_s: float) -> Answer:
        ends_at = time.monotonic() + deadline_s
        try:
            for _ in range(_SPARE_BEATS + int(deadline_s / BEATS_EVERY_S)):
                self._wait(min(ends_at - time.monotonic(), silent_s))
                answer = decode_json(receive(self._connection, most_fds=0)[0], Answer)
                if not answer.alive:
                    break
            else:
                raise ValueError("it says without an end that it gets on")
            if answer.exit is None and answer.number != self._number:  # all that follow would be one behind
                raise ValueError("it answers what it was not asked")
        except socket.timeout:
            self.end()
            waited_s = min(deadline_s, silent_s)
            raise StalledError(f"the decoder process did not answer for {waited_s:.0f} s and was ended") from None
        except (EOFError, OSError):
            self.end()
            raise SourceError("the decoder process is gone; it is started anew") from None
        except ValueError as error:
            self.end()
            raise SourceError(f"the decoder process has run wild ({error}) and was ended") from None
        if answer.exit is not None:
            self.is_alive = False
            self._connection.close()
            raise SourceError(f"the decoder process {_ending(answer.exit)}; it is started anew")
        self.cpu_s = answer.cpu_s
        for name, level, text in answer.logs:
            logging.getLogger(name).log(level, "%s", _line(text), extra={"camera": self._name})
        return answer


def _line(text: str) -> str:
    """*text* without passwords, and as one line: what a camera says must not look like a line of ours."""
    return " ".join(redact(text).split())


def _ending(code: int) -> str:
    if code == TOO_LARGE:
        return f"took more than {MOST_MEMORY >> 20} MiB of memory and was ended"
    if code >= 0:
        return f"ended (exit code {code})"
    with suppress(ValueError):
        return f"crashed ({signal.Signals(-code).name})"
    return f"crashed (signal {-code})"


class _Server:
    """The program that forks them; started when it is first needed, again when it is gone or hangs. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._control: Optional[socket.socket] = None

    def fork(self, name: str) -> Tuple[socket.socket, int]:
        """The connection to a new decoder process, which waits for its recipe, and its id.

        Where the server hangs it is ended, and with it all decoders: only so may they be started anew.

        :raises SourceError: there is none; try again.
        """
        ours, its = pair()
        with self._lock, its:
            try:
                return ours, self._forked(name, its)
            except (OSError, EOFError, ValueError) as error:
                ours.close()
                raise SourceError(f"no decoder process can be started: {error or 'its server has ended'}") from error

    def end(self) -> None:
        """End it, and so all decoders."""
        with self._lock:
            self._end()

    def _forked(self, name: str, its: socket.socket) -> int:
        if self._control is not None:
            with suppress(OSError, EOFError):
                return self._asked(self._control, name, its, _FORK_S)
            _log.warning("the server of the decoder processes is gone, or hangs; it is started anew")
        self._end()
        self._control, other = pair()
        self._start(other)
        try:
            return self._asked(self._control, name, its, _START_S)
        except (OSError, EOFError):
            self._end()  # what it says later would be taken for the answer to the next request
            raise

    def _asked(self, control: socket.socket, name: str, its: socket.socket, deadline_s: float) -> int:
        control.settimeout(deadline_s)
        send(control, name.encode(), [its.fileno()])
        answer = decode_json(receive(control, most_fds=0)[0], Answer)
        if answer.error:
            raise ValueError(answer.error)
        return answer.pid

    def _start(self, its: socket.socket) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_IT}
        with its:
            self._process = subprocess.Popen(
                # Isolated: no code from the working folder or the home.
                [sys.executable, "-I", "-c", _PROGRAM, str(its.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[its.fileno()],
                env={**environment, **_SINGLE_THREADED},
            )
        with suppress(OSError), self._process.stdin as stdin:  # type: ignore[union-attr]
            stdin.write(json.dumps(sys.path).encode())

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            try:
                self._process.wait(1)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


_server = _Server()
atexit.register(_server.end)
