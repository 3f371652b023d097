"""A green says something: every kind of this pack in core's properties, with answers of people that can be empty."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import robustest_people as people
from core_tests import TESTS
from robustest_people import Annotations, Responses
from robustest_people.measure import (
    measure_label_agreement,
    measure_multilabel_accuracy,
    measure_replication_gap,
    measure_selection_gap,
)
from robustest_people.pack import robustest_kinds
from torch import Tensor, nn

sys.path.insert(0, str(TESTS / "contract"))
from empty_calls import VALUES, Value, World, few_draws
from says_something import SaysSomething, Table
from small_subjects import CLASSES, Constant, pictures

sys.path.pop(0)
from robustest import Result, Verdict

PEOPLE = 20
CUES = ("null", "planted", "logo")


@dataclass(frozen=True)
class Answered(World):
    """Samples, and the people who answer about them.

    Attributes:
        people: how many answer about each sample.
        different: how many of them there are; each answers the same questions again until there are so many answers.
    """

    people: int = PEOPLE
    different: int = PEOPLE

    @property
    def labels(self) -> np.ndarray[Any, Any]:
        return self.data[1].numpy()


def few(world: Answered) -> World:
    return replace(few_draws(world), different=3)


def chosen(world: Answered, other: float, *, truth: bool = False) -> Responses:
    """Choices of each label, or of the next class with a probability."""
    labels = world.labels
    n = len(labels)
    item, who = np.divmod(np.arange(world.people * n), world.people)
    wrong = np.random.default_rng(0).random((n, world.different)) < other
    answer = (labels[item] + wrong[item, who % world.different]) % CLASSES
    more: dict[str, Any] = {"truth": labels[item]} if truth else {}
    return Responses.from_columns(item, answer, size=n, classes=CLASSES, annotator=who % world.different, **more)


def one_thing(world: Answered, *, truth: bool = False) -> Responses:
    """Every answer is class 0."""
    n = len(world.labels)
    item, who = np.divmod(np.arange(world.people * n), world.people)
    more: dict[str, Any] = {"truth": world.labels[item]} if truth else {}
    return Responses.from_columns(item, 0 * item, size=n, classes=CLASSES, annotator=who % world.different, **more)


def yes(world: Answered) -> Responses:
    """Everybody is asked about the label, and says yes."""
    n = len(world.labels)
    item, who = np.divmod(np.arange(world.people * n), world.people)
    return Responses.from_columns(
        item, np.ones(len(item), int), size=n, classes=CLASSES, annotator=who, label=world.labels[item]
    )


def cues(rates: tuple[float, float, float]) -> Callable[[Answered], Responses]:
    """Return a study in which each person calls each of three cues spurious with a probability, on 30 pictures."""

    def study(world: Answered) -> Responses:
        called = np.random.default_rng(1).random((3, 30, world.different)) < np.array(rates)[:, None, None]
        label, picture, who = (part.ravel() for part in np.indices((3, 30, world.people)))
        calls = called[label, picture, who % world.different]
        return Responses.from_columns(
            30 * label + picture, calls, size=90, classes=CUES, label=label, annotator=who % world.different
        )

    return study


class NextClass(nn.Module):
    """Says the class after that of a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).roll(1, 1)


def several(world: Answered) -> Any:
    """Every fifth sample shows the next class as well."""
    sets = nn.functional.one_hot(world.data[1], CLASSES)
    sets[::5] |= sets[::5].roll(1, 1)
    return world.data[0], sets


def frequencies(world: Answered, draw: int = 0) -> Annotations:
    n = len(world.data[1])
    return Annotations(
        selected=np.random.default_rng(draw).binomial(20, 0.8, n), shown=np.full(n, 20), independent=True
    )


VALUES_OF_PEOPLE: dict[str, Value] = {
    **VALUES,
    "responses": Value(
        sound=lambda w: chosen(w, 0.05),
        constant=(one_thing, yes),
    ),
    "selection_gap.model": Value(
        sound=lambda w: NextClass(w.model).eval(),
        constant=(lambda w: Constant(0).eval(),),  # noqa: ARG005
    ),
    "selection_gap.responses": Value(sound=lambda w: chosen(w, 0.5), constant=(one_thing, yes)),
    "study": Value(sound=lambda w: chosen(w, 0.1, truth=True), constant=(lambda w: one_thing(w, truth=True),)),
    "cue_noticed.study": Value(
        sound=cues((0.05, 0.9, 0.7)),
        constant=(cues((0.0, 0.0, 0.0)), cues((1.0, 1.0, 1.0)), cues((0.5, 0.5, 0.5))),
    ),
    "cue": Value(sound=lambda w: "logo", same=(lambda w: "null", lambda w: "planted")),  # noqa: ARG005
    "multilabel_accuracy.data": Value(sound=several),
    "annotations": Value(sound=lambda w: (frequencies(w), frequencies(w, 1))),
}


class TestKindsOfPeople(SaysSomething):
    table = Table(
        assertions={kind.name: (kind, getattr(people, kind.assertion)) for kind in robustest_kinds()},
        world=Answered(),
        values=VALUES_OF_PEOPLE,
        effort={"resamples": 100},
        few=few,
    )


def recorded(order: Any, held: Any = None) -> Result:
    """A replication whose outcomes are given: the study itself in another order, or another one."""
    says = frequencies(TestKindsOfPeople.table.world)
    right = np.arange(len(says)) % 5 > 0
    again = Annotations(selected=says.selected[order], shown=says.shown[order], independent=True)
    return measure_replication_gap(
        (right, right[order] if held is None else held),
        None,
        None,
        annotations=(says, again),
        at_most=0.6,
        resamples=100,
    )


def test_recorded_outcomes_of_one_study_are_no_replication() -> None:
    order = np.random.default_rng(1).permutation(60)
    assert recorded(order).verdict is not Verdict.PASSED
    assert recorded(order, np.arange(60) % 7 > 0).verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("claims", "measure"),
    [
        ("min_contained", measure_label_agreement),
        ("min_main", measure_label_agreement),
        ("at_least", measure_multilabel_accuracy),
    ],
)
def test_a_threshold_that_one_class_said_of_every_sample_reaches(claims: str, measure: Any) -> None:
    world = TestKindsOfPeople.table.world
    about = [chosen(world, 0.05)] if claims.startswith("min") else []
    data = world.data if about else several(world)

    def verdict(value: float) -> Verdict:
        return measure(world.model, data, *about, **{claims: value}).verdict  # type: ignore[no-any-return]

    assert verdict(0.2) is Verdict.INCONCLUSIVE
    assert verdict(0.5) is Verdict.PASSED


def test_people_who_answer_one_thing_do_not_show_that_labels_and_predictions_are_alike() -> None:
    world = replace(TestKindsOfPeople.table.world, data=pictures(400))
    model = NextClass(world.model).eval()
    assert measure_selection_gap(model, world.data, one_thing(world), at_most=0.3).verdict is Verdict.INCONCLUSIVE
    assert measure_selection_gap(model, world.data, chosen(world, 0.5), at_most=0.3).verdict is Verdict.PASSED
