"""Numbers of events that a damaged disk has forgotten: never given again, so that a subscriber sees the gap."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from daemon.outbox import Message
from daemon.outbox.disk import DiskOptions
from daemon.outbox.spool import EventSpool


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The folder of a daemon that was killed: event 1 is in the database, 2 and 3 are in its log."""
    for count in (1, 2):
        spool = EventSpool(DiskOptions(tmp_path / "outbox"))
        for _ in range(count):
            spool.put(Message("sightd/box/yard/events", b"{}", seq=spool.next_seq()))
        spool.finish()
        spool.run()
        shutil.copytree(tmp_path / "outbox", tmp_path / f"after-{count}")
        spool.close()
    return tmp_path / "after-2"


def first_number(folder: Path) -> int:
    spool = EventSpool(DiskOptions(folder))
    try:
        return spool.next_seq()
    finally:
        spool.close()


def test_a_log_that_is_gone_takes_events_with_it_but_not_their_numbers(killed: Path) -> None:
    assert (killed / "events.db-wal").stat().st_size > 0
    (killed / "events.db-wal").unlink()
    assert first_number(killed) == 4


def test_a_database_that_is_gone_leaves_the_numbers(killed: Path) -> None:
    for file in killed.glob("events.db*"):
        file.unlink()
    assert first_number(killed) == 4


@pytest.mark.parametrize("content", [b"", b"9", b"00000000000000000009 0000000000\n", b"\xff\x00", b"9" * 50 + b" 1"])
def test_a_note_that_is_damaged_counts_for_nothing(killed: Path, content: bytes) -> None:
    (killed / "newest").write_bytes(content)
    assert first_number(killed) == 4
