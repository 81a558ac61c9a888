from __future__ import annotations

import logging
from unittest.mock import Mock

import numpy as np
import pytest

from sightd.engines import letterbox_choice
from sightd.engines.letterbox_choice import choose_letterbox, faster_on_gpu
from sightd.engines.stub import StubEngine
from sightd.types import InputSpec

PICTURE = np.zeros((48, 64, 3), np.uint8)


class Clock:
    """Time passes when a batch is submitted: 5 ms the first time on each slot and way, then what the way takes."""

    def __init__(self, cpu_s: float, gpu_s: float) -> None:
        self.now_s, self.on_gpu = 0.0, False
        self._takes_s = {False: cpu_s, True: gpu_s}
        self._met = set()

    def perf_counter(self) -> float:
        return self.now_s

    def pass_(self, slot: object) -> None:
        first = (slot, self.on_gpu) not in self._met
        self._met.add((slot, self.on_gpu))
        self.now_s += 5.0 if first else self._takes_s[self.on_gpu]


@pytest.mark.parametrize(("cpu_s", "gpu_s", "expected"), [(0.004, 0.003, True), (0.003, 0.004, False)])
def test_the_faster_way_is_told_and_both_figures_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, cpu_s: float, gpu_s: float, expected: bool
) -> None:
    clock = Clock(cpu_s, gpu_s)
    monkeypatch.setattr(letterbox_choice, "time", clock)
    with StubEngine(InputSpec(64, 48), picture_s=0.0, max_batch=2) as engine, caplog.at_level(logging.INFO):
        submit = engine.submit

        def timed_submit(slot, count):
            assert count == 2
            clock.pass_(slot)
            return submit(slot, count)

        monkeypatch.setattr(engine, "submit", timed_submit)
        assert faster_on_gpu(engine, PICTURE, lambda on: setattr(clock, "on_gpu", on)) is expected
    figures = f"{cpu_s * 1000:.2f} ms with the CPU's letterbox, {gpu_s * 1000:.2f} ms with the GPU's"
    assert caplog.messages == [f"resizing 2 pictures of 64 x 48 and inference: {figures}"]


@pytest.mark.parametrize("gpu_wins", [False, True])
def test_the_loser_is_not_kept(monkeypatch: pytest.MonkeyPatch, gpu_wins: bool) -> None:
    monkeypatch.setattr(letterbox_choice, "faster_on_gpu", lambda engine, image, use_gpu: gpu_wins)
    inputs, kernel = [Mock(on_gpu=False), Mock(on_gpu=False)], Mock()
    choose_letterbox(Mock(), inputs, kernel, PICTURE)
    for entry in inputs:
        entry.add_gpu.assert_called_once_with(kernel)
        assert entry.on_gpu is gpu_wins
        assert entry.drop_gpu.called is not gpu_wins
