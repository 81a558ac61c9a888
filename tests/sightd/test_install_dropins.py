from __future__ import annotations

import configparser
import ipaddress
import re
import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

import pytest

from sightd.install import addresses
from sightd.install.addresses import ALLOWED, hosts_of, reach
from sightd.install.dropins import drop_ins
from sightd.settings import parse_settings
from tests.parts.installation import bare_machine

UNIT = Path(__file__).resolve().parents[2] / "systemd/sightd.service"
JETSON = replace(
    bare_machine(),
    gpu_nodes=("/dev/nvhost-ctrl", "/dev/nvidia0", "/dev/nvmap"),
    video_nodes=True,
    argus=True,
    groups=("audio", "render", "video"),
)


def settings_lines(text: str) -> List[str]:
    return [line for line in text.splitlines() if re.match(r"[A-Za-z]+=", line)]


def test_a_machine_without_any_needs_has_no_drop_ins() -> None:
    assert drop_ins(bare_machine(), ([], []), []) == {}


def test_all_of_them(tmp_path: Path) -> None:
    written = drop_ins(JETSON, (["203.0.113.9", "2001:db8::1"], []), [tmp_path / "mqtt"])
    assert {name: settings_lines(text) for name, text in written.items()} == {
        "10-devices.conf": [
            "DeviceAllow=/dev/nvhost-ctrl rw",
            "DeviceAllow=/dev/nvidia0 rw",
            "DeviceAllow=/dev/nvmap rw",
            "DeviceAllow=char-nvidia* rw",
            "DeviceAllow=char-video4linux rw",
            "SupplementaryGroups=render video",
        ],
        "20-network.conf": ["IPAddressAllow=203.0.113.9", "IPAddressAllow=2001:db8::1"],
        "30-csi.conf": ["BindPaths=-/tmp/argus_socket"],
        "40-credentials.conf": [f"LoadCredential=mqtt:{tmp_path}/mqtt"],
    }
    for text in written.values():
        assert text.startswith("# written by sightd install; changes are overwritten\n[Service]\n")


def test_a_group_that_does_not_exist_would_fail_the_start_and_is_left_out() -> None:
    text = drop_ins(replace(JETSON, groups=("video",)), ([], []), [])["10-devices.conf"]
    assert "SupplementaryGroups=video\n" in text
    assert "SupplementaryGroups" not in drop_ins(replace(JETSON, groups=()), ([], []), [])["10-devices.conf"]


def test_a_name_with_a_public_address_allows_everything_and_says_why() -> None:
    text = drop_ins(bare_machine(), (["203.0.113.9"], ["broker.example"]), [])["20-network.conf"]
    assert settings_lines(text) == ["IPAddressAllow=any"]
    assert "broker.example" in text


# addresses


def test_the_units_ranges_are_those_that_need_no_drop_in() -> None:
    allowed = re.findall(r"^IPAddressAllow=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)
    assert [ipaddress.ip_network(text) for line in allowed for text in line.split()] == list(ALLOWED)


@pytest.mark.parametrize(
    "host", ["127.0.0.53", "10.1.2.3", "172.31.0.1", "192.168.0.9", "169.254.1.1", "100.64.0.1", "::1", "fd00::1"]
)
def test_addresses_nearby_need_nothing(host: str) -> None:
    assert reach([host]) == ([], [])


def test_an_address_with_a_zone_is_one_nearby() -> None:
    assert reach(["fe80::1%eth0"]) == ([], [])


@pytest.mark.parametrize("host", ["203.0.113.9", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:db8::1"])
def test_public_addresses_are_allowed_one_by_one(host: str) -> None:
    assert reach([host]) == ([host], [])


@pytest.mark.parametrize(
    ("found", "is_public"),
    [
        (["192.168.1.5"], False),
        (["192.168.1.5", "fe80::1%2"], False),
        (["192.168.1.5", "203.0.113.9"], True),
        ([], True),
    ],
)
def test_a_name_is_judged_by_all_of_its_addresses(
    found: List[str], is_public: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(name: str, *arguments: Any, **options: Any) -> List[Any]:
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in found]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)
    assert reach(["cam.example"]) == ([], ["cam.example"] if is_public else [])


def test_the_hosts_are_those_of_the_broker_and_of_cameras_in_use() -> None:
    text = b"""
mqtt: {host: broker.lan, fallbacks: ["198.51.100.9:1884", "[2001:db8::2]:1883"]}
cameras:
  a: {url: "rtsp://user:canary@203.0.113.9:554/x"}
  b: {url: "http://[2001:db8::1]/x"}
  c: {url: /media/x.mp4}
  d: {url: "rtsp://198.51.100.1/x", enabled: false}
"""
    assert hosts_of(parse_settings(text, Path("/c.yaml"))) == [
        "198.51.100.9",
        "2001:db8::1",
        "2001:db8::2",
        "203.0.113.9",
        "broker.lan",
    ]


# the unit as systemd sees it


def analyze(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is missing: install systemd")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(params=["alone", "with every drop-in", "with any address"])
def units(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the unit, its program one that exists everywhere."""
    text = UNIT.read_text("utf-8").replace("/opt/sightd/venv/bin/sightd", "/bin/sh")
    (tmp_path / UNIT.name).write_text(text, "utf-8")
    wanted: Dict[str, str] = {}
    if request.param == "with every drop-in":
        wanted = drop_ins(JETSON, (["203.0.113.9"], []), [tmp_path / UNIT.name])
    elif request.param == "with any address":
        wanted = drop_ins(JETSON, ([], ["broker.example"]), [])
    (tmp_path / f"{UNIT.name}.d").mkdir()
    for name, content in wanted.items():
        (tmp_path / f"{UNIT.name}.d" / name).write_text(content, "utf-8")
    return tmp_path


def test_systemd_finds_no_fault_with_the_unit(units: Path) -> None:
    verified = analyze("verify", "--man=no", str(units / UNIT.name))
    assert (verified.stdout, verified.stderr, verified.returncode) == ("", "", 0)


def test_a_fault_would_be_found(units: Path) -> None:
    with (units / UNIT.name).open("a", encoding="utf-8") as file:
        file.write("[Service]\nNoSuchKey=1\n")
    assert "NoSuchKey" in analyze("verify", "--man=no", str(units / UNIT.name)).stderr


def test_the_exposure_stays_low(units: Path) -> None:
    path = f"{units}:/lib/systemd/system"
    judged = analyze(
        "security", "--offline=true", "--threshold=20", "--no-pager", str(units / UNIT.name), SYSTEMD_UNIT_PATH=path
    )
    if "unrecognized option" in judged.stderr:
        pytest.skip("systemd-analyze security --offline came with systemd 250")
    assert judged.returncode == 0, judged.stdout[-400:] + judged.stderr


def test_the_unit_has_what_years_of_service_need() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT, "utf-8")
    service = unit["Service"]
    assert (service["Type"], service["Restart"], service["RestartPreventExitStatus"]) == ("notify", "always", "2")
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert service["User"] == "sightd"
    assert not {"LoadCredential", "DeviceAllow", "SupplementaryGroups"} & set(service)
