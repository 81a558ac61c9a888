"""The recipe for CI in docs/model-service.md, run as it stands there."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.parts.blobs import blob_detector, names, write_blob_pictures
from tests.parts.daemon import command

_DOCUMENT = Path(__file__).parents[2] / "docs" / "model-service.md"


@pytest.mark.parametrize(("dead", "code", "packages"), [(False, 0, 1), (True, 3, 0)])
def test_a_good_model_is_packaged_and_one_that_disagrees_is_not(
    tmp_path: Path, dead: bool, code: int, packages: int
) -> None:
    (tmp_path / "bin").mkdir()
    sightd = tmp_path / "bin" / "sightd"
    sightd.write_text(f'#!/bin/sh\nexec {shlex.join(command())} "$@"\n')
    sightd.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{sightd.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(_DOCUMENT.parents[1]),
        "MODEL": str(blob_detector(tmp_path / "blobs.onnx", dead=dead)),
        "FRAMES": str(write_blob_pictures(tmp_path / "pictures", 100)),
        "LABELS": str(names(tmp_path / "labels.txt")),
    }
    recipe = _DOCUMENT.read_text("utf-8").partition("```sh\n")[2].partition("```")[0]
    done = subprocess.run(
        ["sh", "-c", recipe], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert len(list(tmp_path.glob("bundle-*.tar.gz"))) == packages
    assert ("not packaged" in done.stderr) == (code == 3)
