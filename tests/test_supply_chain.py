"""What is installed beside sightd: pinned, listed, and without known holes."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List

import pytest

CHECKOUT = Path(__file__).parents[1]


def named_in_setup() -> List[str]:
    """Names of what the package needs, and what its extras `cpu` and `convert` do."""
    tree = ast.parse((CHECKOUT / "setup.py").read_text("utf-8"))
    requirements = re.compile(r"[A-Za-z][\w.-]*(?:>=|==)[\d.]+(?:; .*)?")
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    wanted = [text for text in texts if requirements.fullmatch(text) and "python_version < '3.10'" not in text]
    dev = {"coverage", "hypothesis", "import-linter", "mypy", "pytest", "pytest-timeout", "ruff"}
    elsewhere = {"pycuda", "torch", "onnxscript", "systemd-python"}  # JetPack's, or the developer's choice
    return [name for name in map(canonical, wanted) if name not in dev | elsewhere]


def canonical(requirement: str) -> str:
    """As PyPI compares names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[><=;\s]", requirement)[0]).lower()


def pins() -> Dict[str, str]:
    lines = (CHECKOUT / "constraints.txt").read_text("utf-8").splitlines()
    return {canonical(line): line.split("==")[1] for line in lines if not line.startswith("#")}


def test_all_that_setup_names_is_pinned_once_and_exactly() -> None:
    named = named_in_setup()
    assert {"numpy", "paho-mqtt", "pydantic", "onnxruntime", "opencv-python-headless", "onnx"} <= set(named)
    assert set(named) <= set(pins())
    assert all(re.fullmatch(r"\d[\w.]*", version) for version in pins().values())
    lines = (CHECKOUT / "constraints.txt").read_text("utf-8").splitlines()
    assert len(pins()) == sum(not line.startswith("#") for line in lines)


def make(target: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    return subprocess.run(["make", target], cwd=CHECKOUT, capture_output=True, text=True, timeout=800, check=False)


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("supply chain")  # both make targets make the same environment
def test_the_bill_of_materials_is_valid_and_lists_every_pin() -> None:
    done = make("sbom")
    assert done.returncode == 0, done.stdout + done.stderr  # cyclonedx-py validates what it writes
    bill = json.loads((CHECKOUT / "build" / "sbom.json").read_text("utf-8"))
    assert (bill["bomFormat"], bill["$schema"].split("/")[-1]) == (
        "CycloneDX",
        f"bom-{bill['specVersion']}.schema.json",
    )
    listed = {canonical(part["name"]): part["version"] for part in bill["components"]}
    assert pins().items() <= listed.items()
    assert "sightd" in listed
    (own,) = [part for part in bill["dependencies"] if part["ref"].startswith("sightd")]
    assert set(named_in_setup()) <= {canonical(name) for name in own["dependsOn"]} | {
        "onnxruntime",
        "onnx",
        "opencv-python-headless",
    }


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("supply chain")  # both make targets make the same environment
def test_no_pinned_version_has_a_known_vulnerability() -> None:
    done = make("audit")
    said = done.stdout + done.stderr
    if "could not be audited" in said or "ConnectionError" in said:
        pytest.skip("PyPI's vulnerability service can't be reached from here")
    assert done.returncode == 0, said
