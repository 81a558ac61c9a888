"""The doctor's checks of hardware, power, memory, clock and disk."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

import pytest

from daemon.doctor import clock, disk, hardware, memory, power
from daemon.doctor.machine import Ran, Space
from sightd.settings import CalibrationSettings
from tests.parts.doctor import BenchMachine, by_name, one

# The files' lines are as the devices have them.
ORIN: Dict[str, str] = {
    "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\n",
    "/proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "/dev/nvhost-gpu": "",
}
NVIDIA_SMI = "NVIDIA GeForce RTX 3060, 550.54.14, 12288 MiB\n"
NEW_YEAR_2026 = 1767225600.0


class TestHardware:
    def test_names_a_jetsons_model_l4t_and_jetpack(self, tmp_path: Path) -> None:
        found = by_name(hardware.check(BenchMachine(tmp_path, ORIN, architecture="aarch64")))
        assert found["model"].says == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
        assert found["jetpack"].says == "L4T 36.4.3, JetPack 6.2"
        assert {finding.level for finding in found.values()} == {"ok"}

    @pytest.mark.parametrize(
        ("l4t", "version"),
        [
            ((35, 2, 1), "5.1"),
            ((35, 4, 1), "5.1.2"),
            ((35, 6, 0), "5.1.4"),
            ((35, 6, 4), "5.1.5"),
            ((36, 3, 0), "6.0"),
            ((36, 4, 0), "6.1"),
            ((36, 4, 4), "6.2.1"),
            ((36, 4, 7), "6.2.1"),
            ((38, 2, 0), "7.0"),
            ((38, 4, 0), "7.1"),
            ((33, 0), ""),
        ],
    )
    def test_knows_which_jetpack_brought_an_l4t(self, l4t: tuple, version: str) -> None:
        assert hardware.jetpack(l4t) == version

    def test_says_that_an_l4t_is_newer_than_it_knows(self) -> None:
        assert "newer" in hardware.jetpack((40, 1))

    def test_refuses_a_jetpack_before_5_1(self, tmp_path: Path) -> None:
        nano = {**ORIN, "/etc/nv_tegra_release": "# R32 (release), REVISION: 7.4, GCID: 33514132"}
        found = one(hardware.check(BenchMachine(tmp_path, nano, architecture="aarch64")), "jetpack")
        assert found.level == "problem"
        assert "32.7.4" in found.says

    def test_warns_of_a_release_file_that_it_does_not_understand(self, tmp_path: Path) -> None:
        machine = BenchMachine(tmp_path, {**ORIN, "/etc/nv_tegra_release": "who knows"})
        assert one(hardware.check(machine), "jetpack").level == "warning"

    def test_misses_a_jetsons_gpu(self, tmp_path: Path) -> None:
        files = {name: text for name, text in ORIN.items() if not name.startswith("/dev")}
        assert one(hardware.check(BenchMachine(tmp_path, files)), "gpu").level == "problem"

    def test_names_a_cards_driver(self, tmp_path: Path) -> None:
        machine = BenchMachine(tmp_path, {"/dev/nvidiactl": ""}, {"nvidia-smi": Ran(0, NVIDIA_SMI)})
        assert one(hardware.check(machine), "gpu").says == NVIDIA_SMI.strip()

    def test_reads_the_drivers_version_where_nvidia_smi_is_missing(self, tmp_path: Path) -> None:
        version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024"
        machine = BenchMachine(tmp_path, {"/dev/nvidiactl": "", "/proc/driver/nvidia/version": version})
        assert "550.54.14" in one(hardware.check(machine), "gpu").says

    def test_finds_a_driver_that_does_not_answer(self, tmp_path: Path) -> None:
        mismatch = Ran(18, "Failed to initialize NVML: Driver/library version mismatch\n")
        found = one(hardware.check(BenchMachine(tmp_path, {"/dev/nvidiactl": ""}, {"nvidia-smi": mismatch})), "gpu")
        assert found.level == "problem"
        assert "mismatch" in found.says

    def test_finds_a_card_without_a_driver(self, tmp_path: Path) -> None:
        card = "/sys/bus/pci/devices/0000:01:00.0"
        machine = BenchMachine(tmp_path, {f"{card}/vendor": "0x10de\n", f"{card}/class": "0x030000\n"})
        assert one(hardware.check(machine), "gpu").level == "warning"

    def test_is_content_without_a_gpu(self, tmp_path: Path) -> None:
        assert one(hardware.check(BenchMachine(tmp_path)), "gpu").level == "ok"

    def test_refuses_a_32_bit_machine(self, tmp_path: Path) -> None:
        assert one(hardware.check(BenchMachine(tmp_path, architecture="armv7l")), "architecture").level == "problem"


class TestPower:
    MODELS = "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"

    def test_says_how_to_give_a_jetson_its_full_power(self, tmp_path: Path) -> None:
        files = {**ORIN, "/etc/nvpmodel.conf": self.MODELS}
        machine = BenchMachine(tmp_path, files, {"nvpmodel -q": Ran(0, "NV Power Mode: 15W\n0\n")})
        found = one(power.check(machine), "mode")
        assert (found.level, "15W" in found.says) == ("warning", True)
        assert found.fix.startswith("sudo nvpmodel -m 2,")

    def test_is_content_with_maxn_and_notes_clocks_that_vary(self, tmp_path: Path) -> None:
        programs = {
            "nvpmodel -q": Ran(0, "NV Power Mode: MAXN\n0\n"),
            "jetson_clocks --show": Ran(0, "GPU MinFreq=306000000 MaxFreq=1020000000 CurrentFreq=306000000\n"),
        }
        found = by_name(power.check(BenchMachine(tmp_path, ORIN, programs)))
        assert (found["mode"].level, found["clocks"].level) == ("ok", "note")

    def test_asks_for_root_where_the_tools_do(self, tmp_path: Path) -> None:
        machine = BenchMachine(tmp_path, ORIN, {"nvpmodel": Ran(1, "", "Error: needs root")})
        machine.is_root = False
        found = by_name(power.check(machine))
        assert {found[name].fix for name in ("mode", "clocks")} == {"run with sudo for this: sudo sightd doctor"}

    @pytest.mark.parametrize(("driver", "level"), [("acpi-cpufreq", "note"), ("intel_pstate", "ok")])
    def test_notes_powersave_only_where_it_holds_the_clock_down(self, tmp_path: Path, driver: str, level: str) -> None:
        cpu = "/sys/devices/system/cpu/cpu0/cpufreq"
        files = {f"{cpu}/scaling_governor": "powersave\n", f"{cpu}/scaling_driver": driver}
        assert one(power.check(BenchMachine(tmp_path, files)), "governor").level == level

    @pytest.mark.parametrize(("millidegrees", "level"), [("86500", "warning"), ("61000", "ok")])
    def test_warns_of_heat_and_passes_over_sensors_that_are_off(
        self, tmp_path: Path, millidegrees: str, level: str
    ) -> None:
        zones = "/sys/class/thermal/thermal_zone"
        files = {f"{zones}0/temp": f"{millidegrees}\n", f"{zones}0/type": "gpu-thermal\n", f"{zones}1/temp": ""}
        found = one(power.check(BenchMachine(tmp_path, files)), "temperature")
        assert found.level == level
        assert "gpu-thermal" in found.says

    def test_warns_of_throttling_and_of_a_weak_power_supply(self, tmp_path: Path) -> None:
        device = "/sys/class/thermal/cooling_device"
        files = {
            f"{device}3/cur_state": "1\n",
            f"{device}3/type": "gpu-throttle-alert\n",
            f"{device}4/cur_state": "2\n",
            f"{device}4/type": "pwm-fan\n",
            "/sys/class/hwmon/hwmon1/oc1_event_cnt": "7\n",
        }
        found = by_name(power.check(BenchMachine(tmp_path, files)))
        assert found["throttling"].says.endswith(": gpu-throttle-alert")
        assert "7 times" in found["over-current"].says

    def test_says_so_where_nothing_is_reported(self, tmp_path: Path) -> None:
        assert [finding.level for finding in power.check(BenchMachine(tmp_path))] == ["note"]


class TestMemory:
    @pytest.mark.parametrize(("available_mb", "level"), [(300, "warning"), (3000, "ok")])
    def test_warns_when_little_is_left(self, tmp_path: Path, available_mb: int, level: str) -> None:
        text = f"MemTotal: 7802880 kB\nMemAvailable: {available_mb << 10} kB\nSwapTotal: 0 kB\n"
        assert one(memory.check(BenchMachine(tmp_path, {"/proc/meminfo": text})), "free").level == level

    def test_notes_a_small_jetson_without_swap(self, tmp_path: Path) -> None:
        text = "MemTotal: 7802880 kB\nMemAvailable: 5000000 kB\nSwapTotal: 0 kB\n"
        assert "swap" in by_name(memory.check(BenchMachine(tmp_path, {**ORIN, "/proc/meminfo": text})))
        text = text.replace("SwapTotal: 0", "SwapTotal: 8000000")
        assert "swap" not in by_name(memory.check(BenchMachine(tmp_path, {**ORIN, "/proc/meminfo": text})))


class TestClock:
    def test_finds_a_clock_that_was_never_set(self, tmp_path: Path) -> None:
        assert one(clock.check(BenchMachine(tmp_path, now=86400.0)), "time").level == "problem"

    @pytest.mark.parametrize(
        ("printed", "level", "fix"),
        [
            ("NTP=yes\nNTPSynchronized=yes\n", "ok", ""),
            ("NTP=no\nNTPSynchronized=no\n", "warning", "sudo timedatectl set-ntp true"),
            ("NTP=yes\nNTPSynchronized=no\n", "warning", "timesync-status"),
        ],
    )
    def test_tells_whether_something_keeps_it_right(self, tmp_path: Path, printed: str, level: str, fix: str) -> None:
        machine = BenchMachine(tmp_path, programs={"timedatectl": Ran(0, printed)}, now=NEW_YEAR_2026)
        found = by_name(clock.check(machine))
        assert (found["time"].level, found["sync"].level) == ("ok", level)
        assert fix in found["sync"].fix

    @pytest.mark.parametrize("programs", [{}, {"timedatectl": Ran(1, "", "Failed to connect to bus")}])
    def test_does_not_guess_without_timedatectl(self, tmp_path: Path, programs: Dict[str, Ran]) -> None:
        assert one(clock.check(BenchMachine(tmp_path, programs=programs)), "sync").level == "note"


class TestDisk:
    @pytest.mark.parametrize(
        ("space", "level"),
        [
            (Space(150 << 20, 10**6, 10**6, False), "problem"),
            (Space(1 << 30, 10**6, 10**6, False), "warning"),
            (Space(50 << 30, 10, 10**6, False), "problem"),
            (Space(50 << 30, 10**6, 10**6, True), "problem"),
            (Space(50 << 30, 10**6, 10**6, False), "ok"),
            (Space(50 << 30, 0, 0, False), "ok"),  # btrfs counts no inodes
        ],
    )
    def test_judges_room_inodes_and_a_disk_that_went_read_only(self, tmp_path: Path, space: Space, level: str) -> None:
        machine = BenchMachine(tmp_path, space=space)
        found = by_name(
            disk.check(machine, CalibrationSettings(), Path("/var/lib/sightd/outbox"), Path("/opt/sightd/bundles/x"))
        )
        assert {finding.level for finding in found.values()} == {level}

    def test_looks_at_the_file_system_that_a_folder_would_be_made_on(self, tmp_path: Path) -> None:
        machine = BenchMachine(tmp_path)
        assert machine.space(Path("/not/there/yet")) is not None
