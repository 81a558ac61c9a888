"""Events in an SQLite file: written in one transaction with what is to be deleted, bounded, every row checked.

What a power failure leaves is what was committed: the write-ahead log is synced with each commit (synchronous=FULL).
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Collection, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .message import Message
from .rows import COLUMNS, mark_row, read_mark, read_row, to_row
from .sqlite import connect, translated

__all__ = ["EventReader", "EventStore", "Written"]

_VERSION = 1
_PAGE_BYTES = 4096
#: Most rows that are kept to be looked at because they were damaged.
_QUARANTINED = 100
#: What a row costs beside topic and payload: the other columns and its place in the index, in bytes.
_OVERHEAD_BYTES = 64

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, priority INTEGER NOT NULL,
    topic BLOB NOT NULL, payload BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE INDEX events_by_priority ON events(priority);
CREATE TABLE mark (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE quarantine ({COLUMNS});
PRAGMA user_version = {_VERSION};
COMMIT;
"""


class Written(NamedTuple):
    """What a transaction did beside what it was asked for."""

    #: Events that went for want of room.
    shed: int
    #: Damaged rows that were found where they were said to be.
    quarantined: int
    #: Whether those that were to spare went.
    spare_went: bool


class EventStore:
    """The events, to be written; one thread at a time. Methods may raise the errors of :mod:`daemon.outbox.sqlite`.

    :param max_bytes: what the events may fill; the file grows to that and stays so, and its log has a few megabytes.
    """

    def __init__(self, path: Path, max_events: int, max_bytes: int) -> None:
        self._path = path
        self._max_events, self._max_pages = max_events, max(64, max_bytes // _PAGE_BYTES)
        with translated(path):
            self._connection = connect(path, "rwc")
            try:
                self._prepare()
                #: Events in it.
                self.count = int(self._value("SELECT count(*) FROM events"))
                #: When the newest event that was there came (Unix milliseconds); None without events.
                newest, self.found_newest_ms = self._newest()
                #: The highest number that an event ever had here; 0: none, or it can't be known.
                self.high_water = max(self._mark(), newest)
                #: When the oldest event came (Unix milliseconds); None without events.
                self.oldest_ms = self._oldest()
            except BaseException:
                self._connection.close()
                raise

    def write(
        self,
        events: Sequence[Message],
        delete: Collection[int] = (),
        bad: Collection[int] = (),
        spare: Collection[int] = (),
        *,
        now_ms: int,
    ) -> Written:
        """All or nothing: put *events* in, *delete* those numbers, move *bad* rows to quarantine.

        Where room is short *spare* numbers go, and then the oldest events of the lowest priority.

        :param events: in the order of their numbers.
        """
        with self._transaction():
            quarantined = self._quarantine(bad)
            gone = self._delete(delete)
            if events and events[0].seq <= self.high_water:  # it was not known what numbers had been given
                gone += self._delete([event.seq for event in events])
            spared, shed = self._make_room(events, spare)
            self._connection.executemany(
                f"INSERT INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608 - our own constant
                [to_row(event, now_ms) for event in events],
            )
            newest = events[-1].seq if events else 0
            if newest > self.high_water:
                self._set_mark(newest)
            oldest = self._oldest()
        self.high_water = max(self.high_water, newest)
        self.count += len(events) - quarantined - gone - (spared or 0) - shed
        self.oldest_ms = oldest
        return Written(shed, quarantined, spared is not None)

    def remember(self, seq: int) -> None:
        """Let the highest number that an event ever had be *seq*."""
        with self._transaction():
            self._set_mark(seq)
        self.high_water = seq

    def expire(self, before_ms: int) -> int:
        """Delete the events from before that; how many they were."""
        if self.oldest_ms is None or self.oldest_ms >= before_ms:
            return 0
        with self._transaction():
            first_kept = self._value("SELECT seq FROM events WHERE at >= ? ORDER BY seq LIMIT 1", before_ms)
            where, bounds = ("WHERE seq < ?", (first_kept,)) if first_kept is not None else ("", ())
            gone = self._connection.execute(f"DELETE FROM events {where}", bounds).rowcount  # noqa: S608
            oldest = self._oldest()
        self.count, self.oldest_ms = self.count - gone, oldest
        return gone

    def close(self) -> None:
        """Idempotent."""
        with translated(self._path):
            self._connection.close()

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        execute("PRAGMA journal_size_limit = 4194304")
        # Beyond what we allow ourselves, so that a delete, which needs pages too, is never refused by it.
        execute(f"PRAGMA max_page_count = {self._max_pages + 256}")
        version = self._value("PRAGMA user_version")
        if version == 0:
            self._connection.executescript(_SCHEMA)
        elif version != _VERSION:
            raise sqlite3.DatabaseError(f"schema {version}, not {_VERSION}")
        with self._transaction():  # a file that can be read but not written is told from the start
            execute("DELETE FROM events WHERE seq <= 0")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with translated(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _delete(self, numbers: Collection[int]) -> int:
        statement = "DELETE FROM events WHERE seq = ?"
        return max(0, self._connection.executemany(statement, [(seq,) for seq in numbers]).rowcount)

    def _quarantine(self, bad: Collection[int]) -> int:
        for seq in bad:
            self._connection.execute("INSERT INTO quarantine SELECT * FROM events WHERE seq = ?", (seq,))
        if bad:
            oldest = "SELECT max(rowid) - ? FROM quarantine"
            self._connection.execute(f"DELETE FROM quarantine WHERE rowid <= ({oldest})", (_QUARANTINED,))  # noqa: S608
        return self._delete(bad)

    def _make_room(self, events: Sequence[Message], spare: Collection[int]) -> Tuple[Optional[int], int]:
        """How many of *spare* went, None when they may stay; how many others."""
        if not events or (self._excess(events) <= 0 and not self._is_short_of_pages(events)):
            return None, 0
        spared = self._delete(spare)
        shed = self._shed(self._excess(events) - spared)
        while self._is_short_of_pages(events):
            gone = self._shed(max(len(events), self.count // 100))
            if not gone:
                break
            shed += gone
        return spared, shed

    def _excess(self, events: Sequence[Message]) -> int:
        return self.count + len(events) - self._max_events

    def _is_short_of_pages(self, events: Sequence[Message]) -> bool:
        bytes_needed = sum(len(event.payload) + len(event.topic) + _OVERHEAD_BYTES for event in events)
        used = int(self._value("PRAGMA page_count")) - int(self._value("PRAGMA freelist_count"))
        return used + 1.3 * bytes_needed / _PAGE_BYTES > self._max_pages

    def _shed(self, count: int) -> int:
        if count <= 0:
            return 0
        chosen = "SELECT seq FROM events ORDER BY priority, seq LIMIT ?"
        return self._connection.execute(f"DELETE FROM events WHERE seq IN ({chosen})", (count,)).rowcount  # noqa: S608

    def _mark(self) -> int:
        return read_mark(self._connection.execute("SELECT seq, crc FROM mark WHERE id = 1").fetchone())

    def _set_mark(self, seq: int) -> None:
        self._connection.execute("REPLACE INTO mark (id, seq, crc) VALUES (1, ?, ?)", mark_row(seq))

    def _newest(self) -> Tuple[int, Optional[int]]:
        """The newest sound event's number, and when it came; 0 and None where there is none."""
        rows = self._connection.execute(f"SELECT {COLUMNS} FROM events ORDER BY seq DESC LIMIT 100")  # noqa: S608
        return next(((row[0], row[1]) for row in rows if read_row(row) is not None), (0, None))

    def _oldest(self) -> Optional[int]:
        at = self._value("SELECT at FROM events ORDER BY seq LIMIT 1")
        return at if isinstance(at, int) else None

    def _value(self, statement: str, *parameters: Any) -> Any:
        row = self._connection.execute(statement, parameters).fetchone()
        return None if row is None else row[0]


class EventReader:
    """The events, to be read, beside an EventStore that is open elsewhere; one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with translated(path):
            self._connection = connect(path, "rw")
            self._connection.execute("PRAGMA query_only = ON")

    def read(self, after: int, limit: int, *, newest_first: bool = False) -> List[Tuple[int, Optional[Message]]]:
        """Up to *limit* rows in order of their numbers, beyond *after*; None for one that is not as it was written.

        :raises DiskError: try again.
        :raises DamagedStore: there is no reading any further.
        """
        order = "< ? ORDER BY seq DESC" if newest_first else "> ? ORDER BY seq"
        statement = f"SELECT {COLUMNS} FROM events WHERE seq {order} LIMIT ?"  # noqa: S608 - our own constants
        with translated(self._path):
            rows = self._connection.execute(statement, (after, limit)).fetchall()
            numbers = [after, *(row[0] for row in rows)]
            if sorted(set(numbers), reverse=newest_first) != numbers:
                raise sqlite3.DatabaseError("rows are out of order")
        return [(row[0], read_row(row)) for row in rows]

    def close(self) -> None:
        """Idempotent."""
        with translated(self._path):
            self._connection.close()
