"""Power failures of the disk that outbox, bundle and calibration set are on: what was promised to be there is there.

``python -m tests.chaos.power_cuts bundle FOLDER`` puts one version of a bundle after the other into service and prints
the number of each; ``... set FOLDER`` fills a calibration set, and does likewise.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import List, Optional, Set, Type

from sightd.bundle import open_bundle
from sightd.bundle_versions import publish, versions
from sightd.calibration_entries import read_entries, read_image
from sightd.calibration_set import CalibrationSet
from sightd.errors import SightdError
from tests.chaos.cut_disk import CutDisk, stand_still
from tests.chaos.event_account import PATIENCE_S, EventAccount
from tests.chaos.event_maker import PREFIX, SPOOL, Maker
from tests.chaos.outcome import Outcome, worst
from tests.chaos.subscriber import Subscriber
from tests.parts.blobs import blob_picture
from tests.parts.broker import running_broker
from tests.parts.daemon import MANIFEST
from tests.parts.frames import frame

__all__ = ["power_cuts"]

_ROOT = Path(__file__).parents[2]
_RATE = 100
_ENGINE_BYTES = 300_000
_FRAMES = 10_000


def power_cuts(folder: Path, seed: int, times: int) -> List[Outcome]:
    """Cut the power so often, of the daemon that makes events and of who writes bundles and calibration sets.

    The broker has power of its own; in every other round it is away, so that all events are on the disk alone.

    :raises UnavailableError: there is no such disk here.
    """
    rng = random.Random(seed)
    disk, counts, recovered = CutDisk(folder / "disk"), Counter[str](), []
    kept: Set[int] = set()
    (folder / "disk" / SPOOL).mkdir()
    os.sync()
    (folder / SPOOL).symlink_to(folder / "disk" / SPOOL)
    with ExitStack() as stack:
        (folder / "broker").mkdir()
        broker = stack.enter_context(running_broker(folder / "broker"))
        subscriber = stack.enter_context(Subscriber(broker.port, folder, f"{PREFIX}/+/events"))
        maker = stack.enter_context(Maker(broker.port, folder, _RATE))
        account = EventAccount(subscriber)
        for number in range(times):
            account.anything_after(time.time())
            if number % 2:
                broker.kill()
            with _Writer("bundle", folder) as bundle, _Writer("set", folder) as frames:
                bundle.wait_for(rng.randrange(5, 30))
                frames.wait_for(rng.randrange(3, 10))
                for writer in (maker, bundle, frames):
                    writer.pause()
                disk.cut()
            maker.kill()
            disk.restore()
            counts["bundles lost"] += _bundle_lost(folder / "disk/bundle", bundle.written()[-1])
            kept.update(frames.written())
            counts["frames lost"] += _frames_lost(folder / "disk/set", kept)
            if number % 2:
                broker.start()
            maker.start()
            recovered.append(account.fresh_after(time.time()))
        events = account.outcome("power cut", times, maker.stored(), worst(recovered))
    return [
        events,
        Outcome("power cut: bundle", times, counts["bundles lost"]),
        Outcome("power cut: calibration set", times, counts["frames lost"]),
    ]


class _Writer:
    """A process that writes *what* to the disk in *folder*, and beside it what is written; killed at the end."""

    def __init__(self, what: str, folder: Path) -> None:
        self._command = [sys.executable, "-m", "tests.chaos.power_cuts", what, str(folder / "disk" / what)]
        self._written = folder / f"{what}.txt"

    def __enter__(self) -> _Writer:
        with self._written.open("wb") as written:
            self._process = subprocess.Popen(self._command, cwd=_ROOT, stdout=written)
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._process.kill()
        self._process.wait(10)

    def written(self) -> List[int]:
        """The numbers of what is written."""
        return [int(number) for number in self._written.read_text().splitlines()]

    def wait_for(self, count: int) -> None:
        """Wait until so many are."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.written()) < count:
            assert self._process.poll() is None, "it died"
            assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
            time.sleep(0.002)

    def pause(self) -> None:
        """It does nothing any more."""
        stand_still(self._process)


def _bundle_lost(folder: Path, promised: int) -> bool:
    """Whether the bundle in *folder* is not whole, or older than the version *promised*."""
    try:
        return int(open_bundle(folder).manifest.verdict) < promised or not versions(folder)
    except SightdError as error:
        sys.stderr.write(f"{error}\n")
        return True


def _frames_lost(folder: Path, kept: Set[int]) -> int:
    """How many frames that were *kept* the daemon would not find whole in *folder*; all when it can't read it."""
    try:
        with CalibrationSet(folder, _FRAMES, 1 << 30):
            entries = read_entries(folder)
        for entry in entries:
            read_image(folder, entry)
        return len(kept - {int(entry.camera) for entry in entries})
    except SightdError as error:
        sys.stderr.write(f"{error}\n")
        return len(kept)


def _write_bundles(folder: Path) -> None:
    engine = folder.with_name("engine.bin")
    first = int(open_bundle(folder).manifest.verdict) + 1 if (folder / "manifest.json").exists() else 1
    for number in itertools.count(first):
        engine.write_bytes(str(number).encode().ljust(_ENGINE_BYTES, b"."))
        publish(folder, engine, replace(MANIFEST, verdict=str(number), created_at=f"{number:019d}"), {})
        print(number, flush=True)  # noqa: T201  (the parent reads it)


def _write_frames(folder: Path) -> None:
    with CalibrationSet(folder, _FRAMES, 1 << 30) as frames:
        for number in itertools.count(len(frames)):
            # Of a camera of its own, so none is a duplicate.
            assert frames.offer(frame(str(number), number, blob_picture(number))) == "kept"
            print(number, flush=True)  # noqa: T201  (the parent reads it)


if __name__ == "__main__":
    {"bundle": _write_bundles, "set": _write_frames}[sys.argv[1]](Path(sys.argv[2]))
