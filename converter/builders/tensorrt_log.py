"""TensorRT's log, listened to: what failed, and what the layers compute in."""

from __future__ import annotations

import re
from collections import deque
from typing import Any, Deque, List

__all__ = ["Heard", "make_logger"]

_LINES = 30
_MEMORY = re.compile(
    r"out of memory|OutOfMemory|MemoryAllocation|could not be allocated|bad_alloc|insufficient memory", re.IGNORECASE
)
_IMPLEMENTATION = "Could not find any implementation"
#: As TensorRT-RTX and as TensorRT 8.5 word it.
_LAYER = re.compile(r"LayerType: |^Layer\(", re.MULTILINE)


class Heard:
    """What was said."""

    def __init__(self) -> None:
        #: Warnings and errors, the last ones.
        self.lines: Deque[str] = deque(maxlen=_LINES)
        self.warnings = 0
        #: Descriptions of layers.
        self.layers: List[str] = []
        self._all_errors: List[str] = []

    def hear(self, severity: int, text: str) -> None:
        """A line of *severity* 0 (internal error), 1 (error), 2 (warning) or more."""
        if severity <= 2:
            self.lines.append(f"{('internal error', 'error', 'warning')[severity]}: {text}")
        if severity == 2:
            self.warnings += 1
        if severity < 2:
            self._all_errors.append(text)
        if _LAYER.search(text):
            self.layers += text.splitlines()

    def failure(self) -> str:
        """The kind of failure (:class:`.tensorrt_order.Failed`) that the errors speak of."""
        said = "\n".join([*self._all_errors, *self.lines])
        if any(_IMPLEMENTATION in error for error in self._all_errors):
            return "implementation"
        return "memory" if _MEMORY.search(said) else "build"


def make_logger(trt: Any, heard: Heard) -> Any:
    """A trt.ILogger that *heard* listens to."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def log(self, severity: Any, msg: str) -> None:
            heard.hear(int(severity), msg)

    return Logger()
