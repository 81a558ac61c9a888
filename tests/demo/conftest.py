"""Fixtures of the demo's tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from demo import commands


@pytest.fixture
def fake_sightd(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo calls tests/parts/fake_sightd.py instead of sightd; FAULT in the environment spoils it."""
    fake = Path(__file__).parents[1] / "parts" / "fake_sightd.py"
    monkeypatch.setattr(commands, "_SIGHTD", (sys.executable, str(fake)))
    monkeypatch.setenv("PYTHONPATH", str(fake.parents[2]))
