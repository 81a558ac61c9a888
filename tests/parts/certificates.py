"""A certificate authority of a test's own, by the openssl program."""

from __future__ import annotations

import datetime as dt
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.parts.requires import require

__all__ = ["Authority", "Pair"]

_CONFIG = """\
[ca]
default_ca = this
[this]
database = {folder}/index
new_certs_dir = {folder}
unique_subject = no
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
[server]
subjectAltName = {names}
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
[client]
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
"""
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    cert_file: Path
    key_file: Path


class Authority:
    """Issues certificates into *folder*, which it makes; its own is ``ca_file``."""

    def __init__(self, folder: Path) -> None:
        require("openssl")
        folder.mkdir()
        (folder / "index").touch()
        self.ca_file = folder / "ca.pem"
        self._folder = folder
        _openssl(
            *("req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN={folder.name}"),
            *("-keyout", folder / "ca.key", "-out", self.ca_file),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def issue(
        self, name: str, role: str = "server", *, names: str = "DNS:localhost,IP:127.0.0.1", valid_from_days: int = -1
    ) -> Pair:
        """A certificate of the *role* "server" (for *names*) or "client", valid for two days."""
        folder = self._folder
        pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
        config, request = folder / "openssl.conf", folder / "request.pem"
        config.write_text(_CONFIG.format(folder=folder, names=names))
        _openssl("req", *_KEY, "-subj", f"/CN={name}", "-keyout", pair.key_file, "-out", request)
        start = dt.datetime.now(dt.timezone.utc) + dt.timedelta(valid_from_days)
        _openssl(
            *("ca", "-batch", "-notext", "-config", config, "-cert", self.ca_file, "-keyfile", folder / "ca.key"),
            *("-extensions", role, "-in", request, "-out", pair.cert_file),
            *("-startdate", f"{start:%Y%m%d%H%M%SZ}", "-enddate", f"{start + dt.timedelta(2):%Y%m%d%H%M%SZ}"),
        )
        return pair


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
