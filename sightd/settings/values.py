"""What a single value may be: text by rule, paths and URLs beside the settings file."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any, Callable

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, WithJsonSchema
from typing_extensions import Annotated

from .camera_url import normalise

__all__ = ["CameraName", "ClassifierName", "FilePath", "Host", "NodeName", "Text", "TopicPrefix", "Url", "check_host"]

#: Topic levels beside the cameras' (see daemon.topics): no camera may take one of them.
RESERVED_NAMES = ("available", "config", "events", "info", "stats", "status")

_NODE = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_CAMERA = rf"(?!(?:{'|'.join(RESERVED_NAMES)})$)[a-z0-9][a-z0-9_-]{{0,31}}"
_CLASSIFIER = r"[a-z0-9][a-z0-9_-]{0,31}"
_LEVEL = r"[^/+#$\x00-\x1f\x7f][^/+#\x00-\x1f\x7f]*"
_TOPIC = f"{_LEVEL}(?:/{_LEVEL})*"


def _folder(info: ValidationInfo) -> Path:
    return (info.context or {}).get("folder") or Path.cwd()


def _beside_config(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a path as text; put it in quotes")
    return _folder(info) / value


def _beside_config_url(value: Any, info: ValidationInfo) -> Any:
    return normalise(value, _folder(info)) if isinstance(value, str) else value


def check_host(value: str) -> str:
    """*value*, if it is a host's name or address.

    :raises ValueError: it is not.
    """
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?", value):
            raise ValueError("must be a host name or an address alone, without scheme, port or path") from None
    return value


def _matching(pattern: str, rule: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(rule)
        return value

    return check


Text = Annotated[str, Field(min_length=1)]
Host = Annotated[str, AfterValidator(check_host)]
FilePath = Annotated[Path, BeforeValidator(_beside_config)]
Url = Annotated[SecretStr, BeforeValidator(_beside_config_url), WithJsonSchema({"type": "string", "minLength": 1})]
NodeName = Annotated[
    str,
    AfterValidator(_matching(_NODE, "must be 1 to 64 letters, digits, _ and -, beginning with a letter or digit")),
    WithJsonSchema({"type": "string", "pattern": f"^{_NODE}$"}),
]
TopicPrefix = Annotated[
    str,
    AfterValidator(
        _matching(_TOPIC, "must be topic levels joined by '/', none empty, none with + or # or beginning with $")
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{_TOPIC}$"}),
]
CameraName = Annotated[
    str,
    AfterValidator(
        _matching(
            _CAMERA,
            "a camera's name is 1 to 32 lower-case letters, digits, _ and -, beginning with a letter or digit, "
            f"and none of the reserved {', '.join(RESERVED_NAMES)}",
        )
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{_CAMERA}$"}),
]
ClassifierName = Annotated[
    str,
    AfterValidator(
        _matching(
            _CLASSIFIER,
            "a classifier's name is 1 to 32 lower-case letters, digits, _ and -, beginning with a letter or digit",
        )
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{_CLASSIFIER}$"}),
]
