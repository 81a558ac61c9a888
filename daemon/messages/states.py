"""States that are one word: of the daemon and of each camera."""

from __future__ import annotations

__all__ = [
    "CAMERA_CORRUPT",
    "CAMERA_DISABLED",
    "CAMERA_FROZEN",
    "CAMERA_OFFLINE",
    "CAMERA_ONLINE",
    "CAMERA_SLOW",
    "OFFLINE",
    "ONLINE",
    "STOPPED",
]

#: Payloads of `available`: the daemon runs, it was stopped, it vanished (the will).
ONLINE, STOPPED, OFFLINE = b"online", b"stopped", b"offline"

#: Payloads of `<camera>/status`: frames come; there is no connection; there is one, but no new picture; it is disabled.
CAMERA_ONLINE, CAMERA_OFFLINE, CAMERA_FROZEN, CAMERA_DISABLED = b"online", b"offline", b"frozen", b"disabled"
#: And two of a camera that is looked at all the same: pictures are damaged, or markedly fewer than usual.
CAMERA_CORRUPT, CAMERA_SLOW = b"corrupt", b"slow"
