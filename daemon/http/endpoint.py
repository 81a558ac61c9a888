"""The endpoint as the service has it: which path says what, who may read it, and the thread that it runs on."""

from __future__ import annotations

import hmac
import re
import threading
import time
from email.message import Message
from http import HTTPStatus
from typing import Callable, List, Optional

from sightd.settings import HttpSettings

from ..messages import StatsMessage
from ..threads import StageThread, join_all
from .exchange import Answer, Responder, plain
from .families import Snapshot
from .health import Health
from .listener import Listener

__all__ = ["Endpoint"]

#: The header Host of who asks for an address, not a name.
_ADDRESSED = re.compile(r"(localhost|[0-9.]+|\[[0-9a-f:.]+\])?(:[0-9]+)?", re.IGNORECASE)


class Endpoint:
    """Main thread only. Whatever happens to it, the daemon goes on; without a port it does nothing.

    Figures are handed over as they are published, every `stats_interval_s`: so nobody but the main thread counts, and
    a scrape shows what the topic `stats` said last.
    """

    def __init__(self, settings: HttpSettings, health: Health) -> None:
        """Nothing is listened on yet.

        :raises ConfigError: the token can't be read.
        """
        self._newest: Optional[Snapshot] = None
        self._stop = threading.Event()
        self._threads: List[StageThread] = []
        token = settings.read_token()
        if settings.port:
            from .metrics import Metrics  # with it comes prometheus_client, which nobody needs without a port

            site = _Site(health, Metrics(lambda: self._newest).page, token)
            listener = Listener(settings.address, settings.port, Responder(site).respond)
            self._threads = [StageThread("http", lambda: listener.run(self._stop), lambda name: None)]

    def start(self) -> None:
        """Listen."""
        for thread in self._threads:
            thread.start()

    def tell(self, stats: StatsMessage) -> None:
        """What /metrics shows from now on."""
        self._newest = Snapshot(stats, time.monotonic())

    def close(self, deadline_s: float) -> None:
        """Hang up on everybody."""
        self._stop.set()
        join_all(self._threads, deadline_s)


class _Site:
    """The paths."""

    def __init__(self, health: Health, metrics: Callable[[], Answer], token: Optional[str]) -> None:
        self._metrics = metrics
        self._credentials = None if token is None else f"Bearer {token}".encode()
        self._probes = {"/startup": health.startup, "/live": health.live, "/ready": health.ready}

    def __call__(self, path: str, headers: Message) -> Answer:
        if path in self._probes:
            reasons_against = self._probes[path]()
            if reasons_against:
                return plain(HTTPStatus.SERVICE_UNAVAILABLE, "\n".join(reasons_against))
            return plain(HTTPStatus.OK, f"{path[1:]}: yes")
        if path != "/metrics":
            return plain(HTTPStatus.NOT_FOUND)
        return self._refusal(headers) or self._metrics()

    def _refusal(self, headers: Message) -> Optional[Answer]:
        if self._credentials is None:
            # A web page may have its own name lead to this machine (DNS rebinding), and a browser on it ask us.
            if _ADDRESSED.fullmatch(headers.get("Host", "").strip()):
                return None
            return plain(HTTPStatus.FORBIDDEN, "without http.token_file ask for an address, or localhost, not a name")
        given = headers.get("Authorization", "").strip().encode("utf-8", "replace")
        if hmac.compare_digest(given, self._credentials):
            return None
        return plain(HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})
