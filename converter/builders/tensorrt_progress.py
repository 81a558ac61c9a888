"""How far a TensorRT build is, from the phases that TensorRT 10 and later tells; and the way to stop it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict

__all__ = ["Phases", "make_monitor"]


@dataclass
class _Phase:
    steps: int
    done: int = 0


class Phases:
    """Phases within phases, each of so many steps; the share done never falls."""

    def __init__(self) -> None:
        self._active: Dict[str, _Phase] = {}
        #: 0 to 1.
        self.fraction = 0.0

    def start(self, name: str, steps: int) -> None:
        self._active[name] = _Phase(max(steps, 1))

    def step(self, name: str, step: int) -> None:
        if name in self._active:
            self._active[name].done = step + 1
        self._measure()

    def finish(self, name: str) -> None:
        self._active.pop(name, None)

    def _measure(self) -> None:
        """The oldest active phase holds the others."""
        fraction, width = 0.0, 1.0
        for phase in self._active.values():
            fraction += width * min(phase.done / phase.steps, 1.0)
            width /= phase.steps
        self.fraction = max(self.fraction, min(fraction, 1.0))


def make_monitor(trt: Any, told: Callable[[float], None], stopped: Callable[[], bool]) -> Any:
    """A trt.IProgressMonitor that calls *told* with the share done and ends the build once *stopped*.

    TensorRT calls it on threads of its own.
    """
    phases = Phases()

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            phases.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases.step(phase_name, step)
            told(phases.fraction)
            return not stopped()

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
