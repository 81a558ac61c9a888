from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import List

import pytest

from sightd.errors import SightdError
from sightd.install.changes import HandOver, Link, Remove, Run, WriteFile, run
from sightd.install.layout import Layout
from tests.parts.installation import layout_in


@pytest.fixture
def me(tmp_path: Path) -> str:
    layout: Layout = layout_in(tmp_path)
    return layout.admin


def names_in(folder: Path) -> List[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_is_replaced_as_a_whole_and_leaves_no_other_behind(tmp_path: Path, me: str) -> None:
    path = tmp_path / "unit"
    path.write_text("old", "utf-8")
    with path.open(encoding="utf-8") as reader:
        WriteFile(path, "new\n", 0o640, me).apply()
        assert reader.read() == "old"
    assert path.read_text("utf-8") == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert names_in(tmp_path) == ["unit"]


def test_a_file_whose_owner_does_not_exist_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        WriteFile(tmp_path / "unit", "new", 0o640, "nobody-of-that-name:no-group").apply()
    assert names_in(tmp_path) == []


def test_a_link_is_swapped_though_a_lost_run_left_its_half(tmp_path: Path) -> None:
    (tmp_path / "venv").symlink_to("old")
    (tmp_path / ".venv.new").symlink_to("half")
    Link(tmp_path / "venv", Path("new")).apply()
    assert os.readlink(tmp_path / "venv") == "new"
    assert names_in(tmp_path) == ["venv"]


def test_removing_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    Remove(tmp_path / "link").apply()
    assert names_in(tmp_path) == ["folder"]
    Remove(folder).apply()
    assert names_in(tmp_path) == []


def test_a_failing_program_is_an_error_with_its_last_words_and_no_password() -> None:
    script = "import sys; print('\\n'.join(map(str, range(99)))); print('https://me:canary@index/'); sys.exit(3)"
    with pytest.raises(SightdError, match=r"exit code 3") as caught:
        Run((sys.executable, "-c", script, "--index-url=https://me:canary@index/")).apply()
    lines = str(caught.value).splitlines()
    assert lines[-1] == "  https://me:***@index/"
    assert lines[-2] == "  98"
    assert len(lines) < 20
    assert "canary" not in str(caught.value)
    assert "canary" not in Run(("pip", "https://me:canary@index/")).describe()


def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SightdError, match="can't be started"):
        run(("/nonexistent/program",))


def test_a_program_that_talks_to_the_user_may_fail_too(capfd: pytest.CaptureFixture[str]) -> None:
    HandOver((sys.executable, "-c", "print('said')")).apply()
    assert capfd.readouterr().out == "said\n"
    with pytest.raises(SightdError, match="did not finish"):
        HandOver((sys.executable, "-c", "raise SystemExit(1)")).apply()
