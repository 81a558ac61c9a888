"""Settings files as no user means them: a running service refuses what is wrong, with a sentence, and goes on."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from daemon.messages import encode
from daemon.plan import plan_for
from daemon.reload import reread
from sightd.settings import parse_settings, starter
from tests.parts.daemon import MANIFEST

WHERE = Path("/etc/sightd/sightd.yaml")
CAMERAS = {"yard": "rtsp://admin:canary@192.0.2.1/a", "gate": "rtsp://192.0.2.2/b"}
WHOLE = starter(CAMERAS, {})
LINES = WHOLE.splitlines(keepends=True)
RUNNING = parse_settings(WHOLE.encode(), WHERE)
MANIFESTS = dict.fromkeys(RUNNING.bundles, MANIFEST)
PLAN = plan_for(RUNNING, MANIFESTS)

# fmt: off
NASTY = [
    "[" * 5000, "{" * 5000, "{a: " * 5000, "- " * 5000, "? " * 99, "&a [*a, *a]", "*a", "<<: {a: b}", "!!python/name:x",
    "22:22:22", "010", "0x1F", "yes", ".nan", ".inf", "1e999", "-1e999", "1e-999", "9" * 400, "-0", "~", "null", "''",
    '"\\ud800"', "\x00", "\ufeff", "\u2028", "😀", "'", '"', "|", ">", "%YAML 9.9", "---", "...", "#", "\t", "a" * 9999,
    "{}", "[]", "[[]]", "{a: 1, a: 2}", "true", "2026-01-01", "rtsp://u:canary@h/" + "x" * 5000, "/", "../../passwd",
    "\\", "@", "`",
]
# fmt: on


@st.composite
def configs(draw: st.DrawFn) -> bytes:
    """The whole file with some lines gone, doubled, indented or with another value, and perhaps some bytes changed."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        key = lines[place].partition(":")[0]
        value = draw(st.sampled_from(NASTY) | st.text(max_size=20))
        lines[place : place + 1] = draw(
            st.sampled_from(
                [[], [lines[place]] * 2, ["  " + lines[place]], [f"{key}: {value}\n"], [value + "\n"], [f"{key}:\n"]]
            )
        )
    content = "".join(lines).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(content)))
        content = content[:place] + draw(st.binary(max_size=4)) + content[place + draw(st.integers(0, 40)) :]
    return content


@given(content=configs())
@example(content=b"\xff\xfe")
@example(content=b"[" * 5000)
@example(content=WHOLE.encode())
@example(content=b"")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_file_says_the_service_goes_on(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        after, plan, told = reread((RUNNING, PLAN), lambda: parse_settings(content, WHERE), MANIFESTS)
    event(told.result)
    assert "Traceback" not in caplog.text, "a mistake of ours, not of the file's"
    assert "canary" not in caplog.text + told.error
    assert encode(told)
    if told.result == "refused":
        assert (after, plan) == (RUNNING, PLAN)
        assert told.error
        assert len(told.error) < 1 << 16
    else:
        assert plan == plan_for(after, MANIFESTS)


@pytest.mark.parametrize(
    "error", [RecursionError("deep"), MemoryError(), KeyError("rtsp://u:canary@h/"), OSError(5, "I/O")]
)
def test_even_a_mistake_of_ours_in_reading_them_is_told_and_survived(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def load() -> None:
        raise error

    after, plan, told = reread((RUNNING, PLAN), load, MANIFESTS)  # type: ignore[arg-type]
    assert (after, plan, told.result) == (RUNNING, PLAN, "refused")
    assert type(error).__name__ in told.error
    assert "canary" not in told.error
