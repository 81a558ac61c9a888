"""Fixtures for all tests."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Iterator, List

import pytest

from tests.parts.real_gpu import require_gpu


def pytest_configure() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so do the processes that tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked gpu skip where there is none."""
    if item.get_closest_marker("gpu"):
        require_gpu()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """In a parallel run what may take longest comes first, for at the end nothing would run beside it."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: -_timeout_s(item))


def _timeout_s(item: pytest.Item) -> float:
    """Of the test's own; 0 where the usual one holds."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker else 0.0


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real models, images and videos; only for checks beyond what generated data proves."""
    beside_checkout = Path(__file__).resolve().parents[2] / "shared" / "assets"
    folder = Path(os.environ.get("SIGHTD_TEST_ASSETS", str(beside_checkout)))
    if not folder.is_dir():
        pytest.skip(f"no test assets at {folder}; name their folder in SIGHTD_TEST_ASSETS")
    return folder


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """For tests that configure logging: the root logger is put back."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
