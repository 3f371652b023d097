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
from hypothesis import strategies as st
from hypothesis.database import InMemoryExampleDatabase
from torch import Tensor, nn

from robustest import ConfigError, DataError, Settings, Shift, clock, labels_model, rng
from robustest.claims import strategies as module
from robustest.claims.strategies import Trial, Trials, _decide, _lines, _SearchEnd, tell_hypothesis
from robustest.context import Context, running
from robustest.data import as_samples
from robustest.errors import NotSearched
from robustest.measure import accuracy_under, measure_robust_to
from robustest.models import as_classifier
from robustest.run.plan import Setup
from robustest.tasks import CLASSIFICATION

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
BOTH = torch.cat([X, 1 - X]), torch.cat([Y, 0 * Y])  # dark images stay of class 0, however dark


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


# What hypothesis is asked


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("by", [0.3, 0.0])
def test_a_hypothesis_test_is_told_the_margin_and_of_a_change_without_effect(
    inside: bool, by: float, told: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    monkeypatch.setattr(hypothesis, "currently_in_test_context", lambda: inside)
    monkeypatch.setattr(hypothesis, "event", events.append)
    right = int((X.flatten(1).mean(1) - by > 0.5).sum())
    assert accuracy_under(Bright(), (X, Y), darker(by)) == right / N
    assert len(told) == inside
    assert events == (["the change changes no sample"] if inside and not by else [])


class Found:
    """Stands for runs of hypothesis: what it was asked, and what each one finds."""

    def __init__(self, *found: object) -> None:
        self.found, self.asked = list(found), []  # type: ignore[var-annotated]

    def __call__(self, strategy: Any, breaks: Any, *, seeded: int, most: int, database: Any, phases: Any) -> object:
        self.asked.append((seeded, most, [phase.name for phase in phases]))
        if self.found[0] is not None and isinstance(database, InMemoryExampleDatabase):
            database.save(b"key", b"value")
        return self.found.pop(0)


SEARCHING = ["explicit", "reuse", "generate", "target", "shrink"]


@pytest.mark.parametrize(
    ("how", "found", "asked", "kept"),
    [
        ({"remember": False}, ["new"], [SEARCHING], 0),
        ({"remember": True}, [None, "new"], [["reuse", "shrink"], SEARCHING], 1),
        ({"remember": True}, [None, None], [["reuse", "shrink"], SEARCHING], 0),
        ({"remember": True}, ["known"], [["reuse", "shrink"]], 0),
        ({"remember": True, "replay_only": True}, ["known"], [["reuse"]], 0),
        ({"remember": True, "replay_only": True}, [None], [["reuse"]], 0),
        ({"remember": False, "replay_only": True}, [], [], 0),
    ],
)
def test_what_is_known_is_tried_first_and_what_is_new_is_kept(
    how: dict[str, Any], found: list[Any], asked: list[list[str]], kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = InMemoryExampleDatabase()
    monkeypatch.setattr(hypothesis, "settings", lambda: SimpleNamespace(database=database))
    for examples, most in ((None, 100), (7, 7)):
        runs = Found(*found)
        monkeypatch.setattr(module, "_run_hypothesis", runs)
        last = module.hunt(st.integers(), bool, seeded=3, max_examples=examples, key="a", **how)
        assert last == (found[-1] if found else None)
        assert runs.asked == [(3, most, phases) for phases in asked]
        assert len(database.data) == kept


def test_examples_of_two_claims_are_kept_apart() -> None:
    whole = InMemoryExampleDatabase()
    one, other = module._Keyed(whole, "a"), module._Keyed(whole, "b")
    one.save(b"key", b"1")
    other.save(b"key", b"2")
    assert (set(one.fetch(b"key")), set(other.fetch(b"key"))) == ({b"1"}, {b"2"})
    one.delete(b"key", b"1")
    assert (set(one.fetch(b"key")), set(other.fetch(b"key"))) == (set(), {b"2"})


@pytest.mark.parametrize("examples", [1, 12])
def test_as_many_examples_are_tried_as_are_allowed(examples: int) -> None:
    tried: list[int] = []
    found = module.hunt(
        st.integers(), lambda one: bool(tried.append(one)), seeded=0, max_examples=examples, key="", remember=False
    )
    assert (found, len(tried)) == (None, examples)


@pytest.mark.parametrize(
    ("ends", "options", "expected"),
    [
        (None, {}, (None, False)),
        ("it", {}, ("it", False)),
        (clock.OutOfTime(), {}, clock.OutOfTime),
        ("breaks", {}, ("last", True)),
        (KeyError("mine"), {}, KeyError),
        (hypothesis.errors.Unsatisfiable(), {}, hypothesis.errors.Unsatisfiable),
        (None, {"replay_only": True}, NotSearched),
        ("it", {"replay_only": True}, ("it", False)),
    ],
    ids=repr,
)
def test_a_search_ends_by_what_it_found(
    ends: Any, options: dict[str, Any], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tried(change: object) -> bool:
        if isinstance(ends, Exception):
            raise ends
        return change != "first"

    def hunt(strategy: Any, breaks: Any, **how: Any) -> object:
        assert (how["seeded"], how["max_examples"], how["key"]) == (5, 9, "t set")
        assert (how["remember"], how["replay_only"]) == (True, options.get("replay_only", False))
        if ends == "breaks":
            assert [breaks(one) for one in ("first", "second", "last")] == [False, True, True]
            raise clock.OutOfTime
        if isinstance(ends, clock.OutOfTime):
            assert breaks("first") is False
            raise ends
        if isinstance(ends, Exception):
            breaks("first")
        return ends

    monkeypatch.setattr(module, "hunt", hunt)
    made: Any = SimpleNamespace(breaks=tried, by_change={1: 1}, task=CLASSIFICATION)
    settings = Settings(seed=5, **options)

    def search() -> Any:
        with running(Context(test="t", settings=settings, skip=lambda _: None)):
            return module._search(made, st.integers(), settings, 9, setting="set", statement="s")

    if isinstance(expected, tuple):
        found = search()
        assert (found.mildest, found.early) == expected
    else:
        with pytest.raises(expected) as raised:
            search()
        if expected is clock.OutOfTime:
            assert str(raised.value) == "budget: no counterexample in 1 example before the time was up"


@pytest.mark.parametrize(
    ("names", "caveats"),
    [
        (("none", "dark"), ["none changed no sample"]),
        (("none", "idle", "dark"), ["none, idle changed no sample", "2 of 3 examples changed no sample"]),
        (("dark", "darker"), []),
        (("none",), None),
    ],
)
def test_changes_without_effect_are_caveats(names: tuple[str, ...], caveats: list[str] | None) -> None:
    by = {"none": 0.0, "idle": 0.0, "dark": 0.01, "darker": 0.02}
    strategy = st.sampled_from([Shift(name, 1, Darker(by[name])) for name in names])
    found = measure_robust_to(Bright(), BOTH, strategy, at_least=0.6, max_examples=30, cache=False)
    assert found.details["examples"] == len(names)
    if caveats is None:
        assert (str(found.verdict), found.ruling.reasons) == ("inconclusive", ("unchanged",))
    else:
        assert str(found.verdict) == "passed"
        said = [one.replace("idle, none", "none, idle") for one in found.words.caveats if "changed no sample" in one]
        assert said == caveats
    assert 0 <= found.cost.seconds < 600
    assert found.numbers.bounds == "above"


@pytest.mark.parametrize(("length", "kept"), [(119, 119), (120, 120), (121, 117), (500, 117)])
def test_the_setting_of_a_long_strategy_is_cut(length: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "strategy_words", lambda _: "x" * length)
    found = measure_robust_to(Bright(), (X, Y), st.just(darker(0.01)), max_examples=1, cache=False)
    assert found.subject.setting == "x" * kept + ("..." if length > kept else "")


def test_labels_of_the_last_chunk_are_checked_before_the_search_too() -> None:
    n, settings = 600, Settings(seed=2)
    x = torch.full((n, 1, 2, 2), 0.9)
    for at in (0, -1):
        y = torch.ones(n, dtype=torch.int64)
        y[rng.permutation(2, n)[at]] = 7
        with pytest.raises(DataError, match="Expected labels"):
            Trials(Setup(as_classifier(Bright()), as_samples((x, y)), settings), 0.5, "")


def test_a_threshold_that_any_model_keeps_is_no_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    def asks(at_least: float) -> list[float]:
        strategy = st.just(darker(0.01))
        found = measure_robust_to(Bright(), (X, Y), strategy, at_least=at_least, max_examples=1, cache=False)
        return [found.numbers.value, accuracy_under(Bright(), (X, Y), darker(0.01), at_least=at_least)]

    monkeypatch.setattr(hypothesis, "currently_in_test_context", lambda: False)
    assert asks(1.0) == asks(0.01) == [1.0, 1.0]
    for call in (
        lambda: measure_robust_to(Bright(), (X, Y), st.just(darker(0.01)), at_least=0.0),
        lambda: accuracy_under(Bright(), (X, Y), darker(0.01), at_least=0.0),
    ):
        with pytest.raises(ConfigError, match="at_least"):
            call()


class Clocked(Bright):
    """A model that looks at the clock itself, as one behind an endpoint does."""

    def forward(self, x: Tensor) -> Tensor:
        clock.check()
        return super().forward(x)


@pytest.mark.parametrize(
    ("breaks", "ends", "late", "verdict"),
    [
        # the change found breaks the claim, the time ends the search, and it is up afterwards
        (True, True, True, "failed"),
        (True, True, False, "failed"),
        (True, False, False, "failed"),
        (True, False, True, "failed"),
        (False, True, True, "inconclusive"),
        (False, False, False, "passed"),
        (False, False, True, "inconclusive"),
    ],
)
def test_what_was_found_in_time_is_measured_however_long_it_takes(
    breaks: bool, ends: bool, late: bool, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[0]))
    change = darker(0.3 if breaks else 0.01)

    def hunt(_: object, tried: Any, **__: object) -> object:
        assert tried(change) is breaks
        now[0] += 1000 * late
        if ends:
            raise clock.OutOfTime
        return change if breaks else None

    monkeypatch.setattr(module, "hunt", hunt)
    found = measure_robust_to(Clocked(), BOTH, st.just(change), at_least=0.9, time_budget=500, cache=False)
    assert str(found.verdict) == verdict
    assert found.estimate == (None if verdict == "inconclusive" else 0.7 if breaks else 1.0)
    assert ("; the search for a milder one ended with the time budget" in found.rule) is (breaks and ends)


class Words(nn.Module):
    """Class 1 where most tokens are words of the second half of twenty."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(torch.linspace(-1, 1, 20).view(20, 1))

    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype is torch.int64
        away = self.table(x).sum((1, 2))
        return torch.stack([-away, away], 1)


def other_words(x: Tensor, key: object) -> Tensor:
    return (x - 8).clamp(min=0)


def test_tokens_stay_whole_numbers() -> None:
    x = torch.arange(10, 20).view(10, 1).expand(10, 3).contiguous()
    y = torch.ones(10, dtype=torch.int64)
    found = measure_robust_to(Words(), (x, y), st.just(other_words), at_least=0.9, max_examples=2, cache=False)
    # Of 10 to 19 less 8, only 10 and 11 stay in the second half.
    assert (str(found.verdict), found.estimate, found.details["clean_accuracy"]) == ("failed", 0.2, 1.0)
