"""Class names out of a file: one a line, a data file of YOLO's (YAML), or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

from sightd.bounded import decode_json
from sightd.errors import ModelError
from sightd.settings.strict_yaml import read_document

__all__ = ["names_in_order", "read_names"]

_MAX_BYTES = 1 << 20
#: Where JSON has the names in an object: Ultralytics' key and Hugging Face's.
_KEYS = ("names", "id2label")


def read_names(path: Path) -> List[str]:
    """The names in *path*; the suffix tells the format: .yaml and .yml, .json, anything else has one a line.

    :raises ModelError: it can't be read, or holds no names.
    """
    text = _read(path)
    kind = path.suffix.lower()
    if kind in (".yaml", ".yml"):
        return _from_yaml(path, text)
    if kind == ".json":
        return _from_json(path, text)
    return [line.strip() for line in text.splitlines() if line.strip()]


def names_in_order(names: object) -> Optional[List[str]]:
    """The names in a list, or in a mapping whose keys (numbers, or digits) count from 0; None where it is neither."""
    if isinstance(names, dict):
        numbered: Dict[str, object] = {str(key): name for key, name in names.items()}
        if len(numbered) != len(names) or set(numbered) != {str(number) for number in range(len(names))}:
            return None
        names = [numbered[str(number)] for number in range(len(numbered))]
    if not isinstance(names, (list, tuple)) or any(isinstance(name, (dict, list, tuple)) for name in names):
        return None
    return [str(name) for name in names]


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path}: larger than 1 MiB, this is no list of class names")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: can't be read as text ({error})") from error


def _from_yaml(path: Path, text: str) -> List[str]:
    document = read_document(text)
    data = document.data or {}
    ours = [problem for problem in document.problems if not problem.path or problem.path[0] in ("names", "nc")]
    if ours:
        places = [f"{path}:{ours[0].line}", ".".join(map(str, ours[0].path)), ours[0].message]
        raise ModelError(": ".join(filter(None, places)))
    names = names_in_order(data.get("names"))
    if names is None:
        raise ModelError(f"{path}: has no 'names', a list or numbered from 0, as the data file of a YOLO has")
    if data.get("nc", len(names)) != len(names):
        raise ModelError(f"{path}: nc is {data['nc']}, but there are {len(names)} names: correct the file")
    return names


def _from_json(path: Path, text: str) -> List[str]:
    try:
        content = decode_json(text.encode(), Any)
    except ValueError as error:
        raise ModelError(f"{path}: no JSON ({error})") from error
    if isinstance(content, dict):
        content = next((content[key] for key in _KEYS if key in content), content)
    names = names_in_order(content)
    if names is None:
        raise ModelError(
            f'{path}: must be a list of names, names numbered from 0 ({{"0": "person", ...}}), '
            f"or have one of these as {' or '.join(_KEYS)}"
        )
    return names
