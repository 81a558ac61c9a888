"""All figures of a report, as report.json holds them; the page is drawn from these and the pictures alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Sequence

from sightd.manifest import Manifest

__all__ = ["Engine", "Layer", "ReportData"]


@dataclass(frozen=True)
class Layer:
    """One layer of the network that can be INT8, the most damaging first."""

    name: str
    #: As :class:`converter.int8.sensitivity.Damage` has it; None: not measured.
    damage: Optional[float]
    sqnr_db: Optional[float]
    #: In the engine that the report is about: "int8", "float" (kept so by the search) or "head" (float, a prediction).
    precision: str


@dataclass(frozen=True)
class Engine:
    """One engine that was built."""

    name: str
    #: Whether INT8 is timed against it, and it is shipped without INT8.
    yardstick: bool
    verdict: str
    #: That the build took; 0: not measured.
    seconds: float
    #: Precision found -> number of layers that compute in it; empty where the engine does not tell.
    layers: Mapping[str, int]


@dataclass(frozen=True)
class ReportData:
    """What was found out; a mapping may lack any key, the page then says that it was not measured."""

    #: Name of a :class:`converter.verdict.Outcome`, lower case.
    outcome: str
    #: Without agreement, which has a place of its own here; the sentence for people is its verdict.
    manifest: Manifest
    #: The engine that the figures are about: the INT8 engine that was shipped, else the closest one, else float.
    judged: str
    #: As Agreement.as_dict() gives it, of that engine.
    agreement: Mapping[str, Any]
    #: Fields of :class:`sightd.settings.AgreementSettings`.
    thresholds: Mapping[str, Any]
    #: What builds without INT8 reach, by name: Agreement.as_dict() of each.
    noise: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: COCO's figures on the user's own labels, by build; empty where none were given.
    labelled: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: Recipe, speed-up and agreement of each INT8 engine that was tried, in order.
    trials: Sequence[Mapping[str, Any]] = ()
    layers: Sequence[Layer] = ()
    #: frames, holdout, sha256, seed, counts by camera, hour and light, coverage, silent_tensors.
    calibration: Mapping[str, Any] = field(default_factory=dict)
    #: Bytes of the given model and of the engine files, by name.
    sizes: Mapping[str, int] = field(default_factory=dict)
    #: The command line, "" when the converter was called otherwise.
    command: str = ""
    #: Everything that was asked for.
    request: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    #: The engines without INT8, then the INT8 engine that the report is about.
    engines: Sequence[Engine] = ()
