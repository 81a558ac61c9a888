from __future__ import annotations

import io
import math
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightd.bounded import decode_json, read_arrays, read_bounded

HOSTILE = {
    "deep list": b"[" * 5000,
    "deep list that is closed": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"a":' * 5000,
    "deep in what is not asked for": b'{"x":' + b"[" * 5000,
    "NaN": b'{"n": NaN}',
    "Infinity": b'{"n": -Infinity}',
    "1e999": b'{"n": 1e999}',
    "a number of many digits": b'{"n": ' + b"9" * 5000 + b"}",
    "no UTF-8": b'{"n": "\xff"}',
    "half a surrogate": b'{"n": "\\ud800"}',
    "a NUL": b'{"n": 1}\x00',
    "two documents": b"{}{}",
    "cut off": b'{"n": [1, 2',
    "nothing": b"",
    "YAML's sexagesimal": b"22:22:22",
    "Python's words": b'{"n": None}',
}


@pytest.mark.parametrize("content", list(HOSTILE.values()), ids=list(HOSTILE))
@pytest.mark.parametrize("kind", [Any, Dict[str, Any], List[float]])
def test_what_is_hostile_is_a_value_error_with_a_short_reason(content: bytes, kind: Any) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  (what kind of one differs)
        decode_json(content, kind)
    assert 0 < len(str(raised.value)) < 300


@given(st.binary(max_size=300) | st.text(alphabet='[]{}":,0123456789eE+-.\\u nulltrefas', max_size=300).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_is_finite_json_or_a_value_error(content: bytes) -> None:
    try:
        found = decode_json(content, Any)
    except ValueError:
        return
    if isinstance(found, float):
        assert math.isfinite(found)


def test_threads_may_be_the_first_to_read_a_kind_together() -> None:
    """What msgspec does not survive is that two threads learn of a type at the same time."""
    program = """
import sys, threading
from dataclasses import make_dataclass
from sightd.bounded import decode_json

sys.setswitchinterval(1e-6)
for number in range(200):
    inner = make_dataclass("Inner", [(f"i{index}", "int", index) for index in range(20)])
    kind = make_dataclass("Outer", [(f"o{index}", inner) for index in range(3)])
    together = threading.Barrier(4)

    def read():
        together.wait()
        decode_json(b'{"o0": {}, "o1": {}, "o2": {"i19": 1}}', kind)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * (2 << 20))
    assert len(read_bounded(tmp_path / "file", 2 << 20)) == 2 << 20
    with pytest.raises(ValueError, match="larger than 1 MiB"):
        read_bounded(tmp_path / "file", 1 << 20)
    with pytest.raises(ValueError, match="larger than 1 MiB"):
        read_bounded(Path("/dev/zero"), 1 << 20)


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def array(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=True)
    return stream.getvalue()


def test_arrays_come_back(tmp_path: Path) -> None:
    file = archive(tmp_path / "a.npz", one=array(np.arange(3)), two=array(np.array("key")))
    found = read_arrays(file, ["one", "two"], 1 << 20)
    assert (found["one"].tolist(), str(found["two"])) == ([0, 1, 2], "key")


def huge_header() -> bytes:
    """An array that says it has 10 ** 15 numbers."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        array(np.array([print], dtype=object)),
        array(np.zeros(4))[:-5],
        huge_header(),
        b"",
        b"junk",
        array(np.zeros(1 << 20)),
    ],
    ids=["pickled", "cut off", "lies about its shape", "empty", "junk", "a bomb"],
)
def test_what_is_no_plain_small_array_is_a_value_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_arrays(archive(tmp_path / "a.npz", one=content), ["one"], 1 << 20)


@pytest.mark.parametrize("keep", [0, 10, -10])
def test_half_an_archive_and_a_missing_array_are_value_errors(tmp_path: Path, keep: int) -> None:
    file = archive(tmp_path / "a.npz", one=array(np.arange(300)))
    with pytest.raises(ValueError, match="two"):
        read_arrays(file, ["two"], 1 << 20)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"."):
        read_arrays(file, ["one"], 1 << 20)
