"""Whether a real GPU with TensorRT is here, asked once; or the fakes that stand in for a rehearsal."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.util import find_spec

import pytest

from sightd.engines.cuda import Cuda
from sightd.errors import EngineError
from tests.parts.rehearsal import rehearsing

__all__ = ["require_gpu"]


def require_gpu() -> None:
    """Skip the calling test without one; with SIGHTD_TEST_GPU=1 fail instead."""
    reason = "" if rehearsing() else _missing()
    if reason and os.environ.get("SIGHTD_TEST_GPU") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@lru_cache(maxsize=None)
def _missing() -> str:
    if find_spec("tensorrt") is None:
        return "no GPU with TensorRT: tensorrt is not installed"
    try:
        Cuda().close()
    except EngineError as error:
        return f"no GPU with TensorRT: {error}"
    return ""
