"""A small, strict reading of YAML that keeps the line of every key, for error messages.

One document of mappings, lists and scalars. What surprises people is refused: duplicate keys, anchors,
aliases and merge keys, tags, deep nesting, and plain values that YAML 1.1 and 1.2 read differently
(``22:22:22``, ``010``, ``yes``). It works on the event stream: nothing nested is ever built by a library.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, NoReturn, Optional, Tuple, Union

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

__all__ = ["Document", "KeyPath", "Problem", "read_document"]

#: The keys and list indices that lead to a value.
KeyPath = Tuple[Union[str, int], ...]

_MAX_DEPTH = 16
_NULL = re.compile(r"~?|null|Null|NULL")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(0|[1-9]\d{0,17})")
_FLOAT = re.compile(r"[-+]?((0|[1-9]\d{0,17})(\.\d{0,17})?|\.\d{1,17})(e[-+]?\d{1,3})?", re.IGNORECASE)
# Any other number-like text (an address has more dots), and the words that are booleans to YAML 1.1 alone.
_ODD = re.compile(
    r"[-+]?(0[xob][\da-f_]+|\d[\d_]*(:\d+)*(\.[\d_]*)?(e[-+]?\d+)?|\.\d+(e[-+]?\d+)?|\.inf|\.nan)|yes|no|on|off|y|n",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is (line from 1) and what is wrong."""

    line: int
    path: KeyPath
    message: str


@dataclass(frozen=True)
class Document:
    """What a file says. Either ``data`` is a mapping or there are problems, or both."""

    #: Plain dicts with str keys, lists, str, int, float, bool and None; None itself when reading had to stop.
    data: Optional[Dict[str, Any]]
    #: The line of each key and list item, from 1; ``()`` is the root.
    lines: Mapping[KeyPath, int]
    problems: List[Problem]


def read_document(text: str) -> Document:
    """Read *text*. Never raises: mistakes are in the document's problems, without any value in them."""
    reader = _Reader(YAML(typ="safe", pure=True).parse(text))
    data: Optional[Dict[str, Any]] = None
    try:
        data = reader.root()
    except _StopReading:
        pass
    except MarkedYAMLError as error:
        reader.complain(error.problem_mark.line + 1, (), _syntax(error.problem))
    except ReaderError as error:
        reader.complain(text.count("\n", 0, error.position) + 1, (), "holds control characters; is this a text file?")
    return Document(data, reader.lines, reader.problems)


class _StopReading(Exception):  # noqa: N818 - it ends the reading, the mistake itself is already noted
    pass


class _Reader:
    def __init__(self, events: Iterator[Event]) -> None:
        self.lines: Dict[KeyPath, int] = {(): 1}
        self.problems: List[Problem] = []
        self._events = events

    def complain(self, line: int, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(line, path, message))

    def root(self) -> Dict[str, Any]:
        next(self._events)  # the stream's start
        if isinstance(next(self._events), StreamEndEvent):
            self._stop(1, (), "is empty; write a commented file with: sightd init")
        event = next(self._events)
        if not isinstance(event, MappingStartEvent):
            self._stop(_line(event), (), "must be 'key: value' lines at the top level")
        data: Dict[str, Any] = self._value(event, (), 1)
        next(self._events)  # the document's end
        event = next(self._events)
        if isinstance(event, DocumentStartEvent):
            self._stop(_line(event), (), "a second document begins here (---); a file holds one")
        return data

    def _value(self, event: Event, path: KeyPath, depth: int) -> Any:
        self._refuse_extras(event, path)
        if depth > _MAX_DEPTH:
            self._stop(_line(event), path[:4], f"nested deeper than {_MAX_DEPTH} levels")
        if isinstance(event, MappingStartEvent):
            return self._mapping(path, depth)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(path, depth)
        if isinstance(event, ScalarEvent):
            return self._scalar(event, path)
        return None  # an alias, refused above

    def _mapping(self, path: KeyPath, depth: int) -> Dict[str, Any]:
        content: Dict[str, Any] = {}
        for event in self._events:
            if isinstance(event, MappingEndEvent):
                break
            if not isinstance(event, ScalarEvent):
                self._stop(_line(event), path, "a key must be one word of text")
            key_path = (*path, event.value)
            self._refuse_extras(event, key_path)
            first = self.lines.setdefault(key_path, _line(event))
            value = self._value(next(self._events), key_path, depth + 1)
            if event.value in content:
                self.complain(_line(event), key_path, f"is there twice, first on line {first}; remove one")
            content.setdefault(event.value, value)
        return content

    def _sequence(self, path: KeyPath, depth: int) -> List[Any]:
        items: List[Any] = []
        for event in self._events:
            if isinstance(event, SequenceEndEvent):
                break
            item_path = (*path, len(items))
            self.lines.setdefault(item_path, _line(event))
            items.append(self._value(event, item_path, depth + 1))
        return items

    def _scalar(self, event: ScalarEvent, path: KeyPath) -> Any:
        text: str = event.value
        if event.style is not None:  # quoted or a block: text
            return text
        if _NULL.fullmatch(text):
            return None
        if _BOOL.fullmatch(text):
            return text.lower() == "true"
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        if _ODD.fullmatch(text):
            self.complain(
                _line(event),
                path,
                "is read differently by different YAML readers; "
                "put quotes around text, write a plain decimal number, or true or false",
            )
        return text

    def _refuse_extras(self, event: Event, path: KeyPath) -> None:
        if isinstance(event, NodeEvent) and event.anchor is not None:
            kind = "an alias (*)" if isinstance(event, AliasEvent) else "an anchor (&)"
            self.complain(_line(event), path, f"{kind} is not allowed; write the value out")
        if getattr(event, "tag", None) is not None:
            self.complain(_line(event), path, "a tag (!) is not allowed; remove it")

    def _stop(self, line: int, path: KeyPath, message: str) -> NoReturn:
        self.complain(line, path, message)
        raise _StopReading


def _line(event: Event) -> int:
    line: int = event.start_mark.line + 1
    return line


def _syntax(problem: str) -> str:
    """YAML's complaint without the character that it quotes, which may be a password's."""
    if r"'\t'" in problem:
        return "a tab; indent with spaces"
    complaint = re.sub(r"""\s(['"])[^<]+?\1""", "", problem)
    return f"not valid YAML ({complaint}); check the indentation, and put quotes around special characters"
