"""What a claim rests on beside the samples that it counts speaks against it as well."""

from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustest import Result, Verdict
from robustest.decisions import Decision
from robustest.health import Health, HealthFinding
from robustest.measure import measure_ood_rejected, measure_transfer_accuracy
from robustest.run.evidence import (
    Evidence,
    Exhibit,
    Observation,
    Stream,
    Tally,
    answers_of,
    exhibits_of,
)
from robustest.tasks import CLASSIFICATION

N = 100
SAMPLES = torch.linspace(0.3, 0.7, N).unsqueeze(1)
MARKED = torch.cat([SAMPLES, torch.ones(N, 1)], 1)
PLAIN = torch.cat([SAMPLES, torch.zeros(N, 1)], 1)
LABELS = (SAMPLES.flatten() > 0.5).long()


def worse_in_company(x: Tensor) -> Tensor:
    """The class of a sample without a mark; of one with it, that of the batch's mean, so that half is wrong."""
    value = torch.where((x[:, 1] > 0.5) & (len(x) > 1), x[:, 0].mean(), x[:, 0])
    return torch.stack([0.5 - value, value - 0.5], 1)


def spoke(result: Result) -> bool:
    return any(note.startswith("batch_dependence") for note in result.words.notes)


def test_a_source_that_is_answered_by_batches_vouches_for_no_fall() -> None:
    result = measure_transfer_accuracy(worse_in_company, (MARKED, LABELS), (PLAIN, LABELS), max_drop=0.1)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert spoke(result)


def test_nor_does_such_an_inside_for_what_is_rejected() -> None:
    far = torch.cat([torch.full((N, 1), 0.5), torch.zeros(N, 1)], 1)
    result = measure_ood_rejected(worse_in_company, (MARKED, LABELS), far, max_fpr=0.9)
    assert spoke(result)
    assert result.verdict is Verdict.INCONCLUSIVE


def test_both_together_cost_what_both_cost() -> None:
    def answer(x: Tensor) -> Tensor:
        return torch.stack([0.5 - x[:, 0], x[:, 0] - 0.5], 1)

    result = measure_transfer_accuracy(answer, (MARKED, LABELS), (PLAIN, LABELS), max_drop=0.1)
    assert result.verdict is Verdict.PASSED
    assert result.cost.forward >= 2 * N


# The sum of chunks


def exhibit(index: int, badness: float) -> Exhibit:
    x = torch.zeros(1)
    return Exhibit(index=index, label=0, clean=0, predicted=1, size=None, before=x, after=x, badness=badness)


def seen(held: list[bool], **columns: Any) -> Observation:
    return Observation({"held": np.array(held), **columns}, [])


def stream(ids: list[int], held: list[bool], **columns: Any) -> Stream:
    made = Stream(total=10)
    made.add(torch.tensor(ids), seen(held, **columns), Tally(), examples=2, marks=[])
    return made


def test_chunks_are_added_in_the_order_in_which_they_come() -> None:
    made = Stream(total=5)
    assert made.n == 0
    first = replace(seen([True, False]), exhibits=[exhibit(3, 0.25), exhibit(1, 0.5)], counts={"a": 1})
    made.add(torch.tensor([3, 1]), first, Tally(forward=2, notes=("x",)), examples=2, marks=[b"3", b"1"])
    second = replace(seen([True]), exhibits=[exhibit(0, 0.4)], counts={"a": 2, "b": 1})
    made.add(torch.tensor([0]), second, Tally(forward=3, notes=("x", "y")), examples=2, marks=[b"0"])
    assert (made.n, made.counts, made.marks) == (3, {"a": 3, "b": 1}, [b"3", b"1", b"0"])
    assert made.columns["id"].tolist() == [3, 1, 0]
    assert [one.index for one in made.exhibits] == [1, 0], "the worst two"
    assert (made.tally.forward, made.tally.notes) == (5, ("x", "y"))
    ordered = made.ordered()
    assert ordered["id"].tolist() == [0, 1, 3]
    assert ordered["held"].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("before", "again", "worse"),
    [
        ([True, True], [False, True], [True, False]),
        ([False, True], [False, True], [False, False]),
        ([False, False], [True, True], [False, False]),  # nothing gets better by being looked at again
    ],
)
def test_outcomes_that_are_worse_replace_those_before(before: list[bool], again: list[bool], worse: list[bool]) -> None:
    made = stream([7, 2, 5], [True, *before], other=np.array([1.0, 2.0, 3.0]))
    shared = made.columns["held"]
    made.exhibits = [exhibit(2, 0.1), exhibit(7, 0.2)]
    found = made.worsen(
        torch.tensor([2, 5]),
        Observation({"held": np.array(again), "other": np.array([8.0, 9.0])}, [exhibit(2, 0.9), exhibit(5, 0.8)]),
        Tally(forward=4),
        examples=9,
    )
    assert found.tolist() == worse
    assert made.columns["held"].tolist() == [True, *(b and not w for b, w in zip(before, worse, strict=True))]
    assert made.columns["other"].tolist() == [1.0, *(8.0 + i if w else 2.0 + i for i, w in enumerate(worse))]
    assert shared.tolist() == [True, *before], "an audit shares columns with another stream"
    assert made.tally.forward == 4
    shown = [(one.index, one.badness) for one in made.exhibits]
    assert shown == ([(2, 0.9), (7, 0.2)] if worse[0] else [(7, 0.2), (2, 0.1)])


@pytest.mark.parametrize(("fall", "worse"), [(0.5, True), (2e-4, True), (5e-5, False), (0.0, False), (-0.1, False)])
def test_a_score_is_worse_by_more_than_rounding(fall: float, worse: bool) -> None:
    made = stream([4, 1], [True, True], score=np.array([0.25, 0.75]))
    again = seen([True], score=np.array([0.75 - fall]))
    assert made.worsen(torch.tensor([1]), again, Tally(), examples=1).tolist() == [worse]
    assert made.columns["score"].tolist() == [0.25, 0.75 - fall if worse else 0.75]


def test_only_so_many_exhibits_are_kept_the_worst_first() -> None:
    made = stream([0, 1, 2], [True] * 3)
    found = Observation({"held": np.zeros(3, bool)}, [exhibit(place, place / 10) for place in range(3)])
    made.worsen(torch.arange(3), found, Tally(), examples=2)
    assert [one.index for one in made.exhibits] == [2, 1]


def found(name: str, message: str = "a", *, off: bool = False) -> HealthFinding:
    return HealthFinding(name=name, message=message, suppressed=off)


def evidence(n: int = 2, total: int = 3, **fields: Any) -> Evidence:
    decision = Decision(verdict=Verdict.PASSED, rule="", estimate=None, interval=(0.0, 1.0))
    columns = {"held": np.arange(n) % 2 == 0, "hit": np.arange(n) % 2 == 1}
    return Evidence(decision=decision, columns=columns, ids=np.arange(n)[::1], total=total, **fields)


def test_outcomes_are_those_of_all_samples() -> None:
    part, whole = evidence(), evidence(4, 4)
    assert (part.n, part.whole, whole.whole) == (2, False, True)
    assert part.outcomes == (True, False, None)
    assert part.outcomes_of("hit") == (False, True, None)
    assert part.share(part.columns["held"]) is None, "a share of some is not that of all"
    assert whole.share(whole.columns["held"]) == 0.5


@pytest.mark.parametrize(
    ("dates", "cached"),
    [(("2026-02", "2026-01"), "2026-01"), (("2026-01", "2026-02"), "2026-01"), (("2026-01", ""), ""), (("", "a"), "")],
)
def test_several_parts_are_as_old_as_the_oldest_and_cached_together(dates: tuple[str, str], cached: str) -> None:
    first, second = (
        evidence(cached=date, tally=Tally(forward=2 + place, classes=3 + place, seconds=1.0))
        for place, date in enumerate(dates)
    )
    both = first.including(second)
    assert (both.cached, both.tally.forward, both.tally.classes, both.tally.seconds) == (cached, 5, 4, 2.0)
    assert both.ids is first.ids
    # By field, of which the arrays are the same ones: what data classes compare differs with Python.
    alone = first.including()
    assert [getattr(alone, each.name) for each in fields(alone)] == [
        getattr(first, each.name) for each in fields(first)
    ]


def test_a_finding_that_stops_stands_for_those_of_its_name() -> None:
    mild, grave = found("no_room", "mild", off=True), found("no_room", "grave")
    other = found("weak_attack", off=True)
    for one, two in ((mild, grave), (grave, mild)):
        names = evidence(findings=(one, other)).including(evidence(findings=(two,))).findings
        assert [(each.name, each.message) for each in names] == [("no_room", "grave"), ("weak_attack", "a")]


def test_costs_are_added_and_taken_apart() -> None:
    first, second = Health(failed={"a": 1}, tried={"a": 3}), Health(failed={"a": 3}, tried={"a": 8})
    early = Tally(forward=3, backward=1, seconds=9.0, classes=2, notes=("a",), health=first)
    late = Tally(forward=10, backward=4, seconds=20.0, classes=5, notes=("a", "b"), health=second)
    apart = late.since(early, 0.5)
    assert (apart.health.counts("a"), early.plus(late).health.counts("a")) == ((2, 5), (4, 11))
    assert (apart.forward, apart.backward, apart.seconds, apart.classes, apart.notes) == (7, 3, 0.5, 5, ("b",))
    both = early.plus(late)
    assert (both.forward, both.backward, both.seconds, both.classes, both.notes) == (13, 5, 29.0, 5, ("a", "b"))
    assert (both.cost.forward, both.cost.backward, both.cost.seconds) == (13, 5, 29.0)


def test_the_worst_samples_are_shown_in_an_order_that_lasts() -> None:
    chunk: Any = SimpleNamespace(
        ids=torch.arange(10, 15), y=torch.tensor([0, 1, 2, 3, 4]), x=torch.arange(5.0).view(5, 1), coding=None
    )
    looked: Any = SimpleNamespace(examples=3, task=CLASSIFICATION)
    which = torch.tensor([True, True, False, True, True])
    badness = torch.tensor([0.5, 0.9, 1.0, 0.5, 0.5])
    shown = exhibits_of(
        looked,
        chunk,
        which,
        clean=torch.zeros(5, dtype=torch.int64),
        predicted=torch.ones(5, dtype=torch.int64),
        after=chunk.x + 1,
        badness=badness,
        size=torch.arange(5.0) / 4,
    )
    assert [(one.index, one.label, one.clean, one.predicted) for one in shown] == [
        (11, 1, 0, 1),
        (10, 0, 0, 1),
        (13, 3, 0, 1),
    ]
    assert [one.size for one in shown] == [0.25, 0.0, 0.75]
    assert [(one.before.item(), one.after.item()) for one in shown] == [(1.0, 2.0), (0.0, 1.0), (3.0, 4.0)]
    plain = exhibits_of(
        looked, chunk, which, predicted=torch.ones(5, dtype=torch.int64), badness=-torch.tensor([3.0, 1, 0, 2, 4])
    )
    assert [(one.index, one.clean, one.predicted, one.badness, one.size) for one in plain] == [
        (11, 1, 1, -1.0, None),
        (13, 1, 1, -2.0, None),
        (10, 1, 1, -3.0, None),
    ]


@pytest.mark.parametrize("moved", [None, torch.tensor([7, 8])])
def test_answers_without_classes_are_drawn_and_have_none(moved: torch.Tensor | None) -> None:
    asked: list[Any] = []

    class Words:
        one_class = False

        def describe(self, *what: Any) -> dict[str, Any]:
            asked.append(what)
            return {"answer": "two boxes"}

    y, clean, predicted = torch.tensor([1, 2]), torch.tensor([3.0, 4.0]), torch.tensor([5.0, 6.0])
    found = answers_of(Words(), y, clean, predicted, moved)  # type: ignore[arg-type]
    targets, answers = found.pop("targets"), found.pop("answers")
    assert found == {"label": -1, "clean": -1, "predicted": -1, "answer": "two boxes"}
    assert targets.tolist() == [[1, 2], [1, 2] if moved is None else [7, 8]]
    assert answers.tolist() == [[3, 4], [5, 6]]
    assert answers.dtype == clean.dtype
    assert len(asked) == 1
    shown = {"index": 0, "label": -1, "clean": -1, "predicted": -1, "size": None, "badness": 0.0}
    shown |= {"before": torch.zeros(1), "after": torch.zeros(1), "targets": targets}
    drawn = Exhibit(**shown, answers=answers).drawn
    assert drawn is not None
    assert drawn.tolist() == [[1, 2], [3, 4], [1, 2] if moved is None else [7, 8], [5, 6]]
    assert drawn.dtype == y.dtype
    assert Exhibit(**shown, answers=answers[:, :1]).drawn is None  # answers of another form than targets
