"""The names of the MQTT topics; docs/mqtt.md says what is published on each."""

from __future__ import annotations

import re
from typing import Optional

from sightd.errors import ConfigError

__all__ = ["RESERVED", "Topics", "slug"]

#: Topics beside the cameras' own; no camera may be named like one.
RESERVED = frozenset({"available", "config", "info", "stats"})


_COMMAND = "enabled/set"


class Topics:
    """The topics below one prefix, ``sightd/<node>`` unless the user says otherwise.

    :raises ConfigError: the prefix, or a camera's name, can't be part of a topic.
    """

    def __init__(self, prefix: str) -> None:
        for level in prefix.split("/"):
            _check_level(level, f"MQTT prefix {prefix!r}")
        self.prefix = prefix
        self.available = f"{prefix}/available"
        self.config = f"{prefix}/config"
        self.info = f"{prefix}/info"
        self.stats = f"{prefix}/stats"
        #: The filter of all commands.
        self.commands = f"{prefix}/+/{_COMMAND}"

    def status(self, camera: str) -> str:
        """Whether *camera* delivers frames."""
        return self._of_camera(camera, "status")

    def detections(self, camera: str) -> str:
        """The objects in each frame of *camera*."""
        return self._of_camera(camera, "detections")

    def events(self, camera: str) -> str:
        """What came, changed and went in the view of *camera*."""
        return self._of_camera(camera, "events")

    def objects(self, camera: str, label: str) -> str:
        """How many objects of *label* are in the view of *camera*."""
        return self._of_camera(camera, f"objects/{slug(label)}")

    def enabled_state(self, camera: str) -> str:
        """Whether *camera* is switched on."""
        return self._of_camera(camera, "enabled/state")

    def commanded(self, topic: str) -> Optional[str]:
        """The camera's name in the *topic* of a command; None: it is none of ours."""
        start, end = f"{self.prefix}/", f"/{_COMMAND}"
        name = topic[len(start) : -len(end)]
        return name if topic == f"{start}{name}{end}" else None

    def _of_camera(self, camera: str, leaf: str) -> str:
        if camera in RESERVED:
            raise ConfigError(f"camera name {camera!r} is reserved for a topic of sightd: choose another")
        _check_level(camera, f"camera name {camera!r}")
        return f"{self.prefix}/{camera}/{leaf}"


def slug(label: str) -> str:
    """*label* as a level of a topic: small letters and digits, anything else between them as one "_"."""
    return re.sub(r"[\W_]+", "_", label.lower()).strip("_") or "other"


def _check_level(level: str, where: str) -> None:
    if not level or not level.isprintable() or level[0] == "$" or any(mark in level for mark in "/+#"):
        raise ConfigError(
            f"{where} can't be part of an MQTT topic: use printable characters without '+' and '#', nothing empty "
            "between slashes, no '$' in front, and no '/' in a camera's name"
        )
