"""The doctor's checks of permissions, the systemd unit and what its sandbox keeps from the daemon."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Dict

import pytest

from daemon.doctor import permissions, service
from daemon.doctor.access import may_read, service_account
from daemon.doctor.machine import Account, Ran
from sightd.settings import Settings, parse_settings
from tests.parts.doctor import BenchMachine, by_name, one
from tests.parts.systemd import boot, skip_unless_bootable

CANARY = "hunter2canary"
CONFIG = Path("/etc/sightd/sightd.yaml")
ACCOUNTS = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nsightd:x:64998:64998::/var/lib/sightd:/usr/sbin/nologin\n",
    "/etc/group": "root:x:0:\nvideo:x:64944:me,sightd\nrender:x:64945:\nsightd:x:64998:\n",
}
UNIT: Dict[str, str] = {
    "LoadState": "loaded",
    "UnitFileState": "enabled",
    "ActiveState": "active",
    "SubState": "running",
    "NRestarts": "0",
    "ExecMainStatus": "0",
    "SupplementaryGroups": "",
    "DevicePolicy": "closed",
    "IPAddressDeny": "::/0 0.0.0.0/0",
    "IPAddressAllow": "127.0.0.0/8 192.168.0.0/16 ::1/128",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "StateDirectory": "sightd",
    "ReadWritePaths": "",
}


def settings_of(text: str) -> Settings:
    return parse_settings(text.encode(), CONFIG)


def machine_with(root: Path, files: Dict[str, str], **unit: str) -> BenchMachine:
    printed = "".join(f"{name}={value}\n" for name, value in {**UNIT, **unit}.items())
    return BenchMachine(root, {**ACCOUNTS, **files}, {"systemctl show sightd.service": Ran(0, printed)})


PLAIN = settings_of("cameras: {front: {url: rtsp://192.168.1.9/x}}")
WITH_PASSWORD = settings_of(f"cameras: {{front: {{url: 'rtsp://u:{CANARY}@192.168.1.9/x'}}}}")
WITH_FILES = settings_of("""
mqtt: {username: me, password_file: secrets/broker}
camera_defaults: {password_file: secrets/camera}
cameras: {front: {url: 'rtsp://u@192.168.1.9/x'}, back: {url: 'rtsp://u@192.168.1.8/x'}}
""")


@pytest.mark.parametrize(
    ("account", "mode", "reads"),
    [
        (Account("root", 0, frozenset()), 0o000, True),
        (Account("owner", 5, frozenset({7})), 0o400, True),
        (Account("owner", 5, frozenset({7})), 0o044, False),  # the owner's bits count, even when others may more
        (Account("member", 6, frozenset({7})), 0o040, True),
        (Account("member", 6, frozenset({7})), 0o404, False),
        (Account("other", 6, frozenset({6})), 0o440, False),
        (Account("other", 6, frozenset({6})), 0o004, True),
    ],
)
def test_a_mode_is_read_as_the_kernel_does(account: Account, mode: int, reads: bool) -> None:
    assert may_read(account, os.stat_result((mode, 0, 0, 1, 5, 7, 0, 0, 0, 0))) is reads


class TestPermissions:
    def check(self, machine: BenchMachine, settings: Settings) -> dict:
        return by_name(permissions.check(machine, settings, CONFIG, service_account(machine)))

    def test_a_password_that_everybody_can_read_is_a_problem(self, tmp_path: Path) -> None:
        machine = BenchMachine(tmp_path, {**ACCOUNTS, str(CONFIG): ""})
        machine.path(CONFIG).chmod(0o644)
        found = self.check(machine, WITH_PASSWORD)["settings file"]
        assert found.level == "problem"
        assert found.fix == f"sudo chown root:sightd {CONFIG} && sudo chmod 640 {CONFIG}"
        assert CANARY not in repr(found)

    def test_settings_without_a_password_may_be_read_by_everybody(self, tmp_path: Path) -> None:
        machine = BenchMachine(tmp_path, {**ACCOUNTS, str(CONFIG): ""})
        machine.path(CONFIG).chmod(0o644)
        assert self.check(machine, PLAIN)["settings file"].level == "ok"

    def test_settings_that_the_service_can_not_read_are_a_problem(self, tmp_path: Path) -> None:
        machine = BenchMachine(tmp_path, {**ACCOUNTS, str(CONFIG): ""})
        machine.path(CONFIG).chmod(0o600)
        assert "can't be read by the user sightd" in self.check(machine, PLAIN)["settings file"].says

    def test_settings_in_a_folder_that_is_closed_to_the_service_are_a_problem(self, tmp_path: Path) -> None:
        machine = BenchMachine(tmp_path, {**ACCOUNTS, str(CONFIG): ""})
        machine.path(CONFIG).chmod(0o644)
        machine.path(CONFIG.parent).chmod(0o700)
        assert self.check(machine, PLAIN)["settings file"].fix == f"sudo chmod o+x {CONFIG.parent}"

    def test_without_the_services_user_its_own_is_judged(self, tmp_path: Path) -> None:
        machine = BenchMachine(tmp_path, {str(CONFIG): ""})
        machine.path(CONFIG).chmod(0o600)
        assert self.check(machine, WITH_PASSWORD)["settings file"].level == "ok"

    def test_secrets_are_looked_at_once_each(self, tmp_path: Path) -> None:
        files = {"/etc/sightd/secrets/broker": CANARY, "/etc/sightd/secrets/camera": CANARY}
        machine = BenchMachine(tmp_path, {**ACCOUNTS, str(CONFIG): "", **files})
        machine.path("/etc/sightd/secrets/broker").chmod(0o644)
        machine.path("/etc/sightd/secrets/camera").chmod(0o600)
        found = self.check(machine, WITH_FILES)
        assert found["mqtt.password_file"].says.endswith("is open to every user of this machine (-rw-r--r--)")
        assert "can't be read by the user sightd" in found["cameras.front.password_file"].says
        assert "cameras.back.password_file" not in found

    def test_secrets_that_systemd_hands_over_may_be_roots_alone(self, tmp_path: Path) -> None:
        secret = "/etc/sightd/secrets/broker"
        drop_in = {"/etc/systemd/system/sightd.service.d/40.conf": f"[Service]\nLoadCredential=broker:{secret}\n"}
        machine = BenchMachine(tmp_path, {**ACCOUNTS, str(CONFIG): "", secret: CANARY, **drop_in})
        machine.path(secret).chmod(0o600)
        assert self.check(machine, WITH_FILES)["mqtt.password_file"].level == "ok"

    def test_a_missing_secret_is_a_problem(self, tmp_path: Path) -> None:
        machine = BenchMachine(tmp_path, {**ACCOUNTS, str(CONFIG): ""})
        assert "is missing" in self.check(machine, WITH_FILES)["mqtt.password_file"].says

    def test_what_is_hidden_from_us_asks_for_root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        machine = BenchMachine(tmp_path, {**ACCOUNTS, str(CONFIG): ""})
        monkeypatch.setattr(machine, "hidden", lambda path: True)  # root, who runs the tests in CI, sees everything
        found = self.check(machine, PLAIN)
        assert {finding.fix for finding in found.values()} == {"run with sudo for this: sudo sightd doctor"}

    @pytest.mark.parametrize(("mode", "level"), [(0o755, "problem"), (0o777, "ok")])
    def test_the_state_folder_must_be_the_services(self, tmp_path: Path, mode: int, level: str) -> None:
        machine = BenchMachine(tmp_path, {**ACCOUNTS, "/var/lib/sightd/calibration/x": ""})
        machine.path("/var/lib/sightd/calibration").chmod(mode)
        found = self.check(machine, PLAIN)["calibration.folder"]
        assert found.level == level
        assert level == "ok" or found.fix.startswith("sudo install -d -o sightd -g sightd")

    def test_a_state_folder_that_systemd_will_make_is_not_missed(self, tmp_path: Path) -> None:
        assert self.check(BenchMachine(tmp_path, ACCOUNTS), PLAIN)["calibration.folder"].level == "ok"

    def test_a_file_in_place_of_the_state_folder_is_a_problem(self, tmp_path: Path) -> None:
        machine = BenchMachine(tmp_path, {**ACCOUNTS, "/var/lib/sightd": ""})
        assert "is no folder" in self.check(machine, PLAIN)["calibration.folder"].says


class TestService:
    def test_a_sound_one_is_content(self, tmp_path: Path) -> None:
        found = by_name(service.check(machine_with(tmp_path, {}), PLAIN))
        assert {finding.level for finding in found.values()} == {"ok"}

    @pytest.mark.parametrize(
        "programs",
        [
            {},
            {"systemctl": Ran(1, "", "System has not been booted with systemd")},
            {"systemctl": Ran(0, "LoadState=not-found\n")},
        ],
    )
    def test_one_that_is_not_there_is_worth_a_note(self, tmp_path: Path, programs: Dict[str, Ran]) -> None:
        assert one(service.check(BenchMachine(tmp_path, programs=programs), PLAIN), "unit").level == "note"

    @pytest.mark.parametrize(
        ("name", "unit", "level", "says"),
        [
            ("at boot", {"UnitFileState": "disabled"}, "warning", "does not start"),
            ("state", {"ActiveState": "inactive", "SubState": "dead"}, "warning", "not running"),
            ("state", {"ActiveState": "failed", "ExecMainStatus": "2"}, "problem", "refused the settings"),
            (
                "state",
                {"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "5"},
                "problem",
                "5 times",
            ),
            ("state", {"NRestarts": "40"}, "warning", "40 times"),
        ],
    )
    def test_one_that_does_not_run_says_what_to_do(
        self, tmp_path: Path, name: str, unit: Dict[str, str], level: str, says: str
    ) -> None:
        found = one(service.check(machine_with(tmp_path, {}, **unit), PLAIN), name)
        assert found.level == level
        assert says in found.says

    def test_misses_its_user(self, tmp_path: Path) -> None:
        machine = machine_with(tmp_path, {"/etc/passwd": "root:x:0:0:root:/root:/bin/bash\n"})
        assert one(service.check(machine, None), "user").fix == "sudo sightd install"

    @pytest.mark.parametrize(
        ("mode", "allow", "level"),
        [
            (0o666, "/dev/nvmap rw", "ok"),
            (0o600, "/dev/nvmap rw", "problem"),  # neither owner nor group
            (0o666, "/dev/null rw", "problem"),  # the unit's DeviceAllow= does not have it
        ],
    )
    def test_needs_the_devices_that_there_are(self, tmp_path: Path, mode: int, allow: str, level: str) -> None:
        machine = machine_with(tmp_path, {"/dev/nvmap": ""}, DeviceAllow=allow)
        machine.path("/dev/nvmap").chmod(mode)
        assert one(service.check(machine, None), "devices").level == level

    def test_finds_devices_that_are_allowed_by_driver_and_group(self, tmp_path: Path) -> None:
        allowed = "char-alsa rw\nDeviceAllow=char-video4linux rw"  # a line for each, as systemctl prints them
        machine = machine_with(tmp_path, {"/dev/video0": ""}, DeviceAllow=allowed)
        machine.path("/dev/video0").chmod(0o666)
        assert one(service.check(machine, None), "devices").level == "ok"


class TestSandbox:
    def test_an_address_that_the_unit_filters_is_warned_of(self, tmp_path: Path) -> None:
        mqtt = "mqtt: {host: 203.0.113.5, fallbacks: ['203.0.113.6:1884']}"
        settings = settings_of(f"{mqtt}\ncameras: {{front: {{url: rtsp://198.51.100.7/x}}}}")
        found = by_name(service.check(machine_with(tmp_path, {}), settings))
        assert "203.0.113.5" in found["network to the broker"].says
        assert "203.0.113.6" in found["network to the broker 203.0.113.6"].says
        assert "sudo sightd install" in found["network to camera front"].fix

    def test_names_need_a_name_server_within_reach(self, tmp_path: Path) -> None:
        settings = settings_of("mqtt: {host: localhost}\ncameras: {front: {url: rtsp://192.168.1.9/x}}")
        machine = machine_with(tmp_path, {"/etc/resolv.conf": "search lan\nnameserver 9.9.9.9\n"})
        assert "9.9.9.9" in one(service.check(machine, settings), "network to the name server").says

    def test_a_unit_without_a_filter_is_not_judged(self, tmp_path: Path) -> None:
        found = by_name(service.check(machine_with(tmp_path, {}, IPAddressDeny=""), PLAIN))
        assert not [name for name in found if name.startswith("network")]

    def test_a_bundle_and_a_file_that_the_unit_hides_are_problems(self, tmp_path: Path) -> None:
        settings = settings_of("bundle: /home/me/bundle\ncameras: {clip: {url: /tmp/yard.mp4}}")
        found = by_name(service.check(machine_with(tmp_path, {}), settings))
        assert (found["the bundle"].level, found["camera clip"].level) == ("problem", "problem")

    def test_a_state_folder_that_the_unit_makes_read_only_is_warned_of(self, tmp_path: Path) -> None:
        settings = settings_of("calibration: {folder: /data/frames}\ncameras: {front: {url: rtsp://192.168.1.9/x}}")
        found = one(service.check(machine_with(tmp_path, {}), settings), "calibration.folder")
        assert "ReadWritePaths=/data/frames" in found.fix
        machine = machine_with(tmp_path, {}, ReadWritePaths="-/data")
        assert "calibration.folder" not in by_name(service.check(machine, settings))


def test_the_unit_is_understood_as_a_real_systemd_describes_it(tmp_path: Path) -> None:
    skip_unless_bootable()
    root = Path(__file__).parents[2]
    (tmp_path / "sightd.yaml").write_text(
        "mqtt: {host: 203.0.113.5}\nbundle: /home/me/bundle\n"
        "cameras: {front: {url: rtsp://192.168.1.9/x}, clip: {url: /tmp/x.avi}}\n"
    )
    (tmp_path / "script").write_text(_SCRIPT.format(root=root, python=sys.executable))
    log = boot(tmp_path / "script", tmp_path, deadline_s=60)
    printed = next((line for line in log.splitlines() if line.startswith("{")), None)
    assert printed is not None, log
    found = {finding["name"]: finding for finding in json.loads(printed)["findings"] if finding["area"] == "service"}
    assert {name: finding["level"] for name, finding in found.items()} == {
        "at boot": "warning",
        "state": "warning",
        "devices": "ok",
        "the bundle": "problem",
        "camera clip": "problem",
        "network to the broker": "warning",
    }


# /dev/nvmap is in the booted machine, see boot_systemd.sh.
_SCRIPT = """
import subprocess

def run(line):
    subprocess.run(line, shell=True, stderr=subprocess.STDOUT)

run("systemd-sysusers {root}/systemd/sysusers.d/sightd.conf")
run("cp {root}/systemd/sightd.service /etc/systemd/system/ && mkdir /etc/systemd/system/sightd.service.d")
run("printf '[Service]\\nDeviceAllow=/dev/nvmap rw\\n' >/etc/systemd/system/sightd.service.d/10.conf")
run("systemctl daemon-reload; cd {root} && {python} -m sightd doctor --json --config /out/sightd.yaml")
"""
