"""How a connection to the broker ended, or why it was never made."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Cause", "Ending"]


class Cause(Enum):
    """Why there is no connection (any more)."""

    UNREACHABLE = "no connection, or TLS broke"
    SILENT = "closed, or nothing came, before the broker answered to CONNECT"
    VERSION = "the broker does not speak this version of MQTT"
    REFUSED = "the broker answered to CONNECT with another refusal"
    LOST = "an accepted connection ended"


@dataclass(frozen=True)
class Ending:
    """How a connection ended."""

    cause: Cause
    #: The broker's word for it; "" without one.
    reason: str
    #: For the log, with what to do.
    sentence: str
    #: Where the broker sends us instead ("host:port ..."), where it does; as it came, so not to be trusted.
    reference: str = ""
