"""What machine this is: architecture, Jetson and JetPack, NVIDIA GPU and driver."""

from __future__ import annotations

import platform
import re
from typing import Iterator, Optional, Tuple

from .finding import Area, Finding
from .machine import Machine, tail

__all__ = ["AREA", "check", "has_nvidia", "is_jetson", "jetpack"]

AREA = Area("platform")

#: L4T release -> JetPack, newest first; a release between two of them belongs to the older one's row.
_JETPACK: Tuple[Tuple[Tuple[int, ...], str], ...] = (
    ((38, 4), "7.1"),
    ((38, 2), "7.0"),
    ((36, 5), "6.2.2"),
    ((36, 4, 4), "6.2.1"),
    ((36, 4, 3), "6.2"),
    ((36, 4), "6.1"),
    ((36, 3), "6.0"),
    ((36, 2), "6.0 DP"),
    ((35, 6, 1), "5.1.5"),
    ((35, 6), "5.1.4"),
    ((35, 5), "5.1.3"),
    ((35, 4, 1), "5.1.2"),
    ((35, 3, 1), "5.1.1"),
    ((35, 2, 1), "5.1"),
    ((35, 1), "5.0.2"),
    ((32, 7), "4.6"),
)
_OLDEST = (35, 2, 1)
_SUPPORTED = ("x86_64", "aarch64")


def check(machine: Machine) -> Iterator[Finding]:
    """Architecture, then what there is of NVIDIA's."""
    yield _architecture(machine)
    if is_jetson(machine):
        yield from _jetson(machine)
    elif has_nvidia(machine):
        yield _driver(machine)
    elif _unused_gpu(machine):
        yield AREA.warning(
            "gpu",
            "there is an NVIDIA GPU, but no driver",
            "sudo apt install nvidia-driver, then restart; lspci shows it",
        )
    else:
        yield AREA.ok("gpu", "no NVIDIA GPU: models run on the CPU, with ONNX Runtime")


def is_jetson(machine: Machine) -> bool:
    """Whether Jetson Linux (L4T) is installed."""
    return machine.exists("/etc/nv_tegra_release")


def has_nvidia(machine: Machine) -> bool:
    """Whether an NVIDIA GPU has its driver loaded."""
    return any(machine.exists(device) for device in ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu"))


def jetpack(l4t: Tuple[int, ...]) -> str:
    """The JetPack version that brought an L4T release, as (36, 4, 3); "" for one that is not known."""
    if l4t >= (39,):
        return f"7.x (L4T {'.'.join(map(str, l4t))} is newer than this sightd)"
    return next((version for release, version in _JETPACK if l4t >= release and l4t[0] == release[0]), "")


def _architecture(machine: Machine) -> Finding:
    name = f"{machine.architecture}, {platform.system()} {platform.release()}"
    if machine.architecture in _SUPPORTED:
        return AREA.ok("architecture", name)
    return AREA.problem(
        "architecture",
        f"{name}: sightd is made for {' and '.join(_SUPPORTED)}",
        "install a 64-bit system",
    )


def _jetson(machine: Machine) -> Iterator[Finding]:
    model = machine.read("/proc/device-tree/model")
    if model:
        yield AREA.ok("model", model)
    l4t = _l4t(machine.read("/etc/nv_tegra_release") or "")
    if l4t is None:
        yield AREA.warning(
            "jetpack", "/etc/nv_tegra_release can't be understood", "sudo apt install --reinstall nvidia-l4t-core"
        )
        return
    name = f"L4T {'.'.join(map(str, l4t))}, JetPack {jetpack(l4t) or 'unknown'}"
    if l4t < _OLDEST:
        yield AREA.problem("jetpack", f"{name} is too old", "install JetPack 5.1 or newer with NVIDIA's SDK Manager")
    else:
        yield AREA.ok("jetpack", name)
    if not has_nvidia(machine):
        yield AREA.problem(
            "gpu", "the GPU's device files are missing", "sudo apt install --reinstall nvidia-l4t-core, then restart"
        )


def _l4t(text: str) -> Optional[Tuple[int, ...]]:
    """From the first line of /etc/nv_tegra_release: ``# R36 (release), REVISION: 4.3, GCID: ...``."""
    match = re.search(r"R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)", text)
    if match is None:
        return None
    return (int(match.group(1)), *(int(part) for part in match.group(2).split(".")))


def _driver(machine: Machine) -> Finding:
    query = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
    ran = machine.run(*query)
    if ran is not None and ran.ok:
        return AREA.ok("gpu", "; ".join(ran.out.strip().splitlines()))
    if ran is None:
        loaded = re.search(r"Kernel Module\D*([\d.]+)", machine.read("/proc/driver/nvidia/version") or "")
        return AREA.note(
            "gpu", f"NVIDIA driver {loaded.group(1) if loaded else 'unknown'}; nvidia-smi is not installed"
        )
    return AREA.problem(
        "gpu",
        f"the NVIDIA driver does not answer: {tail(ran.out + ran.errors)}",
        "restart: after an update, the loaded driver and its libraries differ; else reinstall the driver",
    )


def _unused_gpu(machine: Machine) -> bool:
    for vendor in machine.glob("/sys/bus/pci/devices/*/vendor"):
        display = (machine.read(vendor.with_name("class")) or "").startswith("0x03")
        if display and machine.read(vendor) == "0x10de":
            return True
    return False
