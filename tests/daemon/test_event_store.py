"""The SQLite file by itself: what is committed stays, what is damaged is seen."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Union

import pytest

from daemon.outbox.message import Message
from daemon.outbox.rows import read_mark, read_row, to_row
from daemon.outbox.sqlite import DamagedStore
from daemon.outbox.store import EventReader, EventStore
from tests.parts.events import event

ROOT = Path(__file__).parents[2]
#: Commits one event after another, and says so after each commit.
COMMITTER = """
import sys
from pathlib import Path
from daemon.outbox.store import EventStore
from tests.parts.events import event

store = EventStore(Path(sys.argv[1]), 100_000, 64 << 20)
for seq in range(store.high_water + 1, 1_000_000):
    store.write([event(seq, size=300)], [seq - 50], now_ms=1)
    sys.stdout.write(f"{seq}\\n")
    sys.stdout.flush()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def store(path: Path) -> Iterator[EventStore]:
    opened = EventStore(path, 1000, 16 << 20)
    yield opened
    opened.close()


def stored(path: Path, after: int = 0) -> List[int]:
    """The numbers of what can be read."""
    reader = EventReader(path)
    rows = reader.read(after, 100_000)
    reader.close()
    assert all(found is not None for _, found in rows)
    return [seq for seq, _ in rows]


def test_events_come_back_as_they_were_and_in_order(store: EventStore, path: Path) -> None:
    given = [Message("a/ü/events", bytes(range(256)), seq=3, priority=1), Message("b", b"", seq=9)]
    store.write(given, now_ms=123)
    reader = EventReader(path)
    assert reader.read(0, 10) == [(3, given[0]), (9, given[1])]
    assert reader.read(3, 10) == [(9, given[1])]
    assert reader.read(0, 1) == [(3, given[0])]
    assert reader.read(100, 10, newest_first=True) == [(9, given[1]), (3, given[0])]
    reader.close()


def test_what_is_deleted_in_the_same_transaction_is_gone(store: EventStore, path: Path) -> None:
    store.write([event(1), event(2)], now_ms=1)
    store.write([event(3)], [1, 2, 77], now_ms=1)
    assert stored(path) == [3]
    assert store.count == 1


def test_the_highest_number_outlives_all_events_and_the_process(path: Path) -> None:
    store = EventStore(path, 1000, 16 << 20)
    store.write([event(seq) for seq in range(1, 8)], now_ms=1)
    store.write((), range(1, 8), now_ms=1)
    store.close()
    reopened = EventStore(path, 1000, 16 << 20)
    assert (reopened.count, reopened.high_water) == (0, 7)
    reopened.close()


def test_without_the_mark_the_highest_number_is_that_of_the_newest_sound_event(path: Path) -> None:
    store = EventStore(path, 1000, 16 << 20)
    store.write([event(5), event(6)], now_ms=1)
    store.close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE mark SET seq = 1 << 40")
        raw.execute("INSERT INTO events SELECT 1 << 50, at, priority, topic, payload, crc FROM events WHERE seq = 6")
    raw.close()
    reopened = EventStore(path, 1000, 16 << 20)
    assert reopened.high_water == 6
    reopened.close()


def test_beyond_its_count_the_oldest_of_the_lowest_priority_go(path: Path) -> None:
    store = EventStore(path, 6, 16 << 20)
    store.write([event(seq, priority=seq % 2) for seq in range(1, 7)], now_ms=1)
    assert store.write([event(7, priority=1), event(8, priority=1)], now_ms=1).shed == 2
    assert stored(path) == [1, 3, 5, 6, 7, 8], "2 and 4 were the oldest of priority 0"
    assert store.write([event(seq, priority=1) for seq in range(9, 13)], now_ms=1).shed == 4
    assert stored(path) == [7, 8, 9, 10, 11, 12], "6 went first, then the oldest"
    store.close()


def test_beyond_its_size_the_oldest_of_the_lowest_priority_go_and_the_file_stays_small(path: Path) -> None:
    store = EventStore(path, 100_000, 1 << 20)
    shed, seq = 0, 0
    for _ in range(60):
        batch = [event(seq + number, priority=number == 1, size=1500) for number in range(1, 51)]
        shed += store.write(batch, now_ms=1).shed
        seq += 50
    kept = stored(path)
    assert shed == 3000 - len(kept) > 2000
    assert set(range(1, 3000, 50)) <= set(kept), "one in fifty was more important"
    assert kept[-1] == 3000
    assert store.count == len(kept)
    store.close()
    assert path.stat().st_size <= (1 << 20) + 256 * 4096


def test_what_is_too_old_goes(store: EventStore, path: Path) -> None:
    for seq in range(1, 6):
        store.write([event(seq)], now_ms=1000 * seq)
    assert store.oldest_ms == 1000
    assert store.expire(3000) == 2
    assert (stored(path), store.count, store.oldest_ms) == ([3, 4, 5], 3, 3000)
    assert store.expire(3000) == 0
    assert store.expire(10_000) == 3
    assert (stored(path), store.count, store.oldest_ms) == ([], 0, None)


def test_a_changed_row_is_seen_whatever_changed_and_moves_to_a_bounded_quarantine(path: Path) -> None:
    store = EventStore(path, 100_000, 16 << 20)
    store.write([event(seq) for seq in range(1, 401)], now_ms=1)
    changes = ["at = at + 1", "priority = 1", "topic = 'elsewhere'", "payload = x'00'", "crc = crc + 1", "crc = 'a'"]
    changes += ["at = 'yesterday'", "topic = 1.5", "payload = ''", "seq = 1000", "at = 9e99", "topic = x'ff'"]
    with sqlite3.connect(path) as raw:
        for seq, change in enumerate(changes, 1):
            raw.execute(f"UPDATE events SET {change} WHERE seq = {seq}")
        raw.execute("UPDATE events SET payload = x'11' WHERE seq BETWEEN 101 AND 250")
    raw.close()
    reader = EventReader(path)
    rows = reader.read(0, 1000)
    bad = [seq for seq, found in rows if found is None]
    assert len(bad) == len(changes) + 150
    assert 1000 in bad
    assert store.write((), (), bad, now_ms=1).quarantined == len(bad)
    assert store.count == len(reader.read(0, 1000)) == 400 - len(bad)
    reader.close()
    store.close()
    raw = sqlite3.connect(path)
    assert raw.execute("SELECT count(*) FROM quarantine").fetchone() == (100,)
    raw.close()


def test_the_checksum_notices_each_flipped_bit() -> None:
    row = to_row(Message("topic", b"payload", seq=7, priority=1), 99)
    for column, value in enumerate(row):
        for bit in range(63 if isinstance(value, int) else 8 * len(value)):
            changed = (*row[:column], _flipped(value, bit), *row[column + 1 :])
            assert read_row(changed) is None, (column, bit)
    assert read_row(row) is not None


def _flipped(value: Union[int, bytes], bit: int) -> Union[int, bytes]:
    if isinstance(value, int):
        return value ^ (1 << bit)
    return bytes(byte ^ ((1 << bit % 8) if index == bit // 8 else 0) for index, byte in enumerate(value))


def test_a_mark_that_is_not_as_it_was_written_is_none() -> None:
    assert [read_mark(row) for row in (None, (7, 0), ("a", 1), (b"", None), (1 << 70, 1))] == [0] * 5


def test_another_versions_file_is_not_taken_for_ours(path: Path) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(DamagedStore, match="99"):
        EventStore(path, 1000, 16 << 20)


def test_what_was_committed_before_kill_9_is_there(path: Path) -> None:
    said = 0
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", COMMITTER, str(path)], cwd=ROOT, stdout=subprocess.PIPE)
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(60)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.read().splitlines(keepends=True)
        child.stdout.close()
        child.wait(10)
        complete = [int(line) for line in lines if line.endswith(b"\n")]
        assert complete[0] == said + 1 or complete[0] == said + 2, "one commit may have gone unsaid"
        said = complete[-1]
        store = EventStore(path, 100_000, 64 << 20)
        assert store.high_water in (said, said + 1)
        assert set(range(said - 49, said + 1)) <= set(stored(path)) | {said - 49}
        store.close()
        said = store.high_water
