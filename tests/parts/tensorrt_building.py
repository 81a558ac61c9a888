"""TensorRT builds of a tiny detector for tests: with a fake TensorRT, the worker on a thread or as a process."""

from __future__ import annotations

import io
import json
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import numpy as np
import onnx
import pytest

from converter.builders import tensorrt_process
from converter.builders.base import Calibration
from converter.builders.tensorrt_worker import serve
from converter.int8.plan import watched_tensors
from converter.int8.ranges import Ranges, collect_ranges
from converter.model.finish import finish
from converter.model.simplify import simplify
from converter.model.tail import head_nodes
from converter.progress import Progress
from tests.parts.blobs import LABELS, blob_detector, blob_picture
from tests.parts.fake_tensorrt_builder import FAULTS

__all__ = ["Case", "Heard", "blob_case", "inject", "worker_on_a_thread"]


@dataclass
class Case:
    """A finished detector, and what it is calibrated with."""

    model: onnx.ModelProto
    ranges: Ranges
    pictures: List[np.ndarray]
    #: How many were read so far.
    read: List[int] = field(default_factory=list)

    @property
    def head(self) -> set:
        return head_nodes(self.model)

    def calibration(self, key: str = "frames") -> Calibration:
        return Calibration(self.ranges, self._inputs, len(self.pictures), key)

    def _inputs(self) -> Iterator[np.ndarray]:
        for number, picture in enumerate(self.pictures):
            self.read.append(number)
            yield picture


def blob_case(folder: Path, pictures: int = 10) -> Case:
    model = simplify(finish(onnx.load(str(blob_detector(folder / "blobs.onnx"))), labels=LABELS).model)
    inputs = [blob_picture(seed)[None] for seed in range(pictures)]
    return Case(model, collect_ranges(model, watched_tensors(model, head_nodes(model)), inputs), inputs)


class Heard(Progress):
    """Stages by title: [steps done, of]."""

    def __init__(self) -> None:
        self.stages: Dict[str, List[int]] = {}

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Any]:
        counted = self.stages.setdefault(title, [0, total])

        def step() -> None:
            counted[0] += 1

        yield step

    def say(self, sentence: str) -> None:
        raise AssertionError(sentence)


def inject(monkeypatch: pytest.MonkeyPatch, **faults: Any) -> None:
    """Let the fake TensorRT of this test, or of its child processes, have *faults*."""
    monkeypatch.setenv(FAULTS, json.dumps(faults))


def worker_on_a_thread(monkeypatch: pytest.MonkeyPatch) -> List[_ThreadedWorker]:
    """From now on workers are threads of this process; returns those that were started."""
    started: List[_ThreadedWorker] = []

    def start(folder: Path, errors: Any) -> _ThreadedWorker:
        started.append(_ThreadedWorker())
        return started[-1]

    monkeypatch.setattr(tensorrt_process, "_started", start)
    return started


class _ThreadedWorker:
    """What of a Popen the converter uses."""

    pid = os.getpid()

    def __init__(self) -> None:
        orders, self.stdin = _pipe()
        self.stdout, answers = _pipe()
        self.code: Optional[int] = None
        #: With what it would have ended the process.
        self.left: List[int] = []

        self._orders, self._ended = orders, threading.Event()

        def read(size: int) -> bytes:
            data = orders.read(size)
            if not data:
                self._ended.set()
            return data or b""

        def work() -> None:
            code = serve(read, lambda data: answers.write(data) or 0, self.left.append)
            answers.close()
            self.code = code

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def wait(self, timeout: Optional[float] = None) -> Optional[int]:
        self._thread.join(timeout)
        return self.code

    def kill(self) -> None:
        raise AssertionError("a thread can't be killed")

    def __enter__(self) -> _ThreadedWorker:
        return self

    def __exit__(self, *error: object) -> None:
        self.stdin.close()
        self._thread.join(20)
        assert self._ended.wait(20)
        self._orders.close()
        self.stdout.close()


def _pipe() -> Any:
    read, write = os.pipe()
    return io.FileIO(read, "rb"), io.FileIO(write, "wb")
