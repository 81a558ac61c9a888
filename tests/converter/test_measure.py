"""Latencies are taken of engines as the daemon runs them: warmed up."""

from __future__ import annotations

from typing import List

import numpy as np

from converter.agreement.measure import latencies
from sightd.types import Image
from tests.parts.patient_engine import PatientEngine


class _Warmed(PatientEngine):
    def __init__(self) -> None:
        super().__init__()
        #: Batches that were computed before each warm-up.
        self.warmed: List[int] = []

    def warm_up(self, image: Image) -> None:
        self.warmed.append(len(self.seen))
        super().warm_up(image)


def test_each_engine_is_warmed_up_before_anything_is_timed() -> None:
    # TensorRT decides there on CUDA graphs; without them small batches took four times as long on a real GPU.
    engines = {"float": _Warmed(), "int8": _Warmed()}
    found = latencies(engines, np.zeros((48, 64, 3), np.uint8), [1, 4], rounds=3)
    assert [engine.warmed for engine in engines.values()] == [[0], [0]]
    assert {name: set(times) for name, times in found.items()} == {"float": {"1", "4"}, "int8": {"1", "4"}}
