"""The engines without INT8: each precision built and judged, and one of them chosen as INT8's yardstick."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping, Sequence

import onnx

from sightd.errors import BuildError, EngineError

from .agreement.agree import Agreement
from .agreement.gate import Gate, Latencies
from .builders.base import Builder, Built
from .progress import Progress

__all__ = ["FloatEngine", "Floats", "build_floats"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FloatEngine:
    """One precision."""

    built: Built
    agreement: Agreement


@dataclass(frozen=True)
class Floats:
    """What can be had without INT8."""

    #: Those that could be built and that run, the most exact first; never empty.
    engines: Sequence[FloatEngine]
    #: The fastest of those that agree, else the most exact: INT8 is timed against it, and it is shipped without INT8.
    yardstick: FloatEngine
    #: Precision -> latencies, of all that agree, taken in one run; empty where there is no choice.
    latency: Mapping[str, Latencies]
    #: What people must know: precisions that failed or disagree. A sentence each, logged as warnings.
    notes: Sequence[str]

    @property
    def exact(self) -> FloatEngine:
        """The most exact one, whose agreement is the gate's floor."""
        return self.engines[0]

    def title(self, engine: FloatEngine) -> str:
        """What *engine* is called in manifest and report."""
        return "finished float model" if engine is self.exact else f"{engine.built.precision} engine"


def build_floats(builder: Builder, finished: onnx.ModelProto, gate: Gate, folder: Path, progress: Progress) -> Floats:
    """Build the precisions of *builder* in *folder* and have *gate* judge them.

    Where the most exact one does not agree, nothing less exact is tried: it can't be judged.

    :raises BuildError: none could be built.
    """
    engines: List[FloatEngine] = []
    failures: Dict[str, str] = {}
    for precision in builder.floats:
        if engines and not engines[0].agreement.agrees:
            break
        try:
            built = builder.build_float(finished, precision, folder / f"float-{precision}{builder.suffix}")
            engines.append(FloatEngine(built, _judged(builder.kind, built, gate, first=not engines)))
        except (BuildError, EngineError) as error:
            failures[precision] = str(error)
    if not engines:
        reasons = "; ".join(f"{precision}: {reason}" for precision, reason in failures.items())
        raise BuildError(f"no {builder.kind} engine can be built on this machine, not even in float ({reasons})")
    return _chosen(builder.kind, engines, failures, gate, progress)


def _judged(kind: str, built: Built, gate: Gate, *, first: bool) -> Agreement:
    if first:
        return gate.judge_floor(kind, built.file, "finished float model on the hold-out")
    return gate.judge(kind, built.file, f"float engine in {built.precision} on the hold-out")


def _chosen(
    kind: str, engines: Sequence[FloatEngine], failures: Mapping[str, str], gate: Gate, progress: Progress
) -> Floats:
    agreeing = {engine.built.precision: engine for engine in engines if engine.agreement.agrees}
    latency: Dict[str, Latencies] = {}
    yardstick = engines[0]
    if len(agreeing) > 1:
        latency = gate.race(kind, {name: engine.built.file for name, engine in agreeing.items()})
        largest = str(max(gate.batches))
        yardstick = agreeing[min(latency, key=lambda name: latency[name][largest]["p50_ms"])]
        times = ", ".join(f"{name} {times[largest]['p50_ms']:.2f} ms" for name, times in latency.items())
        progress.say(f"float engines at batch {largest}: {times}; INT8 is measured against {yardstick.built.precision}")
    notes = [f"{precision} could not be built: {reason.splitlines()[0]}" for precision, reason in failures.items()]
    notes += [
        f"the float engine in {engine.built.precision} does not agree and is not used: {engine.agreement.reason}"
        for engine in engines[1:]
        if not engine.agreement.agrees
    ]
    for note in notes:
        _log.warning("%s", note)
    return Floats(engines, yardstick, latency, notes)
