"""A green says something, whatever the kind of claim: properties of a table of kinds, each by its signature.

Each call is measured first, and then claimed at the value that it reached: what an empty claim can pass, it is asked.
A test module makes a table of its kinds, and a subclass of `SaysSomething` with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import pytest
from empty_calls import (
    EFFORT,
    NEEDED,
    OPTIONS,
    VALUES,
    Call,
    Value,
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

from robustest import Result, UnknownNameError, Verdict
from robustest.kinds import Kind

POPULATION: dict[str, Any] = {"scope": "population"}


@dataclass(frozen=True, eq=False, kw_only=True)
class Table:
    """Kinds of claims, and the arguments that their calls are made of.

    Attributes:
        assertions: of every kind, by the kind's name.
        world: the models and samples.
        values, effort, needed: as for `calls_of`.
        options: as `OPTIONS` has them.
        few: returns the world with five samples, or people, many times.
        alone: returns the world with samples of one class.
        units: of values that are no shares, by the argument that claims them.
        left_out: arguments that claim nothing in these calls, and why.
        without_labels: kinds for which samples of one class are as good as any, and why.
        of_given_items: kinds that are about each sample there is, however many are alike, and why.
    """

    assertions: Mapping[str, tuple[Kind, Callable[..., Result]]]
    world: World = field(default_factory=World)
    values: Mapping[str, Value] = field(default_factory=lambda: VALUES)
    effort: Mapping[str, Any] = field(default_factory=lambda: EFFORT)
    needed: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: NEEDED)
    options: Mapping[str, dict[str, Any]] = field(default_factory=lambda: OPTIONS)
    few: Callable[[Any], World] = few_draws
    alone: Callable[[Any], World] = one_class
    units: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    without_labels: Mapping[str, str] = field(default_factory=dict)
    of_given_items: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def calls(self) -> list[Call]:
        return [call for kind, made in self.assertions.values() for call in self._of(kind, made, self.world)]

    def again(self, call: Call, world: World, **more: Any) -> Iterator[Call]:
        """Yield the call of the same kind and threshold in another world."""
        return (one for one in self._of(*self.assertions[call.kind.name], world, **more) if one.name == call.name)

    def _of(self, kind: Kind, made: Callable[..., Result], world: World, **more: Any) -> Iterator[Call]:
        words: dict[str, Any] = {"effort": self.effort, "needed": self.needed, **more}
        for call in calls_of(kind, made, world, self.values, **words):
            if call.claims not in self.left_out:
                yield replace(call, unit=self.units.get(call.claims, 1.0))


def none_is_green(calls: Iterator[Call], world: World, slack: float = 0.05, *, drawn: bool = False) -> None:
    found = [line for call in calls for line in greens(call, world, slack=slack, drawn=drawn)]
    assert not found, "\n".join(found)


@pytest.mark.filterwarnings("ignore::robustest.HealthWarning")
class SaysSomething:
    """The properties."""

    table: ClassVar[Table]
    twins: ClassVar[frozenset[str]] = frozenset(
        {
            "test_a_change_that_changes_nothing_of_a_population",
            "test_what_is_compared_is_the_same_for_a_population",
            "test_a_model_that_ignores_its_input_and_a_population",
        }
    )
    """Properties of a set, asked of a population too."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        calls = self.table.calls
        if "labelled" in metafunc.fixturenames:
            left_out = self.table.without_labels
            calls = [call for call in calls if "data" in call.arguments and call.kind.name not in left_out]
        name = "labelled" if "labelled" in metafunc.fixturenames else "call"
        # Daily one call of each kind, about the set where a property is asked of both.
        first = {call.kind.name: call for call in reversed(calls)}
        twin = metafunc.function.__name__ in self.twins
        params = [
            pytest.param(one, id=one.name, marks=pytest.mark.slow if twin or one is not first[one.kind.name] else ())
            for one in calls
        ]
        metafunc.parametrize(name, params)

    def test_a_call_that_says_something_is_green(self, call: Call) -> None:
        """Else that its empty forms are not green would say nothing."""
        found = [list(verdicts(call, self.table.world, slack=slack))[-1:] for slack in (0.05, 0.3)]
        assert all(found), "refused"
        rules = [one[0][1].rule for one in found]
        assert any(result.verdict is Verdict.PASSED for ((_, result),) in found), rules

    def test_a_change_that_changes_nothing(self, call: Call) -> None:
        world = self.table.world
        none_is_green(self.with_options(still(call, world)), world)

    def test_a_change_that_changes_nothing_of_a_population(self, call: Call) -> None:
        none_is_green(still(self.of_population(call), self.table.world), self.table.world, slack=0.3)

    def test_what_is_compared_is_the_same(self, call: Call) -> None:
        world = self.table.world
        none_is_green(self.with_options(beside_itself(call, world)), world)

    def test_what_is_compared_is_the_same_for_a_population(self, call: Call) -> None:
        none_is_green(beside_itself(self.of_population(call), self.table.world), self.table.world, slack=0.3)

    def test_a_model_that_ignores_its_input(self, call: Call) -> None:
        world = self.table.world
        none_is_green(self.with_options(constant(call, world)), world)

    def test_a_model_that_ignores_its_input_and_a_population(self, call: Call) -> None:
        none_is_green(constant(self.of_population(call), self.table.world), self.table.world, slack=0.3)

    def test_copies_are_no_draws_from_a_population(self, call: Call) -> None:
        if call.kind.name in self.table.of_given_items:
            return
        world = self.table.few(self.table.world)
        none_is_green(self.table.again(call, world, **POPULATION), world, slack=0.3, drawn=True)

    def test_one_cluster_is_one_draw_from_a_population(self, call: Call) -> None:
        world = self.table.world
        one = {"cluster": ["video"] * len(world.data[1])}
        try:
            none_is_green(self.table.again(call, world, **POPULATION, **one), world, slack=0.3, drawn=True)
        except UnknownNameError as unknown:
            assert "'cluster'" in str(unknown)  # noqa: PT017 - a kind without the option refuses it

    def test_samples_of_one_class_alone(self, labelled: Call) -> None:
        world = self.table.alone(self.table.world)
        none_is_green(self.table.again(labelled, world), world)

    def with_options(self, calls: Iterator[Call]) -> Iterator[Call]:
        return (one for call in calls for one in options_of(call, self.table.options))

    @staticmethod
    def of_population(call: Call) -> Call:
        return call.of(call.title, **POPULATION)
