from __future__ import annotations

import numpy as np
import pytest

from converter.int8.numbers import Affine, activation, bias, constant, weights
from converter.int8.targets import AARCH64, X86, X86_VNNI, Target, this_machine

TARGETS = [X86_VNNI, AARCH64, Target(activations="s8", symmetric=True), Target(activations="u8", symmetric=True)]


def round_trip(values: np.ndarray, affine: Affine) -> np.ndarray:
    """What is left of *values* after quantising and back, as ONNX defines it."""
    info = np.iinfo(affine.zero_point.dtype)
    quantised = np.clip(np.rint(values / affine.scale) + affine.zero_point, info.min, info.max)
    return (quantised - affine.zero_point.astype(np.int64)) * affine.scale


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 3.0), (0.0, 6.0), (-5.0, 0.0), (-0.001, 0.002), (2.0, 9.0), (-9.0, -2.0)]
)
def test_values_inside_the_range_survive_within_a_step_and_zero_survives_exactly(
    target: Target, low: float, high: float
) -> None:
    affine = activation(low, high, target)
    values = np.linspace(low, high, 1001)
    step = float(affine.scale)
    # The zero point is rounded to a whole number, which may cost another half step at one end.
    assert np.abs(round_trip(values, affine) - values).max() <= (0.501 if target.symmetric else 1.001) * step
    assert round_trip(np.zeros(1), affine)[0] == 0.0


@pytest.mark.parametrize("target", TARGETS)
def test_a_tensor_that_is_always_zero_has_a_usable_scale(target: Target) -> None:
    affine = activation(0.0, 0.0, target)
    assert float(affine.scale) > 0
    assert round_trip(np.zeros(3), affine).tolist() == [0, 0, 0]


def test_weights_have_a_scale_of_their_own_for_each_output_channel() -> None:
    values = np.array([[[[1.0]], [[-0.5]]], [[[100.0]], [[50.0]]]], np.float32)
    quantised, affine = weights(values, 0, X86_VNNI, np.zeros(()))
    assert quantised.ravel().tolist() == [127, -64, 127, 64]
    assert affine.scale.tolist() == pytest.approx([1 / 127, 100 / 127])


def test_without_vnni_weights_keep_to_seven_bits() -> None:
    quantised, _ = weights(np.array([[1.0], [-1.0]], np.float32), 0, X86, np.zeros(()))
    assert quantised.ravel().tolist() == [63, -63]


def test_a_bias_too_large_for_the_scale_raises_it_until_it_fits() -> None:
    values, offsets, entry = np.array([[1e-6]], np.float32), np.array([1000.0], np.float32), 1e-6
    least = np.abs(offsets.astype(np.float64)) / (entry * 2.0**30)
    _, affine = weights(values, 0, X86_VNNI, least)
    sums, scale = bias(offsets, entry * affine.scale.astype(np.float64))
    assert abs(int(sums[0])) < 2**31 - 1
    assert float(sums[0]) * float(scale.scale[0]) == pytest.approx(1000.0, rel=1e-5)


@pytest.mark.parametrize("value", [3.0, 1 / 6, -0.25, 0.0])
def test_a_constant_operand_survives(value: float) -> None:
    values = np.full((1,), value, np.float32)
    quantised, affine = constant(values, X86_VNNI)
    restored = (quantised.astype(np.int64) - int(affine.zero_point)) * float(affine.scale)
    assert restored[0] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "flags : fpu avx512_vnni", X86_VNNI),
        ("x86_64", "flags : fpu avx_vnni", X86_VNNI),
        ("x86_64", "flags : fpu avx2", X86),
        ("aarch64", "Features : asimd", AARCH64),
    ],
)
def test_the_target_follows_the_processor(tmp_path, machine: str, flags: str, expected: Target) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(flags)
    assert this_machine(machine, cpuinfo) == expected
