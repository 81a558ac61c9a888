"""The broker: what can be set about it."""

from __future__ import annotations

from typing import Any, List, Literal, Optional, Tuple

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from .broker_address import BrokerAddress, split_address
from .secrets import read_secret
from .section import Section
from .values import FilePath, Host, Text, TopicPrefix

__all__ = ["MqttSettings", "TlsSettings"]


class TlsSettings(Section):
    """How the connection to the broker is encrypted, and how the two prove who they are."""

    enabled: bool = Field(
        default=False, description="Whether to speak TLS; the broker's certificate is always verified"
    )
    ca_file: Optional[FilePath] = Field(
        default=None, description="Certificate of the authority that signed the broker's (PEM); null: the system's"
    )
    cert_file: Optional[FilePath] = Field(
        default=None, description="Client certificate (PEM), for a broker that wants one; needs key_file"
    )
    key_file: Optional[FilePath] = Field(
        default=None, description="Key of the client certificate (PEM, not encrypted), unreadable for others"
    )

    @field_validator("ca_file", "cert_file", "key_file")
    @classmethod
    def _has_an_effect(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and not info.data.get("enabled", True):
            raise ValueError("has no effect without enabled: true beside it")
        return value

    @model_validator(mode="after")
    def _is_a_pair(self) -> TlsSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together; give both or none")
        return self


class MqttSettings(Section):
    """The broker and how to reach it."""

    host: Host = Field(default="127.0.0.1", description="Broker's host name or address")
    port: Optional[int] = Field(
        default=None, ge=1, le=65535, description="Broker's TCP port; null: 1883, or 8883 with TLS"
    )
    fallbacks: List[BrokerAddress] = Field(
        default=[], description="Brokers to try in this order while that one is away: host or host:port"
    )
    redirects: Literal["configured", "any"] = Field(
        default="configured",
        description="Where a broker may send us: to those named here only, or anywhere, which needs tls",
    )
    commands: bool = Field(
        default=False, description="Whether <camera>/enabled/set switches cameras on and off; see docs/mqtt.md first"
    )
    username: Optional[Text] = Field(default=None, description="User name at the broker; null connects without one")
    password: Optional[SecretStr] = Field(
        default=None, description="Password in plain text; better kept in a password_file"
    )
    password_file: Optional[FilePath] = Field(
        default=None, description="File that holds the password and nothing else, unreadable for others"
    )
    topic_prefix: Optional[TopicPrefix] = Field(default=None, description="Start of every topic; null: sightd/<node>")
    client_id: Optional[Text] = Field(default=None, description="MQTT client identifier; null: sightd-<node>")
    keepalive_s: int = Field(
        default=10, ge=1, le=65535, description="A dead broker is noticed after twice this many seconds"
    )
    tls: TlsSettings = Field(default=TlsSettings(), description="Encryption")

    @field_validator("password", "password_file")
    @classmethod
    def _goes_with(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("username", "") is None:
            raise ValueError("needs a username beside it")
        if value is not None and info.data.get("password") is not None:
            raise ValueError("excludes password; keep one of the two")
        return value

    @model_validator(mode="after")
    def _addresses_make_sense(self) -> MqttSettings:
        for number, address in enumerate(self.addresses):
            if address in self.addresses[:number]:
                raise ValueError(f"fallbacks: {self.fallbacks[number - 1]} is named twice; each broker is tried once")
        if self.redirects == "any" and not self.tls.enabled:
            raise ValueError(
                "redirects: any needs tls.enabled: true, or whoever answers as the broker could send us, and our "
                "password, to a host of his own"
            )
        return self

    @property
    def broker_port(self) -> int:
        """The TCP port to connect to."""
        return self.port or (8883 if self.tls.enabled else 1883)

    @property
    def addresses(self) -> List[Tuple[str, int]]:
        """Host and port of each broker, in the order in which they are tried."""
        others = [split_address(address) for address in self.fallbacks]
        return [(self.host, self.broker_port), *((host, port or self.broker_port) for host, port in others)]

    def read_password(self) -> Optional[str]:
        """The broker's password, read anew from password_file where one is named; None without either.

        :raises ConfigError: see :func:`.secrets.read_secret`.
        """
        if self.password_file is not None:
            return read_secret(self.password_file, "mqtt.password_file")
        return None if self.password is None else self.password.get_secret_value()
