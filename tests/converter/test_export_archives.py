"""TorchScript archives and programs of torch.export: what their owners bring works, or is told what is wrong."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from converter.model.export import ExportRecord, export
from converter.model.finish import FinishedModel, finish
from converter.model.graph import describe, load_onnx, metadata, normalise, opset_of
from converter.model.session import Session
from sightd.errors import ModelError
from tests.parts.blobs import LABELS
from tests.parts.tensorrt_rtx import convolution_inputs

torch = pytest.importorskip("torch")

from tests.parts.torch_blobs import SIZE, Blobs, Busy, FixedView, OnGpu, blobs, saved_program, saved_script  # noqa: E402  # needs torch

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # torch.export's own, of its own
]
PICTURES = np.random.default_rng(0).random((3, 3, SIZE, SIZE), np.float32) * 255


@pytest.fixture
def module(tmp_path: Path) -> Any:
    return blobs(tmp_path, Blobs())


def exported(path: Path, **arguments: Any) -> ExportRecord:
    return export(path, out=path.with_name("made.onnx"), **arguments)


def finished(record: ExportRecord) -> FinishedModel:
    return finish(load_onnx(record.onnx), labels=LABELS)


def assert_same(record: ExportRecord, module: Any, pictures: Any = PICTURES) -> None:
    with torch.no_grad():
        expected = module(torch.from_numpy(pictures))
    for found, truth in zip(Session(load_onnx(record.onnx)).run(pictures), expected):
        np.testing.assert_allclose(found, truth.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2])
def test_torchscript_traced_at_any_batch_takes_any(tmp_path: Path, module: Any, batch: int) -> None:
    record = exported(saved_script(tmp_path / "model.torchscript", module, batch), size=(SIZE, SIZE))
    assert record.exporter == f"torch {torch.__version__} torchscript"
    assert_same(record, module)
    assert finished(record).max_batch > 1


def test_torchscript_with_a_frozen_batch_of_one_is_freed(tmp_path: Path) -> None:
    path = saved_script(tmp_path / "model.pt", blobs(tmp_path, FixedView()))
    record = exported(path, size=(SIZE, SIZE))
    assert describe(load_onnx(record.onnx).graph.input[0]).shape[0] == 1
    assert finished(record).max_batch > 1


def test_scripted_control_flow_survives(tmp_path: Path) -> None:
    module = blobs(tmp_path, Busy())
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(module), str(path))
    record = exported(path, size=(SIZE, SIZE))
    assert "If" in [node.op_type for node in load_onnx(record.onnx).graph.node]
    assert_same(record, module)
    assert_same(record, module, PICTURES * 1e4)


def counted(tmp_path: Path, name: str, **arguments: Any) -> ExportRecord:
    torch.save(Blobs().state_dict(), tmp_path / "weights.pth")
    factory = f"tests.parts.torch_blobs:{name}"
    return exported(tmp_path / "weights.pth", factory=factory, size=(SIZE, SIZE), **arguments)


def test_control_flow_that_tracing_froze_is_kept_by_scripting_and_that_is_said(tmp_path: Path) -> None:
    record = counted(tmp_path, "Counting")
    assert record.exporter.endswith(" torchscript, scripted")
    assert "tracing froze control flow of weights.pth" in record.notes[0]
    assert "If" in [node.op_type for node in load_onnx(record.onnx).graph.node]


def test_scripting_that_was_asked_for_needs_no_note(tmp_path: Path) -> None:
    record = counted(tmp_path, "Busy", script=True)
    assert (record.exporter.endswith(", scripted"), record.notes) == (True, ())


def test_a_model_that_is_more_than_torchscript_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"torch\.jit\.script can't compile the model"):
        counted(tmp_path, "Pythonic", script=True)
    with pytest.raises(ModelError, match=r"(?s)differs from PyTorch at batch 1.*nor is scripting a way"):
        counted(tmp_path, "Pythonic")


@pytest.mark.parametrize("opset", range(13, 18))
def test_every_opset_can_be_exported_and_finished(tmp_path: Path, opset: int) -> None:
    record = counted(tmp_path, "Blobs", opset=opset)
    assert (record.opset, opset_of(load_onnx(record.onnx))) == (opset, opset)
    done = finished(record)
    assert (opset_of(done.model), done.max_batch > 1) == (opset, True)
    outputs = Session(done.model).run(np.zeros((2, SIZE, SIZE, 3), np.uint8))
    assert [list(output.shape) for output in outputs] == [[2, 300, 4], [2, 300], [2, 300]]


def test_frozen_and_half_precision_torchscript_become_float32(tmp_path: Path, module: Any) -> None:
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.freeze(torch.jit.trace(module, torch.rand(2, 3, SIZE, SIZE))), str(path))
    assert exported(path, size=(SIZE, SIZE)).notes == ()
    half = torch.jit.trace(module, torch.rand(2, 3, SIZE, SIZE)).half()
    torch.jit.save(half, str(path))
    record = exported(path, size=(SIZE, SIZE))
    assert "float16 weights were converted to float32" in record.notes[0]
    assert {weights.data_type for weights in load_onnx(record.onnx).graph.initializer} == {onnx.TensorProto.FLOAT}
    assert finished(record).max_batch > 1


def test_size_and_names_that_an_exporter_left_in_torchscript_are_read(tmp_path: Path, module: Any) -> None:
    config = json.dumps({"imgsz": [SIZE, SIZE], "names": {"0": "white", "1": "green"}, "stride": 4})
    path = saved_script(tmp_path / "model.torchscript", module, _extra_files={"config.txt": config})
    record = exported(path)
    assert metadata(load_onnx(record.onnx), "names") == "{0: 'white', 1: 'green'}"
    assert metadata(load_onnx(record.onnx), "stride") == "4"
    assert finish(load_onnx(record.onnx)).labels == LABELS


@pytest.mark.parametrize("side", [-8, 0, 10**8])
def test_a_size_that_no_picture_has_is_refused(tmp_path: Path, module: Any, side: int) -> None:
    config = json.dumps({"imgsz": [side, SIZE]})
    path = saved_script(tmp_path / "model.pt", module, _extra_files={"config.txt": config})
    with pytest.raises(ModelError, match=f"no picture is {SIZE} x {side} pixels"):
        exported(path)


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"imgsz": "big", "names": 3}', "[" * 5000])
def test_what_else_lies_in_torchscript_is_ignored(tmp_path: Path, module: Any, text: str) -> None:
    path = saved_script(tmp_path / "model.torchscript", module, _extra_files={"config.txt": text})
    with pytest.raises(ModelError, match="does not say the size of its input: give it with --size"):
        exported(path)


def test_torchscript_of_a_gpu_says_what_to_do(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(OnGpu()), str(tmp_path / "model.pt"))
    with pytest.raises(ModelError, match=r"(?i)(cuda|nvidia).*; move it to the CPU before it is traced") as told:
        exported(tmp_path / "model.pt", size=(SIZE, SIZE))
    assert len(str(told.value)) < 500


def test_damaged_torchscript_is_told(tmp_path: Path, module: Any) -> None:
    whole = saved_script(tmp_path / "whole.pt", module)
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(tmp_path / "model.pt", "w") as less:
        for name in archive.namelist():
            if "/code/" not in name:
                less.writestr(name, archive.read(name))
    with pytest.raises(
        ModelError, match=r"model\.pt: this PyTorch .* can't load the TorchScript archive.*copy it again"
    ):
        exported(tmp_path / "model.pt", size=(SIZE, SIZE))


@pytest.mark.parametrize(("batch", "dynamic"), [(2, True), (1, False)])
def test_a_program_is_exported_at_its_own_size(tmp_path: Path, module: Any, batch: int, dynamic: bool) -> None:
    record = exported(saved_program(tmp_path / "model.pt2", module, batch, dynamic=dynamic))
    assert record.exporter == f"torch {torch.__version__} torchscript"
    assert opset_of(load_onnx(record.onnx)) == 13
    assert_same(record, module, PICTURES if dynamic else PICTURES[:1])
    assert finished(record).max_batch > 1


def test_a_program_of_a_fixed_larger_batch_is_told_how_to_be_exported(tmp_path: Path, module: Any) -> None:
    path = saved_program(tmp_path / "model.pt2", module, 4, dynamic=False)
    with pytest.raises(
        ModelError, match=r"\[4, 3, 96, 96\], of a fixed batch.*dynamic_shapes=\(\{0: torch\.export\.Dim"
    ):
        exported(path)


def test_a_program_has_its_size(tmp_path: Path, module: Any) -> None:
    path = saved_program(tmp_path / "model.pt2", module, 2, dynamic=True)
    with pytest.raises(ModelError, match="fixed at 96x96: leave --size out"):
        exported(path, size=(64, 64))
    assert exported(path, size=(SIZE, SIZE)).opset == 13


def test_a_program_with_several_inputs_names_them(tmp_path: Path) -> None:
    class Two(torch.nn.Module):
        def forward(self, images: Any, sizes: Any) -> Any:
            return images * sizes

    program = torch.export.export(Two(), (torch.rand(1, 3, 8, 8), torch.rand(1)))
    torch.export.save(program, str(tmp_path / "model.pt2"))
    with pytest.raises(ModelError, match=r"has 2 \(images, sizes\)"):
        exported(tmp_path / "model.pt2")


@pytest.mark.parametrize("suffix", [".pt2", ".pth"])
def test_dynamo_exports_what_the_other_exporter_does(tmp_path: Path, module: Any, suffix: str) -> None:
    if importlib.util.find_spec("onnxscript") is None:
        pytest.skip("no onnxscript here: pip install 'sightd[dynamo]'")
    path = tmp_path / f"model{suffix}"
    arguments: Any = {}
    if suffix == ".pt2":
        saved_program(path, module, 2, dynamic=True)
    else:
        torch.save(module.state_dict(), path)
        arguments = {"factory": "tests.parts.torch_blobs:Blobs", "size": (SIZE, SIZE)}
    record = exported(path, exporter="dynamo", **arguments)
    assert record.exporter == f"torch {torch.__version__} dynamo"
    assert_same(record, module)
    assert opset_of(normalise(load_onnx(record.onnx))) == 17
    assert finished(record).max_batch > 1


@pytest.mark.parametrize("arguments", [{}, {"script": True}, {"exporter": "dynamo"}])
def test_tensorrt_reads_what_each_exporter_writes(tmp_path: Path, arguments: Any) -> None:
    if "exporter" in arguments and importlib.util.find_spec("onnxscript") is None:
        pytest.skip("no onnxscript here: pip install 'sightd[dynamo]'")
    assert len(convolution_inputs(finished(counted(tmp_path, "Blobs", **arguments)).model)) > 5


def test_dynamo_without_onnxscript_says_what_to_install(
    tmp_path: Path, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name))
    with pytest.raises(ModelError, match=r"onnxscript: pip install 'sightd\[dynamo\]'"):
        exported(saved_program(tmp_path / "model.pt2", module, 2, dynamic=True), exporter="dynamo")


def test_dynamo_takes_no_torchscript(tmp_path: Path, module: Any) -> None:
    with pytest.raises(ModelError, match="TorchScript can't be exported by dynamo: leave --exporter out"):
        exported(saved_script(tmp_path / "m.pt", module), size=(SIZE, SIZE), exporter="dynamo")


def test_a_factory_is_for_weights_alone(tmp_path: Path, module: Any) -> None:
    with pytest.raises(ModelError, match="a TorchScript archive, which needs no --factory"):
        exported(saved_script(tmp_path / "m.pt", module), size=(SIZE, SIZE), factory="a:b")


@pytest.mark.parametrize("file", ["yolox_nano.torchscript.pt", "yolox_nano.pt2"])
@pytest.mark.slow
def test_a_real_detector_in_both_forms_is_the_onnx_one(assets: Path, tmp_path: Path, file: str) -> None:
    folder = assets / "models" / "yolox_nano"
    record = export(folder / file, size=(416, 416), out=tmp_path / "made.onnx")
    picture = np.random.default_rng(0).random((1, 3, 416, 416), np.float32) * 255
    made, given = (Session(load_onnx(path)).run(picture)[0] for path in (record.onnx, folder / "yolox_nano.onnx"))
    np.testing.assert_allclose(made, given, rtol=1e-2, atol=1e-2)
    labels = [str(number) for number in range(80)]
    assert finish(load_onnx(record.onnx), labels=labels).max_batch > 1
