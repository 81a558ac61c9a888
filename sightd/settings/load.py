"""From a file to settings, with all of its mistakes in one error: ``FILE:LINE: key.path: what is wrong``."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Iterable, Iterator, List, Mapping, Sequence, Type

from pydantic import BaseModel, ValidationError

from ..errors import ConfigError
from ..redact import redact
from .cameras import CameraSettings, ClassifierSettings
from .models import Settings
from .strict_yaml import Document, KeyPath, Problem, read_document

__all__ = ["load_settings", "parse_settings"]

_MAX_BYTES = 256 << 10

#: pydantic's error types that deserve plainer words than its own.
_PLAIN = {
    "missing": "is missing",
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list, for example [person, car]",
    "dict_type": "must be 'key: value' lines",
    "model_type": "must be 'key: value' lines",
    "model_attributes_type": "must be 'key: value' lines",
}
_NO_CAMERA = "at least one camera is needed, for example front: {url: rtsp://192.0.2.10/stream}"


def load_settings(path: Path) -> Settings:
    """The settings in the YAML file *path*.

    :raises ConfigError: it can't be read, or has mistakes: all of them, one a line, and no secret.
    """
    return parse_settings(_read(path), path)


def parse_settings(content: bytes, path: Path) -> Settings:
    """The settings in *content*; *path* gives messages their file name and relative paths their folder.

    :raises ConfigError: as :func:`load_settings`.
    """
    document = read_document(_decode(content, path))
    problems = list(document.problems)
    if document.data is not None:
        try:
            settings = Settings.model_validate(document.data, context={"folder": path.absolute().parent})
        except ValidationError as error:
            problems += _translate(error.errors(include_url=False), document)
        else:
            if not problems:
                return settings
    lines = [_sentence(path, problem) for problem in sorted(problems, key=lambda problem: problem.line)]
    raise ConfigError(redact("\n".join(lines)))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; write a commented one with: sightd init {path}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; give the YAML file in it") from None
    except PermissionError:
        raise ConfigError(f"{path}: no permission to read it; run as root or as a member of its group") from None
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}); check the path and the disk") from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES >> 10} KiB; this is no settings file")
    return content


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8; save the file with UTF-8 encoding") from None


def _translate(errors: Iterable[Mapping[str, Any]], document: Document) -> Iterator[Problem]:
    """The errors of pydantic at their lines, less those that the document's problems already explain."""
    explained = {problem.path for problem in document.problems}
    for error in errors:
        path: KeyPath = tuple(part for part in error["loc"] if part != "[key]")
        if path not in explained and not _inherited(path, document):
            yield Problem(_line_of(path, document), path, _message(error, path))


def _inherited(path: KeyPath, document: Document) -> bool:
    """Whether a camera got the value from camera_defaults, where the same mistake is reported."""
    own = path[:3] in document.lines
    return path[:1] == ("cameras",) and not own and ("camera_defaults", *path[2:3]) in document.lines


def _line_of(path: KeyPath, document: Document) -> int:
    """The line of the key, or for a missing one that of the nearest key above it."""
    while path not in document.lines:
        path = path[:-1]
    return document.lines[path]


def _message(error: Mapping[str, Any], path: KeyPath) -> str:
    kind, value = error["type"], error["input"]
    if path == ("cameras",) and (kind in ("missing", "too_short") or value is None):
        return _NO_CAMERA
    if kind == "extra_forbidden":
        return f"unknown key{_suggestion(path[-1], _keys_at(path[:-1]))}"
    if kind == "literal_error":
        allowed = [word for word in re.findall(r"[^\s',]+", error["ctx"]["expected"]) if word != "or"]
        return f"must be one of {', '.join(allowed)}{_suggestion(value, allowed, listed=True)}"
    if kind.endswith("_type") and value is None:
        return "has no value; give it one or remove the line"
    plain: str = _PLAIN.get(kind, error["msg"])
    return plain.replace("Value error, ", "").replace("Input should", "must")


def _keys_at(path: KeyPath) -> List[str]:
    if path[:1] == ("cameras",):
        return list(CameraSettings.model_fields)
    if path[:1] == ("classifiers",):
        return list(ClassifierSettings.model_fields)
    model: Type[BaseModel] = Settings
    for key in path:
        model = model.model_fields[str(key)].annotation  # type: ignore[assignment] # a section's is its model
    return list(model.model_fields)


def _suggestion(given: Any, valid: Sequence[str], *, listed: bool = False) -> str:
    """The nearest of *valid*; without one the whole list, unless the message has it."""
    nearest = difflib.get_close_matches(str(given), valid, n=1)
    if nearest:
        return f"; did you mean '{nearest[0]}'?"
    return "" if listed else f"; there are {', '.join(valid)}"


def _sentence(path: Path, problem: Problem) -> str:
    where = "".join(_part(part) for part in problem.path).lstrip(".")
    return (
        f"{path}:{problem.line}: {where}: {problem.message}" if where else f"{path}:{problem.line}: {problem.message}"
    )


def _part(part: object) -> str:
    """A key as shown: cut where it is no word any more, for ``{password:secret}`` is one key to YAML."""
    if isinstance(part, int):
        return f"[{part}]"
    word = re.match(r"[\w-]{0,40}", str(part))
    shown = word.group() if word else ""
    return f".{shown}" if shown == part else f".{shown}…"
