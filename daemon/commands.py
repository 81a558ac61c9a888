"""Commands that come over MQTT: `<camera>/enabled/set` switches a camera off and on; nothing else can be asked for."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import Callable, Dict, Mapping, Optional, Set

from .broker import Inbox
from .outbox import Message, Outbox
from .plan import Plan
from .topics import Topics

__all__ = ["OFF", "ON", "Commands"]

_log = logging.getLogger(__name__)

#: Payloads of `<camera>/enabled/set` and of `<camera>/enabled/state`.
ON, OFF = b"ON", b"OFF"

#: A camera is switched at most so often, in seconds; of the commands that come meanwhile the last one counts.
_INTERVAL_S = 1.0
#: A reason to refuse commands is logged at most so often, in seconds.
_QUIET_S = 60.0
#: Characters that are shown of a topic that somebody else made up.
_SHOWN = 120

#: Why a command is refused, as `stats` counts it, and what to do.
_RETAINED, _MALFORMED, _UNKNOWN, _DISABLED, _SUPERSEDED = "retained", "malformed", "unknown", "disabled", "superseded"
_ADVICE = {
    _RETAINED: "the broker had kept it, and it would count again at each connection: publish it without retain",
    _MALFORMED: "the payload must be ON or OFF",
    _UNKNOWN: "the settings have no such camera",
    _DISABLED: "the settings disable this camera, and only they can enable it",
    _SUPERSEDED: f"another one came within {_INTERVAL_S:.0f} s, which counts in its place",
}


class Commands:
    """Judges what the broker delivers (publisher's thread) and carries it out (main thread: all other methods).

    MQTT does not say who sent a message: whoever may publish to the topics by the broker's ACL may command. What was
    commanded lasts until the daemon ends, or the settings disable the camera.
    """

    def __init__(
        self, topics: Topics, outbox: Outbox, configured: Callable[[], Mapping[str, bool]], *, listen: bool
    ) -> None:
        """Begin with all cameras as the settings have them.

        :param configured: gives every camera, and whether the settings enable it; called on both threads.
        :param listen: False: there is no inbox, and nothing is said.
        """
        self._topics, self._outbox, self._configured = topics, outbox, configured
        #: To subscribe to; None: nothing.
        self.inbox = Inbox(topics.commands, self._receive) if listen else None
        self._lock = threading.Lock()
        self._waiting: Dict[str, bool] = {}
        self._free_at: Dict[str, float] = {}
        self._off: Set[str] = set()
        self._said: Dict[str, bytes] = {}
        self._told_at: Dict[str, float] = {}
        #: Commands that were carried out, and those that were not, by reason. May be read from any thread.
        self.accepted = 0
        self.refused: Counter[str] = Counter()

    def obey(self, now: float) -> bool:
        """Carry out the commands whose time has come; True: :meth:`applied` gives something else from now on.

        :param now: monotonic.
        """
        before = set(self._off)
        for camera, on in self._take(now).items():
            self.accepted += 1
            self._free_at[camera] = now + _INTERVAL_S
            (self._off.discard if on else self._off.add)(camera)
            _log.info("camera %s is switched %s by command", camera, "on" if on else "off", extra={"camera": camera})
        return before != self._off

    def applied(self, plan: Plan) -> Plan:
        """*plan*, that of the settings, without what is switched off."""
        configured = self._configured()
        self._off = {camera for camera in self._off if configured.get(camera)}
        return plan.without(self._off)

    def say(self) -> None:
        """Publish the state of each camera, where it is not what was said last."""
        if self.inbox is None:
            return
        states = {camera: ON if on and camera not in self._off else OFF for camera, on in self._configured().items()}
        gone = {camera: b"" for camera in self._said if camera not in states}
        for camera, state in {**gone, **states}.items():
            if self._said.get(camera) != state:
                self._outbox.put(Message(self._topics.enabled_state(camera), state, retain=True))
        self._said = states

    def _receive(self, topic: str, payload: bytes, retained: bool) -> None:
        camera = self._topics.commanded(topic)
        objection = self._objection(camera, payload, retained)
        if objection or camera is None:
            self._refuse(objection or _UNKNOWN, topic)
            return
        with self._lock:
            superseded = camera in self._waiting
            self._waiting[camera] = payload == ON
        if superseded:
            self._refuse(_SUPERSEDED, topic)

    def _objection(self, camera: Optional[str], payload: bytes, retained: bool) -> str:
        if retained:
            return _RETAINED
        if payload not in (ON, OFF):  # compared, not decoded
            return _MALFORMED
        enabled = self._configured().get(camera or "")
        if enabled is None:
            return _UNKNOWN
        return "" if enabled else _DISABLED

    def _refuse(self, reason: str, topic: str) -> None:
        self.refused[reason] += 1
        now = time.monotonic()
        if now >= self._told_at.get(reason, -_QUIET_S) + _QUIET_S:
            self._told_at[reason] = now
            count = self.refused[reason]
            _log.warning("command on %.*r refused: %s (%d so far)", _SHOWN, topic, _ADVICE[reason], count)

    def _take(self, now: float) -> Dict[str, bool]:
        with self._lock:
            due = {camera: on for camera, on in self._waiting.items() if now >= self._free_at.get(camera, now)}
            for camera in due:
                del self._waiting[camera]
        configured = self._configured()  # a reload may have come between
        return {camera: on for camera, on in due.items() if configured.get(camera)}
