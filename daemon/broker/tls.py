"""TLS to the broker: who is trusted, and who we say that we are."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Optional

from sightd.errors import ConfigError

__all__ = ["TlsOptions", "tls_context"]

_HANDSHAKE_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class TlsOptions:
    """Files in PEM format; they are read anew for each connection, so renewed ones are found."""

    #: Certificates of those who may sign the broker's; None: the system's authorities.
    ca_file: Optional[Path] = None
    #: Our own certificate and its key: both or none.
    cert_file: Optional[Path] = None
    key_file: Optional[Path] = None


def tls_context(options: TlsOptions) -> ssl.SSLContext:
    """What makes TLS connections: 1.2 or newer, the broker's certificate and its host name verified.

    :raises ConfigError: a file can't be used.
    """
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.ca_file is None:
        context.load_default_certs()
    else:
        _load_authorities(context, options.ca_file)
    if options.cert_file is not None and options.key_file is not None:
        _load_pair(context, options.cert_file, options.key_file)
    return context


class _Context(ssl.SSLContext):
    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Shake hands here: paho before 2.2 lets that take as long as the keep-alive; and none closes the socket."""
        connection = super().wrap_socket(*args, **kwargs)
        try:
            connection.settimeout(_HANDSHAKE_TIMEOUT_S)
            connection.do_handshake()
        except OSError:
            connection.close()
            raise
        return connection


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    certificates = _read(path, "mqtt.tls.ca_file", "CERTIFICATE")
    try:
        context.load_verify_locations(cadata=certificates)
    except ssl.SSLError as error:
        raise ConfigError(
            f"mqtt.tls.ca_file: {path} holds a damaged certificate ({error.reason}): copy it anew"
        ) from error


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    _read(certificate, "mqtt.tls.cert_file", "CERTIFICATE")
    _read(key, "mqtt.tls.key_file", "PRIVATE KEY")

    def refuse() -> NoReturn:  # without it OpenSSL asks for the passphrase at the terminal
        raise ConfigError(
            f"mqtt.tls.key_file: {key} is encrypted, and nobody is there to type the passphrase: "
            f"decrypt it with openssl pkey -in {key} -out NEW, and keep others from reading it"
        )

    try:
        context.load_cert_chain(certificate, key, password=refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"mqtt.tls.key_file: {key} is not the key of {certificate}: name the pair") from error
        raise ConfigError(
            f"mqtt.tls.cert_file, key_file: OpenSSL can't use {certificate} with {key} ({error}): make them anew"
        ) from error


def _read(path: Path, key: str, content: str) -> str:
    """The PEM file *path*, which must hold a *content*."""
    try:
        text = path.read_bytes().decode("ascii", "replace")
    except OSError as error:
        raise ConfigError(
            f"{key}: {path} can't be read ({error.strerror}); check path, owner and permissions"
        ) from error
    if f"{content}-----" not in text:
        raise ConfigError(
            f"{key}: {path} holds no {content.lower()} in PEM format (-----BEGIN ...); "
            "openssl x509 or openssl pkey with -inform der converts"
        )
    return text
