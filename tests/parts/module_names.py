"""The public names of a module and of its classes; run as a program it tells them of a module that it imports.

It needs nothing but the standard library, so that any interpreter can run it.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Dict, List

__all__ = ["public_names"]


def public_names(module: object) -> Dict[str, List[str]]:
    """Dotted path of a class below *module* -> its public names; "" is the module itself."""
    found: Dict[str, List[str]] = {"": _public(module)}
    waiting = [(name, getattr(module, name)) for name in found[""]]
    while waiting:
        path, value = waiting.pop()
        # Inherited classes come up below every heir, so there is an end to it.
        if isinstance(value, type) and path.count(".") < 2:
            found[path] = _public(value)
            waiting += [(f"{path}.{name}", getattr(value, name, None)) for name in found[path]]
    return found


def _public(value: object) -> List[str]:
    return [name for name in dir(value) if not name.startswith("_")]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(public_names(import_module(sys.argv[1]))))
