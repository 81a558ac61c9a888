"""No file of others is read in a way that could run it, or without a limit: looked up in the source itself."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator, List, Tuple

import pytest

CHECKOUT = Path(__file__).parents[1]
#: They read what a process of ours has just written, or pip's own record.
OWN_OUTPUT = {"daemon/doctor/engine.py", "daemon/doctor/opencv.py", "sightd/install/environment.py"}
OWN_OUTPUT |= {"sightd/install/machine.py", "sightd/install/source.py", "converter/builders/tensorrt_layers.py"}
OWN_OUTPUT |= {"converter/builders/tensorrt_order.py"}
#: A decoder process takes its orders from the daemon that has forked it; what it answers is another matter.
ORDERED = {"sightd/sources/decoder.py", "sightd/sources/decoder_server.py"}
#: A call -> the keyword without which it may run what it reads.
SAFE_WITH = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
NEVER = {"pickle.load", "pickle.loads", "yaml.load", "eval", "exec", "marshal.loads", "shelve.open", "os.system"}
#: sightd.bounded does the same within limits.
BOUNDED = {"json.load", "json.loads", "msgspec.json.decode"}


def calls() -> Iterator[Tuple[str, int, str, ast.Call]]:
    """File, line, dotted name and node of every call in the packages."""
    for package in ("sightd", "daemon", "converter"):
        for path in sorted((CHECKOUT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call):
                    yield path.relative_to(CHECKOUT).as_posix(), node.lineno, ast.unparse(node.func), node


def offences() -> List[str]:
    found = []
    for file, line, name, node in calls():
        if file in ORDERED:
            continue
        if name in SAFE_WITH:
            keyword, value = SAFE_WITH[name]
            given = {one.arg: getattr(one.value, "value", None) for one in node.keywords}
            if given.get(keyword) is not value:
                found.append(f"{file}:{line}: {name} without {keyword}={value}")
        elif name in NEVER:
            found.append(f"{file}:{line}: {name} runs what it reads")
        elif name in BOUNDED and file not in OWN_OUTPUT | {"sightd/bounded.py"}:
            found.append(f"{file}:{line}: {name} knows no limit: sightd.bounded does")
    return found


@pytest.mark.skipif(not hasattr(ast, "unparse"), reason="Python 3.8 has no ast.unparse")
def test_nothing_is_unpickled_evaluated_or_read_without_a_limit() -> None:
    assert offences() == []
    names = {name for _, _, name, _ in calls()}
    assert {"torch.load", "np.load"} <= names, "else this looks for nothing"
