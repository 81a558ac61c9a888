"""Reading what others wrote: never more than a limit, never deeper than the stack, never code.

Every function raises ValueError with a reason that can stand in a message; who calls says which file and what to do.
"""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from pathlib import Path
from typing import Any, Dict, Iterable, Type, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_json", "read_arrays", "read_bounded"]

_T = TypeVar("_T")

#: msgspec crashes where two threads learn of a type at the same time (0.18 to 0.22).
_learning = threading.Lock()
_decoders: Dict[Any, msgspec.json.Decoder[Any]] = {}


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The content of *path*.

    :raises OSError: it can't be read.
    :raises ValueError: it is larger than *max_bytes*.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        size = os.fstat(file.fileno()).st_size
        # Memory is reserved for as much as is asked for; a device, or a file that grows, has more than its size says.
        content = b"" if size > max_bytes else file.read(min(max(size, 1 << 20), max_bytes) + 1)
    if max(size, len(content)) > max_bytes:
        raise ValueError(f"larger than {max_bytes >> 20} MiB")
    return content


def _without_waiting(path: str, flags: int) -> int:
    """A pipe under the name of a file is empty, instead of holding us up until somebody writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def decode_json(content: bytes, kind: Type[_T]) -> _T:
    """*content* as *kind*.

    :raises ValueError: it is no JSON (NaN is none), no UTF-8, nested too deeply, holds a number that is too large, or
        is not of that kind.
    """
    try:
        found: _T = _decoder(kind).decode(content)
        return found
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except msgspec.MsgspecError as error:  # of 0.18, the last for Python 3.8, it is no ValueError
        raise ValueError(str(error)) from error


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    with _learning:
        if kind not in _decoders:
            _decoders[kind] = msgspec.json.Decoder(kind)
        return _decoders[kind]


def read_arrays(path: Path, names: Iterable[str], max_bytes: int) -> Dict[str, NDArray[np.generic]]:
    """The arrays *names* of a .npz file; objects, which would have to be unpickled, are refused.

    :raises OSError: it can't be read.
    :raises ValueError: it is none, is damaged, lacks an array, or would take more than *max_bytes* of memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > max_bytes:
            raise ValueError(f"unpacked it is larger than {max_bytes >> 20} MiB")
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            found = {name: stored[name] for name in names}
    except (KeyError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        # What NumPy, zipfile and zlib raise on files that are cut off or have changed bits.
        raise ValueError(str(error) or type(error).__name__) from error
    if not all(isinstance(array, np.ndarray) for array in found.values()):
        raise ValueError("not an archive of arrays")
    return found
