"""Calibration caches as files: TensorRT's text below a line that says what it is the cache of."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Union

from sightd.bundle import replace_durably

__all__ = ["cache_key", "load_cache", "save_cache"]

_TITLE = "sightd calibration cache"


def cache_key(graph: bytes, *parts: Union[str, int]) -> str:
    """The hash of all that a calibration depends on.

    :param graph: the ONNX file that TensorRT gets.
    :param parts: what else: pictures and input spec, algorithm, batch, TensorRT's version.
    """
    digest = hashlib.sha256(graph)
    for part in parts:
        digest.update(f"|{part}".encode())
    return digest.hexdigest()


def save_cache(path: Path, key: str, content: bytes) -> None:
    """Write *content* for :func:`load_cache`."""
    replace_durably(path, _head(key, content) + content)


def load_cache(path: Path, key: str) -> bytes:
    """What was saved with this *key*; nothing where it is another's, damaged or not there."""
    try:
        head, _, content = path.read_bytes().partition(b"\n")
    except OSError:
        return b""
    return content if content and head + b"\n" == _head(key, content) else b""


def _head(key: str, content: bytes) -> bytes:
    return f"{_TITLE} {key} {hashlib.sha256(content).hexdigest()}\n".encode()
