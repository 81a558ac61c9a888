from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sightd.bundle_trust import check_place, check_trusted
from sightd.errors import BundleError, ConfigError
from tests.parts.daemon import command, running_daemon, write_quadrant_bundle

CAMERA = "mqtt: {port: 1}\ncameras: {yard: {url: none.avi}}\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "bundles").mkdir()
    return write_quadrant_bundle(tmp_path / "bundles")


def test_a_bundle_in_an_allowed_folder_or_that_folder_itself_may_be_run(bundle: Path) -> None:
    check_trusted(bundle, [Path("/elsewhere"), bundle.parent])
    check_trusted(bundle, [bundle])


@pytest.mark.parametrize("allowed", ["/elsewhere", "bund", "bundles/bundle/versions"])
def test_one_that_lies_elsewhere_is_refused_with_what_to_do(bundle: Path, tmp_path: Path, allowed: str) -> None:
    with pytest.raises(ConfigError, match=r"bundle_folders: .* is in none of .* move it there, or add the folder"):
        check_trusted(bundle, [tmp_path / allowed])


def test_a_link_that_leads_out_is_refused_and_one_that_leads_in_is_not(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut" / "link").symlink_to(bundle)
    with pytest.raises(ConfigError, match=r"which leads to .*/bundles/bundle, is in none of"):
        check_trusted(tmp_path / "shut" / "link", [tmp_path / "shut"])
    with pytest.raises(ConfigError, match="is in none of"):
        check_trusted(bundle / ".." / ".." / "shut", [bundle.parent])
    check_trusted(tmp_path / "shut" / "link", [bundle.parent])


@pytest.mark.parametrize("name", ["", "manifest.json", "engine", "versions", "versions/v/engine-0.onnx", ".."])
def test_what_every_user_may_write_is_refused(bundle: Path, name: str) -> None:
    (bundle / "versions" / "v").mkdir(parents=True)
    (bundle / "versions" / "v" / "engine-0.onnx").touch()
    path = next(bundle.glob("engine-*")) if name == "engine" else (bundle / name).resolve()
    path.chmod(path.stat().st_mode | 0o002)
    with pytest.raises(BundleError, match=f"every user of this machine may write to it.*chmod o-w {path}"):
        check_trusted(bundle, [bundle.parent])


def test_above_it_a_sticky_folder_like_tmp_will_do_but_not_the_bundle_itself(bundle: Path) -> None:
    bundle.parent.chmod(0o1777)
    check_trusted(bundle, [bundle.parent])
    bundle.chmod(0o1777)
    with pytest.raises(BundleError, match="every user"):
        check_trusted(bundle, [bundle.parent])


def test_a_dangling_link_beside_the_engine_is_nothing_that_is_run(bundle: Path) -> None:
    (bundle / "note").symlink_to("nowhere")
    check_trusted(bundle, [bundle.parent])


def test_the_place_of_a_bundle_that_is_yet_to_come_can_be_told(tmp_path: Path) -> None:
    check_place(tmp_path / "later", [tmp_path])
    with pytest.raises(ConfigError, match="is in none of"):
        check_place(tmp_path / "later", [tmp_path / "bundles"])


WRONG = pytest.mark.parametrize(("mode", "folders", "code"), [(0o777, '["."]', 1), (0o755, "[/opt/sightd/bundles]", 2)])


@WRONG
def test_check_config_says_so(tmp_path: Path, mode: int, folders: str, code: int) -> None:
    write_quadrant_bundle(tmp_path).chmod(mode)
    (tmp_path / "sightd.yaml").write_text(f"bundle: bundle\nbundle_folders: {folders}\n{CAMERA}")
    line = command("check-config", str(tmp_path / "sightd.yaml"))
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert (f"chmod o-w {tmp_path}/bundle" if code == 1 else "is in none of /opt/sightd/bundles;") in done.stderr


@WRONG
def test_the_daemon_does_not_start_with_it(tmp_path: Path, mode: int, folders: str, code: int) -> None:
    write_quadrant_bundle(tmp_path).chmod(mode)
    with running_daemon(tmp_path, f"bundle_folders: {folders}\n{CAMERA}") as daemon:
        assert daemon.process.wait(60) == code
    assert ("every user" if code == 1 else "is in none of /opt/sightd/bundles;") in daemon.log
    assert "Traceback" not in daemon.log
