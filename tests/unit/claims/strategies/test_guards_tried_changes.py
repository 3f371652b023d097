"""Changes tried on the same samples: which of two is worse, when the claim breaks, and what is counted of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import DataError, Settings, Shift, labels_model
from robustest.claims.strategies import Trial, Trials, _decide, _lines, _SearchEnd, tell_hypothesis
from robustest.context import Context, running
from robustest.data import as_samples
from robustest.models import as_classifier
from robustest.run.plan import Setup

N = 10


class Bright(nn.Module):
    """Class 1 above .5, by a margin of twice the distance."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        away = self.one * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-away, away], 1)


X = torch.linspace(0.55, 0.95, N).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
Y = torch.ones(N, dtype=torch.int64)


def darker(by: float) -> Shift:
    return Shift("darker", 1, Darker(by))


def trials(at_least: float | None, model: Any = None, statement: str = "", **settings: Any) -> Trials:
    classifier = as_classifier(Bright() if model is None else model)
    return Trials(Setup(classifier, as_samples((X, Y)), Settings(**settings)), at_least, statement)


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What hypothesis is told."""
    values: list[float] = []

    def target(value: float, *, label: str) -> None:
        assert label == "margin"
        values.append(value)

    monkeypatch.setattr(hypothesis, "target", target)
    return values


def test_fewer_right_are_worse_and_of_as_many_the_smaller_margin() -> None:
    def trial(right: int, margin: float, *, moved: bool = True) -> Trial:
        return Trial(right, margin, moved=np.full(N, moved), cut=np.zeros(N, dtype=bool))

    some = trial(5, 0.2)
    assert trial(4, 0.9).harms_more_than(some)
    assert trial(5, 0.1).harms_more_than(some)
    assert not trial(5, 0.2).harms_more_than(some)
    assert not trial(5, 0.3).harms_more_than(some)
    assert not trial(6, 0.0).harms_more_than(some)
    assert not trial(5, 0.2, moved=False).harms_more_than(some), "what was moved is no harm"


def test_what_changes_moved_and_cut_is_counted_over_all_of_them() -> None:
    """A sample is moved where one change moved it, and cut where no change left anything of it inside the bounds."""
    one = trials(0.8)
    moved, cut = torch.arange(N) < 6, torch.arange(N) < 4

    def see(moved: Tensor, cut: Tensor) -> None:
        one.by_change[len(one.by_change)] = Trial(N, 0.1, moved=moved.numpy(), cut=cut.numpy())

    see(moved, cut)
    assert one.moved.tolist() == moved.tolist()
    assert one.cut.tolist() == cut.tolist()
    see(torch.arange(N) >= 2, torch.arange(N) >= 3)  # the third is moved, and not cut
    assert one.moved.all()
    assert np.flatnonzero(one.cut).tolist() == [0, 1, 3, 6, 7, 8, 9]


def test_a_change_that_moves_no_sample_is_idle() -> None:
    one = trials(0.8)
    one.breaks(Shift("none", 1, Darker(0.0)))
    assert one.idle == ("none",)
    assert not one.moved.any()
    one.breaks(Shift("darker", 1, Darker(0.1)))
    assert one.idle == ("none",)
    assert one.moved.all()
    one.breaks(Shift("none", 2, Darker(0.1)))
    assert one.idle == ()


@pytest.mark.parametrize(("at_least", "least"), [(0.8, 8), (0.75, 8), (1.0, 10), (0.1, 1)])
def test_a_claim_breaks_where_fewer_than_it_needs_are_right(at_least: float, least: int) -> None:
    """Each of ten samples falls at its own shift: one after the other, at .05, .094, ... below."""
    one = trials(at_least)
    assert (one.n, one.least) == (N, least)
    edges = (X[:, 0, 0, 0] - 0.5).tolist()
    for fallen in range(N + 1):
        by = 0.01 if fallen == 0 else edges[fallen - 1] + 0.01
        breaks = one.breaks(darker(by))
        assert breaks is (N - fallen < least)
    assert one.broken == sum(N - fallen < least for fallen in range(N + 1))
    assert one.lowest == 0.0


def test_the_margin_is_of_the_sample_on_which_the_claim_hangs(told: list[float]) -> None:
    for at_least in (0.1, 0.5, 0.8, 1.0):
        one = trials(at_least)
        margins = sorted((2 * (X[:, 0, 0, 0] - 0.3 - 0.5)).tolist(), reverse=True)
        one.breaks(darker(0.3))
        assert told[-1] == pytest.approx(-margins[round(at_least * N) - 1], abs=1e-6)
        assert (told[-1] > 0) is one.breaks(darker(0.3))
    free = trials(None)
    assert not free.breaks(darker(0.3))
    assert told[-1] == pytest.approx(-sum(margins) / N, abs=1e-6)
    assert free.broken == 0


@pytest.mark.parametrize(("at_least", "margin"), [(0.8, 3 - 8), (0.2, 3 - 2), (None, 0.3)])
def test_labels_say_by_how_many_a_claim_is_missed(at_least: float | None, margin: float, told: list[float]) -> None:
    model = labels_model(lambda x: (x.reshape(len(x), -1).mean(1) > 0.5).astype(int), classes=2)
    one = trials(at_least, model)
    by = float(X[N - 4, 0, 0, 0]) - 0.5 + 0.01  # three are left
    assert one.breaks(darker(by)) is (at_least == 0.8)
    assert told == [pytest.approx(-margin)]


def test_each_change_is_measured_and_counted_once() -> None:
    seen: list[tuple[str, int, int, int]] = []
    with running(Context(progress=lambda *told: seen.append(told))):
        one = trials(0.8, statement="accuracy under any")
        for by in (0.3, 0.01, 0.3, 0.2):
            one.breaks(Shift("same", 1, Darker(by)))
    assert len(one.by_change) == 3
    assert one.broken == 2
    assert seen == [("accuracy under any", 1, 1, 1), ("accuracy under any", 2, 2, 1), ("accuracy under any", 3, 3, 2)]
    assert one.share(Shift("same", 1, Darker(0.01))) == 1.0
    assert one.worst == Shift("same", 1, Darker(0.3))
    assert one.lowest == one.share(one.worst) < 0.5


@dataclass(frozen=True)
class Darker:
    """A change that is a value."""

    by: float

    def __call__(self, x: Tensor, severity: int) -> Tensor:
        return x - self.by


@dataclass
class Listed:
    """A change that cannot be hashed, of a field that can."""

    by: float

    def __call__(self, x: Tensor) -> Tensor:
        return x - self.by


@dataclass
class Rows:
    """A change that cannot be hashed, nor can its field: it is told from others as an object."""

    by: list[float]

    def __call__(self, x: Tensor) -> Tensor:
        return x - self.by[0]


@pytest.mark.parametrize(("make", "measured"), [(Listed, 2), (lambda by: Rows([by]), 3)], ids=["fields", "object"])
def test_changes_that_cannot_be_hashed_are_told_apart(make: Callable[[float], Any], measured: int) -> None:
    one = trials(0.8)
    found = [one.breaks(make(by)) for by in (0.3, 0.01, 0.3)]
    assert found == [True, False, True]
    assert len(one.by_change) == measured
    same = make(0.2)
    one.breaks(same)
    one.breaks(same)
    assert len(one.by_change) == measured + 1


def test_without_a_statement_nobody_is_shown_anything() -> None:
    seen: list[Any] = []
    with running(Context(progress=lambda *told: seen.append(told))):
        trials(0.8).breaks(darker(0.3))
    assert not seen


def test_only_so_many_samples_are_searched_on() -> None:
    assert trials(0.5, max_samples=4).n == 4
    assert trials(0.5, max_samples=4).least == 2
    assert trials(0.5, max_samples=None).n == N


def test_a_model_that_changes_while_it_is_searched_is_noticed() -> None:
    class Tired(Bright):
        """Answers otherwise after so many samples."""

        def __init__(self) -> None:
            super().__init__()
            self.seen = 0

        def forward(self, x: Tensor) -> Tensor:
            self.seen += len(x)
            return super().forward(x) if self.seen < 200 else -super().forward(x)

    for model, changed in ((Bright(), False), (Tired(), True)):
        one = trials(0.1, model)
        for step in range(30):
            one.breaks(darker(0.001 * step))
        one.end()
        health = one.tally.health
        assert bool(health.counts("history_dependence")[0]) is changed
        assert one.tally.forward >= 30 * N


def test_labels_are_checked_before_the_search() -> None:
    classifier, samples = as_classifier(Bright()), as_samples((X, Y + 5))
    with pytest.raises(DataError, match="Expected labels"):
        Trials(Setup(classifier, samples, Settings()), 0.5, "")


@pytest.mark.parametrize(
    ("margin", "value"), [(0.25, -0.25), (-3.0, 3.0), (float("inf"), -1e9), (-float("inf"), 1e9), (2e9, -1e9)]
)
def test_hypothesis_is_told_finite_numbers(margin: float, value: float, told: list[float]) -> None:
    tell_hypothesis(margin)
    assert told == [value]


def test_a_second_number_of_one_name_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(value: float, *, label: str) -> None:
        raise hypothesis.errors.InvalidArgument(label)

    monkeypatch.setattr(hypothesis, "target", refuse)
    tell_hypothesis(0.5)


def evidence(right: int, of: int) -> Any:
    return SimpleNamespace(columns={"held": np.arange(of) < right}, n=of)


@pytest.mark.parametrize(
    "row",
    [
        # right of 10 samples in all, and the lowest share among those searched on
        (7, 0.5, 10, None, False, None, "inconclusive", 0.5, "no threshold given"),
        (7, 0.5, 5, None, False, None, "inconclusive", 0.7, "no threshold given"),  # of other samples
        (5, 0.6, 10, None, False, None, "inconclusive", 0.5, "no threshold given"),
        (7, 0.7, 10, None, False, 0.7, "passed", 0.7, "no counterexample in 3 examples: a search, not a proof"),
        (7, 0.7, 10, "it", False, 0.71, "failed", 0.7, "certain: a counterexample among 3 examples"),
        (7, 0.7, 10, None, False, 0.75, "failed", 0.7, "certain: a counterexample among 3 examples"),
        (
            *(7, 0.7, 10, "it", True, 0.8, "failed", 0.7),
            "certain: a counterexample among 3 examples; the search for a milder one ended with the time budget",
        ),
        (
            *(7, 0.4, 5, "it", False, 0.7, "inconclusive", 0.7),
            "the change found breaks the 5 samples searched on, not all 10: raise max_samples",
        ),
        (
            *(9, 0.9, 5, None, False, 0.7, "passed", 0.9),
            "no counterexample in 3 examples on 5 of 10 samples: a search, not a proof",
        ),
    ],
)
def test_a_search_refutes_by_what_breaks_all_samples_alone(row: tuple[Any, ...]) -> None:
    right, lowest, searched, mildest, early, at_least, verdict, estimate, rule = row
    tried: Any = SimpleNamespace(n=searched, lowest=lowest, by_change={1: 1, 2: 2, 3: 3})
    found = _decide(_SearchEnd(mildest, early), tried, evidence(right, 10), at_least)
    assert (str(found.verdict), found.estimate, found.rule) == (verdict, estimate, rule)
    assert found.interval == (0.0, estimate)
    assert not found.at_alpha


def test_facts_are_the_mildest_change_and_what_was_right_before() -> None:
    mildest = {"change": "fog 3", "code": "shift('fog', 3)", "accuracy": 0.25}
    lines = {fact.label: fact.value for fact in _lines({"mildest": mildest, "clean_accuracy": 0.75})}
    assert lines["mildest"] == "fog 3: accuracy 0.250"
    assert lines["as code"] == "shift('fog', 3)"
    assert len(lines) == 3
    assert len(_lines({"mildest": None, "clean_accuracy": 0.75})) == 1
