"""Where a broker is, as text: in the settings, and as a broker refers us to another (MQTT 5, section 4.11)."""

from __future__ import annotations

import ipaddress
import re
from typing import Optional, Tuple

from pydantic import AfterValidator
from typing_extensions import Annotated

from .values import check_host

__all__ = ["BrokerAddress", "split_address"]

_PARTS = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^\[\]:]+))(?::(?P<port>[0-9]{1,5}))?")


def split_address(text: str) -> Tuple[str, Optional[int]]:
    """Host and port of ``host``, ``host:port``, ``::1`` or ``[::1]:port``; None where no port is named.

    :raises ValueError: it is none of them.
    """
    found = _PARTS.fullmatch(text)
    if found is None:
        return _v6(text), None
    host = check_host(found["host"]) if found["host"] else _v6(found["v6"])
    if found["port"] is None:
        return host, None
    port = int(found["port"])
    if not 1 <= port <= 65535:
        raise ValueError("has a port that is not 1 to 65535")
    return host, port


def _v6(text: str) -> str:
    try:
        ipaddress.IPv6Address(text.partition("%")[0])
    except ValueError:
        raise ValueError("must be host, host:port, or [address]:port for an IPv6 address") from None
    return text


def _check(value: str) -> str:
    split_address(value)
    return value


BrokerAddress = Annotated[str, AfterValidator(_check)]
