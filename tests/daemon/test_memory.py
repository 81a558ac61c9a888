"""What is read of control groups: from folders as the kernel makes them, and from a real group where one can be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from daemon.memory import MemoryGauge, Usage
from tests.parts.control_group import control_group

MIB = 1 << 20


class Machine:
    """/proc and /sys/fs/cgroup of a machine on which this process is in the group *path*."""

    def __init__(self, folder: Path, line: str) -> None:
        self.proc, self.groups = folder / "proc", folder / "groups"
        self.process(os.getpid(), 1, rss=100, anon=80)
        (self.proc / "self").mkdir()
        (self.proc / "self/cgroup").write_text(f"1:name=systemd:/elsewhere\n{line}\n")

    def process(self, pid: int, parent: int, rss: int, anon: int) -> None:
        (self.proc / str(pid)).mkdir(parents=True)
        (self.proc / str(pid) / "stat").write_text(f"{pid} (a) (b) S {parent} 1 1 0\n")
        (self.proc / str(pid) / "status").write_text(
            f"Name:\tx\nVmRSS:\t{rss * 1024} kB\nRssAnon:\t{anon * 1024} kB\nThreads:\t4\n"
        )

    def group(self, path: str, **files: str) -> None:
        folder = self.groups / path
        folder.mkdir(parents=True)
        for name, content in {"cgroup.procs": f"{os.getpid()}\n", **files}.items():
            (folder / name.replace("_", ".", 1)).write_text(content)

    def gauge(self, limit_mib: int = 0) -> Usage:
        return MemoryGauge(limit_mib * MIB, proc=self.proc, groups=self.groups).read()


def test_the_groups_lower_limit_counts_and_files_that_the_kernel_gives_up_do_not(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/system.slice/sightd.service")
    machine.group(
        "system.slice/sightd.service",
        memory_high=f"{700 * MIB}\n",
        memory_max=f"{850 * MIB}\n",
        memory_current=f"{600 * MIB}\n",
        memory_stat=f"anon {300 * MIB}\ninactive_file {150 * MIB}\nactive_file {50 * MIB}\nshmem {90 * MIB}\n",
    )
    assert machine.gauge() == Usage(400 * MIB, 700 * MIB)


def test_without_limits_ours_is_what_all_our_processes_hold_and_what_they_share_counts_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/user.slice")
    machine.group("user.slice", memory_high="max\n", memory_max="max\n", memory_current=f"{900 * MIB}\n")
    machine.process(70001, os.getpid(), rss=50, anon=20)
    machine.process(70002, 70001, rss=30, anon=10)
    machine.process(70003, 1, rss=5000, anon=5000)
    assert machine.gauge() == Usage(130 * MIB, 0)
    assert machine.gauge(limit_mib=260) == Usage(130 * MIB, 260 * MIB)
    assert machine.gauge(limit_mib=260).share == 0.5
    assert machine.gauge().share == 0


def test_a_group_that_others_are_in_is_not_ours_to_save(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/a")
    machine.group("a", memory_max=f"{800 * MIB}\n", memory_current=f"{790 * MIB}\n", cgroup_procs=f"1\n{os.getpid()}\n")
    assert machine.gauge().limit == 0


def test_of_a_limit_of_the_group_and_one_of_the_settings_the_nearer_counts(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/a")
    machine.group("a", memory_max=f"{800 * MIB}\n", memory_current=f"{400 * MIB}\n")
    assert machine.gauge(limit_mib=1000) == Usage(400 * MIB, 800 * MIB)
    assert machine.gauge(limit_mib=120) == Usage(100 * MIB, 120 * MIB)


def test_version_1_and_a_container_that_sees_its_group_at_the_top(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "4:memory:/docker/0123")
    machine.group(
        "memory",
        memory_limit_in_bytes=f"{512 * MIB}\n",
        memory_usage_in_bytes=f"{300 * MIB}\n",
        memory_stat=f"cache {99 * MIB}\ntotal_inactive_file {80 * MIB}\ntotal_active_file {20 * MIB}\n",
    )
    assert machine.gauge() == Usage(200 * MIB, 512 * MIB)
    (machine.groups / "memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert machine.gauge().limit == 0


def test_where_nothing_can_be_read_nothing_is_known(tmp_path: Path) -> None:
    assert MemoryGauge(proc=tmp_path / "none", groups=tmp_path / "none").read() == Usage(0, 0)


def test_the_real_proc_tells_of_this_process() -> None:
    assert 10 * MIB < MemoryGauge().read().used < 100_000 * MIB


def test_a_real_group_tells_its_limit_and_what_its_processes_take() -> None:
    program = (
        "from daemon.memory import MemoryGauge\n"
        "taken = b'x' * (64 << 20)\n"
        "usage = MemoryGauge().read()\n"
        "print(usage.used >> 20, usage.limit >> 20)"
    )
    with control_group(512 * MIB) as group:
        enter = f'echo $$ > {group}/cgroup.procs; exec {sys.executable} -c "$0"'
        done = subprocess.run(["sh", "-c", enter, program], capture_output=True, text=True, check=True)
    used, limit = map(int, done.stdout.split())
    assert limit == 512
    assert 64 <= used < 160


def test_without_a_descriptor_left_nothing_is_known_and_nothing_fails() -> None:
    program = (
        "import os, resource; from daemon.memory import MemoryGauge\n"
        "gauge = MemoryGauge(1 << 30)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "print(gauge.read())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "Usage(used=0, limit=1073741824)", done.stderr
