"""`sightd capture`: frames of all configured cameras into a calibration set, evenly shared among them."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from functools import partial
from typing import Callable, Dict, List, Mapping

from sightd.calibration_set import CalibrationSet
from sightd.settings import CameraSettings
from sightd.sources import camera_source, frames

__all__ = ["capture"]

_log = logging.getLogger(__name__)


def capture(
    cameras: Mapping[str, CameraSettings],
    kept: CalibrationSet,
    *,
    count: int,
    fps: float,
    stop: threading.Event,
    on_kept: Callable[[], None],
) -> Dict[str, Dict[str, int]]:
    """Offer frames of each of *cameras* to the set *kept* until each has given its share of *count*.

    One thread a camera; a camera that is away is waited for until *stop* is set. Each camera's masks are applied.

    Returns for each camera what became of its frames: the set's verdict -> how often.

    :param fps: offer at most so many frames a second and camera.
    :param on_kept: called for every frame that was kept, one call at a time.
    :raises CalibrationError: a frame could not be stored.
    :raises ConfigError: a camera's password can't be read.
    """
    share = -(-count // len(cameras))
    sources = {name: camera_source(camera) for name, camera in cameras.items()}
    lock = threading.Lock()
    failures: List[BaseException] = []
    tallies: Dict[str, Counter[str]] = {name: Counter() for name in cameras}

    def watch(name: str, camera: CameraSettings) -> None:
        say = partial(_say_state, name)
        try:
            for frame in frames(name, sources[name], max_fps=fps, stop=stop, on_state=say):
                with lock:
                    verdict = kept.offer(frame, camera.masks)
                    if verdict == "kept":
                        on_kept()
                tallies[name][verdict] += 1
                if tallies[name]["kept"] >= share:
                    return
        except Exception as error:  # the thread's edge: raised again on the caller's
            failures.append(error)
            stop.set()

    threads = [threading.Thread(target=watch, args=item, name=f"capture-{item[0]}") for item in cameras.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return {name: dict(answers) for name, answers in tallies.items()}


def _say_state(name: str, state: str, reason: str) -> None:
    _log.info("camera %s is %s%s", name, state, f": {reason}" if reason else "")
