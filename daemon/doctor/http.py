"""The HTTP endpoint: whether its port is the daemon's to have, and its token can be read."""

from __future__ import annotations

import errno
import http.client
import ipaddress
from typing import Iterator

from sightd.errors import ConfigError
from sightd.settings import HttpSettings

from ..http import LOADING, STARTED, listen
from .finding import Area, Finding, parted
from .machine import Account, Machine

__all__ = ["AREA", "check"]

AREA = Area("http")

_FIX = "correct the section http of the settings"
#: How long the daemon may take to answer, in seconds.
_PATIENCE_S = 3.0


def check(machine: Machine, settings: HttpSettings, service: Account) -> Iterator[Finding]:
    """Where nothing is to be listened on, only that."""
    if not settings.port:
        yield AREA.ok("endpoint", "off: nothing is listened on")
        return
    try:
        settings.read_token()
    except ConfigError as error:
        yield AREA.problem("token", *parted(str(error), _FIX))
    yield _port(machine, settings, service)


def _port(machine: Machine, settings: HttpSettings, service: Account) -> Finding:
    where = f"port {settings.port} of {settings.address}"
    first = machine.read("/proc/sys/net/ipv4/ip_unprivileged_port_start") or "1024"
    if settings.port < int(first) and service.uid != 0:
        return AREA.problem("port", f"{where} is none for the user {service.name}", f"choose one from {first} on")
    if _is_ours(settings):
        return AREA.ok("port", f"{where}: the daemon answers")
    try:
        listen(settings.address, settings.port).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            fix = f"sudo ss -ltnp sport = :{settings.port} names it; end it, or choose another http.port"
            return AREA.problem("port", f"{where} is taken by another program", fix)
        return AREA.problem("port", f"{where} can't be listened on ({error.strerror})", "ip addr shows what can")
    return AREA.ok("port", f"{where} is free for the daemon")


def _is_ours(settings: HttpSettings) -> bool:
    """Whether it is the daemon that listens there."""
    address = ipaddress.ip_address(settings.address)
    loopback = "::1" if address.version == 6 else "127.0.0.1"
    connection = http.client.HTTPConnection(
        loopback if address.is_unspecified else settings.address, settings.port, timeout=_PATIENCE_S
    )
    try:
        connection.request("GET", "/startup")
        said = connection.getresponse().read(100).decode("ascii", "replace").strip()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return said in (STARTED, LOADING)
