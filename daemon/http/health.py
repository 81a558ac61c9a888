"""What probes ask: whether the daemon has started, whether it lives, whether it does its work."""

from __future__ import annotations

from typing import Callable, List, Mapping

from ..messages import CAMERA_CORRUPT, CAMERA_DISABLED, CAMERA_ONLINE, CAMERA_SLOW
from ..publisher import CONNECTED

__all__ = ["LOADING", "STARTED", "Health"]

#: What /startup says, which tells our daemon from other programs: that it has started, or why it has not.
STARTED, LOADING = "startup: yes", "the models are being loaded"

#: A camera whose pictures are damaged or few is looked at all the same.
_SERVED = {CAMERA_ONLINE.decode(), CAMERA_SLOW.decode(), CAMERA_CORRUPT.decode()}


class Health:
    """Each answer is why not, a line a reason; none: it is so. Any thread.

    Strangers may read it: it names no camera, host or path.

    :param started: whether the models are warm and all threads run.
    :param stopping: whether it is on its way out.
    :param stuck: the stages that hang.
    :param broker: the state of the connection to the broker, as :class:`daemon.publisher.Publisher` has it.
    :param cameras: the word of each one's status topic.
    """

    def __init__(
        self,
        started: Callable[[], bool],
        stopping: Callable[[], bool],
        stuck: Callable[[], List[str]],
        broker: Callable[[], str],
        cameras: Mapping[str, str],
    ) -> None:
        self._started, self._stopping, self._stuck = started, stopping, stuck
        self._broker, self._cameras = broker, cameras

    def startup(self) -> List[str]:
        """READY was told, or would be."""
        return [] if self._started() else [LOADING]

    def live(self) -> List[str]:
        """Nothing hangs; that cameras or the broker are away is no reason to start anew."""
        return [f"no progress in {stage.partition(' of ')[0]}" for stage in self._stuck()]

    def ready(self) -> List[str]:
        """What a camera shows reaches the broker."""
        reasons = self.startup() + self.live()
        if self._stopping():
            reasons.append("stopping")
        broker = self._broker()
        if broker != CONNECTED:
            reasons.append(f"no connection to the broker ({broker})")
        states = [state for state in dict(self._cameras).values() if state != CAMERA_DISABLED.decode()]
        if not _SERVED.intersection(states):
            reasons.append(f"none of {len(states)} enabled cameras is online")
        return reasons
