"""What a network does: packets lost and black holes, by nftables in a network namespace of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import List

from tests.chaos.isolation import UnavailableError
from tests.chaos.outcome import Outcome
from tests.chaos.rig import STALE_S, Rig, running_rig

__all__ = ["network_faults"]

_LOSSY, _HOLE, _KEPT = "lossy", "hole", "kept"


def network_faults(folder: Path, seed: int, lasting_s: float) -> List[Outcome]:
    """Lose a tenth of a camera's packets and all of another's; only within a network namespace of our own.

    :raises UnavailableError: the kernel has no nftables.
    """
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    _rules([])
    with running_rig(folder, [_LOSSY, _HOLE, _KEPT], seed=seed) as rig:
        before, connections = time.time(), rig.cameras[_LOSSY].proxy.connections
        time.sleep(lasting_s)
        began = time.time()
        _rules([*_dropped(rig, _LOSSY, "numgen random mod 10 == 0 "), *_dropped(rig, _HOLE, "")])
        time.sleep(lasting_s)
        _rules([])
        mended = time.time()
        recovered = rig.fresh_after(_HOLE, mended)
        kept = rig.rate([_KEPT], began, mended) / rig.rate([_KEPT], before, began)
        lossy = rig.rate([_LOSSY], began, mended) / rig.rate([_LOSSY], before, began)
        again = rig.cameras[_LOSSY].proxy.connections - connections
        stale = sum(one.age_s > STALE_S for one in rig.seen(_HOLE, began))
        noticed = rig.noticed_s(_HOLE, began)
    return [
        Outcome("10 % packets lost", 1, notes={"reconnects": again, "its_rate": lossy}),
        Outcome(
            "network black hole",
            1,
            recovered_s=recovered,
            notes={"noticed_s": noticed, "others_rate": kept, "stale": stale},
        ),
    ]


def _dropped(rig: Rig, camera: str, which: str) -> List[str]:
    port = rig.cameras[camera].proxy.port
    return [f"tcp {way} {port} {which}drop" for way in ("sport", "dport")]


def _rules(rules: List[str]) -> None:
    """Make these all the rules that there are."""
    table = "table inet chaos\ndelete table inet chaos\ntable inet chaos {\nchain input {\n"
    table += "type filter hook input priority 0; policy accept;\n" + "\n".join(rules) + "\n}\n}\n"
    program = shutil.which("nft", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if program is None:
        raise UnavailableError("nft is missing: apt-get install nftables")
    done = subprocess.run([program, "-f", "-"], input=table, text=True, capture_output=True, check=False)
    if done.returncode:
        raise UnavailableError(f"nft can't be used here: {done.stderr.strip()}")
