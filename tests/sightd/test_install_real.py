from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import pytest

from tests.parts.wheels import copy_of_the_checkout

PARTS = Path(__file__).resolve().parents[1] / "parts"
DEADLINE_S = 900
pytestmark = [
    pytest.mark.slow,
    pytest.mark.net,
    pytest.mark.timeout(DEADLINE_S + 60),
    pytest.mark.xdist_group("installation"),
]


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, List[str]]:
    """What each step of install_scenario.sh said."""
    if os.geteuid() != 0:
        pytest.skip("an overlay of the root file system is made by root")
    folder = tmp_path_factory.mktemp("installation")
    copy_of_the_checkout(folder / "checkout")
    (folder / "empty.sh").write_text("echo ready\n", "utf-8")
    tried = in_clean_root(folder / "empty.sh", folder / "checkout")
    if tried.stdout != "ready\n":
        pytest.skip(f"no overlay of the root file system can be made here: {tried.stderr.strip()}")
    done = in_clean_root(PARTS / "install_scenario.sh", folder / "checkout")
    return dict(split_steps(done.stdout)) or pytest.fail(done.stdout + done.stderr)


def in_clean_root(script: Path, checkout: Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(PARTS / "clean_root.sh"), str(script), str(checkout)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def split_steps(said: str) -> Iterator[Tuple[str, List[str]]]:
    for block in said.split("## ")[1:]:
        name, *lines = block.strip().splitlines()
        yield name, lines


def test_the_files_are_where_they_belong_and_the_daemon_owns_its_state_only(steps: Dict[str, List[str]]) -> None:
    assert steps["install"][-1] == "exit code 0"
    listed = [re.sub(r"-\d{8}T\d{6}Z", "-STAMP", line).strip() for line in steps["files"][:-1]]
    assert listed == [
        "drwxr-xr-x root:root /etc/sightd",
        "drwxr-x--- root:sightd /etc/sightd/secrets",
        "-rw-r--r-- root:root /etc/sightd/sightd.schema.json",
        "-rw-r----- root:sightd /etc/sightd/sightd.yaml",
        "-rw-r--r-- root:root /etc/systemd/system/sightd.service",
        *(line for line in listed if "/sightd.service.d" in line),
        "-rw-r--r-- root:root /etc/sysusers.d/sightd.conf",
        "drwxr-xr-x root:root /opt/sightd",
        "drwxr-xr-x root:root /opt/sightd/bundles",
        "lrwxrwxrwx root:root /opt/sightd/venv /opt/sightd/versions/1.0.0-STAMP",
        "drwxr-xr-x root:root /opt/sightd/versions",
        "drwxr-xr-x root:root /opt/sightd/versions/1.0.0-STAMP",
        "lrwxrwxrwx root:root /usr/local/bin/sightd /opt/sightd/venv/bin/sightd",
        "drwx------ sightd:sightd /var/lib/sightd",
    ]


def test_the_account_can_run_the_program_and_not_log_in(steps: Dict[str, List[str]]) -> None:
    assert steps["account"][0].endswith(":/var/lib/sightd:/usr/sbin/nologin")
    assert steps["service-account"] == ["sightd 1.0.0", "exit code 0"]


def test_systemd_finds_no_fault(steps: Dict[str, List[str]]) -> None:
    assert steps["unit"] == ["exit code 0"]


def test_building_leaves_nothing_in_the_checkout(steps: Dict[str, List[str]]) -> None:
    assert steps["checkout"][:-1] == ["sightd.egg-info"]  # of the scenario's own editable installation


@pytest.mark.parametrize("step", ["again", "again-by-itself"])
def test_a_second_run_has_nothing_to_change(steps: Dict[str, List[str]], step: str) -> None:
    assert steps[step][0] == "nothing to change"
    assert steps[step][-1] == "exit code 0"


def test_an_upgrade_keeps_the_version_before(steps: Dict[str, List[str]]) -> None:
    assert steps["upgrade"][-1] == "exit code 0"
    assert steps["upgraded"][0] == "sightd 1.1.0"
    assert [line.partition("-")[0] for line in steps["versions"][:-1]] == ["1.0.0", "1.1.0"]


def test_a_failed_upgrade_leaves_what_was_there_and_says_what_to_do(steps: Dict[str, List[str]]) -> None:
    assert steps["no-network"][-2:] == [
        *("What was installed before is as it was. See to the network and the free disk space, then run this again",),
        "exit code 1",
    ]
    assert steps["still-there"][0] == "sightd 1.1.0"
    assert steps["cleared-away"] == steps["versions"]


def test_uninstall_keeps_data_and_purge_leaves_nothing(steps: Dict[str, List[str]]) -> None:
    assert steps["uninstall"][-1] == "exit code 0"
    kept = [line.split()[2] for line in steps["kept"] if line.startswith(("-", "d", "l"))]
    assert kept == [
        *("/etc/sightd", "/etc/sightd/secrets", "/etc/sightd/sightd.schema.json", "/etc/sightd/sightd.yaml"),
        *("/opt/sightd", "/opt/sightd/bundles", "/var/lib/sightd"),
    ]
    assert steps["uninstall-again"] == ["nothing to remove", "exit code 0"]
    assert steps["purge"][-1] == "exit code 0"
    assert steps["purge-again"] == ["nothing to remove", "exit code 0"]
    assert [line for line in steps["left"] if not line.startswith("exit code")] == []
