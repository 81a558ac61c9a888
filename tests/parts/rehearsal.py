"""A fake GPU and a fake TensorRT in place of real ones, in this process and in those that build engines.

For trying the tests and benches that need a GPU before they are carried to one: `SIGHTD_TEST_REHEARSE=1`, or the
bench's `--rehearse`. Their results mean nothing then.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import Iterator

from converter.builders import tensorrt_process
from sightd.engines import gpu_letterbox

__all__ = ["FAKES", "fake_machine", "rehearsing"]

#: What a child process runs first.
FAKES = "from tests.parts.fake_tensorrt import install_here; install_here()\n"
_WORKER = f"{FAKES}import sys; from converter.builders.tensorrt_worker import main; sys.exit(main())"


def rehearsing() -> bool:
    """Whether the environment asks for it."""
    return os.environ.get("SIGHTD_TEST_REHEARSE") == "1"


@contextmanager
def fake_machine() -> Iterator[None]:
    """What is imported now stays until the process ends; builds begun in the block are fake ones."""
    from tests.parts.fake_tensorrt import install_here
    from tests.parts.host_kernel import host_kernels

    real = tensorrt_process._COMMAND
    install_here().kernels.update(host_kernels())
    setattr(gpu_letterbox, "compile_kernels", _compiled)  # noqa: B010 (mypy: it is imported there, not its own)
    tensorrt_process._COMMAND = (sys.executable, "-c", _WORKER)
    try:
        yield
    finally:
        tensorrt_process._COMMAND = real


def _compiled(source: str, sm: str, cuda: str) -> bytes:
    """What the fake driver takes for an image."""
    return b"\x7fELF" + source.encode()
