from __future__ import annotations

import pytest

from converter.agreement.agree import Agreement
from converter.search import Recipe, Trial, not_built
from converter.verdict import Outcome, choose


def agreed(verdict: str = "agrees", recall: float = 1.0) -> Agreement:
    return Agreement(10, 300, 1.0, recall, 0.0, 1.0, 0.0, verdict, f"recall {recall}")


def trial(verdict: str, speedup: float, recall: float = 1.0) -> Trial:
    return Trial(Recipe("minmax", "all", 8), agreed(verdict, recall), speedup)


def test_int8_that_agrees_and_is_faster_is_shipped() -> None:
    verdict = choose(agreed(), [trial("disagrees", 2.0), trial("agrees", 1.3), trial("agrees", 1.1)])
    assert verdict.outcome is Outcome.INT8
    assert verdict.shipped is not None
    assert verdict.shipped.speedup == 1.3
    assert not verdict.outcome.is_loud


@pytest.mark.parametrize("speedup", [1.0, 0.8])
def test_int8_that_is_not_faster_is_reported_and_not_shipped(speedup: float) -> None:
    verdict = choose(agreed(), [trial("agrees", speedup)])
    assert verdict.outcome is Outcome.SLOWER
    assert verdict.shipped is None
    assert f"{speedup:.2f} x" in verdict.sentence
    assert not verdict.outcome.is_loud


def test_when_none_agrees_float_is_shipped_loudly_with_the_closest() -> None:
    verdict = choose(agreed(), [trial("disagrees", 2.0, recall=0.2), trial("disagrees", 2.0, recall=0.7)])
    assert verdict.outcome is Outcome.DISAGREES
    assert "recall 0.7" in verdict.sentence
    assert verdict.outcome.is_loud


def test_too_little_evidence_is_no_pass() -> None:
    verdict = choose(agreed("insufficient-evidence"), [])
    assert verdict.outcome is Outcome.UNPROVEN
    assert verdict.outcome.is_loud


def test_a_model_without_a_layer_for_int8_is_told_apart_from_one_without_evidence() -> None:
    verdict = choose(agreed(), [])
    assert verdict.outcome is Outcome.NO_LAYERS
    assert verdict.shipped is None


def test_an_int8_that_only_more_frames_could_prove_is_unproven_not_in_disagreement() -> None:
    verdict = choose(agreed(), [trial("disagrees", 2.0, recall=0.7), trial("insufficient-evidence", 2.0)])
    assert verdict.outcome is Outcome.UNPROVEN
    assert verdict.outcome.is_loud


def test_where_no_int8_could_be_built_it_says_so_and_why() -> None:
    failed = not_built(Recipe("minmax", "all", 8), "out of memory\nstop the daemon")
    verdict = choose(agreed(), [failed, failed])
    assert verdict.outcome is Outcome.NOT_BUILT
    assert verdict.outcome.is_loud
    assert verdict.sentence.endswith("The last of 2 (minmax, all, 8 layers float): out of memory")


def test_an_engine_that_was_built_is_the_closest_however_far_it_is() -> None:
    failed = not_built(Recipe("mse", "all", 8), "out of memory")
    verdict = choose(agreed(), [failed, trial("disagrees", 2.0, recall=0.0), failed])
    assert verdict.outcome is Outcome.DISAGREES
