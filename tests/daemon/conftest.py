"""What the tests of the daemon share."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from tests.parts.broker import Broker, running_broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real one of the test's own."""
    (tmp_path / "broker").mkdir()
    with running_broker(tmp_path / "broker") as running:
        yield running
