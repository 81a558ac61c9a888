"""Whether a bundle's engine can be meant for this machine, told from the manifest before anything is deserialised."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Mapping, Optional, Tuple

from .errors import EngineMismatch
from .manifest import EngineRecord

__all__ = ["check_fits"]

_log = logging.getLogger(__name__)


def check_fits(folder: Path, engine: EngineRecord, here: Mapping[str, str], machine: str) -> None:
    """Compare what *engine* was built for with what is here; what only its deserialiser knows is left to that.

    A plan that its builder called version compatible, or hardware compatible, may differ in that.

    :param folder: of the bundle, for the command that mends it.
    :param here: this machine's versions by the names of ``EngineRecord.versions``; what is missing is not compared.
    :param machine: as platform.machine() says.
    :raises EngineMismatch: another processor, TensorRT or compute capability: says which, and what to do.
    """
    built, rebuild = engine.versions, f"sightd convert --rebuild {folder}"
    compatible = built.get("compatible", "")
    if engine.machine and engine.machine != machine:
        raise EngineMismatch(
            f"the engine was made for {engine.machine}, this machine is {machine}: "
            f"this bundle was built on another machine; convert here: {rebuild}"
        )
    if _differ(built, here, "tensorrt", 3) and "version" not in compatible:
        raise EngineMismatch(
            f"the engine was built by TensorRT {built['tensorrt']}, this machine has {here['tensorrt']}; "
            f"build it anew: {rebuild}"
        )
    if _differ(built, here, "sm", 2) and "hardware" not in compatible:
        raise EngineMismatch(
            f"the engine was built for {_gpu(built)}, this machine has {_gpu(here)}: "
            f"this bundle was built on another machine; convert here: {rebuild}"
        )
    if _differ(built, here, "device"):
        _log.warning("the engine was built on %s and may be slow on %s; %s", built["device"], here["device"], rebuild)


def _differ(built: Mapping[str, str], here: Mapping[str, str], name: str, parts: Optional[int] = None) -> bool:
    """Whether *name* is known on both sides and differs; with *parts*, in the first so many numbers."""
    if name not in built or name not in here:
        return False
    if parts is None:
        return built[name] != here[name]
    return _numbers(built[name], parts) != _numbers(here[name], parts)


def _numbers(version: str, parts: int) -> Tuple[int, ...]:
    """The first *parts* numbers of *version*, so that 8.5.2 and 8.5.2.2 are one release, and 10.3 comes after 8.5."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:parts])


def _gpu(versions: Mapping[str, str]) -> str:
    device = f" ({versions['device']})" if "device" in versions else ""
    return f"compute capability {versions['sm']}{device}"
