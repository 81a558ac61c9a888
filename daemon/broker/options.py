"""Where the broker is and who we are, from the settings and the files with the secrets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Optional, Tuple

from sightd.settings import MqttSettings, Settings, read_secret, secret_path

from .tls import TlsOptions, tls_context

__all__ = ["Address", "BrokerOptions", "broker_options"]


class Address(NamedTuple):
    """Where a broker listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class BrokerOptions:
    """Where the broker is and who we are."""

    host: str = "localhost"
    port: int = 1883
    #: "" connects anonymously.
    username: str = ""
    password: str = field(default="", repr=False)
    #: Holds the password instead; read anew for each connection, so a new one is found.
    password_file: Optional[Path] = None
    #: Unique at the broker: a second client with the same id throws the first one out.
    client_id: str = "sightd"
    #: A connection that died silently is noticed after twice this long.
    keepalive_s: int = 10
    #: None: not encrypted.
    tls: Optional[TlsOptions] = None
    #: Brokers to try in this order while the one above is away.
    fallbacks: Tuple[Address, ...] = ()
    #: Whether a broker may send us to one that is not named here.
    redirected_anywhere: bool = False
    #: While a fallback serves, the first broker is tried so often, in seconds.
    look_s: float = 60.0

    def __str__(self) -> str:
        """For messages."""
        user = f" as {self.username!r}" if self.username else ""
        return f"MQTT broker {self.address}{user}"

    @property
    def address(self) -> Address:
        """The broker to connect to."""
        return Address(self.host, self.port)

    def at(self, address: Address) -> BrokerOptions:
        """The same, for the broker at *address*."""
        return replace(self, host=address.host, port=address.port)

    def read_password(self) -> str:
        """The password; "" without one.

        :raises ConfigError: see :func:`sightd.settings.read_secret`.
        """
        if self.password_file is None:
            return self.password
        return read_secret(self.password_file, "mqtt.password_file")


def broker_options(settings: Settings) -> BrokerOptions:
    """The broker of *settings*.

    :raises ConfigError: a file with a secret or a certificate can't be used.
    """
    mqtt = settings.mqtt
    first, *others = [Address(*address) for address in mqtt.addresses]
    options = BrokerOptions(
        host=first.host,
        port=first.port,
        username=mqtt.username or "",
        password="" if mqtt.password is None else mqtt.password.get_secret_value(),
        password_file=mqtt.password_file,
        client_id=settings.client_id,
        keepalive_s=mqtt.keepalive_s,
        tls=_tls_options(mqtt),
        fallbacks=tuple(others),
        redirected_anywhere=mqtt.redirects == "any",
    )
    options.read_password()  # a file that can't be used is told at the start, not at the first connection
    return options


def _tls_options(mqtt: MqttSettings) -> Optional[TlsOptions]:
    tls = mqtt.tls
    if not tls.enabled:
        return None
    key_file = None if tls.key_file is None else secret_path(tls.key_file, "mqtt.tls.key_file")
    options = TlsOptions(tls.ca_file, tls.cert_file, key_file)
    tls_context(options)  # likewise
    return options
