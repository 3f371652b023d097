"""A green says something, whatever the kind of claim: a property of every kind, toy and pack, by its signature.

Each call is measured first, and then claimed at the value that it reached: what an empty claim can pass, it is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from empty_calls import (
    Call,
    World,
    beside_itself,
    calls_of,
    constant,
    few_draws,
    greens,
    one_class,
    options_of,
    still,
    verdicts,
)
from toy_claim import DUSK, assert_dusk

sys.path.pop(0)
sys.path.pop(0)
import robustest
from robustest import Result, Verdict
from robustest.claims import kinds
from robustest.kinds import Kind

WORLD = World()
POPULATION: dict[str, Any] = {"scope": "population"}
pytestmark = pytest.mark.filterwarnings("ignore::robustest.HealthWarning")


def claims() -> Iterator[tuple[Kind, Callable[..., Result]]]:
    """Yield every kind of the package with its assertion, and the toy's."""
    every = [getattr(robustest, name) for name in robustest.__all__ if name.startswith("assert_")]
    for assertion in every:
        yield kinds()[assertion.__name__.removeprefix("assert_")], assertion
    yield DUSK, assert_dusk


WITHOUT_LABELS = {
    "invertible_features": "it compares images",
    "ood_rejected": "it reads confidences alone",
    "stable_under_perturbations": "it compares answers",
}
"""Kinds for which samples of one class are as good as any, and why."""
CALLS = [call for kind, assertion in claims() for call in calls_of(kind, assertion, WORLD)]
every_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)


def none_is_green(calls: Iterator[Call], world: World, slack: float = 0.05, *, drawn: bool = False) -> None:
    found = [line for call in calls for line in greens(call, world, slack=slack, drawn=drawn)]
    assert not found, "\n".join(found)


@every_call
def test_a_call_that_says_something_is_green(call: Call) -> None:
    """Else that its empty forms are not green would say nothing."""
    found = [list(verdicts(call, WORLD, slack=slack))[-1:] for slack in (0.05, 0.3)]
    assert all(found), "refused"
    assert any(result.verdict is Verdict.PASSED for ((_, result),) in found), [one[0][1].rule for one in found]


@every_call
def test_a_change_that_changes_nothing(call: Call) -> None:
    none_is_green((one for each in still(call, WORLD) for one in options_of(each)), WORLD)


@every_call
def test_a_change_that_changes_nothing_of_a_population(call: Call) -> None:
    none_is_green(still(call.of(call.title, **POPULATION), WORLD), WORLD, slack=0.3)


@every_call
def test_what_is_compared_is_the_same(call: Call) -> None:
    none_is_green((one for each in beside_itself(call, WORLD) for one in options_of(each)), WORLD)


@every_call
def test_what_is_compared_is_the_same_for_a_population(call: Call) -> None:
    none_is_green(beside_itself(call.of(call.title, **POPULATION), WORLD), WORLD, slack=0.3)


@every_call
def test_a_model_that_ignores_its_input(call: Call) -> None:
    none_is_green((one for each in constant(call, WORLD) for one in options_of(each)), WORLD)


@every_call
def test_a_model_that_ignores_its_input_and_a_population(call: Call) -> None:
    none_is_green(constant(call.of(call.title, **POPULATION), WORLD), WORLD, slack=0.3)


def again(call: Call, world: World, **more: Any) -> Iterator[Call]:
    """Yield the call of the same kind and threshold in another world."""
    assertion = {kind.name: made for kind, made in claims()}[call.kind.name]
    return (one for one in calls_of(call.kind, assertion, world, **more) if one.name == call.name)


@every_call
def test_copies_are_no_draws_from_a_population(call: Call) -> None:
    world = few_draws(WORLD)
    none_is_green(again(call, world, **POPULATION), world, slack=0.3, drawn=True)


@every_call
def test_one_cluster_is_one_draw_from_a_population(call: Call) -> None:
    one = {"cluster": ["video"] * len(WORLD.data[1])}
    none_is_green(again(call, WORLD, **POPULATION, **one), WORLD, slack=0.3, drawn=True)


@pytest.mark.parametrize(
    "call",
    [call for call in CALLS if "data" in call.arguments and call.kind.name not in WITHOUT_LABELS],
    ids=lambda call: call.name,
)
def test_samples_of_one_class_alone(call: Call) -> None:
    world = one_class(WORLD)
    none_is_green(again(call, world), world)
