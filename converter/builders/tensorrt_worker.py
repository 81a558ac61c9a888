"""The process that builds TensorRT engines: the only one that imports tensorrt while converting.

``python -m converter.builders.tensorrt_worker`` carries out one order (:mod:`.tensorrt_order`) and ends. It imports
neither PyTorch nor ONNX Runtime nor OpenCV: on a small board their memory is what the build lacks.
"""

from __future__ import annotations

import os
import queue
import threading
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Callable, List, Optional

import msgspec
import numpy as np
from numpy.typing import NDArray

from sightd.engines.cuda import Cuda
from sightd.errors import CalibrationError, SightdError

from .tensorrt_build import Build
from .tensorrt_network import Refusal
from .tensorrt_order import Facts, Failed, Message, Order, Wanted, read_order

__all__ = ["main", "serve"]

#: A build that is asked to stop has so long.
_GRACE_S = 5.0


def main() -> int:
    """Serve the parent on stdin and stdout; what libraries print to stdout goes to stderr."""
    answers = os.dup(1)
    os.dup2(2, 1)
    with suppress(OSError):  # where memory runs out, this is what the machine can do without
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    return serve(lambda size: os.read(0, size), lambda data: os.write(answers, data), os._exit)


def serve(read: Callable[[int], bytes], write: Callable[[bytes], int], leave: Callable[[int], Any]) -> int:
    """Carry out the order that *read* brings; the exit code.

    :param read: at most so many bytes, none at the end.
    :param write: takes some of the bytes and says how many.
    :param leave: ends the process, when the parent has gone and the build does not stop.
    """
    parent = Parent(read, write)
    try:
        order = read_order(parent.read)
        parent.listen(order, leave)
        parent.send(_carry_out(order, parent))
    except Refusal as refusal:
        return _failed(parent, refusal.failed)
    except CalibrationError as error:
        return _failed(parent, Failed("calibration", str(error)))
    except MemoryError as error:
        return _failed(parent, Failed("memory", str(error) or "out of memory"))
    except (SightdError, OSError) as error:
        return _failed(parent, Failed("refused", str(error)))
    finally:
        parent.done.set()
    return 0


class Parent:
    """The converter at the other end of the pipes."""

    def __init__(self, read: Callable[[int], bytes], write: Callable[[bytes], int]) -> None:
        self._read, self._write = read, write
        self._lock = threading.Lock()
        self._pictures: queue.Queue[bytes] = queue.Queue()
        #: It has died, or wants the build no more.
        self.gone = threading.Event()
        #: There is nothing left to stop.
        self.done = threading.Event()

    def send(self, message: Message) -> None:
        """From any thread."""
        line = msgspec.json.encode(message) + b"\n"
        with self._lock:
            while line:
                line = line[self._write(line) :]

    def read(self, size: int) -> bytes:
        """So many bytes, fewer where the pipe ends before."""
        parts: List[bytes] = []
        while size:
            part = self._read(min(size, 1 << 20))
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def listen(self, order: Order, leave: Callable[[int], Any]) -> None:
        """Take the pictures of *order* from now on; the end of the pipe means that the parent has gone."""
        arguments = order.pictures, order.height * order.width * 3, leave
        threading.Thread(target=self._listen, args=arguments, name="parent", daemon=True).start()

    def pictures(self, count: int, height: int, width: int) -> NDArray[np.uint8]:
        """The next [count, height, width, 3].

        :raises CalibrationError: the parent ends before.
        """
        self.send(Wanted(count))
        pictures = np.empty((count, height, width, 3), np.uint8)
        for picture in pictures:
            data = self._pictures.get()
            if len(data) < picture.nbytes:
                raise CalibrationError("the calibration pictures are cut off: their sender has gone")
            picture[...] = np.frombuffer(data, np.uint8).reshape(picture.shape)
        return pictures

    def _listen(self, count: int, size: int, leave: Callable[[int], Any]) -> None:
        for _ in range(count):
            picture = self.read(size)
            self._pictures.put(picture)
            if len(picture) < size:
                break
        else:
            self.read(1)  # nothing comes but the end
        self.gone.set()
        if not self.done.wait(_GRACE_S):
            leave(1)


def _failed(parent: Parent, failed: Failed) -> int:
    with suppress(BrokenPipeError):  # there may be nobody to be told
        parent.send(failed)
    return 1


def _carry_out(order: Order, parent: Parent) -> Message:
    trt = _tensorrt(order.options.module)
    with ExitStack() as stack:
        cuda = None if order.options.compute_capability else stack.enter_context(Cuda())
        facts = _facts(trt, cuda)
        if not order.onnx:
            return facts
        parent.send(facts)
        return Build(trt, cuda, facts, order, parent).finished()


def _tensorrt(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise Refusal(
            Failed(
                "refused",
                f"TensorRT can't be imported ({error}): on a Jetson sudo apt install nvidia-jetpack, and make the "
                "virtual environment with --system-site-packages; elsewhere pip install tensorrt",
            )
        ) from error


def _facts(trt: Any, cuda: Optional[Cuda]) -> Facts:
    facts = Facts(trt.__version__, hasattr(trt, "IInt8EntropyCalibrator2"), hasattr(trt, "IProgressMonitor"))
    if cuda is None:
        return facts
    free_mb = cuda.memory()[0] >> 20
    return msgspec.structs.replace(
        facts, cuda=cuda.version, sm=cuda.sm, device=cuda.device, integrated=cuda.integrated, free_mb=free_mb
    )


if __name__ == "__main__":
    os._exit(main())  # CUDA's and TensorRT's own teardown has crashed after the work was done
