"""Where the broker is and who we are, from the settings and the files with the secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from sightd.settings import MqttSettings, Settings, secret_path

from .tls import TlsOptions, tls_context

__all__ = ["BrokerOptions", "broker_options"]


@dataclass(frozen=True)
class BrokerOptions:
    """Where the broker is and who we are."""

    host: str = "localhost"
    port: int = 1883
    #: "" connects anonymously.
    username: str = ""
    password: str = field(default="", repr=False)
    #: Unique at the broker: a second client with the same id throws the first one out.
    client_id: str = "sightd"
    #: A connection that died silently is noticed after twice this long.
    keepalive_s: int = 10
    #: None: not encrypted.
    tls: Optional[TlsOptions] = None

    def __str__(self) -> str:
        """For messages."""
        user = f" as {self.username!r}" if self.username else ""
        return f"MQTT broker {self.host}:{self.port}{user}"


def broker_options(settings: Settings) -> BrokerOptions:
    """The broker of *settings*, with the password read.

    :raises ConfigError: a file with a secret or a certificate can't be used.
    """
    mqtt = settings.mqtt
    return BrokerOptions(
        host=mqtt.host,
        port=mqtt.broker_port,
        username=mqtt.username or "",
        password=mqtt.read_password() or "",
        client_id=settings.client_id,
        keepalive_s=mqtt.keepalive_s,
        tls=_tls_options(mqtt),
    )


def _tls_options(mqtt: MqttSettings) -> Optional[TlsOptions]:
    tls = mqtt.tls
    if not tls.enabled:
        return None
    key_file = None if tls.key_file is None else secret_path(tls.key_file, "mqtt.tls.key_file")
    options = TlsOptions(tls.ca_file, tls.cert_file, key_file)
    tls_context(options)  # a file that can't be used is told at the start, not at the first connection
    return options
