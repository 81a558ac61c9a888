"""Imported as TensorRT by a worker process of a test: the fake of the version that the environment names."""

from __future__ import annotations

import os
import sys

from tests.parts.fake_tensorrt import install_here

__all__ = ["MODULE", "VERSION"]

#: For TensorRtOptions.module.
MODULE = __name__
#: The name of the environment variable.
VERSION = "SIGHTD_TEST_TENSORRT"

if VERSION in os.environ:
    install_here(os.environ[VERSION])
    sys.modules[__name__] = sys.modules["tensorrt"]
