"""Disks that fill up, vanish and rot: nothing raises, nothing wrong is read, and it heals by itself."""

from __future__ import annotations

import itertools
import logging
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

import daemon.outbox.disk
from daemon.outbox.disk import DiskOptions, EventDisk
from daemon.outbox.message import Message
from daemon.outbox.sqlite import DiskError
from daemon.outbox.store import EventStore, Written
from tests.parts.events import event
from tests.parts.publishing import warnings_of

ROOT = Path(__file__).parents[2]
GIVEN: Dict[int, Message] = {seq: event(seq, f"sightd/box/c{seq % 4}/events", size=seq % 700) for seq in range(1, 301)}
#: Fills a disk of a megabyte, which it is given as its first argument, and makes room again.
FULL_DISK = """
import sys
from pathlib import Path
from daemon.outbox.disk import DiskOptions, EventDisk
from tests.parts.events import event

folder = Path(sys.argv[1])
disk = EventDisk(DiskOptions(folder / "outbox", max_bytes=64 << 20))
stored, seq = [], 0
while not disk.trouble:
    seq += 1
    if disk.write([event(seq, size=5000)]) is not None:
        stored.append(seq)
print("full:", disk.trouble, file=sys.stderr)
assert "full" in disk.trouble
assert [number for number, found in disk.read(0, 10_000) if found] == stored, "what is there can be read"
assert disk.count == len(stored)
assert disk.write([event(seq, size=5000)]) is None
assert disk.trouble, "and said so"
(folder / "ballast").unlink()
assert disk.write([event(seq + 1)]) is not None
assert not disk.trouble
assert disk.read(seq, 10) == [(seq + 1, event(seq + 1))]
disk.close()
again = EventDisk(DiskOptions(folder / "outbox"))
assert again.high_water == seq + 1
again.close()
print("healed")
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[EventDisk]:
    opened = EventDisk(DiskOptions(tmp_path / "outbox"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> List[Path]:
    """Two folders that a killed process left: all in the log, and all in the database but a little."""
    found = []
    for name, log_pages in (("log", 100_000), ("database", 1)):
        folder = tmp_path_factory.mktemp("spool") / name
        folder.mkdir()
        store = EventStore(folder / "events.db", 10_000, 16 << 20)
        store._connection.execute(f"PRAGMA wal_autocheckpoint = {log_pages}")
        for first in range(1, 301, 10):
            store.write([GIVEN[seq] for seq in range(first, first + 10)], now_ms=1)
        image = folder.with_name(f"{name}-image")
        image.mkdir()
        for file in folder.glob("events.db*"):
            if not file.name.endswith("-shm"):
                shutil.copy(file, image)
        store.close()
        found.append(image)
    return found


def read_all(disk: EventDisk) -> List[Message]:
    """What the publisher would send, damaged rows moved away as the storing thread does it."""
    found: List[Message] = []
    position, stuck = 0, 0
    while stuck < 3:
        rows = disk.read(position, 50)
        bad = [seq for seq, message in rows if message is None]
        if bad or disk.is_damaged:
            assert disk.write((), (), bad) is not None
            position = 0 if disk.set_aside and not found else position
        found += [message for _, message in rows if message is not None]
        position = max([position, *(message.seq for message in found)])
        stuck = 0 if any(message for _, message in rows) else stuck + 1
    return found


def one_bit(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def many_bits(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((10, 100, 1000))):
        one_bit(content, chance)


def head_bits(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(min(100, len(content)))] ^= 1 << chance.randrange(8)


def lost_page(content: bytearray, chance: random.Random) -> None:
    start = chance.randrange(0, len(content), 4096)
    content[start : start + 4096] = bytes(len(content[start : start + 4096]))


def swapped_pages(content: bytearray, chance: random.Random) -> None:
    first, second = chance.randrange(0, len(content), 4096), chance.randrange(0, len(content), 4096)
    if max(first, second) + 4096 <= len(content):
        one, other = content[first : first + 4096], content[second : second + 4096]
        content[first : first + 4096], content[second : second + 4096] = other, one


def noise(content: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(content))
    content[start : start + 5000] = chance.getrandbits(8 * 5000).to_bytes(5000, "big")[: len(content) - start]


def cut(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


DAMAGES: List[Callable[[bytearray, random.Random], None]] = [
    *(one_bit, many_bits, head_bits, lost_page, swapped_pages, noise, cut)
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: str(damage.__name__))
def test_of_a_damaged_spool_nothing_wrong_is_read_and_it_goes_on(
    images: List[Path], tmp_path: Path, damage: Callable[[bytearray, random.Random], None]
) -> None:
    """48 of each kind: 336 damaged spools in all, the same ones in each run."""
    saved = 0
    for number in range(48):
        chance = random.Random(f"{damage.__name__} {number}")
        folder = shutil.copytree(images[number % 2], tmp_path / str(number))
        file = chance.choice([path for path in sorted(folder.iterdir()) if path.stat().st_size])
        content = bytearray(file.read_bytes())
        damage(content, chance)
        file.write_bytes(content)
        disk = EventDisk(DiskOptions(folder))
        found = read_all(disk)
        assert [message for message in found if GIVEN.get(message.seq) != message] == [], (number, file.name)
        numbers = [message.seq for message in found]
        assert numbers == sorted(set(numbers)), (number, file.name)
        fresh = event(max(disk.high_water, *GIVEN, *numbers) + 1)
        assert disk.write([fresh]) is not None, (number, file.name, disk.trouble)
        assert read_all(disk)[-1] == fresh, (number, file.name)
        disk.close()
        saved += len(numbers)
        shutil.rmtree(folder)
    assert saved > 48 * 300 / 10, "most of it is not lost by a little damage"


def test_a_file_that_is_no_database_is_set_aside_and_few_of_them_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1, 5):
        (tmp_path / "events.db").write_bytes(b"no database at all, but long enough " * 1000)
        disk = EventDisk(DiskOptions(tmp_path))
        assert disk.trouble == ""
        assert disk.set_aside == 1
        assert disk.high_water > 1_000_000_000_000, "a number that nobody can have been given before"
        assert disk.write([event(disk.high_water + 1)]) is not None
        disk.close()
        assert len(list(tmp_path.glob("damaged-*.db"))) == min(number, 2)
    assert "was damaged (file is not a database): 0 events were saved" in caplog.text


def test_what_can_still_be_read_of_a_damaged_file_is_not_lost(tmp_path: Path) -> None:
    disk = EventDisk(DiskOptions(_damaged(tmp_path / "outbox")))
    disk.write(())
    assert disk.set_aside == 1
    assert disk.salvaged == 300
    assert [message.seq for message in read_all(disk)] == list(range(1, 301))
    assert disk.high_water == 300 or disk.high_water > 1_000_000_000_000
    disk.close()


def test_a_damaged_file_is_kept_until_all_of_it_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk gives way in the middle of it, and then the process ends."""
    monkeypatch.setattr("daemon.outbox.salvage._SALVAGED", 50)
    folder, writes = _damaged(tmp_path / "outbox"), itertools.count()
    write = EventStore.write

    def full_soon(store: EventStore, *what: Any, **at: Any) -> Written:
        if next(writes) >= 2:
            raise DiskError("database or disk is full")
        return write(store, *what, **at)

    with monkeypatch.context() as patch:
        patch.setattr(EventStore, "write", full_soon)
        disk = EventDisk(DiskOptions(folder))
        assert disk.write([event(500)]) is None
        assert "full" in disk.trouble
        disk.close()
    again = EventDisk(DiskOptions(folder))
    assert again.write([event(500)]) is not None
    assert [message.seq for message in read_all(again)] == [*range(1, 301), 500]
    again.close()


def test_a_damaged_file_is_saved_by_a_machine_whose_clock_is_in_the_past(tmp_path: Path) -> None:
    folder = _damaged(tmp_path / "outbox")
    for number in range(3):
        (folder / f"damaged-{9 * 10**18 + number}.db").write_bytes(b"of a time to come")
    disk = EventDisk(DiskOptions(folder))
    disk.write(())
    assert [message.seq for message in read_all(disk)] == list(range(1, 301))
    disk.close()
    assert len(list(folder.glob("damaged-*.db"))) == 2


def test_nobody_waits_while_a_damaged_file_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The publisher's thread reads; what it does not get on with for long ends the service."""
    saving, go_on = threading.Event(), threading.Event()
    write = EventStore.write

    def slow(store: EventStore, *what: Any, **at: Any) -> Written:
        saving.set()
        assert go_on.wait(60)
        return write(store, *what, **at)

    disk = EventDisk(DiskOptions(_damaged(tmp_path / "outbox")))
    disk.is_damaged = True  # as the reader says
    monkeypatch.setattr(EventStore, "write", slow)
    writer = threading.Thread(target=disk.write, args=((),))
    reader = threading.Thread(target=disk.read, args=(0, 10), daemon=True)
    writer.start()
    assert saving.wait(60)
    reader.start()
    reader.join(5)
    waited = reader.is_alive()
    go_on.set()
    writer.join(60)
    assert not waited
    assert [message.seq for message in read_all(disk)] == list(range(1, 301))
    disk.close()


def test_a_removed_file_is_begun_anew(disk: EventDisk, tmp_path: Path) -> None:
    disk.write([event(1)])
    for path in (tmp_path / "outbox").glob("events.db*"):
        path.unlink()
    assert disk.write([event(2)]) is not None
    assert disk.read(0, 10)[-1] == (2, event(2))


def test_two_processes_never_share_a_folder(
    disk: EventDisk, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = EventDisk(DiskOptions(tmp_path / "outbox"))
    assert "another sightd uses it" in second.trouble
    assert second.write([event(1)]) is None
    assert len(warnings_of(caplog)) == 1, "it is told once"
    disk.close()
    assert second.write([event(1)]) is not None
    assert second.trouble == ""
    second.close()


def test_nothing_that_somebody_put_there_keeps_it_from_starting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    os.mkfifo(tmp_path / "events.db")
    assert EventDisk(DiskOptions(tmp_path)).trouble


def test_a_folder_that_can_not_be_made_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "state").write_text("a file where the folder should be")
    disk = EventDisk(DiskOptions(tmp_path / "state" / "outbox"))
    assert disk.trouble
    assert disk.read(0, 10) == []
    assert disk.write([event(1)]) is None
    (tmp_path / "state").unlink()
    assert disk.write([event(1)]) is not None
    assert disk.read(0, 10) == [(1, event(1))]
    disk.close()
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "events are kept in memory only",
        f"events are stored in {tmp_path / 'state' / 'outbox'} again",
    ]


HOUR_S = 3600


class Clocks:
    """The time module of the disk."""

    def __init__(self) -> None:
        self.wall_s, self.running_s = 1.7e9, 50.0

    def time(self) -> float:
        return self.wall_s

    def monotonic(self) -> float:
        return self.running_s

    def pass_by(self, seconds: float) -> None:
        self.wall_s, self.running_s = self.wall_s + seconds, self.running_s + seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    monkeypatch.setattr(daemon.outbox.disk, "time", made)
    return made


def numbers(disk: EventDisk) -> List[int]:
    return [seq for seq, _ in disk.read(0, 100)]


def test_what_is_too_old_goes_over_restarts_too(tmp_path: Path, clocks: Clocks) -> None:
    disk = EventDisk(DiskOptions(tmp_path, max_age_s=HOUR_S))
    disk.write([event(1)])
    clocks.pass_by(HOUR_S - 10)
    disk.write([event(2)])
    assert disk.expire() == 0
    disk.close()
    disk = EventDisk(DiskOptions(tmp_path, max_age_s=HOUR_S))
    assert disk.oldest_s == HOUR_S - 10
    clocks.pass_by(20)
    assert disk.expire() == 1
    assert numbers(disk) == [2]
    disk.close()


@pytest.mark.parametrize("stored_at", [0.0, 1.5e9, 4e9], ids=["1970", "the last shutdown", "the future"])
def test_a_clock_that_was_wrong_when_an_event_came_does_not_make_it_old(
    stored_at: float, tmp_path: Path, clocks: Clocks
) -> None:
    clocks.wall_s = stored_at
    disk = EventDisk(DiskOptions(tmp_path, max_age_s=HOUR_S))
    disk.write([event(1)])
    clocks.wall_s = 1.7e9  # it has learnt the time
    assert disk.expire() == 0
    disk.close()
    clocks.running_s = 20.0  # the machine was started again
    disk = EventDisk(DiskOptions(tmp_path, max_age_s=HOUR_S))
    disk.write([event(2)])
    assert disk.expire() == 0
    assert disk.oldest_s == 0
    clocks.pass_by(HOUR_S + 10)
    assert disk.expire() == 2, "in any case it goes in the end"
    disk.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_survived_and_used_again_when_there_is_room(tmp_path: Path) -> None:
    script = (
        f"mount -t tmpfs -o size=1m none {tmp_path} && head -c 500000 /dev/zero > {tmp_path}/ballast && "
        f'"$0" -c "$1" {tmp_path}'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, sys.executable, FULL_DISK],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")
    assert done.stdout == "healed\n", done.stderr


def _damaged(folder: Path) -> Path:
    """Made, with a store whose events are all there, and whose index is not."""
    folder.mkdir()
    store = EventStore(folder / "events.db", 10_000, 16 << 20)
    store.write(list(GIVEN.values()), now_ms=1)
    page = store._connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events_by_priority'").fetchone()
    store.close()
    content = bytearray((folder / "events.db").read_bytes())
    content[4096 * (page[0] - 1) : 4096 * page[0]] = b"\xff" * 4096
    (folder / "events.db").write_bytes(content)
    return folder
