"""Events on their way to the broker by way of the disk: none is sent before it is stored, none deleted before it counts
as delivered.

    put ──▶ memory ── run (one commit for all that came) ──▶ EventDisk ── take ──▶ broker ── receipt ──▶ deleted, later

While the disk is in trouble they are sent out of memory instead.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Callable, Iterable, List, Mapping, Optional, Set

from .catch_up import CatchUp
from .disk import DiskOptions, EventDisk
from .memory import EventMemory
from .message import Message
from .receipts import Receipts
from .topic_gate import TopicGate

__all__ = ["EventSpool", "SpoolStats"]

_log = logging.getLogger(__name__)

#: So many deletions do not wait for company.
_BATCH = 500
#: A commit that takes longer is a disk in trouble, in seconds.
_STALLED_S = 5.0
#: Deletions wait so long for a commit that is made anyway, in seconds.
_GATHER_S = 1.0
#: How often the age of what is stored is looked at, in seconds.
_EXPIRE_S = 60.0
#: A connection begins without events for so long, in seconds, while subscribers that lost the same broker come back.
_SETTLE_S = 1.5
#: How fast what has gathered is sent then, in events a second.
_CATCH_UP_RATE = 2000.0
#: An event that nobody was subscribed to is sent again after so long, in seconds.
_UNHEARD_PAUSE_S = 0.25
#: Rows that one take() looks at, about.
_LOOK = 500
#: The broker's reasons that are about the message itself: trying again would not help.
_HOPELESS = frozenset({"Packet too large", "Topic Name invalid", "Payload format invalid"})


@dataclass(frozen=True)
class SpoolStats:
    """How the events stand; counters are since the start."""

    #: Why they are not stored now; "" while they are.
    trouble: str
    #: Events without the broker's receipt, in memory and on the disk.
    depth: int
    #: Events on the disk; one with a receipt stays a little while.
    stored: int
    #: Events that had to do without the disk, for a while at least.
    unsaved: int
    #: By reason: full (no room on the disk), memory (no room there), age, refused (by the broker, for good).
    dropped: Mapping[str, int]
    #: Damaged events; files that were damaged as a whole.
    quarantined: int
    set_aside: int
    #: Age of the oldest event on the disk in seconds, in which a daemon ran.
    oldest_s: float


class EventSpool:
    """put() may be called by any thread, run() is the storing thread's; what is the publisher's says so.

    Events are sent in the order of their numbers, except those of topics that the broker refuses. One that has the
    broker's receipt stays for a while: a connection that ends may have taken with it what the broker had not handed on
    yet, so the next one begins with all that was acknowledged so shortly before.
    """

    def __init__(
        self,
        options: Optional[DiskOptions] = None,
        replay_s: float = 10.0,
        settle_s: float = _SETTLE_S,
        catch_up_rate: float = _CATCH_UP_RATE,
    ) -> None:
        """Open the file, or begin one; a disk in trouble is no error.

        :param options: None keeps the events in memory.
        :param replay_s: how long an event stays after the broker's first receipt, in seconds; longer while the broker
            gives no sign of life.
        :param settle_s: how long a new connection waits with events, in seconds.
        :param catch_up_rate: how fast the events of before a connection are sent in it, in events a second.
        """
        self._settle_s = settle_s
        self._disk = None if options is None else EventDisk(options)
        self._replay_s = replay_s
        #: Called when there is something new to take, by any thread.
        self.on_ready: Callable[[], None] = lambda: None
        self._changed = threading.Condition()
        self._seq = 0 if self._disk is None else self._disk.high_water
        #: Not stored yet; and those that the broker has, for all that it says.
        self._waiting, self._receipts = EventMemory(), Receipts(replay_s)
        self._in_flight: Set[int] = set()
        #: What need not be kept any more.
        self._gone: Set[int] = set()
        self._bad: Set[int] = set()
        self._gate, self._catch_up = TopicGate(), CatchUp(catch_up_rate)
        #: The last number that was looked at; begin anew.
        self._cursor, self._rescan = 0, False
        self._began_at = 0.0
        self._committing_since = math.inf
        self._delete_at = math.inf
        self._expire_at = 0.0
        self._closing = False
        self._unsaved = self._unsaved_up_to = self._quarantined = 0
        self._dropped: Counter[str] = Counter()

    def next_seq(self) -> int:
        """The number of the next event; never touches the disk."""
        with self._changed:
            self._seq += 1
            return self._seq

    def put(self, event: Message) -> None:
        """Keep *event*; returns at once."""
        with self._changed:
            self._waiting.add(event)
            if self._waiting.is_full:
                self._make_room()
            self._changed.notify()
            goes_out_at_once = self._is_memory_all(time.monotonic())
        if goes_out_at_once:
            self.on_ready()

    def __len__(self) -> int:
        """Events without a receipt."""
        stored = 0 if self._disk is None else self._disk.count
        with self._changed:
            return max(0, stored + len(self._waiting) - len(self._receipts) - len(self._gone))

    @property
    def unsent(self) -> int:
        """Of these, those that are not on their way to the broker."""
        return max(0, len(self) - len(self._in_flight))

    def stats(self) -> SpoolStats:
        """How it stands (any thread)."""
        disk, depth = self._disk, len(self)
        with self._changed:
            dropped = dict(self._dropped)
        return SpoolStats(
            trouble="" if disk is None else disk.trouble,
            depth=depth,
            stored=0 if disk is None else disk.count,
            unsaved=self._unsaved,
            dropped=dropped,
            quarantined=self._quarantined,
            set_aside=0 if disk is None else disk.set_aside,
            oldest_s=0.0 if disk is None else round(disk.oldest_s, 1),
        )

    def begin(self) -> None:
        """A connection begins (publisher): send again whatever the last one, or the broker, may have lost."""
        with self._changed:
            self._gate.begin()
            self._in_flight.clear()
            self._receipts.begin()
            self._rescan = True
            self._began_at = time.monotonic()
            self._catch_up.begin(self._seq, self._began_at + self._settle_s)

    def take(self, limit: int, heard_at: float) -> List[Message]:
        """Up to *limit* events to be sent now, in order (publisher); each comes back as a receipt, or after begin().

        :param heard_at: when the broker gave its last sign of life (monotonic seconds).
        """
        now = time.monotonic()
        position = self._look_up(now, heard_at)
        settled = now >= self._began_at + self._settle_s
        limit = self._catch_up.room(limit, position, now) if settled else 0
        taken: List[Message] = []
        looked, step = 0, limit
        while len(taken) < limit and looked < _LOOK:
            rows = [] if self._disk is None else self._disk.read(position, step)
            with self._changed:
                self._bad.update(seq for seq, event in rows if event is None)
                if self._bad or (self._disk is not None and self._disk.is_damaged):
                    self._changed.notify()
                self._choose((event for _, event in rows if event is not None), limit, now, taken)
                if len(rows) < step:
                    if self._is_memory_all(now):
                        self._choose(self._waiting, limit, now, taken)
                    break
            position, looked, step = rows[-1][0], looked + len(rows), 2 * step
        self._catch_up.sent(len(taken))
        if looked >= _LOOK and not taken:
            self.on_ready()  # many were passed over: go on looking at once, after the network had its turn
        return taken

    def receipt(self, event: Message, reason: str) -> None:
        """What the broker said to *event* (publisher): "" when it took it, else its reason not to."""
        now = time.monotonic()
        with self._changed:
            self._in_flight.discard(event.seq)
            if reason in _HOPELESS:
                self._dropped["refused"] += 1
                self._discard([event.seq], now)
            elif reason:
                self._gate.refused(event.topic, event.seq, now)
            else:
                self._receipts.add(event.seq, now)
            if not reason or reason in _HOPELESS:
                self._gate.taken(event.topic)

    def unheard(self, event: Message) -> None:
        """The broker took *event*, but had no subscriber for it (publisher).

        At the beginning of a connection it is sent again soon: who lost the same broker may need longer to come back.
        """
        now = time.monotonic()
        if now > self._began_at + self._replay_s:
            self.receipt(event, "")
            return
        with self._changed:
            self._in_flight.discard(event.seq)
            self._gate.refused(event.topic, event.seq, now, _UNHEARD_PAUSE_S)

    def run(self) -> None:
        """Store what is put and delete what is done, until finish() (storing thread)."""
        while self._wait_for_work():
            if not self.store() and self._closing:
                break
        if self._waiting and self._disk is not None:
            _log.warning("%d events could not be stored and end with this process", len(self._waiting))

    def store(self) -> bool:
        """Make one commit of what there is (storing thread); False: the disk is in trouble."""
        disk = self._disk
        if disk is None:
            return True
        had_trouble, set_aside = disk.trouble, disk.set_aside
        with self._changed:
            self._forget_sent()
            batch = self._waiting.batch()
            gone, bad, spare = set(self._gone), set(self._bad), list(self._receipts)
            self._committing_since = time.monotonic()
        written = disk.write(batch, gone, bad, spare)
        expired = 0 if written is None else self._expire(disk)
        with self._changed:
            self._committing_since = math.inf
            if had_trouble or written is None:
                self._count_unsaved()
            if written is not None:
                self._settle(batch, gone, bad, spare if written.spare_went else ())
                self._quarantined += written.quarantined
                self._count_dropped(full=written.shed, age=expired)
            self._rescan |= bool(had_trouble) or disk.set_aside != set_aside
        self.on_ready()
        return written is not None

    def finish(self) -> None:
        """Let run() store what is left and return."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def close(self) -> None:
        """When both threads are done; idempotent."""
        if self._disk is not None:
            self._disk.close()

    def _look_up(self, now: float, heard_at: float) -> int:
        """Note what has changed since the last take(); the number behind which to look for events."""
        with self._changed:
            self._discard(self._receipts.delivered(heard_at), now)
            resume = self._gate.resume_from(now)
            if resume:
                self._cursor = min(self._cursor, resume - 1)
            if self._rescan:
                self._cursor, self._rescan = 0, False
            return self._cursor

    def _discard(self, numbers: List[int], now: float) -> None:
        """These events need not be kept any more."""
        for seq in numbers:
            self._receipts.forget(seq)
        if self._disk is None:
            self._waiting.remove(numbers)
        if numbers and self._disk is not None:
            if not self._gone:
                self._delete_at = now + _GATHER_S
                self._changed.notify()
            self._gone.update(numbers)

    def _choose(self, events: Iterable[Message], limit: int, now: float, taken: List[Message]) -> None:
        """Add to *taken* those *events* beyond the cursor that are to be sent now."""
        for event in events:
            seq = event.seq
            if seq <= self._cursor:
                continue
            if len(taken) >= limit:
                break
            self._cursor = seq
            if seq in self._in_flight or seq in self._receipts or seq in self._gone:
                continue
            if self._gate.admits(event.topic, seq, now):
                self._in_flight.add(seq)
                taken.append(event)

    def _is_memory_all(self, now: float) -> bool:
        """Whether events have to be sent without having been stored."""
        return self._disk is None or bool(self._disk.trouble) or now - self._committing_since > _STALLED_S

    def _make_room(self) -> None:
        self._forget_sent()
        if self._waiting.is_full:
            self._dropped["memory"] += self._waiting.drop()

    def _forget_sent(self) -> None:
        """What was sent out of memory needs no storing any more."""
        sent = self._waiting.matching(lambda seq: seq in self._receipts or seq in self._gone)
        self._waiting.remove(sent)
        for seq in sent:
            self._receipts.forget(seq)
            self._gone.discard(seq)

    def _wait_for_work(self) -> bool:
        """False: there is none left, and none will come."""
        with self._changed:
            while True:
                wait_s = self._idle_s()
                left = self._disk is not None and bool(self._waiting or self._gone)
                if wait_s <= 0 or (self._closing and left):
                    return True
                if self._closing:
                    return False
                self._changed.wait(None if math.isinf(wait_s) else wait_s)

    def _idle_s(self) -> float:
        """Seconds until there is something to do for the storing thread."""
        disk, now = self._disk, time.monotonic()
        if disk is None:
            return math.inf
        if disk.trouble:
            return disk.retry_s
        if self._waiting or self._bad or disk.is_damaged or len(self._gone) >= _BATCH:
            return 0.0
        deletion_s = self._delete_at - now if self._gone else math.inf
        return min(deletion_s, self._expire_at - now if disk.count else math.inf)

    def _settle(self, stored: List[Message], gone: Set[int], bad: Set[int], spared: Iterable[int]) -> None:
        """What a commit has done."""
        self._waiting.remove(event.seq for event in stored)
        for seq in spared:
            self._receipts.forget(seq)
        self._gone -= gone
        self._bad -= bad

    def _count_dropped(self, **counts: int) -> None:
        self._dropped.update({reason: count for reason, count in counts.items() if count})

    def _expire(self, disk: EventDisk) -> int:
        now = time.monotonic()
        if now < self._expire_at:
            return 0
        self._expire_at = now + _EXPIRE_S
        return disk.expire()

    def _count_unsaved(self) -> None:
        fresh = self._waiting.matching(lambda seq: seq > self._unsaved_up_to)
        self._unsaved += len(fresh)
        self._unsaved_up_to = max(fresh, default=self._unsaved_up_to)
