"""What a source file uses of TensorRT, by reading it: names on the module, on its classes and on its objects."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Set

__all__ = ["OBJECTS", "Use", "uses"]

#: What the module is called in our sources.
_MODULE = ("trt", "_trt")
#: What looks whether there is such a name.
_LOOKING = ("getattr", "hasattr", "_had")
#: Attributes of our own objects and of Python's that have a namesake in some TensorRT.
_OURS = ("format", "get", "max", "min", "opt", "precision", "query", "read", "release", "update", "write")
#: By convention, a variable or attribute (a leading underscore aside) of this name holds an object of this class.
OBJECTS = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
    "layer": "ILayer",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "runtime": "Runtime",
    "tensor": "ITensor",
}


@dataclass(frozen=True)
class Use:
    """A name of TensorRT's in one of our files."""

    #: "Builder.create_network": of that class; "Builder": of the module; ".shape": of an object of a class not known.
    path: str
    place: str
    #: Asked for with hasattr or getattr, so that it may be missing.
    optional: bool = False


def uses(file: Path) -> Iterator[Use]:
    """All uses in *file*; members of objects of other libraries are among those of a class not known."""
    inner: Set[int] = set()
    tree = ast.parse(file.read_text("utf-8"))
    for node in ast.walk(tree):  # from the outside in: `trt.A.B` comes before its part `trt.A`
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            chain = _chain(node)
            inner.update(map(id, ast.walk(node)) if chain else ())
            path = chain or _member(node)
            if not node.attr.startswith("_") and path[1:] not in _OURS:
                yield Use(path, f"{file.name}:{node.lineno}")
        elif isinstance(node, ast.ClassDef):
            yield from _overrides(node, file.name)
        elif isinstance(node, ast.Call):
            yield from _asked_for(node, file.name)


def _chain(node: ast.Attribute) -> Optional[str]:
    """`trt.A.B` -> "A.B"; None for what does not start at the module."""
    names: List[str] = []
    value: ast.expr = node
    while isinstance(value, ast.Attribute) and value.attr not in _MODULE:
        names.insert(0, value.attr)
        value = value.value
    root = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
    public = names and not any(name.startswith("_") for name in names)
    return ".".join(names) if root in _MODULE and public else None


def _member(node: ast.Attribute) -> str:
    """The use: of a class where the object is named by convention or just made by its class."""
    value = node.value
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        made = _chain(value.func)
        return f"{made}.{node.attr}" if made and made[0].isupper() and "." not in made else f".{node.attr}"
    name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
    return f"{OBJECTS.get(name.lstrip('_'), '')}.{node.attr}"


def _overrides(node: ast.ClassDef, name: str) -> Iterator[Use]:
    """Public methods of a class that inherits one of TensorRT's: it would call no others."""
    for base in node.bases:
        parent = _chain(base) if isinstance(base, ast.Attribute) else None
        for child in node.body if parent else ():
            if isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
                yield Use(f"{parent}.{child.name}", f"{name}:{child.lineno}")


def _asked_for(node: ast.Call, name: str) -> Iterator[Use]:
    """`hasattr(trt.A, "B")`, `getattr(x, "b", 0)` and calls of our own with such arguments look before they use."""
    if len(node.args) < 2 or not isinstance(node.func, ast.Name):
        return
    owner, asked = node.args[:2]
    chain = _chain(owner) if isinstance(owner, ast.Attribute) else None
    if isinstance(asked, ast.Constant) and isinstance(asked.value, str) and (chain or node.func.id in _LOOKING):
        prefix = "" if isinstance(owner, ast.Name) and owner.id in _MODULE else f"{chain or ''}."
        yield Use(prefix + asked.value, f"{name}:{node.lineno}", optional=True)
