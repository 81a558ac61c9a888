from __future__ import annotations

from typing import Callable, List, Tuple

import pytest

from converter.agree import Agreement
from converter.search import Recipe, Trial, best, search

FAMILIES = [Recipe("minmax", "all", 8), Recipe("percentile", "all", 8)]


def trial(recipe: Recipe, agrees: bool, speedup: float) -> Trial:
    verdict = "agrees" if agrees else "disagrees"
    return Trial(recipe, Agreement(10, 300, 1.0, 1.0, 0.0, 1.0, 0.0, verdict, ""), speedup)


def model(needed: Callable[[str], int], fastest: float = 1.0) -> Tuple[List[Recipe], Callable[[Recipe], Trial]]:
    """A model of which *needed*(algorithm) layers must stay float; more float layers are slower."""
    tried: List[Recipe] = []

    def attempt(recipe: Recipe) -> Trial:
        tried.append(recipe)
        return trial(recipe, recipe.float_layers >= needed(recipe.algorithm), fastest - recipe.float_layers / 64)

    return tried, attempt


@pytest.mark.parametrize("needed", [0, 1, 7, 30, 62, 63])
def test_finds_about_the_fewest_float_layers_that_agree(needed: int) -> None:
    _, attempt = model(lambda _: needed)
    found = best(search(64, attempt, 20, FAMILIES))
    assert found is not None
    assert needed <= found.recipe.float_layers <= needed + 4


def test_the_search_is_content_with_a_faster_engine_that_agrees_at_once() -> None:
    tried, attempt = model(lambda _: 0, fastest=2.0)
    assert len(search(64, attempt, 20, FAMILIES)) == 1
    assert tried == [FAMILIES[0]]


def test_fewer_float_layers_are_tried_when_those_that_agree_are_too_slow() -> None:
    _, attempt = model(lambda _: 0, fastest=1.1)
    found = best(search(64, attempt, 20, FAMILIES))
    assert found is not None
    assert found.recipe.float_layers < 8
    assert found.speedup > 1


def test_the_next_family_is_tried_when_the_first_never_agrees() -> None:
    _, attempt = model(lambda algorithm: 1000 if algorithm == "minmax" else 5)
    found = best(search(64, attempt, 20, FAMILIES))
    assert found is not None
    assert found.recipe.algorithm == "percentile"


def test_nothing_agrees_and_the_search_ends() -> None:
    tried, attempt = model(lambda _: 1000)
    trials = search(64, attempt, 20, FAMILIES)
    assert best(trials) is None
    assert len(tried) == len(trials) <= 20
    assert {recipe.float_layers for recipe in tried} >= {8, 63}


def test_a_model_that_agrees_only_when_all_of_it_is_float_has_no_int8() -> None:
    tried, attempt = model(lambda _: 64)
    assert best(search(64, attempt, 20, FAMILIES)) is None
    assert max(recipe.float_layers for recipe in tried) == 63


def test_no_more_than_max_trials_are_built() -> None:
    tried, attempt = model(lambda _: 1000)
    search(64, attempt, 3, FAMILIES)
    assert len(tried) == 3


@pytest.mark.parametrize("layers", [1, 2])
def test_a_model_of_hardly_any_layers_is_searched_too(layers: int) -> None:
    tried, attempt = model(lambda _: 0)
    found = best(search(layers, attempt, 20, FAMILIES))
    assert found is not None
    assert found.recipe.float_layers == 0
    assert len(tried) <= 2


def test_the_fastest_of_those_that_agree_is_the_best() -> None:
    slow, fast, wrong = (trial(Recipe("minmax", "all", n), n < 9, n / 4) for n in (2, 8, 9))
    assert best([slow, fast, wrong]) is fast
    assert best([wrong]) is None
