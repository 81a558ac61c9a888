"""Which version of MQTT to try next."""

from __future__ import annotations

from .connection import MQTT_5, MQTT_311
from .ending import Cause

__all__ = ["ProtocolChoice"]


class ProtocolChoice:
    """MQTT 5, and 3.1.1 with a broker that turns 5 down.

    Such a broker says so, or hangs up. But a broker that is just going down hangs up, too: one that has taken
    MQTT 5 before is given a second chance. Each round begins with 5, for brokers are updated.
    """

    def __init__(self) -> None:
        #: What to try next: MQTT_5 or MQTT_311.
        self.protocol = MQTT_5
        self._trusted = False

    def after(self, cause: Cause) -> bool:
        """Note how the attempt ended. True: the next one uses 3.1.1 and need not wait."""
        turned_down = cause is Cause.VERSION or (cause is Cause.SILENT and not self._trusted)
        fall_back = turned_down and self.protocol == MQTT_5
        if cause is Cause.LOST:
            self._trusted = self.protocol == MQTT_5
        elif cause is not Cause.UNREACHABLE:
            self._trusted = False
        self.protocol = MQTT_311 if fall_back else MQTT_5
        return fall_back
