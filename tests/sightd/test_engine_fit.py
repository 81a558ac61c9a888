"""Whether an engine is meant for this machine: each mismatch by its own sentence, with the command that mends it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Dict

import pytest

from sightd.engine_fit import check_fits
from sightd.errors import EngineMismatch
from sightd.manifest import EngineRecord

FOLDER = Path("/opt/sightd/bundles/default")
REBUILD = f"sightd convert --rebuild {FOLDER}"
ORIN = {"tensorrt": "8.5.2.2", "cuda": "11.4", "sm": "8.7", "device": "Orin"}
BUILT = EngineRecord("tensorrt", "int8", versions=dict(ORIN), machine="aarch64")


def refusal(here: Dict[str, str], machine: str = "aarch64", built: EngineRecord = BUILT) -> str:
    with pytest.raises(EngineMismatch) as refused:
        check_fits(FOLDER, built, {**ORIN, **here}, machine)
    return str(refused.value)


def fits(here: Dict[str, str], **built: str) -> None:
    check_fits(FOLDER, replace(BUILT, versions={**ORIN, **built}), {**ORIN, **here}, "aarch64")


def test_the_machine_that_it_was_built_on_fits() -> None:
    fits({})


def test_another_tensorrt_is_told_with_both_versions() -> None:
    said = refusal({"tensorrt": "10.3.0.26"})
    assert said == (f"the engine was built by TensorRT 8.5.2.2, this machine has 10.3.0.26; build it anew: {REBUILD}")


def test_another_compute_capability_is_a_bundle_of_another_machine() -> None:
    said = refusal({"sm": "7.2", "device": "Xavier"})
    assert said.startswith("the engine was built for compute capability 8.7 (Orin), this machine has compute capab")
    assert "7.2 (Xavier): this bundle was built on another machine" in said
    assert said.endswith(f"convert here: {REBUILD}")


def test_another_processor_comes_first_of_all() -> None:
    said = refusal({"tensorrt": "10.3.0", "sm": "8.9"}, machine="x86_64")
    assert said.startswith("the engine was made for aarch64, this machine is x86_64")
    assert said.endswith(REBUILD)


@pytest.mark.parametrize(
    ("built", "here"), [("8.5.2", "8.5.2.2"), ("8.5.2.2", "8.5.2"), ("10.3.0", "10.3.0.26"), ("10.3.0.26", "10.3.0")]
)
def test_releases_are_told_by_three_numbers_for_packages_name_their_builds_differently(built: str, here: str) -> None:
    fits({"tensorrt": here}, tensorrt=built)


@pytest.mark.parametrize(
    ("built", "here"), [("8.5.2", "8.5.20"), ("10.3.0", "10.30.0"), ("8.6.1", "8.5.3"), ("1.2", "12")]
)
def test_versions_are_numbers_and_no_text(built: str, here: str) -> None:
    for one, other in ((built, here), (here, built)):
        with pytest.raises(EngineMismatch, match="built by TensorRT"):
            fits({"tensorrt": one}, tensorrt=other)


def test_ten_comes_after_eight_and_sm_10_is_no_sm_1() -> None:
    assert "this machine has 10.3.0" in refusal({"tensorrt": "10.3.0"})
    with pytest.raises(EngineMismatch, match="compute capability"):
        fits({"sm": "10.0"}, sm="1.0")


def test_a_version_compatible_plan_may_meet_another_tensorrt_but_no_other_gpu() -> None:
    fits({"tensorrt": "8.6.1.6"}, compatible="version")
    with pytest.raises(EngineMismatch, match="compute capability"):
        fits({"tensorrt": "8.6.1.6", "sm": "8.9"}, compatible="version")


def test_a_hardware_compatible_plan_may_meet_another_gpu_but_no_other_tensorrt() -> None:
    fits({"sm": "8.9", "device": "RTX 4090"}, compatible="hardware")
    with pytest.raises(EngineMismatch, match="TensorRT"):
        fits({"sm": "8.9", "tensorrt": "10.3.0"}, compatible="hardware")
    fits({"sm": "8.9", "tensorrt": "8.6.1"}, compatible="version hardware")


def test_another_device_of_the_same_capability_is_only_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    fits({"device": "Orin Nano"})
    assert [(record.levelno, REBUILD in record.message) for record in caplog.records] == [(logging.WARNING, True)]
    assert "built on Orin and may be slow on Orin Nano" in caplog.text


def test_another_cuda_or_system_is_left_to_the_deserialiser() -> None:
    fits({"cuda": "12.6", "l4t": "36.4.3"}, l4t="35.2.1")


def test_what_one_side_does_not_know_is_not_compared() -> None:
    check_fits(FOLDER, BUILT, {}, "aarch64")
    check_fits(FOLDER, EngineRecord("onnxruntime", "int8", versions={"onnxruntime": "1.19.2"}), ORIN, "aarch64")
