"""A daemon that does nothing but make events: the real outbox and publisher, and a ledger of all that was stored.

``python -m tests.chaos.event_maker PORT FOLDER RATE COUNT``: RATE events a second of several cameras until it is
killed, or COUNT and then no more.
"""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
import uuid
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Callable, Set

from daemon.broker import BrokerOptions
from daemon.outbox import Message, Outbox
from daemon.outbox.disk import DiskOptions
from daemon.outbox.spool import EventSpool
from daemon.publisher import Publisher
from daemon.topics import Topics
from tests.chaos.cut_disk import stand_still

__all__ = ["CAMERAS", "LEDGER", "MADE", "PREFIX", "SPOOL", "STATS", "Maker"]

CAMERAS = ("north", "east", "south", "west")
PREFIX = "sightd/maker"
#: In the folder: the id of each event that was made; the highest number that was stored, by boot id; what the outbox
#: says of itself, as JSON; and the outbox. Lines are added.
MADE, LEDGER, STATS, SPOOL = "made.txt", "ledger.txt", "stats.jsonl", "outbox"
_ROOT = Path(__file__).parents[2]
_LOOK_S, _TELL_S = 0.05, 0.5


class Maker:
    """The process; a context manager. *count* 0: until it is killed."""

    def __init__(self, port: int, folder: Path, rate: int, count: int = 0) -> None:
        arguments = map(str, (port, folder, rate, count))
        self._command = [sys.executable, "-m", "tests.chaos.event_maker", *arguments]
        self._folder, self._log = folder, folder / "maker.log"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stderr=log, cwd=_ROOT)

    def kill(self) -> None:
        """Kill -9; an AssertionError if it was dead already."""
        self.check()
        self._process.kill()
        self._process.wait(10)

    def pause(self) -> None:
        """It does nothing any more; to be killed."""
        self.check()
        stand_still(self._process)

    def check(self) -> None:
        """It lives; else an AssertionError with what it said last."""
        assert self._process.poll() is None, self._log.read_text()[-4000:]

    def made(self) -> Set[str]:
        """The ids of all events so far; not all were stored."""
        return set((self._folder / MADE).read_text().split())

    def stored(self) -> Set[str]:
        """Of these, those that are known to have been stored."""
        marks = dict(line.split() for line in (self._folder / LEDGER).read_text().splitlines() if " " in line)
        ids = [(id_, *id_.split("-")) for id_ in self.made()]
        return {id_ for id_, boot_id, seq in ids if int(seq) <= int(marks.get(boot_id, 0))}

    def __enter__(self) -> Maker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)


def _main(port: str, folder: str, rate: str, count: str) -> None:
    outbox = Outbox(events=EventSpool(DiskOptions(Path(folder) / SPOOL)))
    boot_id, topics, never = uuid.uuid4().hex[:8], Topics(PREFIX), threading.Event()
    publisher = Publisher(BrokerOptions("127.0.0.1", int(port), client_id="maker"), topics, outbox)
    works = {
        "events": outbox.events.run,
        "publisher": lambda: publisher.run(never),
        "ledger": lambda: _follow(Path(folder), boot_id),
        "stats": lambda: _tell(outbox.events, Path(folder)),
    }
    for name, work in works.items():
        threading.Thread(target=_or_die, args=(work,), name=name, daemon=True).start()
    _make(outbox, Path(folder), boot_id, 1 / float(rate), int(count))
    never.wait()


def _or_die(work: Callable[[], None]) -> None:
    """As in the service: a stage that fails ends it."""
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _make(outbox: Outbox, folder: Path, boot_id: str, interval_s: float, count: int) -> None:
    due = time.monotonic()
    with (folder / MADE).open("a", buffering=1) as made:
        for _ in range(count) if count else itertools.count():
            seq = outbox.next_seq()
            camera = CAMERAS[seq % len(CAMERAS)]
            event = {"id": f"{boot_id}-{seq}", "seq": seq, "boot_id": boot_id, "camera": camera, "at": time.time()}
            made.write(f"{event['id']}\n")  # before it is put: whatever arrives was made
            outbox.put(Message(f"{PREFIX}/{camera}/events", json.dumps(event).encode(), seq=seq))
            due += interval_s
            time.sleep(max(0.0, due - time.monotonic()))


def _follow(folder: Path, boot_id: str) -> None:
    """Write down the highest number that was committed, by a connection of our own, whatever the outbox believes."""
    told = 0
    database = f"file:{folder / SPOOL / 'events.db'}?mode=ro"
    with (folder / LEDGER).open("a", buffering=1) as ledger, closing(sqlite3.connect(database, uri=True)) as reader:
        while True:
            time.sleep(_LOOK_S)
            with suppress(sqlite3.OperationalError):  # the disk is full, which is not our affair
                row = reader.execute("SELECT seq FROM mark WHERE id = 1").fetchone()
                if row is not None and row[0] > told:
                    told = row[0]
                    ledger.write(f"{boot_id} {told}\n")


def _tell(events: EventSpool, folder: Path) -> None:
    with (folder / STATS).open("a", buffering=1) as file:
        while True:
            time.sleep(_TELL_S)
            file.write(json.dumps(asdict(events.stats())) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
