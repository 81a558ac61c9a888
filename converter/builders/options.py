"""The options of a TensorRT build as people write them: KEY=VALUE, checked one by one."""

from __future__ import annotations

import difflib
from typing import Any, Callable, Mapping, Tuple

from sightd.errors import ConfigError

from .tensorrt_order import TensorRtOptions

__all__ = ["tensorrt_options"]


def tensorrt_options(given: Mapping[str, str]) -> TensorRtOptions:
    """The options that *given* asks for by name; all others have their defaults.

    :raises ConfigError: an unknown name, or a value that is none for it.
    """
    return TensorRtOptions(**{key: _value(key, text) for key, text in given.items()})


def _value(key: str, text: str) -> Any:
    if key not in _OPTIONS:
        near = difflib.get_close_matches(key, _OPTIONS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_OPTIONS)}"
        raise ConfigError(f"TensorRT option {key!r} is not known; {hint}")
    read, told = _OPTIONS[key]
    try:
        return read(text.strip())
    except (ValueError, KeyError):
        raise ConfigError(f"TensorRT option {key}={text}: must be {told}") from None


def _names(text: str) -> Tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ValueError(text)
    return names


def _number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)


def _level(text: str) -> int:
    return range(6).index(_number(text))


def _switch(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


#: Name -> how its text is read, and what it must be.
_OPTIONS: Mapping[str, Tuple[Callable[[str], Any], str]] = {
    "tactic_sources": (_names, "names with commas between them, CUBLAS,CUDNN for instance"),
    "preview_features": (_names, "names with commas between them, PROFILE_SHARING_0806 for instance"),
    "workspace_mb": (_number, "a number of MB"),
    "dla_core": (_number, "the number of a DLA core, 0 for instance"),
    "hardware_compatible": (_switch, "true or false"),
    "version_compatible": (_switch, "true or false"),
    "optimization_level": (_level, "a number from 0 to 5"),
}
