"""The store of events on a disk that fills up, breaks and heals: whatever it does, nothing here raises."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Collection, List, Optional, Sequence, Tuple

from .message import Message
from .rows import mark_row, read_mark
from .salvage import renew
from .sqlite import DamagedStore, DiskError
from .store import EventReader, EventStore, Written

__all__ = ["DiskOptions", "EventDisk"]

_log = logging.getLogger(__name__)

#: A disk that failed is tried again after so long, in seconds.
_RETRY_S = 5.0
_FAILURES = (DiskError, DamagedStore, OSError)


@dataclass(frozen=True)
class DiskOptions:
    """Where the events are kept, and how many."""

    folder: Path
    max_events: int = 100_000
    max_bytes: int = 256 << 20
    #: In which a daemon ran; 0: for ever.
    max_age_s: float = 7 * 86400.0


class EventDisk:
    """One thread writes, another reads; the properties may be read from any.

    A file that is damaged as a whole is set aside, and what can still be read of it moves to a new one.
    """

    def __init__(self, options: DiskOptions) -> None:
        self._options = options
        self._path = options.folder / "events.db"
        #: The highest number once more: a log that is damaged has lost its newest events without a trace, and their
        #: numbers must not be given again, else nobody would see that they are missing.
        self._newest_file = options.folder / "newest"
        #: The folder, open and locked; -1: not yet.
        self._lock_fd = -1
        self._store: Optional[EventStore] = None
        self._reader: Optional[EventReader] = None
        #: Held while one reads, and while the file is replaced: SQLite must not have it open then.
        self._reading = threading.Lock()
        #: The reader found the file damaged: write() is to be called.
        self.is_damaged = False
        self._retry_at = 0.0
        #: What the monotonic clock lacks to the one that dates the events. That goes on where it stood at the newest
        #: event found in the file: a wall clock, which may have been wrong then or now, would make events too old.
        self._offset_ms: Optional[int] = None
        #: Why events are not stored now; "" while they are.
        self.trouble = ""
        #: Files that had to be set aside, and events that were moved out of them; since the start.
        self.set_aside = self.salvaged = 0
        #: The highest number that is known to have been given to an event. The clock's milliseconds when the file can't
        #: tell, which no count of events gets to.
        self.high_water = int(time.time() * 1000)
        #: Events stored; those of a disk in trouble are there still.
        self.count = 0
        self._oldest_ms: Optional[int] = None
        self._attempt(self._see_what_is_there)

    @property
    def oldest_s(self) -> float:
        """Age of the oldest event in seconds, in which a daemon ran; 0 without any."""
        oldest_ms = self._oldest_ms
        return 0.0 if oldest_ms is None else max(0.0, (self._now_ms() - oldest_ms) / 1000)

    @property
    def retry_s(self) -> float:
        """Seconds until a disk in trouble is tried again."""
        return max(0.0, self._retry_at - time.monotonic()) if self.trouble else 0.0

    def write(
        self,
        events: Sequence[Message],
        delete: Collection[int] = (),
        bad: Collection[int] = (),
        spare: Collection[int] = (),
    ) -> Optional[Written]:
        """As :meth:`EventStore.write` (writing thread).

        :returns: None: nothing was done, and ``trouble`` says why.
        """
        written: List[Written] = []

        def write() -> None:
            store = self._opened()
            if not self._path.exists():
                raise DamagedStore("somebody removed it")
            written.append(store.write(events, delete, bad, spare, now_ms=self._now_ms()))
            if events:
                self._note(events[-1].seq)

        return written[-1] if self._attempt(write) else None

    def expire(self) -> int:
        """Delete what is too old (writing thread); how many."""
        gone: List[int] = []
        if self._options.max_age_s and self._store is not None:
            before_ms = self._now_ms() - int(self._options.max_age_s * 1000)
            self._attempt(lambda: gone.append(self._opened().expire(before_ms)))
        return sum(gone)

    def read(self, after: int, limit: int) -> List[Tuple[int, Optional[Message]]]:
        """Events beyond the number *after* in their order; None for one that is damaged (reading thread).

        None at all while the file is replaced, which may take longer than anybody should wait.
        """
        if not self._reading.acquire(blocking=False):
            return []
        try:
            if self._reader is None:
                if self._store is None:
                    return []
                self._reader = EventReader(self._path)
            return self._reader.read(after, limit)
        except DiskError as error:
            _log.debug("events can't be read now: %s", error)
        except DamagedStore:
            self.is_damaged = True  # the writing thread sees to it
        finally:
            self._reading.release()
        return []

    def close(self) -> None:
        """When both threads are done; idempotent."""
        self._close_reader()
        self._close_store()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _now_ms(self) -> int:
        return int(time.monotonic() * 1000) + (self._offset_ms or 0)

    def _attempt(self, action: Callable[[], object]) -> bool:
        """Do it; with a new file where the old one is damaged. False: the disk is in trouble."""
        try:
            try:
                if self.is_damaged:
                    raise DamagedStore("found while reading")
                action()
            except DamagedStore as error:
                self._replace(error)
                action()
        except _FAILURES as error:
            self._give_way(error)
            return False
        if self._store is not None:
            self.count, self._oldest_ms = self._store.count, self._store.oldest_ms
        if self.trouble:
            self.trouble = ""
            _log.info("events are stored in %s again", self._options.folder)
        return True

    def _see_what_is_there(self) -> None:
        self.high_water = max(self._opened().high_water, self._noted())

    def _note(self, seq: int) -> None:
        """In place, which needs no room on a full disk. Not synced: after a power failure the database knows."""
        with suppress(OSError), self._newest_file.open("r+b" if self._newest_file.exists() else "wb") as file:
            file.write(b"%020d %010d\n" % mark_row(seq))

    def _noted(self) -> int:
        """0: it can't be known."""
        try:
            return read_mark([int(word) for word in self._newest_file.read_bytes()[:100].split()])
        except (OSError, ValueError, IndexError):
            return 0

    def _opened(self) -> EventStore:
        if self._store is None:
            self._options.folder.mkdir(parents=True, exist_ok=True)
            self._lock()
            self._store = EventStore(self._path, self._options.max_events, self._options.max_bytes)
            if self._offset_ms is None:
                found_ms = self._store.found_newest_ms
                began_ms = int(time.time() * 1000) if found_ms is None else found_ms
                self._offset_ms = began_ms - int(time.monotonic() * 1000)
        return self._store

    def _lock(self) -> None:
        """Two processes that send the same events would be worse than one that keeps them in memory."""
        if self._lock_fd >= 0:
            return
        folder = os.open(self._options.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(folder)
            raise DiskError("another sightd uses it: give each its own outbox.folder") from error
        self._lock_fd = folder

    def _give_way(self, error: Exception) -> None:
        says = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        if says != self.trouble:
            _log.warning(
                "events are kept in memory only, %s can't store them (%s): make room, mend its permissions, or name "
                "another folder as outbox.folder",
                self._options.folder,
                says,
            )
        self.trouble, self._retry_at = says, time.monotonic() + _RETRY_S
        if (
            "full" not in says
        ):  # what is open on a full disk could not be opened again: even reading takes a little room
            self._close_store()

    def _replace(self, error: DamagedStore) -> None:
        """Put a new file in the place of the damaged one, with what can be read of it.

        Where the disk gives way or the process ends in the middle of that, the damaged one is there to begin anew with.
        """
        with self._reading:
            self._close_reader()
            known = max(self._noted(), 0 if self._store is None else self._store.high_water)
            self._close_store()
            self._lock()
            options = self._options
            damaged, moved = renew(self._path, options.max_events, options.max_bytes, known, self._now_ms())
            self.is_damaged = False
            self.set_aside += 1
            self.salvaged += moved
        _log.error("the store of events was damaged (%s): %d events were saved from it, %s", error, moved, damaged)

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with suppress(DiskError, DamagedStore):
                reader.close()

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with suppress(DiskError, DamagedStore):
                store.close()
