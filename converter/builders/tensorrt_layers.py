"""What the layers of a built engine compute in, from TensorRT's own words about them."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, Dict, Iterable, List

__all__ = ["count_inspected", "count_logged"]

#: As 8.5 to 10 word a tensor's format ("Thirty-two wide channel vectorized row major Int8 format") and 11 its type.
_PRECISIONS = {"int8": r"int8", "fp16": r"fp16|half|float16", "fp32": r"fp32|float32|float"}
#: Layers that compute nothing.
_IDLE = re.compile(r"reformat|noop|constant|shape_call|signal|wait", re.IGNORECASE)
#: A layer as TensorRT-RTX logs it while building; an inspector needs a GPU for its engine.
_LOGGED = re.compile(r"Name: \S+, LayerType: (\w+), Inputs: \[ \{[^}]*Datatype: (\w+)")


def count_inspected(information: str) -> Dict[str, int]:
    """Precision -> layers that read it, of an engine inspector's JSON (detailed verbosity; TensorRT 8.5 to 11)."""
    layers: List[Any] = json.loads(information).get("Layers", [])
    return _counted(_first_input(one) for one in layers if isinstance(one, dict) and not _IDLE.search(_type_of(one)))


def count_logged(lines: Iterable[str]) -> Dict[str, int]:
    """The same, of what TensorRT-RTX logs."""
    found = (_LOGGED.search(line) for line in lines)
    return _counted(match[2] for match in found if match and not _IDLE.search(match[1]))


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
