"""Single bits turned in files that the daemon trusts: noticed or passed over, never an exception of Python's."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Callable, Dict, List, Tuple

from sightd.bundle import open_bundle
from sightd.calibration_set import CalibrationSet, read_entries
from sightd.errors import SightdError
from sightd.settings import load_settings
from tests.chaos.clock import write_clock_bundle
from tests.chaos.outcome import Outcome
from tests.parts.blobs import blob_picture
from tests.parts.frames import frame

__all__ = ["bit_flips", "flipped"]

_EXAMPLE = Path(__file__).parents[2] / "config/sightd.yaml"


def flipped(data: bytes, rng: random.Random) -> bytes:
    """*data* with one bit turned."""
    turned = bytearray(data)
    turned[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(turned)


def bit_flips(folder: Path, seed: int, times: int) -> List[Outcome]:
    """Each file *times* times; "lost" are the readings that ended in an exception which tells a user nothing."""
    rng = random.Random(seed)
    return [_of_file(name, *file, rng, times) for name, file in _files(folder).items()]


def _of_file(name: str, file: Path, read: Callable[[], object], rng: random.Random, times: int) -> Outcome:
    data, meant, crashes = file.read_bytes(), read(), 0
    came: Dict[str, int] = {"refused": 0, "as_before": 0, "otherwise": 0}
    for _ in range(times):
        file.write_bytes(flipped(data, rng))
        try:
            came["as_before" if read() == meant else "otherwise"] += 1
        except SightdError:
            came["refused"] += 1
        except Exception:
            crashes += 1
    file.write_bytes(data)
    return Outcome(f"bit flip: {name}", times, crashes, notes=came)


def _files(folder: Path) -> Dict[str, Tuple[Path, Callable[[], object]]]:
    """Name -> the file, and what it means to the daemon."""
    bundle, frames = write_clock_bundle(folder), folder / "set"
    with CalibrationSet(frames, 100, 10 << 20) as calibration:
        for number in range(5):
            assert calibration.offer(frame("yard", number, blob_picture(number))) == "kept"
    config = folder / "sightd.yaml"
    config.write_text(_EXAMPLE.read_text("utf-8") + "  yard:\n    url: rtsp://viewer:canary@192.0.2.10/1\n", "utf-8")
    return {
        "engine": (open_bundle(bundle).engine_file, lambda: open_bundle(bundle)),
        "manifest": (bundle / "manifest.json", lambda: open_bundle(bundle)),
        "calibration index": (frames / "index.jsonl", lambda: _entries(frames)),
        "settings": (config, lambda: load_settings(config)),
    }


def _entries(frames: Path) -> object:
    copy = frames.with_name("copy")
    shutil.copytree(frames, copy)
    try:
        with CalibrationSet(copy, 100, 10 << 20):
            pass  # the daemon's way, who removes what it does not know
        return read_entries(copy)
    finally:
        shutil.rmtree(copy)
