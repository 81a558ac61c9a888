"""A decoder process that has run wild, or was taken over: what it says ends it, and does nothing to us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Iterator, Sequence

import pytest

from sightd.errors import SourceError
from sightd.sources import ProcessSource
from sightd.sources import decoder_process as module
from sightd.sources.decoder_wire import pair, send
from tests.parts.bad_sources import Bad
from tests.parts.decoding import in_process, is_there, pid_of, read, wait_until

#: The number of the request for the first picture, after those to open it and to map memory.
FIRST_GRAB = 3
NOT_ASKED = "it answers what it was not asked"
GOOD_ANSWER = b'{"cpu_s": 0, "logs": [], "live": true, "is_camera": false, "patience_s": 3.5}'


@contextlib.contextmanager
def decoder_that_says(
    answer: bytes, monkeypatch: pytest.MonkeyPatch, fds: Sequence[int] = ()
) -> Iterator[ProcessSource]:
    """A source whose process gives that *answer* to the request to open it."""
    ours, its = pair()
    sleeper = subprocess.Popen(["sleep", "1000"])
    monkeypatch.setattr(module._server, "fork", lambda name: (ours, sleeper.pid))
    send(its, answer, fds)
    with its, sleeper, in_process(Bad) as source:
        try:
            yield source
            assert sleeper.wait(10) == -signal.SIGKILL
        finally:
            sleeper.kill()


@pytest.mark.parametrize(
    "wild",
    [
        b"no JSON",
        b"[]",
        b'{"exit": "at once"}',
        GOOD_ANSWER.replace(b"true", b'"yes"'),
        GOOD_ANSWER.replace(b"3.5", b"1e300"),
        GOOD_ANSWER.replace(b"3.5", b"-1"),
        GOOD_ANSWER.replace(b"[]", b'[["name", "level"]]'),
    ],
)
def test_an_answer_that_makes_no_sense_ends_the_process_and_nothing_else(
    wild: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with decoder_that_says(wild, monkeypatch) as source:
        with pytest.raises(SourceError, match="has run wild"):
            source.open()
        assert source._process is not None
        assert not source._process.is_alive


def test_descriptors_of_a_process_that_runs_wild_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/null").open("rb") as file, decoder_that_says(GOOD_ANSWER, monkeypatch, [file.fileno()]) as source:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        with pytest.raises(SourceError, match="is gone"):
            source.open()
        assert len(os.listdir("/proc/self/fd")) == before - 1, "its connection is closed"  # noqa: PTH208


@pytest.mark.parametrize(
    "says",
    [
        "{",
        "{}}",
        '{"exit": 99999999999999999999}',
        '{"grabbed": "yes"}',
        '{"patience_s": 1e300}',
        '{"patience_s": -1}',
        '{"clock_s": 1e999}',
        '{"logs": [["x", 1e300, "y"]]}',
        '{"grabbed": true}',
        '{"grabbed": true, "shape": null}',
        '{"grabbed": true, "shape": [1048576, 1048576, 3]}',
        "fds",
    ],
)
def test_one_that_says_nonsense_is_ended(says: str) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    says = says.replace('{"', f'{{"number": {FIRST_GRAB}, "cpu_s": 1, "logs": [], "', 1)
    with in_process(partial(Bad, says, 0)) as source:
        source.open()
        pid = pid_of(source)
        with pytest.raises(SourceError) as told:
            read(source)
        assert NOT_ASKED not in str(told.value), "it is the answer that makes no sense"
        source.end()
        wait_until(lambda: not is_there(pid))
        source.open()
        assert pid_of(source) != pid
    assert len(os.listdir("/proc/self/fd")) <= before + 2  # noqa: PTH208  (the server's may be new)


@pytest.mark.parametrize("says", ['"stored": true', '"error": "lost"', '"exit": null'])
def test_one_that_answers_twice_is_ended_and_no_picture_is_taken_for_another(says: str) -> None:
    says = f'{{"number": {FIRST_GRAB}, "grabbed": true, {says}}}'
    with in_process(partial(Bad, says, 0)) as source:
        source.open()
        with contextlib.suppress(SourceError):
            source.grab()
        with pytest.raises(SourceError, match=NOT_ASKED):
            source.grab()
        assert source._process is not None
        assert not source._process.is_alive


def test_one_that_says_without_an_end_that_it_gets_on_is_ended() -> None:
    with in_process(partial(Bad, '{"alive": true}', 0)) as source:
        source.open()
        with pytest.raises(SourceError, match="has run wild"):
            source.grab()


def test_what_may_not_end_is_opened_anew() -> None:
    source = ProcessSource("yard", partial(Bad, "end"), ends=False)
    for _ in range(2):
        source.open()
        with pytest.raises(SourceError, match="has ended; it is started anew"):
            read(source)
    source.end()


def test_what_it_says_looks_like_no_line_of_the_daemon_s(caplog: pytest.LogCaptureFixture) -> None:
    logs = '[["sightd.sources.bad", 30, "c\\n2026-01-01 INFO d"]]'
    says = f'{{"number": {FIRST_GRAB}, "grabbed": true, "error": "a\\nb", "logs": {logs}}}'
    with in_process(partial(Bad, says, 0)) as source:
        source.open()
        with pytest.raises(SourceError, match=r"^a b$"):
            source.grab()
    assert caplog.records[-1].getMessage() == "c 2026-01-01 INFO d"


def test_a_picture_of_an_impossible_size_is_no_picture() -> None:
    from sightd.sources.process import _checked

    for shape in ((0, 5, 3), (-5, 5, 3), (1 << 20, 1 << 20, 3), (5, 5, 4)):
        with pytest.raises(SourceError, match="can't be right"):
            _checked(shape)
