"""Which addresses the daemon must reach beyond those that its unit allows to every installation."""

from __future__ import annotations

import ipaddress
import socket
from typing import Iterable, List, Tuple, Union

from ..settings import Settings
from ..settings.camera_url import hosts

__all__ = ["ALLOWED", "Reach", "hosts_of", "reach"]

_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

#: IPAddressAllow= of the unit: this host, private, link-local and carrier-grade NAT addresses.
ALLOWED = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
)

#: Addresses to allow, and the names that can't be pinned to any: with one of these everything must be allowed.
Reach = Tuple[List[str], List[str]]


def hosts_of(settings: Settings) -> List[str]:
    """The brokers' and the cameras' hosts, as they are written in *settings*."""
    urls = [camera.url.get_secret_value() for camera in settings.cameras.values() if camera.enabled]
    brokers = [host for host, _ in settings.mqtt.addresses]
    return sorted({*brokers, *(host for url in urls for host in hosts(url))})


def reach(hosts: Iterable[str]) -> Reach:
    """What of *hosts* (names or addresses) is beyond the unit's ranges.

    A name is resolved now; a public address behind it may be another tomorrow, so the name itself is returned, and
    so is one that has no address now.
    """
    addresses, names = [], []
    for host in hosts:
        try:
            if not _allowed(_parse(host)):
                addresses.append(host.partition("%")[0])
        except ValueError:
            if not _resolves_within(host):
                names.append(host)
    return addresses, names


def _resolves_within(name: str) -> bool:
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return False
    return all(_allowed(_parse(address)) for address in found)


def _parse(text: str) -> _Address:
    return ipaddress.ip_address(text.strip("[]").partition("%")[0])


def _allowed(address: _Address) -> bool:
    return any(address in network for network in ALLOWED)
