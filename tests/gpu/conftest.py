"""What the tests on a real GPU share."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from sightd.engines.cuda import Cuda
from tests.parts.gpu_rig import Rig, tiny_rig
from tests.parts.real_gpu import require_gpu
from tests.parts.rehearsal import fake_machine, rehearsing


@pytest.fixture(scope="session", autouse=True)
def _rehearsal() -> Iterator[None]:
    with fake_machine() if rehearsing() else nullcontext():
        yield


@pytest.fixture(scope="session")
def gpu() -> str:
    """The GPU's compute capability."""
    require_gpu()
    with Cuda() as cuda:
        return cuda.sm


@pytest.fixture(scope="session")
def tiny(gpu: str, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """The tiny detector and its engines."""
    return tiny_rig(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def record() -> Callable[[str, Any], None]:
    """Leaves what the real thing said or measured in the folder SIGHTD_TEST_RECORDS, for people."""
    folder = os.environ.get("SIGHTD_TEST_RECORDS")

    def write(name: str, content: Any) -> None:
        if folder:
            Path(folder, f"{name}.json").write_text(json.dumps(content, indent=1), "utf-8")

    return write
