from __future__ import annotations

from dataclasses import replace
from typing import Callable, List, Tuple

import pytest

from converter.agreement.agree import Agreement
from converter.builders.onnxruntime import FAMILIES
from converter.search import Limits, Recipe, Trial, best, not_built, search

TWO = [Recipe("minmax", "all", 8), Recipe("percentile", "all", 8)]
PLENTY = Limits(trials=30)


def trial(recipe: Recipe, agrees: bool, speedup: float, ap50: float = 1.0) -> Trial:
    verdict = "agrees" if agrees else "disagrees"
    return Trial(recipe, Agreement(10, 300, ap50, 1.0, 0.0, 1.0, 0.0, verdict, ""), speedup)


def model(
    needed: Callable[[str], int],
    speed: Callable[[Recipe], float] = lambda recipe: 2 - recipe.float_layers / 64,
    ap50: Callable[[Recipe], float] = lambda recipe: 1.0,
) -> Tuple[List[Recipe], Callable[[Recipe], Trial]]:
    """A model of which *needed*(algorithm) layers must stay float for it to agree."""
    tried: List[Recipe] = []

    def attempt(recipe: Recipe) -> Trial:
        tried.append(recipe)
        return trial(recipe, recipe.float_layers >= needed(recipe.algorithm), speed(recipe), ap50(recipe))

    return tried, attempt


@pytest.mark.parametrize("needed", [0, 1, 7, 9, 30, 62, 63])
def test_finds_about_the_fewest_float_layers_that_agree(needed: int) -> None:
    _, attempt = model(lambda _: needed)
    found = best(search(64, attempt, PLENTY, TWO))
    assert found is not None
    assert needed <= found.recipe.float_layers <= max(needed + 4, 2 * needed)


def test_the_next_family_is_tried_when_the_first_never_agrees() -> None:
    _, attempt = model(lambda algorithm: 1000 if algorithm == "minmax" else 5)
    found = best(search(64, attempt, PLENTY, TWO))
    assert found is not None
    assert found.recipe.algorithm == "percentile"


def test_more_float_layers_are_tried_while_agreement_gains_more_than_speed_loses() -> None:
    gaining = {8: 0.96, 16: 0.98, 32: 0.99}
    tried, attempt = model(
        lambda _: 0,
        speed=lambda recipe: 1.4 - recipe.float_layers / 200,
        ap50=lambda recipe: gaining.get(recipe.float_layers, 0.95),
    )
    found = best(search(64, attempt, PLENTY, TWO))
    assert found is not None
    assert found.recipe.float_layers == 32
    assert [recipe.float_layers for recipe in tried[:3]] == [8, 16, 32]


def test_agreement_is_not_bought_with_all_of_the_speed() -> None:
    _, attempt = model(
        lambda _: 0,
        speed=lambda recipe: 1.5 if recipe.float_layers <= 8 else 0.9,
        ap50=lambda recipe: 0.95 if recipe.float_layers <= 8 else 1.0,
    )
    found = best(search(64, attempt, PLENTY, TWO))
    assert found is not None
    assert found.speedup == 1.5


def test_scope_head_and_algorithm_are_changed_where_that_is_worth_something() -> None:
    wanted = Recipe("percentile", "conv", 8, "int8")

    def speed(recipe: Recipe) -> float:
        same = (recipe.algorithm == wanted.algorithm, recipe.scope == wanted.scope, recipe.head == wanted.head)
        return 1 + sum(same) / 4

    _, attempt = model(lambda _: 0, speed)
    found = best(search(64, attempt, PLENTY, TWO))
    assert found is not None
    assert replace(found.recipe, float_layers=8) == wanted


def test_nothing_is_built_twice() -> None:
    tried, attempt = model(lambda _: 20)
    search(64, attempt, PLENTY, TWO)
    assert len(set(tried)) == len(tried)


def test_nothing_agrees_and_the_search_ends() -> None:
    tried, attempt = model(lambda _: 1000)
    trials = search(64, attempt, PLENTY, TWO)
    assert best(trials) is None
    assert len(tried) == len(trials) <= 30
    assert {recipe.float_layers for recipe in tried} >= {8, 63}


def test_a_model_that_agrees_only_when_all_of_it_is_float_has_no_int8() -> None:
    tried, attempt = model(lambda _: 64)
    assert best(search(64, attempt, PLENTY, TWO)) is None
    assert max(recipe.float_layers for recipe in tried) == 63


@pytest.mark.parametrize("needed", [0, 20, 1000])
@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_no_more_than_the_trials_allowed_are_built(most: int, needed: int) -> None:
    tried, attempt = model(lambda _: needed)
    search(64, attempt, Limits(trials=most), TWO)
    assert len(tried) == most


@pytest.mark.parametrize("needed", [0, 1000])
def test_no_trial_is_begun_after_the_time_allowed(needed: int) -> None:
    now = [0.0]
    _, attempt = model(lambda _: needed)

    def slow(recipe: Recipe) -> Trial:
        now[0] += 100
        return attempt(recipe)

    trials = search(64, slow, Limits(minutes=5), TWO, clock=lambda: now[0])
    assert len(trials) == 3


def test_one_trial_is_made_however_little_time_there_is() -> None:
    _, attempt = model(lambda _: 0)
    assert len(search(64, attempt, Limits(minutes=0), TWO)) == 1


@pytest.mark.parametrize("layers", [1, 2])
def test_a_model_of_hardly_any_layers_is_searched_too(layers: int) -> None:
    tried, attempt = model(lambda _: 0)
    found = best(search(layers, attempt, PLENTY, TWO))
    assert found is not None
    assert {recipe.float_layers for recipe in tried} <= set(range(layers))


def test_a_model_without_layers_is_not_tried() -> None:
    tried, attempt = model(lambda _: 0)
    assert search(0, attempt, PLENTY, TWO) == []
    assert not tried


def test_a_recipe_that_can_not_be_built_does_not_agree_and_the_search_goes_on() -> None:
    _, works = model(lambda _: 5)

    def attempt(recipe: Recipe) -> Trial:
        return not_built(recipe, "out of memory") if recipe.algorithm == "minmax" else works(recipe)

    trials = search(64, attempt, PLENTY, TWO)
    found = best(trials)
    assert found is not None
    assert found.recipe.algorithm == "percentile"
    assert [trial.was_built for trial in trials][:2] == [False, False]


def test_it_is_told_once_what_a_trial_takes() -> None:
    now, told = [0.0], []  # type: Tuple[List[float], List[float]]
    _, attempt = model(lambda _: 20)

    def slow(recipe: Recipe) -> Trial:
        now[0] += 90
        return attempt(recipe)

    search(64, slow, PLENTY, TWO, on_first=told.append, clock=lambda: now[0])
    assert told == [90]


def test_where_the_builder_has_no_say_in_the_scope_none_is_tried() -> None:
    tried, attempt = model(lambda _: 0)
    search(64, attempt, PLENTY, [Recipe("tensorrt-entropy", "", 8)])
    assert {recipe.scope for recipe in tried} == {""}
    assert str(tried[0]) == "tensorrt-entropy, 8 layers float"


def test_the_best_is_worth_most_by_speed_and_agreement() -> None:
    slow = trial(FAMILIES[0], True, 1.1, 0.999)
    fast = trial(FAMILIES[1], True, 1.5, 0.999)
    faster_but_worse = trial(FAMILIES[2], True, 1.6, 0.96)
    wrong = trial(FAMILIES[3], False, 3.0)
    assert best([slow, fast, faster_but_worse, wrong]) is fast
    assert best([wrong]) is None


def test_one_that_is_slower_than_float_is_the_best_only_where_all_are() -> None:
    exact, meagre = trial(FAMILIES[0], True, 0.9, 1.0), trial(FAMILIES[1], True, 1.1, 0.95)
    assert best([exact, meagre]) is meagre
    assert best([exact]) is exact


@pytest.mark.parametrize("allowed", [True, False])
def test_prediction_layers_are_tried_in_int8_only_where_they_may_be(allowed: bool) -> None:
    tried, attempt = model(lambda _: 0)
    search(64, attempt, PLENTY, TWO, int8_head=allowed)
    assert ("int8" in {recipe.head for recipe in tried}) is allowed
