"""What can be broken of a rig, and how it is mended."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Callable, Dict, Optional

from tests.chaos.rig import Camera, Rig

__all__ = ["BROKER_FAULTS", "CAMERA_FAULTS", "DAEMON_FAULTS", "Fault"]


@dataclass(frozen=True)
class Fault:
    """One kind; the camera's name is for those of a camera."""

    breaks: Callable[[Rig, str], None]
    #: None: it is over at once.
    mends: Optional[Callable[[Rig, str], None]]
    #: Of a camera: whether the pictures that come meanwhile show what they show; else their clock can't be read.
    legible: bool = True
    #: Of a broker: what is half open is noticed after two keep-alives, so it lasts that many.
    keepalives: float = 0.0


def _of_camera(
    breaks: Callable[[Camera], None], mends: Optional[Callable[[Camera], None]], *, legible: bool = True
) -> Fault:
    return Fault(
        lambda rig, name: breaks(rig.cameras[name]),
        None if mends is None else lambda rig, name: mends(rig.cameras[name]),
        legible,
    )


def _heal(camera: Camera) -> None:
    camera.proxy.heal()


def _heal_broker(rig: Rig, _: str) -> None:
    rig.proxy.heal()


def _kill_both(rig: Rig, _: str) -> None:
    rig.broker.kill()
    rig.kill_daemon()


def _start_both(rig: Rig, _: str) -> None:
    rig.broker.start()
    rig.start_daemon()


CAMERA_FAULTS: Dict[str, Fault] = {
    "camera sigstop": _of_camera(lambda camera: camera.server.pause(), lambda camera: camera.server.resume()),
    "camera kill": _of_camera(lambda camera: camera.server.kill(), lambda camera: camera.server.start()),
    "camera clock-stopped": _of_camera(
        lambda camera: camera.server.stop_clock(), lambda camera: camera.server.run_clock()
    ),
    "camera decoder-killed": Fault(lambda rig, name: rig.signal_decoder(name, signal.SIGKILL), None),
    "camera decoder-stopped": Fault(lambda rig, name: rig.signal_decoder(name, signal.SIGSTOP), None),
    "camera stalled": _of_camera(lambda camera: camera.proxy.stall(), _heal),
    "camera black-holed": _of_camera(lambda camera: camera.proxy.black_hole(), _heal),
    "camera cut": _of_camera(lambda camera: camera.proxy.cut(), None),
    "camera corrupt": _of_camera(lambda camera: camera.proxy.corrupt(0.002), _heal, legible=False),
    "camera truncated": _of_camera(lambda camera: camera.proxy.truncate(0.2), _heal, legible=False),
}
BROKER_FAULTS: Dict[str, Fault] = {
    "broker kill -9": Fault(lambda rig, _: rig.broker.kill(), lambda rig, _: rig.broker.start(), keepalives=0.5),
    "broker SIGSTOP": Fault(lambda rig, _: rig.broker.freeze(), lambda rig, _: rig.broker.thaw(), keepalives=2.5),
    "broker stalled": Fault(lambda rig, _: rig.proxy.stall(), _heal_broker, keepalives=2.5),
    "broker black-holed": Fault(lambda rig, _: rig.proxy.black_hole(), _heal_broker, keepalives=2.5),
    "broker cut": Fault(lambda rig, _: rig.proxy.cut(), None),
}
DAEMON_FAULTS: Dict[str, Fault] = {
    "daemon kill -9": Fault(lambda rig, _: rig.kill_daemon(), lambda rig, _: rig.start_daemon()),
    "both kill -9": Fault(_kill_both, _start_both),
}
