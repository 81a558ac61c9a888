"""What the tests of the daemon share."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from daemon.outbox.spool import EventSpool
from tests.parts.broker import Broker, running_broker
from tests.parts.events import OpenSpool


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real one of the test's own."""
    (tmp_path / "broker").mkdir()
    with running_broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def open_spool() -> Iterator[OpenSpool]:
    opener = OpenSpool()
    yield opener
    opener.close()


@pytest.fixture
def spool(open_spool: OpenSpool, tmp_path: Path) -> EventSpool:
    return open_spool(tmp_path / "outbox")
