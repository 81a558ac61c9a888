"""Input that nobody would write: what reads it says so in words of its own, with no secret in them, and soon."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Callable, Dict, List, Tuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from sightd.errors import ConfigError
from sightd.settings import parse_settings
from tests.chaos.outcome import Outcome, worst

__all__ = ["fuzz_settings", "fuzzed"]

_EXAMPLE = Path(__file__).parents[2] / "config/sightd.yaml"
_CANARY = "c4n4ry"
_CAMERA = f"  yard:\n    url: rtsp://viewer:{_CANARY}@192.0.2.10/1\n"
#: Whoever waits longer for a file of settings thinks that the service hangs.
_SOON_S = 10.0

#: Known to bite readers of YAML.
_BITES = [
    "&a [*a, *a]",
    "[" * 5000,
    "{" * 5000,
    "- " * 3000,
    "22:22:22",
    ".nan",
    "1e999",
    "0x7fffffffffffffffffffff",
    "9" * 5000,
    "!!python/object/apply:os.system [id]",
    "!!binary aGVsbG8=",
    "<<: {a: 1}",
    "? [a, b]\n: c",
    "|\n  x",
    "%YAML 9.9",
    "\x00",
    "\ufeff",
    "\u2028",
    "\t",
    "---",
    "...",
    "''",
    "null",
    "~: ~",
    "mqtt: {port: -0}",
    "cameras: []",
    "{a: " * 200,
]
_PIECES = st.one_of(st.sampled_from(_BITES), st.text(max_size=20))
#: Where (as a share of the text), how much of it goes, and what comes in its place.
_EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 60), _PIECES), min_size=1, max_size=6)
_LINES = [
    line for line in _EXAMPLE.read_text("utf-8").splitlines(keepends=True) if line.strip() and line.lstrip()[0] != "#"
]
#: At which line, and what its key is to have for a value.
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_VALUES = st.lists(st.tuples(st.integers(0, 500), st.sampled_from(_BITES) | _JSON), min_size=1, max_size=3)


def fuzz_settings(number: int, times: int) -> List[Outcome]:
    """*times* files of settings, damaged copies of the commented one; *number* seeds them."""
    text = "".join(_LINES) + _CAMERA
    texts = _EDITS.map(lambda edits: _edited(text, edits)) | _VALUES.map(_revalued)
    inputs = texts.map(lambda made: made.encode("utf-8", "replace")) | st.binary(max_size=500)

    def read(data: bytes) -> str:
        try:
            parse_settings(data, Path("/etc/sightd/sightd.yaml"))
        except ConfigError as error:
            return _shown(str(error))
        return "accepted"

    return [fuzzed("settings", inputs, read, number, times)]


def fuzzed(
    name: str, inputs: st.SearchStrategy[bytes], read: Callable[[bytes], str], number: int, times: int
) -> Outcome:
    """Give *times* of *inputs* to *read*, which says in a word what it made of one; any exception is a failure."""
    seconds: List[float] = []
    words: Dict[str, int] = {}

    def check(data: bytes) -> None:
        began = time.monotonic()
        word = read(data)
        seconds.append(time.monotonic() - began)
        words[word] = words.get(word, 0) + 1
        assert seconds[-1] < _SOON_S

    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    bounds = settings(
        max_examples=times,
        database=None,
        deadline=None,
        suppress_health_check=checks,
        phases=[Phase.generate, Phase.shrink],
    )
    seed(number)(bounds(given(inputs)(check)))()
    return Outcome(f"fuzz: {name}", len(seconds), notes={**words, "slowest_s": worst(seconds)})


def _shown(message: str) -> str:
    assert _CANARY not in message, "a password is shown"
    return "refused"


def _revalued(values: List[Tuple[int, object]]) -> str:
    """The commented settings with other values at some lines, as JSON, which YAML knows too."""
    lines = "".join([*_LINES, _CAMERA]).splitlines()
    for place, value in values:
        key = lines[place % len(lines)].partition(":")[0]
        lines[place % len(lines)] = f"{key}: {value if isinstance(value, str) else json.dumps(value)}"
    return "\n".join(lines)


def _edited(text: str, edits: List[Tuple[float, int, str]]) -> str:
    for place, gone, piece in edits:
        at = int(place * len(text))
        text = text[:at] + piece + text[at + gone :]
    return text
