"""Options of TensorRT builds for tests and benches, from SIGHTD_TEST_TRT: a machine may lack cuBLAS and cuDNN."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from converter.builders.options import tensorrt_options
from converter.builders.tensorrt_order import TensorRtOptions

__all__ = ["tensorrt_settings"]


def tensorrt_settings(**changes: Any) -> TensorRtOptions:
    """``SIGHTD_TEST_TRT="tactic_sources=A,B;preview_features=C"`` as options, with *changes*."""
    given = os.environ.get("SIGHTD_TEST_TRT", "")
    pairs = (one.partition("=") for one in given.split(";") if one.strip())
    return replace(tensorrt_options({key.strip(): value.strip() for key, _, value in pairs}), **changes)
