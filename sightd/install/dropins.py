"""What the unit says beyond systemd/sightd.service, because this machine has a GPU, CSI cameras or secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Sequence

from .addresses import Reach
from .machine import Machine

__all__ = ["CREDENTIALS", "NETWORK", "device_groups", "drop_ins", "is_ours"]

DEVICES, NETWORK, CSI, CREDENTIALS = "10-devices.conf", "20-network.conf", "30-csi.conf", "40-credentials.conf"

_HEADER = "# written by sightd install; changes are overwritten\n"
_GROUPS = ("render", "video")


def drop_ins(machine: Machine, reach: Reach, secrets: Sequence[Path]) -> Dict[str, str]:
    """File name -> text of each drop-in that *machine* needs.

    :param reach: what the daemon must reach beyond the addresses that the unit allows.
    :param secrets: files to hand to the daemon as credentials, under their names.
    """
    lines = {
        DEVICES: _devices(machine),
        NETWORK: _network(*reach),
        CSI: _csi() if machine.argus else [],
        CREDENTIALS: [f"LoadCredential={path.name}:{path}" for path in secrets],
    }
    return {name: _HEADER + "\n".join(["[Service]", *body, ""]) for name, body in lines.items() if body}


def device_groups(machine: Machine) -> List[str]:
    """The groups that open this machine's GPU and cameras; one that does not exist would fail the start."""
    return [group for group in _GROUPS if group in machine.groups and (machine.gpu_nodes or machine.video_nodes)]


def is_ours(path: Path) -> bool:
    """Whether `sightd install` wrote *path*, and not the administrator."""
    return path.is_file() and path.read_bytes().startswith(_HEADER.encode())


def _devices(machine: Machine) -> List[str]:
    lines = [f"DeviceAllow={node} rw" for node in machine.gpu_nodes]
    if any(node.startswith("/dev/nvidia") for node in machine.gpu_nodes):
        # Some nodes of a card in a PC appear with its first use only.
        lines.append("DeviceAllow=char-nvidia* rw")
    if machine.video_nodes:
        lines.append("DeviceAllow=char-video4linux rw")
    groups = device_groups(machine)
    return [*lines, f"SupplementaryGroups={' '.join(groups)}"] if groups else lines


def _network(addresses: Sequence[str], names: Sequence[str]) -> List[str]:
    if names:
        return [
            f"# not to be pinned to a private address: {', '.join(names)}",
            "# With addresses in place of names in the settings, sightd install can allow just these.",
            "IPAddressAllow=any",
        ]
    return [f"IPAddressAllow={address}" for address in addresses]


def _csi() -> List[str]:
    return [
        "# PrivateTmp= hides the socket of nvargus-daemon, which CSI cameras are read through.",
        "BindPaths=-/tmp/argus_socket",
    ]
