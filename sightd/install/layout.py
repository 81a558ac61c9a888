"""Where everything of an installation lies, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["UNIT", "Layout"]

UNIT = "sightd.service"


@dataclass(frozen=True)
class Layout:
    """The paths below *root*, which is ``/`` but for tests, and the owners as ``user:group``."""

    root: Path = Path("/")
    #: Programs, bundles, settings: the daemon can't change them.
    admin: str = "root:root"
    #: What the daemon reads and others don't: settings hold passwords.
    shared: str = "root:sightd"
    #: What the daemon writes.
    service: str = "sightd:sightd"

    @property
    def home(self) -> Path:
        """The programs and the bundles."""
        return self.root / "opt/sightd"

    @property
    def versions(self) -> Path:
        """One virtual environment a version: they can't be moved, so each is made where it stays."""
        return self.home / "versions"

    @property
    def current(self) -> Path:
        """The link to the version in use; the unit starts what it points to."""
        return self.home / "venv"

    @property
    def bundles(self) -> Path:
        return self.home / "bundles"

    @property
    def command(self) -> Path:
        """The link that makes `sightd` a command for everyone."""
        return self.root / "usr/local/bin/sightd"

    @property
    def settings(self) -> Path:
        return self.root / "etc/sightd"

    @property
    def config(self) -> Path:
        return self.settings / "sightd.yaml"

    @property
    def schema(self) -> Path:
        return self.settings / "sightd.schema.json"

    @property
    def secrets(self) -> Path:
        """Files with one secret each, handed to the daemon under their names."""
        return self.settings / "secrets"

    @property
    def state(self) -> Path:
        return self.root / "var/lib/sightd"

    @property
    def cache(self) -> Path:
        return self.root / "var/cache/sightd"

    @property
    def unit(self) -> Path:
        return self.root / "etc/systemd/system" / UNIT

    @property
    def drop_ins(self) -> Path:
        return self.root / f"etc/systemd/system/{UNIT}.d"

    @property
    def sysusers(self) -> Path:
        return self.root / "etc/sysusers.d/sightd.conf"
