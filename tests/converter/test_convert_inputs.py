"""What people bring, through the command line: each form becomes a bundle, or a sentence that says what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from converter.model.external_data import has_external_data
from sightd.cli import build_app
from sightd.errors import SightdError
from tests.parts.blobs import SIZE, blob_detector, names, write_blob_pictures
from tests.parts.daemon import command
from tests.parts.models import Net, yolox


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blob_pictures(tmp_path_factory.mktemp("set") / "pictures", 100)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """The folder that a user works in."""
    (tmp_path / "given").mkdir()
    names(tmp_path / "given" / "labels.txt")
    return tmp_path / "given"


def converted(model: Path, pictures: Path, *arguments: str) -> Dict[str, Any]:
    """The manifest of the bundle that `sightd convert` makes of *model*."""
    out = model.parent / "bundle"
    fixed = ["--calibration", str(pictures), "--out", str(out), "--max-trials", "1"]
    labels = ["--labels", str(model.with_name("labels.txt"))]
    whole = command("convert", str(model), *fixed, *labels, *arguments)
    done = subprocess.run(whole, capture_output=True, text=True, check=False, cwd=model.parent)
    assert done.returncode == 0, done.stderr
    manifest: Dict[str, Any] = json.loads((out / "manifest.json").read_text())
    assert manifest["agreement"]["verdict"] == "agrees"
    return manifest


def told(*arguments: str) -> str:
    """What the command line says of a conversion that can't be."""
    result = CliRunner().invoke(build_app(), ["convert", *arguments])
    assert result.exit_code != 0
    return str(result.exception) if isinstance(result.exception, SightdError) else result.output


def refused(model: Path, *arguments: str) -> str:
    frames, out = model.parent / "pictures", model.parent / "bundle"
    frames.mkdir(exist_ok=True)
    return told(str(model), "--calibration", str(frames), "--out", str(out), *arguments)


def saved(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def of_two_files(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """The bundle of a model whose weights lay beside it; both files are gone."""
    folder = tmp_path_factory.mktemp("two")
    whole = onnx.load(str(blob_detector(folder / "whole.onnx")))
    path = folder / "given" / "model.onnx"
    path.parent.mkdir()
    names(path.with_name("labels.txt"))
    onnx.save_model(whole, str(path), save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    converted(path, pictures)
    (path.parent / "bundle").rename(folder / "bundle")
    shutil.rmtree(path.parent)
    return folder / "bundle"


def test_two_files_become_a_bundle_with_one(of_two_files: Path) -> None:
    assert not has_external_data(onnx.load(str(of_two_files / "model.onnx"), load_external_data=False))


def test_the_picture_of_the_graph_is_in_the_bundle_and_its_report(of_two_files: Path) -> None:
    precision = json.loads((of_two_files / "manifest.json").read_text())["engine"]["precision"]
    svg = (of_two_files / "graph.svg").read_text("utf-8")
    assert f"model.onnx, {precision} engine for onnxruntime" in svg
    assert (">INT8<" in svg) == (precision == "int8")
    assert ">FP32<" in svg
    assert svg in (of_two_files / "report.html").read_text("utf-8")
    shown = subprocess.run(command("bundle", "show", str(of_two_files)), capture_output=True, text=True, check=True)
    assert "graph.svg" in next(line for line in shown.stdout.splitlines() if line.startswith("extras"))


def test_the_bundle_of_two_files_is_rebuilt_without_them(of_two_files: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(of_two_files, tmp_path / "bundle")
    again = command("convert", "--rebuild", str(bundle))
    done = subprocess.run(again, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((folder / "manifest.json").read_text()) for folder in (of_two_files, bundle))
    assert second["model"]["onnx_sha256"] == first["model"]["onnx_sha256"]
    assert second["created_at"] >= first["created_at"]


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    for weights in model.graph.initializer:
        weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights).astype(np.float16), weights.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def of_pixels(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.node[0].input[0] = "float"
    model.graph.node.insert(0, helper.make_node("Cast", ["image"], ["float"], "cast", to=TensorProto.FLOAT))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    return model


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (halved, "float16 weights were converted"),
        pytest.param(of_pixels, "the model takes uint8 pixels", marks=pytest.mark.slow),
    ],
)
def test_half_precision_and_uint8_pixels_become_int8_and_are_noted(
    given: Path, pictures: Path, change: Callable[[onnx.ModelProto], onnx.ModelProto], note: str
) -> None:
    path = blob_detector(given / "model.onnx")
    manifest = converted(saved(path, change(onnx.load(str(path)))), pictures)
    assert note in manifest["agreement"]["notes"][0]
    assert manifest["model"]["name"] == "model.onnx"
    assert note in (given / "bundle" / "report.html").read_text("utf-8")


def torch_model(path: Path, how: str) -> List[str]:
    """Write the detector as PyTorch saves it, and what the command line needs beside it."""
    pytest.importorskip("torch")
    import torch

    from tests.parts.torch_blobs import Blobs, blobs, saved_program, saved_script

    module = blobs(path.parent, Blobs())
    if how == "torchscript":
        saved_script(path, module)
    elif how == "program":
        saved_program(path, module, 2, dynamic=True)
    else:
        torch.save(module.state_dict(), path)
        code = f"import sys\nsys.path.append({str(Path(__file__).parents[2])!r})\n"
        path.with_name("detector.py").write_text(f"{code}from tests.parts.torch_blobs import Blobs\n")
    size = f"--size={SIZE}x{SIZE}"
    return {
        "torchscript": [size],
        "program": [],
        "weights": [size, "--factory=detector:Blobs", "--script"],
    }[how]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("how", "exporter"),
    [
        pytest.param("torchscript", "torchscript", marks=pytest.mark.slow),
        ("program", "torchscript"),
        pytest.param("weights", "torchscript, scripted", marks=pytest.mark.slow),
    ],
)
def test_what_pytorch_saves_becomes_a_bundle(given: Path, pictures: Path, how: str, exporter: str) -> None:
    path = given / "model.pt"
    arguments = torch_model(path, how)
    manifest = converted(path, pictures, *arguments)
    assert manifest["model"]["exporter"].partition(" ")[2].partition(" ")[2] == exporter
    assert manifest["model"]["weights_sha256"]
    assert manifest["profile"]["max"] > 1


def test_files_that_are_no_model_of_ours_are_told_apart(given: Path) -> None:
    pickle_file = given / "yolo.pt"
    pickle_file.write_bytes(b"\x80\x02}q\x00.")
    assert "give the function that makes the model by --factory" in refused(pickle_file, "--size=64x64")
    tflite = given / "model.tflite"
    tflite.write_bytes(b"\x1c\0\0\0TFL3" + bytes(20))
    assert "tf2onnx.convert --tflite" in refused(tflite)
    assert "leave it out" in refused(blob_detector(given / "blobs.onnx"), "--factory=a:b")


def test_an_open_size_is_asked_for(given: Path) -> None:
    model = onnx.load(str(blob_detector(given / "blobs.onnx")))
    for axis, name in ((1, "height"), (2, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    message = refused(saved(given / "open.onnx", model), "--labels", str(given / "labels.txt"))
    assert "leaves its input's width open: give the size it is to run at with --size" in message


def test_several_inputs_are_named(given: Path) -> None:
    net = Net(1)
    model = net.model([net.backbone("input")])
    model.graph.input.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, [1]))
    assert "this model has 2 (input, scale)" in refused(saved(given / "two.onnx", model))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--script"], "--script needs --factory"),
        (["--script", "--factory=a:b", "--exporter=dynamo"], "--script does not go with --exporter dynamo"),
        (["--exporter=onnx"], "'onnx' is not one of"),
        (["--opset=18"], "Invalid value for '--opset'"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(given: Path, arguments: List[str], message: str) -> None:
    text = " ".join(refused(saved(given / "yolox.onnx", yolox()), *arguments).split())
    assert message in text.replace(" │ ", " ")


@pytest.mark.parametrize("option", ["--exporter=dynamo", "--script", "--opset=15"])
def test_a_rebuild_exports_nothing(tmp_path: Path, option: str) -> None:
    assert "does not go with --rebuild" in told("--rebuild", str(tmp_path), option)
