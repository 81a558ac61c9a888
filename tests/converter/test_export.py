"""Exporting PyTorch weights: a model that computes the same at any batch, or a sentence that says what is wrong."""

from __future__ import annotations

import pickle
import textwrap
from pathlib import Path
from typing import Any, Callable, Dict

import numpy as np
import pytest

from converter.model.batch import agrees
from converter.model.export import export
from converter.model.finish import finish
from converter.model.graph import describe, load_onnx, opset_of
from sightd.bundle import sha256_of
from sightd.errors import ModelError

torch = pytest.importorskip("torch")

SIZE = (64, 32)

DETECTOR = """
    import torch
    from torch import nn

    class Detector(nn.Module):
        def __init__(self, classes=3):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.BatchNorm2d(8), nn.SiLU())
            self.heat, self.sides = nn.Conv2d(8, classes, 1), nn.Conv2d(8, 4, 1)

        def forward(self, images):
            features = self.stem(images)
            return {"heat": self.heat(features).sigmoid(), "rest": [self.sides(features).relu()]}

    class FrozenBatch(Detector):
        def forward(self, images):
            features = self.stem(images)
            half = float(features.mean()) if len(images) == 2 else 0.0
            return self.heat(features).sigmoid() + half, self.sides(features)

    class Chosen(Detector):  # as many rows as there are bright cells: a number that tracing freezes
        def forward(self, images):
            heat = self.heat(self.stem(images)).flatten()
            return heat[: int((heat > heat.mean()).sum())]

    class Broken(Detector):
        def forward(self, images):
            raise RuntimeError("only in training")

    class Silent(Detector):
        def forward(self, images):
            return None

    def build():
        return Detector()

    def wider():
        return Detector(classes=5)

    def bare():
        return Detector().stem

    def nothing():
        return {}

    def failing():
        raise ValueError("no config file")

    number = 3
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder: a module of its own name for each test, and the working folder."""
    name = "detector_" + "".join(character for character in tmp_path.name if character.isalnum())
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(DETECTOR), "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / f"{name}.py"


def state(project: Path) -> Dict[str, Any]:
    """Trained weights: batch statistics away from their defaults."""
    scope: Dict[str, Any] = {}
    exec(project.read_text("utf-8"), scope)
    torch.manual_seed(1)
    model = scope["build"]()
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(4, 3, 32, 64) * 3)
    weights: Dict[str, Any] = model.state_dict()
    return weights


def exported(project: Path, checkpoint: Any, function: str = "build", **arguments: Any) -> Any:
    torch.save(checkpoint, project.with_name("weights.pth"))
    out = project.with_name("model.onnx")
    factory = f"{project.stem}:{function}" if ":" not in function else function
    return export(project.with_name("weights.pth"), factory, **{"size": SIZE, "out": out, **arguments})


@pytest.mark.parametrize("opset", [13, 17])
def test_the_onnx_file_computes_what_pytorch_does_at_any_batch(project: Path, opset: int) -> None:
    weights = state(project)
    record = exported(project, weights, opset=opset)
    model = load_onnx(record.onnx)
    assert (record.opset, opset_of(model)) == (opset, opset)
    assert record.exporter == f"torch {torch.__version__} torchscript"
    assert record.weights_sha256 == sha256_of(project.with_name("weights.pth"))
    assert describe(model.graph.input[0]).shape == (None, 3, 32, 64)
    # By hand, from the weights themselves.
    image = np.random.default_rng(0).random((3, 3, 32, 64), np.float32)
    scale = weights["stem.1.weight"] / torch.sqrt(weights["stem.1.running_var"] + 1e-5)
    features = torch.nn.functional.conv2d(torch.from_numpy(image), weights["stem.0.weight"], weights["stem.0.bias"], 8)
    features = (features - weights["stem.1.running_mean"][:, None, None]) * scale[:, None, None]
    features = torch.nn.functional.silu(features + weights["stem.1.bias"][:, None, None])
    heat = torch.nn.functional.conv2d(features, weights["heat.weight"], weights["heat.bias"]).sigmoid()
    sides = torch.nn.functional.conv2d(features, weights["sides.weight"], weights["sides.bias"]).relu()
    assert agrees(model, image, [heat.numpy(), sides.numpy()])


def test_what_is_exported_can_be_finished(project: Path) -> None:
    done = finish(load_onnx(exported(project, state(project)).onnx), labels=["a", "b", "c"])
    assert (done.head.family, done.max_batch > 1) == ("centernet", True)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"model": weights, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda weights: {"state_dict": {f"module.{key}": value for key, value in weights.items()}},
        lambda weights: {"ema": {"module": weights}, "model": {key: value * 0 for key, value in weights.items()}},
        lambda weights: {"net": weights},
    ],
)
def test_checkpoints_are_read_wherever_they_keep_the_weights(
    project: Path, wrap: Callable[[Dict[str, Any]], Any]
) -> None:
    plain = exported(project, state(project)).onnx.read_bytes()
    assert exported(project, wrap(state(project))).onnx.read_bytes() == plain


class Marked:
    """Unpickling it would run code."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('code from the weights file ran')",)


def test_a_pickle_that_would_run_code_is_refused(project: Path) -> None:
    with pytest.raises(ModelError, match="would run code from the file: refused"):
        exported(project, {"model": Marked()})


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated", b"text", pickle.dumps({"a": 1})[:5]])
def test_a_damaged_file_is_refused(project: Path, content: bytes) -> None:
    path = project.with_name("damaged.pth")
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged\.pth: "):
        export(path, f"{project.stem}:build", size=SIZE, out=project.with_name("model.onnx"))


def test_a_missing_file_is_named(project: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.pth: can't be read"):
        export(project.with_name("nothing.pth"), f"{project.stem}:build", size=SIZE, out=project.with_name("m.onnx"))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("no_colon:", "must be 'module:function'"),
        ("nowhere_at_all:build", "no module named 'nowhere_at_all'"),
        ("missing", "has no attribute 'missing'"),
        ("number", "not callable"),
        ("nothing", r"returned dict, must return a torch\.nn\.Module"),
        ("failing", "failed: ValueError: no config file"),
        ("bare", r"keys 9 missing|6 missing|missing \(|unexpected \("),
        ("wider", "size mismatch for heat.weight"),
        ("Broken", "fails on an input of .*: only in training"),
        ("Silent", "returns no tensors"),
        ("FrozenBatch", "differs from PyTorch at batch 1"),
    ],
)
def test_a_factory_that_does_not_fit_is_refused(project: Path, function: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        exported(project, state(project), function)
    assert not project.with_name("model.onnx").exists()


def test_an_output_without_a_place_for_each_picture_is_left_to_finishing(project: Path) -> None:
    record = exported(project, state(project), "Chosen")
    assert record.exporter.endswith("scripted")  # tracing has frozen how many rows there were
    with pytest.raises(ModelError, match="no output a picture"):
        finish(load_onnx(record.onnx), labels=["a", "b", "c"])


def test_missing_and_unexpected_keys_are_shown(project: Path) -> None:
    weights = {key.replace("heat", "cls"): value for key, value in state(project).items()}
    message = r"2 missing \(heat\.weight, heat\.bias\) and 2 unexpected \(cls\.weight, cls\.bias\)"
    with pytest.raises(ModelError, match=message):
        exported(project, weights)


def test_a_checkpoint_without_weights_says_what_it_holds(project: Path) -> None:
    with pytest.raises(ModelError, match=r"no state dict found.*first keys: epoch, lr"):
        exported(project, {"epoch": 3, "lr": 0.1})


def test_an_opset_that_tensorrt_can_not_read_is_refused(project: Path) -> None:
    with pytest.raises(ModelError, match="must be 13 to 17"):
        exported(project, state(project), opset=18)
