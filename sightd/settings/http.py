"""The HTTP endpoint for Prometheus and probes: what can be set about it."""

from __future__ import annotations

import ipaddress
import re
from typing import Optional

from pydantic import Field, ValidationInfo, field_validator

from ..errors import ConfigError
from .secrets import read_secret
from .section import Section
from .values import FilePath

__all__ = ["HttpSettings"]

#: What may stand behind "Bearer": RFC 6750, section 2.1.
_TOKEN = r"[A-Za-z0-9._~+/-]+=*"  # noqa: S105  (a pattern, no password)
_MAKE_ONE = "openssl rand -hex 32"


class HttpSettings(Section):
    """Where /metrics, /live, /ready and /startup are listened for."""

    port: int = Field(default=0, ge=0, le=65535, description="TCP port; 0: nothing is listened on")
    address: str = Field(
        default="127.0.0.1",
        description="Address of this machine to listen on; one that others can reach, as 0.0.0.0, needs token_file",
    )
    token_file: Optional[FilePath] = Field(
        default=None,
        validate_default=True,
        description="File that holds the token which /metrics is then shown for, unreadable for others",
    )

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            raise ValueError(
                "must be an address of this machine, not a name: 127.0.0.1, ::1, or 0.0.0.0 for all of IPv4"
            ) from None
        # ::ffff:127.0.0.1 can't be listened on as it is, and Pythons differ about whether others reach it.
        return str(getattr(address, "ipv4_mapped", None) or address)

    @field_validator("token_file")
    @classmethod
    def _guards_what_others_reach(cls, value: Optional[FilePath], info: ValidationInfo) -> Optional[FilePath]:
        address = info.data.get("address", "127.0.0.1")
        if value is None and not ipaddress.ip_address(address).is_loopback:
            raise ValueError(
                f"is needed, for other machines can reach {address}: name a file with a token ({_MAKE_ONE}), "
                "or listen on 127.0.0.1 only"
            )
        return value

    def read_token(self) -> Optional[str]:
        """What a request for /metrics has to show; None: nothing.

        :raises ConfigError: see :func:`.secrets.read_secret`; or it could not be sent in a header.
        """
        if self.port == 0 or self.token_file is None:
            return None
        token = read_secret(self.token_file, "http.token_file")
        if not re.fullmatch(_TOKEN, token):
            allowed = "letters, digits and -._~+/="
            raise ConfigError(f"http.token_file: {self.token_file} may hold {allowed} only; make one with: {_MAKE_ONE}")
        return token
