from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sightd.errors import SightdError
from sightd.install import cli
from sightd.install.layout import Layout
from tests.parts.installation import layout_in, tree


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    layout: Layout = layout_in(tmp_path / "root")
    monkeypatch.setattr(cli, "Layout", lambda: layout)
    made = typer.Typer()
    cli.register(made)
    return made


def test_a_dry_run_needs_no_root_prints_every_change_and_makes_none(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    outcome = CliRunner().invoke(app, ["install", "--dry-run", "--python", sys.executable], catch_exceptions=False)
    assert outcome.exit_code == 0
    for path in ("opt/sightd/venv", "etc/sightd/sightd.yaml", "var/lib/sightd", "etc/systemd/system/sightd.service"):
        assert str(tmp_path / "root" / path) in outcome.output
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_changes_need_root(app: typer.Typer, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SightdError, match="sudo"):
        CliRunner().invoke(app, [command], catch_exceptions=False)


def test_where_nothing_is_there_is_nothing_to_remove(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "has_user", lambda owner: False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    outcome = CliRunner().invoke(app, ["uninstall", "--purge"], catch_exceptions=False)
    assert outcome.output == "nothing to remove\n"


def test_a_disk_error_is_one_to_act_on(app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/sysusers.d").touch()
    with pytest.raises(SightdError, match=r"sysusers.d.*run this again"):
        CliRunner().invoke(app, ["install", "--python", sys.executable], catch_exceptions=False)
    assert tree(tmp_path / "root") == ["etc", "etc/sysusers.d"]
