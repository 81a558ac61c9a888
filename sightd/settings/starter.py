"""The commented settings file: config/sightd.yaml, and what `sightd init` writes."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Mapping, Type

from pydantic import BaseModel

from .models import Settings
from .strict_yaml import read_document

__all__ = ["assigned", "starter"]

_HEADER = """\
# yaml-language-server: $schema=sightd.schema.json
# Settings of sightd: every key with its default. After a change: sightd check-config
# For an editor that checks as you type: sightd check-config --schema > sightd.schema.json
"""
_EXAMPLES = """\
  # front:
  #   url: rtsp://user:password@192.0.2.10:554/stream1
  # yard:
  #   url: rtsp://192.0.2.11/stream1
  #   max_fps: 5
  #   labels: [person, car]
"""


def starter(cameras: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """A settings file with every key and a comment to each.

    :param cameras: name -> url; without any there are commented examples, and the file is not valid yet.
    :param values: what is not to be the default, as the file would say it: ``{"mqtt": {"host": "broker"}}``.
    """
    own = "".join(f"  {name}:\n    url: {_scalar(url)}\n" for name, url in cameras.items())
    return _HEADER + "\n".join(_section(Settings, values, "")) + "\n" + (own or _EXAMPLES)


def assigned(assignments: Iterable[str]) -> Dict[str, Any]:
    """``["mqtt.port=1884"]`` as ``{"mqtt": {"port": 1884}}``, the values for :func:`starter`.

    :raises ValueError: one names no key with a value of its own, or its value is no YAML.
    """
    values: Dict[str, Any] = {}
    for assignment in assignments:
        path, _, text = assignment.partition("=")
        *sections, key = path.split(".")
        model: Type[BaseModel] = Settings
        node = values
        for name in sections:
            section = model.model_fields[name].default if name in model.model_fields else None
            if not isinstance(section, BaseModel):
                raise ValueError(f"{path!r} is no key of the settings file")
            model, node = type(section), node.setdefault(name, {})
        if key not in model.model_fields or isinstance(model.model_fields[key].default, BaseModel) or key == "cameras":
            near = difflib.get_close_matches(key, model.model_fields, 1)
            hint = f"; did you mean {near[0]!r}?" if near and near[0] != key else ""
            raise ValueError(f"{path!r} is no key of the settings file that has a value of its own{hint}")
        document = read_document(f"value: {text}")
        if document.data is None or set(document.data) != {"value"} or document.problems:
            problem = document.problems[0].message if document.problems else "is more than a value"
            raise ValueError(f"the value of {path!r} can't be read ({problem}); put it in quotes")
        node[key] = document.data["value"]
    return values


def _section(model: Type[BaseModel], values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if not indent:
            yield ""
        yield f"{indent}# {field.description}"
        if isinstance(field.default, BaseModel):
            yield f"{indent}{name}:"
            yield from _section(type(field.default), values.get(name, {}), indent + "  ")
        elif field.is_required():
            yield f"{indent}{name}:"
        else:
            yield f"{indent}{name}: {_scalar(values.get(name, field.default))}"


def _scalar(value: Any) -> str:
    """*value* as YAML: bare where nothing can be misread, else as JSON, which YAML reads too."""
    if isinstance(value, Path) or (isinstance(value, str) and re.fullmatch(r"[a-z/][a-z/.-]{3,}", value)):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
