"""The HTTP endpoint: metrics for Prometheus, probes for whoever watches over the daemon; off unless a port is set."""

from __future__ import annotations

from .endpoint import Endpoint
from .health import LOADING, STARTED, Health
from .listener import listen

__all__ = ["LOADING", "STARTED", "Endpoint", "Health", "listen"]
