"""Which engine kind is built, and what is said of TensorRT's options and of a machine that has none."""

from __future__ import annotations

from pathlib import Path
from typing import List

import pytest

from converter.builders import choice
from converter.builders.base import Builder
from converter.builders.choice import choose_builder
from converter.builders.onnxruntime import OnnxRuntimeBuilder
from converter.builders.options import tensorrt_options
from converter.builders.tensorrt import TensorRtBuilder
from converter.builders.tensorrt_order import TensorRtOptions
from converter.progress import Silent
from sightd.errors import BuildError, ConfigError
from sightd.manifest import Profile
from tests.parts import fake_tensorrt
from tests.parts.tensorrt_building import worker_on_a_thread


class Heard(Silent):
    def __init__(self) -> None:
        self.said: List[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def chosen(name: str, folder: Path, heard: Heard, **options: str) -> Builder:
    return choose_builder(name, options, Profile(), folder, {}, heard)


@pytest.fixture
def no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise BuildError("there is no GPU\nsome log")

    monkeypatch.setattr(choice, "TensorRtBuilder", refuse)


@pytest.mark.parametrize("name", ["auto", "tensorrt"])
def test_tensorrt_is_taken_where_it_answers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tensorrt.install(monkeypatch)
    worker_on_a_thread(monkeypatch)
    heard = Heard()
    assert isinstance(chosen(name, tmp_path, heard), TensorRtBuilder)
    assert heard.said == ["engine: TensorRT 8.5.2.2 on Orin"]


def test_else_onnx_runtime_is_and_one_line_says_why(tmp_path: Path, no_tensorrt: None) -> None:
    heard = Heard()
    assert isinstance(chosen("auto", tmp_path, heard), OnnxRuntimeBuilder)
    assert heard.said == ["engine: ONNX Runtime on this machine's CPU. there is no GPU"]


@pytest.mark.parametrize(("name", "options"), [("tensorrt", {}), ("auto", {"workspace_mb": "512"})])
def test_tensorrt_that_was_asked_for_is_not_silently_replaced(
    name: str, options: dict, tmp_path: Path, no_tensorrt: None
) -> None:
    with pytest.raises(BuildError, match=r"(?s)there is no GPU.*--engine onnxruntime"):
        chosen(name, tmp_path, Heard(), **options)


def test_onnx_runtime_that_was_asked_for_needs_no_words(tmp_path: Path) -> None:
    heard = Heard()
    assert isinstance(chosen("onnxruntime", tmp_path, heard), OnnxRuntimeBuilder)
    assert not heard.said


def test_options_that_would_change_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--trt"):
        chosen("onnxruntime", tmp_path, Heard(), dla_core="0")


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="auto, onnxruntime, tensorrt"):
        chosen("openvino", tmp_path, Heard())


def test_every_option_is_read() -> None:
    given = {
        "tactic_sources": "CUBLAS, CUDNN",
        "preview_features": "PROFILE_SHARING_0806",
        "workspace_mb": "512",
        "dla_core": "1",
        "hardware_compatible": "true",
        "version_compatible": "False",
        "optimization_level": "5",
    }
    assert tensorrt_options(given) == TensorRtOptions(
        ("CUBLAS", "CUDNN"), ("PROFILE_SHARING_0806",), 512, 1, True, False, 5
    )
    assert tensorrt_options({}) == TensorRtOptions()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tactic_sources", "CUBLAS,,CUDNN"),
        ("preview_features", ""),
        ("workspace_mb", "1.5"),
        ("workspace_mb", "-1"),
        ("dla_core", "gpu"),
        ("hardware_compatible", "maybe"),
        ("optimization_level", "6"),
    ],
)
def test_a_value_that_is_none_is_refused_with_what_it_must_be(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}={value}: must be "):
        tensorrt_options({key: value})


def test_an_unknown_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'workspace_mb'"):
        tensorrt_options({"workspace": "512"})
    with pytest.raises(ConfigError, match="there are tactic_sources, "):
        tensorrt_options({"module": "os"})
