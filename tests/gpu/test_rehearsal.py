"""The tests for a real GPU on the fakes, so that what only seldom meets a GPU is known to run when it does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts.requires import require

_ROOT = Path(__file__).parents[2]
_TESTS = ("test_gpu_builds.py", "test_gpu_convert.py", "test_gpu_engine.py")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_tests_for_a_gpu_pass_on_the_fakes() -> None:
    require("g++")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "gpu",
        *(f"tests/gpu/{name}" for name in _TESTS),
    ]
    environment = {**os.environ, "SIGHTD_TEST_REHEARSE": "1"}
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
