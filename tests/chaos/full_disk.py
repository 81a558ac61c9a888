"""A disk of one mebibyte that fills up with events, for which the broker is away: counted, survived, over."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Callable, Dict, List

from tests.chaos.event_account import PATIENCE_S, EventAccount
from tests.chaos.event_maker import PREFIX, SPOOL, STATS, Maker
from tests.chaos.isolation import UnavailableError
from tests.chaos.outcome import Outcome
from tests.chaos.subscriber import Subscriber
from tests.parts.broker import running_broker

__all__ = ["full_disk"]


def full_disk(folder: Path, rate: int, count: int) -> List[Outcome]:
    """Make *count* events without a broker, and then with one; only within a mount namespace of our own.

    :raises UnavailableError: nothing can be mounted.
    """
    (folder / SPOOL).mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "chaos", str(folder / SPOOL)]
    if subprocess.run(mount, check=False).returncode:
        raise UnavailableError("no tmpfs can be mounted here")
    with ExitStack() as stack:
        (folder / "broker").mkdir()
        broker = stack.enter_context(running_broker(folder / "broker"))
        subscriber = stack.enter_context(Subscriber(broker.port, folder, f"{PREFIX}/+/events"))
        broker.kill()
        maker = stack.enter_context(Maker(broker.port, folder, rate, count))
        _wait(maker, lambda: bool(_stats(folder)["trouble"]) and len(maker.made()) == count)
        full = _stats(folder)
        broker.start()
        mended = time.time()
        with suppress(AssertionError):  # what is missing is counted
            _wait(maker, lambda: not _stats(folder)["depth"] and not _stats(folder)["trouble"])
        recovered_s, last = time.time() - mended, _stats(folder)
        counted = sum(last["dropped"].values())
        notes = {"said": full["trouble"], "unsaved": last["unsaved"], "said_after": last["trouble"]}
        return [EventAccount(subscriber).outcome("disk full", 1, maker.made(), recovered_s, counted=counted, **notes)]


def _stats(folder: Path) -> Dict[str, Any]:
    """What the outbox said last."""
    lines = (folder / STATS).read_text().splitlines() if (folder / STATS).exists() else []
    return dict(json.loads(lines[-1])) if lines else {"trouble": "", "depth": 0, "unsaved": 0, "dropped": {}}


def _wait(maker: Maker, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        maker.check()
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
        time.sleep(0.2)
