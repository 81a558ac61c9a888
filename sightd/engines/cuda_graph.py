"""CUDA graphs: work captured from a stream once and launched as one; straight from the driver, pycuda has none."""

from __future__ import annotations

import ctypes
from typing import Any, Callable

from ..errors import EngineError
from .cuda_parts import Part, Stream

__all__ = ["Graph", "capture"]

#: CUstreamCaptureMode: only calls of the capturing thread are watched for what can't be captured.
_THREAD_LOCAL = 1


class Graph(Part):
    """Work that was captured; its addresses and sizes are those of then."""

    def __init__(self, executable: ctypes.c_void_p) -> None:
        self._executable = executable

    def launch(self, stream: Stream) -> None:
        """Put the whole of it on *stream*."""
        _call("cuGraphLaunch", self._executable, ctypes.c_void_p(stream.handle))

    def close(self) -> None:
        executable, self._executable = self._executable, ctypes.c_void_p()
        if executable:
            _libcuda().cuGraphExecDestroy(executable)  # if the context is broken there is nothing to free


def capture(stream: Stream, work: Callable[[], None]) -> Graph:
    """What *work* puts on *stream*, as a graph; it does not run now.

    :raises EngineError: *work* failed or can't be captured; the stream can be used as before.
    """
    handle, graph, executable = ctypes.c_void_p(stream.handle), ctypes.c_void_p(), ctypes.c_void_p()
    _call("cuStreamBeginCapture_v2", handle, _THREAD_LOCAL)
    try:
        work()
    except BaseException:
        _libcuda().cuStreamEndCapture(handle, ctypes.byref(graph))
        _destroy(graph)
        raise
    try:
        _call("cuStreamEndCapture", handle, ctypes.byref(graph))
        _call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
    finally:
        _destroy(graph)
    return Graph(executable)


def _destroy(graph: ctypes.c_void_p) -> None:
    if graph:
        _libcuda().cuGraphDestroy(graph)


def _call(name: str, *args: Any) -> None:
    status = getattr(_libcuda(), name)(*args)
    if status != 0:
        raise EngineError(f"CUDA: {name} failed with CUresult {status}")


def _libcuda() -> Any:
    """The driver's library, which pycuda has loaded before."""
    return ctypes.CDLL("libcuda.so.1")
