from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import pytest

from sightd import __version__
from sightd.errors import SightdError
from sightd.install import source as source_module
from sightd.install.source import Source, files_of, given_source, own_source

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for folder in ("sightd", "daemon", "converter", "config", "systemd/sysusers.d"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "daemon/cli.py", "systemd/sysusers.d/s.conf"):
        (tmp_path / file).write_text(file, "utf-8")
    (tmp_path / "sightd/__init__.py").write_text('__version__ = "7.8.9"\n', "utf-8")
    return tmp_path


def test_a_checkout_knows_its_version_and_changes_with_what_is_packaged_only(checkout: Path) -> None:
    first = given_source(str(checkout))
    assert first.version == "7.8.9"
    (checkout / "tests").mkdir()
    (checkout / "tests/test_x.py").touch()
    (checkout / "daemon/__pycache__").mkdir()
    (checkout / "daemon/__pycache__/cli.pyc").touch()
    assert given_source(str(checkout)) == first
    (checkout / "systemd/sysusers.d/s.conf").write_text("other", "utf-8")
    assert given_source(str(checkout)) != first


def test_a_file_that_only_moved_is_a_change(checkout: Path) -> None:
    first = given_source(str(checkout))
    (checkout / "daemon/cli.py").rename(checkout / "daemon/clj.py")
    assert given_source(str(checkout)).digest != first.digest


def test_this_checkout_has_all_that_setup_py_reads() -> None:
    files = {str(path) for path in files_of(CHECKOUT)}
    assert {"setup.py", "README.md", "sightd/cli.py", "daemon/cli.py", "converter/cli.py"} <= files
    assert {"systemd/sightd.service", "systemd/sysusers.d/sightd.conf", "config/sightd.yaml"} <= files


@pytest.mark.parametrize(
    ("text", "requirement"),
    [
        ("sightd==1.2.0", "sightd[ort,convert]==1.2.0"),
        ("sightd", "sightd[ort,convert]"),
        ("sightd>=1,<2", "sightd[ort,convert]>=1,<2"),
        ("git+https://host/sightd@v1", "sightd[ort,convert] @ git+https://host/sightd@v1"),
    ],
)
def test_extras_find_their_place(text: str, requirement: str) -> None:
    assert given_source(text).requirement("ort,convert") == requirement


def test_extras_of_a_path_stand_behind_it(tmp_path: Path) -> None:
    wheel = tmp_path / "sightd-1.2.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    found = given_source(str(wheel))
    assert found.version == "1.2.0"
    assert found.requirement("ort") == f"{wheel}[ort]"
    assert found.requirement("ort", Path("/copy")) == "/copy[ort]"
    wheel.write_bytes(b"another")
    assert given_source(str(wheel)) != found


def test_what_may_be_another_tomorrow_is_never_the_same() -> None:
    assert given_source("sightd==1.0") == given_source("sightd==1.0")
    assert given_source("git+https://host/sightd@main") != given_source("git+https://host/sightd@main")


@pytest.mark.parametrize("text", ["./nowhere", "numpy", "numpy==1.0", "-r file", "sightd.whl"])
def test_what_is_not_sightd_is_refused(text: str) -> None:
    with pytest.raises(SightdError, match=r"checkout of sightd|requirement of sightd"):
        given_source(text)


def test_a_password_is_not_recorded() -> None:
    with pytest.raises(SightdError, match="netrc") as caught:
        given_source("git+https://me:canary@host/sightd")
    assert "canary" not in str(caught.value)


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SightdError, match="no checkout"):
        given_source(str(tmp_path))


def test_a_running_checkout_is_its_own_source() -> None:
    assert own_source() == given_source(str(CHECKOUT))


class _Distribution:
    def __init__(self, recorded: Any) -> None:
        self._recorded = recorded

    def read_text(self, name: str) -> Any:
        assert name == "direct_url.json"
        return None if self._recorded is None else json.dumps(self._recorded)


@pytest.mark.parametrize(
    ("recorded", "text"),
    [
        (None, f"sightd=={__version__}"),
        (
            {"url": "https://h/sightd", "vcs_info": {"vcs": "git", "commit_id": "abc", "requested_revision": "main"}},
            "git+https://h/sightd@abc",
        ),
        ({"url": "https://h/sightd-1.whl", "archive_info": {"hash": "sha256=1"}}, "https://h/sightd-1.whl"),
    ],
)
def test_an_installed_program_comes_from_where_pip_got_it(
    recorded: Dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(source_module, "__file__", str(tmp_path / "site-packages/sightd/install/source.py"))
    monkeypatch.setattr(source_module.metadata, "distribution", lambda name: _Distribution(recorded))
    assert own_source().text == text
    assert own_source() == own_source()


def test_an_installed_program_comes_from_the_folder_that_pip_was_given(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(source_module, "__file__", str(tmp_path / "site-packages/sightd/install/source.py"))
    recorded = {"url": f"file://{checkout}", "dir_info": {}}
    monkeypatch.setattr(source_module.metadata, "distribution", lambda name: _Distribution(recorded))
    assert own_source() == given_source(str(checkout))


def test_a_source_is_a_path_only_if_it_is_absolute() -> None:
    assert Source("/x", "", "1").path == Path("/x")
    assert Source("sightd==1", "", "1").path is None
