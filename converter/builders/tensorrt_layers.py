"""What the layers of a built engine compute in, from TensorRT's own words about them."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, Dict, Iterable, List, Optional, Tuple

__all__ = ["count_inspected", "count_logged"]

#: As 8.5 to 10 word a tensor's format ("Thirty-two wide channel vectorized row major Int8 format") and 11 its type.
_PRECISIONS = {"int8": r"int8", "fp16": r"fp16|half|float16", "fp32": r"fp32|float32|float"}
#: Layers that compute nothing.
_IDLE = re.compile(r"reformat|noop|constant|shape_call|signal|wait", re.IGNORECASE)
#: A layer as TensorRT 8.5 logs it when it has built an engine, for each profile again.
_LISTED = re.compile(r"Layer\((\w+)\): .*?, Tactic: 0x\w+, (.*?) -> ")
_OTHER_PROFILE = "[profile "
#: The same, as TensorRT-RTX logs it; an inspector needs a GPU for its engine.
_LOGGED = re.compile(r"Name: \S+, LayerType: (\w+), Inputs: \[ \{[^}]*Datatype: (\w+)")


def count_inspected(information: str) -> Dict[str, int]:
    """Precision -> layers that read it, of an engine inspector's JSON (detailed verbosity; TensorRT 8.5 to 11)."""
    layers: List[Any] = json.loads(information).get("Layers", [])
    return _counted(_first_input(one) for one in layers if isinstance(one, dict) and not _IDLE.search(_type_of(one)))


def count_logged(lines: Iterable[str]) -> Dict[str, int]:
    """The same, of what TensorRT 8.5 and TensorRT-RTX log."""
    found = filter(None, map(_logged, lines))
    return _counted(kind for layer, kind in found if not _IDLE.search(layer))


def _logged(line: str) -> Optional[Tuple[str, str]]:
    """The layer's kind and what it reads first, of a line that describes one."""
    listed = None if _OTHER_PROFILE in line else _LISTED.match(line)
    if listed:
        first = re.search(r"\((\w+)\[", listed[2])
        return listed[1], first[1] if first else ""
    logged = _LOGGED.search(line)
    return (logged[1], logged[2]) if logged else None


def _type_of(described: Dict[str, Any]) -> str:
    return f"{described.get('LayerType', '')} {described.get('ParameterType', '')}"


def _first_input(described: Dict[str, Any]) -> str:
    inputs = described.get("Inputs") or [{}]
    return " ".join(str(inputs[0].get(key, "")) for key in ("Format/Datatype", "Datatype", "Format"))


def _counted(types: Iterable[str]) -> Dict[str, int]:
    """Integers other than INT8, booleans and the uint8 input count for nothing."""
    found = Counter(
        next((name for name, words in _PRECISIONS.items() if re.search(rf"\b({words})\b", text, re.IGNORECASE)), "")
        for text in types
    )
    return {name: found[name] for name in _PRECISIONS if found[name]}
