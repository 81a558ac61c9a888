from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Tuple

import pytest

from sightd.errors import SightdError
from sightd.install.environment import BuildEnvironment, Recipe, recipe_for
from sightd.install.source import Source
from tests.parts.installation import PYTHON, bare_machine

SOURCE = Source("sightd==1.0.0", "", "1.0.0")
BUILDER = {"compiler": True, "cuda": Path("/usr/local/cuda")}


def recipe(python: Any, **machine: Any) -> Recipe:
    found, _ = recipe_for(replace(bare_machine(), python=replace(PYTHON, **python), **machine), SOURCE)
    return found


@pytest.mark.parametrize(
    ("python", "has_extra", "constraints"),
    [
        ({}, True, ()),
        ({"numpy": "2.1.0"}, True, ()),
        ({"cv2_there": True, "cv2": True, "numpy": "1.17.4"}, False, ("numpy<2",)),
        ({"cv2_there": True, "cv2": True, "numpy": "2.1.0"}, False, ()),
        # One that was built for NumPy 1 and fails beside 2.
        ({"cv2_there": True, "cv2": False, "numpy": "2.1.0"}, False, ("numpy<2",)),
        # One that fails for another reason.
        ({"cv2_there": True, "cv2": False, "numpy": "1.24.2"}, True, ()),
    ],
)
def test_the_systems_opencv_is_used_where_it_works_with_the_numpy_it_needs(
    python: Any, has_extra: bool, constraints: Tuple[str, ...]
) -> None:
    assert ("opencv" in recipe(python).extras) is has_extra
    assert recipe(python).constraints == constraints


def test_the_engine_for_cpus_and_the_converter_are_always_there() -> None:
    assert recipe({}).extras[:2] == ("ort", "convert")


def test_tensorrt_brings_pycuda_where_it_can_be_built() -> None:
    assert "gpu" in recipe({"tensorrt": True, "headers": True}, **BUILDER).extras
    assert "gpu" not in recipe({"tensorrt": True, "headers": True, "pycuda": True}, **BUILDER).extras
    assert "gpu" not in recipe({"headers": True}, **BUILDER).extras
    for lacking in ({"compiler": False}, {"cuda": None}):
        machine = replace(bare_machine(), python=replace(PYTHON, tensorrt=True, headers=True), **{**BUILDER, **lacking})
        found, notes = recipe_for(machine, SOURCE)
        assert "gpu" not in found.extras
        assert any("TensorRT" in note and "apt install" in note for note in notes)


def test_journal_fields_come_from_the_system_or_are_said_to_be_off() -> None:
    _, notes = recipe_for(bare_machine(), SOURCE)
    assert any("python3-systemd" in note for note in notes)
    _, notes = recipe_for(replace(bare_machine(), python=replace(PYTHON, journal=True)), SOURCE)
    assert notes == []


def test_a_build_that_fails_leaves_nothing_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "versions/1.0.0-20260101T000000Z"
    found = Recipe(SOURCE, (sys.executable, "3"), ("ort",), ())
    with pytest.raises(SightdError, match=r"(?s)pip install.*No matching distribution.*run this again"):
        BuildEnvironment(folder, found, None).apply()
    assert not folder.exists()


def test_a_checkout_that_is_gone_is_an_error_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightd.install.environment.run", lambda *arguments: (tmp_path / "new").mkdir(exist_ok=True))
    found = Recipe(Source(str(tmp_path / "gone"), "", "1"), (sys.executable, "3"), ("ort",), ())
    with pytest.raises(SightdError, match="--source"):
        BuildEnvironment(tmp_path / "new", found, None).apply()
    assert not (tmp_path / "new").exists()
