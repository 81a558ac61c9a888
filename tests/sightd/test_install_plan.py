from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, List, Optional

import pytest

from sightd.errors import ConfigError, SightdError
from sightd.install import plan as plan_module
from sightd.install.layout import Layout
from sightd.install.machine import Machine, Service
from sightd.install.plan import Plan, plan_install
from sightd.install.removal import plan_uninstall
from sightd.install.source import Source
from tests.parts.installation import PYTHON, bare_machine, carry_out, layout_in, tree

CAMERAS = "cameras: {yard: {url: 'rtsp://192.168.1.5/stream'}}\n"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return layout_in(tmp_path / "root")


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets which version is the running one."""

    def run_from(number: str) -> None:
        monkeypatch.setattr(plan_module, "own_source", lambda: Source("/checkout", f"digest of {number}", number))

    run_from("1.0.0")
    return run_from


def install(layout: Layout, machine: Optional[Machine] = None, **wanted: Any) -> List[str]:
    return carry_out(plan_install(layout, machine or bare_machine(), **wanted).changes)


def planned(plan: Plan) -> List[str]:
    return [change.describe() for change in plan.changes]


def configure(layout: Layout, text: str) -> None:
    layout.config.write_text(text, "utf-8")


def with_service(**state: bool) -> Machine:
    return replace(bare_machine(), service=Service(version=252, **state))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_is_put_where_it_belongs(layout: Layout) -> None:
    install(layout)
    (built,) = layout.versions.iterdir()
    assert built.name.startswith("1.0.0-")
    assert tree(layout.root) == sorted(
        [
            *("etc", "etc/sightd", "etc/sightd/secrets", "etc/sightd/sightd.schema.json", "etc/sightd/sightd.yaml"),
            *("etc/systemd", "etc/systemd/system", "etc/systemd/system/sightd.service"),
            *("etc/sysusers.d", "etc/sysusers.d/sightd.conf"),
            *("opt", "opt/sightd", "opt/sightd/bundles", "opt/sightd/versions", f"opt/sightd/venv -> {built}"),
            *(f"opt/sightd/versions/{built.name}", f"opt/sightd/versions/{built.name}/installed.json"),
            *("usr", "usr/local", "usr/local/bin", f"usr/local/bin/sightd -> {layout.current}/bin/sightd"),
            *("var", "var/lib", "var/lib/sightd"),
        ]
    )
    assert [mode(path) for path in (layout.config, layout.secrets, layout.state, layout.bundles)] == [
        *(0o640, 0o750, 0o700, 0o755)
    ]


def test_a_second_run_has_nothing_to_change(layout: Layout) -> None:
    install(layout)
    assert planned(plan_install(layout, bare_machine())) == []


def test_planning_changes_nothing(layout: Layout) -> None:
    assert planned(plan_install(layout, bare_machine()))
    assert not layout.root.exists()


@pytest.mark.parametrize("harm", ["mode", "text", "gone", "link"])
def test_what_was_altered_is_mended_and_nothing_else(layout: Layout, harm: str) -> None:
    install(layout)
    if harm == "mode":
        layout.config.chmod(0o644)
    elif harm == "text":
        layout.unit.write_text("[Service]\n", "utf-8")
    elif harm == "gone":
        layout.state.rmdir()
    else:
        layout.current.unlink()
    assert len(install(layout)) == 1
    assert planned(plan_install(layout, bare_machine())) == []


def test_settings_that_exist_are_kept(layout: Layout) -> None:
    install(layout)
    configure(layout, CAMERAS)
    install(layout)
    assert layout.config.read_text("utf-8") == CAMERAS


def test_an_upgrade_swaps_the_link_and_keeps_the_version_before(layout: Layout, version: Any) -> None:
    for number in ("1.0.0", "1.1.0", "1.2.0"):
        version(number)
        install(layout)
    assert sorted(path.name.partition("-")[0] for path in layout.versions.iterdir()) == ["1.1.0", "1.2.0"]
    assert Path(os.readlink(layout.current)).name.startswith("1.2.0-")
    assert not [path for path in layout.home.iterdir() if path.name.startswith(".")]


def test_going_back_builds_nothing(layout: Layout, version: Any) -> None:
    for number in ("1.0.0", "1.1.0"):
        version(number)
        install(layout)
    version("1.0.0")
    done = install(layout)
    assert [line.split()[0] for line in done] == ["link"]
    assert Path(os.readlink(layout.current)).name.startswith("1.0.0-")


def test_a_half_made_version_of_a_lost_run_is_cleared_away(layout: Layout) -> None:
    install(layout)
    (layout.versions / "1.1.0-20200101T000000Z").mkdir()
    assert [line.split()[0] for line in install(layout)] == ["remove"]


def test_other_needs_of_the_machine_build_anew(layout: Layout) -> None:
    install(layout)
    has_opencv = replace(bare_machine(), python=replace(PYTHON, cv2_there=True, cv2=True, numpy="1.26.4"))
    assert any(line.startswith("build ") and "numpy<2" in line for line in planned(plan_install(layout, has_opencv)))


def test_a_patch_release_of_python_builds_nothing(layout: Layout) -> None:
    install(layout)
    patched = replace(bare_machine(), python=replace(PYTHON, version=(3, 10, 13)))
    assert planned(plan_install(layout, patched)) == []


def test_another_version_does_its_own_part_itself(layout: Layout) -> None:
    install(layout)
    lines = planned(plan_install(layout, bare_machine(), source="sightd==2.0.0", start=False))
    assert len(lines) == 2
    assert lines[0].startswith(f"build {layout.versions}/2.0.0-")
    assert lines[1].endswith("/bin/sightd install --python /usr/bin/python3 --no-start")
    assert lines[1].startswith(f"run {layout.versions}/2.0.0-")


def test_the_installed_program_keeps_its_version_though_the_checkout_went_on_or_away(
    layout: Layout, version: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(layout)
    monkeypatch.setattr(sys, "prefix", os.readlink(layout.current))
    version("1.1.0")
    monkeypatch.setattr(
        plan_module,
        "_packaged",
        lambda name: (layout.unit if name.endswith("service") else layout.sysusers).read_text(),
    )
    assert planned(plan_install(layout, bare_machine())) == []


@pytest.mark.parametrize("which", ["command", "current"])
def test_what_is_not_ours_is_not_replaced(layout: Layout, which: str) -> None:
    path: Path = getattr(layout, which)
    path.parent.mkdir(parents=True)
    path.write_text("another program", "utf-8")
    with pytest.raises(SightdError, match="move it away"):
        plan_install(layout, bare_machine())


# the service


def test_the_service_is_enabled_and_without_cameras_not_started(layout: Layout) -> None:
    plan = plan_install(layout, with_service())
    assert [line for line in planned(plan) if "systemctl" in line] == [
        "run systemctl daemon-reload",
        "run systemctl enable sightd.service",
    ]
    assert "sudoedit" in plan.notes[-1]


def test_the_service_is_started_once_there_are_cameras_and_a_bundle(layout: Layout, tmp_path: Path) -> None:
    install(layout)
    configure(layout, f"bundle: {tmp_path}\nbundle_folders: [{tmp_path}]\n{CAMERAS}")
    without = plan_install(layout, with_service(enabled=True))
    assert planned(without) == []
    assert "sightd convert" in without.notes[-1]
    (tmp_path / "manifest.json").write_text("{}", "utf-8")
    assert planned(plan_install(layout, with_service(enabled=True))) == ["run systemctl start sightd.service"]
    assert planned(plan_install(layout, with_service(enabled=True), start=False)) == []


@pytest.mark.parametrize("harm", ["place", "rights"])
def test_the_service_is_not_started_with_a_bundle_that_it_would_refuse(
    layout: Layout, tmp_path: Path, version: Any, harm: str
) -> None:
    install(layout)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}", "utf-8")
    bundle.chmod(0o777 if harm == "rights" else 0o755)
    configure(layout, f"bundle: {bundle}\nbundle_folders: [{bundle if harm == 'rights' else '/opt'}]\n{CAMERAS}")
    for start in (None, True):
        plan = plan_install(layout, with_service(enabled=True), start=start)
        assert planned(plan) == []
        assert ("chmod o-w" if harm == "rights" else "is in none of /opt; engines are code") in plan.notes[-1]
    version("1.1.0")
    with pytest.raises(ConfigError, match=f"{bundle}.*\n.*mend that first"):
        plan_install(layout, with_service(enabled=True, active=True))


def test_a_running_service_is_restarted_when_its_program_or_unit_changed_and_only_then(
    layout: Layout, version: Any
) -> None:
    install(layout)
    running = with_service(enabled=True, active=True)
    assert planned(plan_install(layout, running)) == []
    configure(layout, CAMERAS.replace("192.168.1.5", "203.0.113.9"))
    assert [line for line in planned(plan_install(layout, running)) if "systemctl" in line] == [
        "run systemctl daemon-reload",
        "run systemctl restart sightd.service",
    ]
    configure(layout, CAMERAS)
    version("1.1.0")
    assert [line for line in planned(plan_install(layout, running)) if "systemctl" in line] == [
        "run systemctl restart sightd.service"
    ]


def test_a_running_service_is_not_risked_with_settings_that_it_could_not_start_with(
    layout: Layout, version: Any
) -> None:
    install(layout)
    configure(layout, "camera: [")
    running = with_service(enabled=True, active=True)
    assert planned(plan_install(layout, running)) == []
    version("1.1.0")
    with pytest.raises(ConfigError, match="mend that first"):
        plan_install(layout, running)


def test_the_account_joins_the_groups_of_the_devices(layout: Layout) -> None:
    install(layout)
    camera = replace(bare_machine(), video_nodes=True, groups=("audio", "video"))
    assert "run usermod --append --groups video sightd" in [
        line.replace(layout.service.partition(":")[0], "sightd") for line in planned(plan_install(layout, camera))
    ]
    joined = replace(camera, member_of=("video",))
    assert not any("usermod" in line for line in planned(plan_install(layout, joined)))
    assert not any("usermod" in line for line in planned(plan_install(layout, replace(camera, video_nodes=False))))


def test_without_systemd_the_files_are_installed_and_the_user_is_told(layout: Layout) -> None:
    plan = plan_install(layout, bare_machine())
    assert not any("systemctl" in line for line in planned(plan))
    assert any("systemd is not running" in note for note in plan.notes)


# drop-ins


def test_drop_ins_follow_the_settings_and_leave_the_administrators_own(layout: Layout) -> None:
    install(layout)
    configure(layout, CAMERAS.replace("192.168.1.5", "203.0.113.9"))
    install(layout)
    network = layout.drop_ins / "20-network.conf"
    assert "IPAddressAllow=203.0.113.9" in network.read_text("utf-8")
    own = layout.drop_ins / "90-own.conf"
    own.write_text("[Service]\nNice=5\n", "utf-8")
    configure(layout, CAMERAS)
    assert install(layout) == [f"remove {network}"]
    assert own.exists()


def test_settings_with_a_mistake_take_no_permission_away(layout: Layout) -> None:
    install(layout)
    configure(layout, CAMERAS.replace("192.168.1.5", "203.0.113.9"))
    install(layout)
    configure(layout, "camera: [")
    plan = plan_install(layout, bare_machine())
    assert planned(plan) == []
    assert any("sightd.yaml:1" in note for note in plan.notes)


def test_each_secret_becomes_a_credential(layout: Layout) -> None:
    install(layout)
    for name in ("mqtt", ".mqtt.swp", "mqtt~", "yard.password"):
        (layout.secrets / name).write_text("canary", "utf-8")
    install(layout)
    lines = (layout.drop_ins / "40-credentials.conf").read_text("utf-8").splitlines()
    assert [line for line in lines if line.startswith("LoadCredential=")] == [
        f"LoadCredential=mqtt:{layout.secrets}/mqtt",
        f"LoadCredential=yard.password:{layout.secrets}/yard.password",
    ]


def test_before_systemd_247_the_daemon_may_read_the_secrets_instead(layout: Layout) -> None:
    install(layout)
    secret = layout.secrets / "mqtt"
    secret.write_text("canary", "utf-8")
    secret.chmod(0o600)
    old = replace(bare_machine(), service=Service(version=245, enabled=True))
    changes = plan_install(layout, old).changes
    assert [change.describe().split(" (")[0] for change in changes] == [f"set mode and owner of {secret}"]
    carry_out(changes)
    assert mode(secret) == 0o640
    assert planned(plan_install(layout, old)) == []


# uninstall


def uninstall(layout: Layout, *, purge: bool = False) -> List[str]:
    return carry_out(list(plan_uninstall(layout, None, user=False, purge=purge)))


def test_uninstall_keeps_settings_bundles_and_data(layout: Layout) -> None:
    install(layout)
    configure(layout, CAMERAS)
    (layout.state / "calibration").mkdir()
    (layout.bundles / "default").mkdir()
    uninstall(layout)
    kept = [path for path in tree(layout.root) if path.count("/") > 1 and not path.startswith(("usr", "etc/systemd"))]
    assert kept == [
        *("etc/sightd/secrets", "etc/sightd/sightd.schema.json", "etc/sightd/sightd.yaml"),
        *("opt/sightd/bundles", "opt/sightd/bundles/default", "var/lib/sightd", "var/lib/sightd/calibration"),
    ]
    assert uninstall(layout) == []


def test_uninstall_keeps_the_administrators_drop_ins_until_a_purge(layout: Layout) -> None:
    install(layout)
    (layout.secrets / "mqtt").write_text("canary", "utf-8")
    install(layout)
    own = layout.drop_ins / "90-own.conf"
    own.write_text("[Service]\nNice=5\n", "utf-8")
    uninstall(layout)
    assert [*layout.drop_ins.iterdir()] == [own]
    assert uninstall(layout) == []
    uninstall(layout, purge=True)
    assert not layout.drop_ins.exists()


def test_purge_leaves_nothing_and_follows_no_link(layout: Layout, tmp_path: Path) -> None:
    install(layout)
    elsewhere = tmp_path / "disk"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    layout.state.rmdir()
    layout.state.symlink_to(elsewhere)
    uninstall(layout, purge=True)
    assert not [path for path in tree(layout.root) if "sightd" in path]
    assert (elsewhere / "precious").exists()
    assert uninstall(layout, purge=True) == []


def test_uninstall_leaves_a_command_that_is_not_ours(layout: Layout) -> None:
    layout.command.parent.mkdir(parents=True)
    layout.command.symlink_to("/usr/bin/true")
    assert uninstall(layout, purge=True) == []


def test_uninstall_stops_the_service_first_and_removes_the_account_with_a_purge(layout: Layout) -> None:
    install(layout)
    lines = [
        change.describe()
        for change in plan_uninstall(layout, Service(252, enabled=True, active=True), user=True, purge=True)
    ]
    assert lines[0] == "run systemctl disable --now sightd.service"
    assert lines.index("run systemctl daemon-reload") > lines.index(f"remove {layout.unit}")
    assert any(line.startswith("run userdel") for line in lines)
    assert lines[-1] == f"remove {layout.home}"


def test_an_account_that_is_missing_is_made(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = replace(bare_machine(), user=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert any("useradd --system" in line for line in planned(plan_install(layout, nobody)))
