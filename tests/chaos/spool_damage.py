"""The outbox's files damaged in every way: what is sent of them is as it was put, what is not leaves a gap.

``python -m tests.chaos.spool_damage make FOLDER`` leaves the files of a daemon that was killed;
``python -m tests.chaos.spool_damage drain FOLDER...`` prints what each holds, as the publisher would send it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List

from daemon.outbox import Message
from daemon.outbox.disk import DiskOptions
from daemon.outbox.spool import EventSpool
from tests.chaos.flips import flipped
from tests.chaos.outcome import Outcome

__all__ = ["damaged_spools"]

_ROOT = Path(__file__).parents[2]
#: Events in the database itself and, after them, in its write-ahead log.
_IN_FILE, _IN_LOG = 150, 100
_BLOCK = 4096


def damaged_spools(folder: Path, seed: int, times: int) -> List[Outcome]:
    """*times* spools, each damaged in one way; "lost" are the events that could not be read any more."""
    rng = random.Random(seed)
    _child("make", str(folder / "whole"))
    whole = _drained([_copy(folder, "as-it-was")])[0]
    assert len(whole["events"]) == _IN_FILE + _IN_LOG
    spools = [_copy(folder, str(number)) for number in range(times)]
    for spool in spools:
        _damage(spool, rng)
    counts: Counter[str] = Counter()
    lost = 0
    for found in _drained(spools):
        lost += _judge(found, whole, counts)
    names = ("crashes", "bad_rows_sent", "out_of_order", "hidden_gaps", "quarantined", "set_aside")
    return [Outcome("damaged spool", times, lost, notes={name: counts[name] for name in names})]


def _judge(found: Dict[str, Any], whole: Dict[str, Any], counts: Counter[str]) -> int:
    """Count what is wrong with *found*; how many events are missing."""
    if "events" not in found:
        counts["crashes"] += 1
        return 0
    wanted, sent = {json.dumps(event) for event in whole["events"]}, [json.dumps(event) for event in found["events"]]
    numbers = [event[0] for event in found["events"]]
    counts["bad_rows_sent"] += len(set(sent) - wanted)
    counts["out_of_order"] += any(
        _disorder(found["events"], topic) for topic in {event[1] for event in found["events"]}
    )
    counts["quarantined"] += found["quarantined"]
    counts["set_aside"] += found["set_aside"]
    # The next event's number must lie beyond those that are missing, else it fills the gap.
    missing = {event[0] for event in whole["events"]} - set(numbers)
    counts["hidden_gaps"] += any(number >= found["next_seq"] for number in missing)
    return len(missing)


def _disorder(events: List[List[Any]], topic: str) -> bool:
    numbers = [event[0] for event in events if event[1] == topic]
    return numbers != sorted(set(numbers))


def _copy(folder: Path, name: str) -> Path:
    return Path(shutil.copytree(folder / "whole", folder / name))


def _damage(spool: Path, rng: random.Random) -> None:
    file = rng.choice([one for one in sorted(spool.iterdir()) if one.stat().st_size])
    data = file.read_bytes()
    at = rng.randrange(len(data))
    kind = rng.choice(["bit", "bits", "zeros", "noise", "truncated", "gone"])
    if kind == "bit":
        data = flipped(data, rng)
    elif kind == "bits":
        for _ in range(rng.randrange(2, 200)):
            data = flipped(data, rng)
    elif kind == "zeros":
        data = data[:at] + bytes(min(_BLOCK, len(data) - at)) + data[at + _BLOCK :]
    elif kind == "noise":
        noise = bytes(rng.randrange(256) for _ in range(min(_BLOCK, len(data) - at)))
        data = data[:at] + noise + data[at + _BLOCK :]
    elif kind == "truncated":
        data = data[:at]
    else:
        file.unlink()
        return
    file.write_bytes(data)


def _drained(spools: List[Path]) -> List[Dict[str, Any]]:
    """What each holds; {} of one whose reader died of it."""
    found: List[Dict[str, Any]] = []
    while len(found) < len(spools):
        done = _child("drain", *map(str, spools[len(found) :]), check=False)
        found += map(json.loads, done.stdout.splitlines())
        if done.returncode:
            sys.stderr.write(done.stderr[-4000:])
            found.append({})
    return found


def _child(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.chaos.spool_damage", *arguments]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=check)


def _make(folder: str) -> None:
    spool = EventSpool(DiskOptions(Path(folder)))
    _put(spool, _IN_FILE)
    spool.close()  # moves them into the database
    spool = EventSpool(DiskOptions(Path(folder)))
    _put(spool, _IN_LOG)
    os._exit(0)


def _put(spool: EventSpool, count: int) -> None:
    for _ in range(count):
        seq = spool.next_seq()
        payload = json.dumps({"seq": seq, "text": "x" * (seq * 37 % 500)}).encode()
        spool.put(Message(f"sightd/chaos/camera{seq % 4}/events", payload, seq=seq))
        if seq % 10 == 0:
            spool.finish()
            spool.run()
    spool.finish()
    spool.run()


def _drain(folder: str) -> Dict[str, Any]:
    spool = EventSpool(DiskOptions(Path(folder)))
    events: List[Message] = []
    while True:
        taken = spool.take(100, time.monotonic()) or _after_storing(spool)
        if not taken:
            break
        for event in taken:
            spool.receipt(event, "")
        events += taken
    stats = spool.stats()
    sent = [[event.seq, event.topic, event.payload.decode("latin-1")] for event in events]
    told = {"quarantined": stats.quarantined, "set_aside": stats.set_aside, "next_seq": spool.next_seq()}
    spool.close()
    return {"events": sent, **told}


def _after_storing(spool: EventSpool) -> List[Message]:
    """What there is to take once the storing thread's work is done, which sees to damage that was found."""
    spool.finish()
    spool.run()
    return spool.take(100, time.monotonic())


def _main(mode: str, *folders: str) -> None:
    for folder in folders:
        if mode == "make":
            _make(folder)
        print(json.dumps(_drain(folder)), flush=True)  # noqa: T201  (the parent reads it)


if __name__ == "__main__":
    _main(*sys.argv[1:])
