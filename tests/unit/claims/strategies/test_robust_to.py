"""Hypothesis as the searcher: what it finds, shrinks to, remembers, and what a result says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.database import InMemoryExampleDatabase
from torch import Tensor, nn

from robustest import (
    ClaimFailed,
    ConfigError,
    ModelError,
    Result,
    Shift,
    assert_robust_to,
    assert_shift_accuracy,
    clock,
    labels_model,
    rng,
)
from robustest.context import Context, running
from robustest.errors import NotSearched
from robustest.measure import accuracy_under, measure_robust_to, measure_shift_accuracy
from robustest.settings import Settings
from robustest.strategies import Composition, compositions, shifts

N = 40


def data(n: int = N) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 4, 4) of one value each, classes by whether it is over a half; three pixels are left for marks."""
    x = torch.linspace(0, 1, n).view(-1, 1, 1, 1).repeat(1, 1, 4, 4)
    y = (x[:, 0, 3, 3] > 0.5).long()
    x[:, 0, 0, :3] = 0.0
    return x, y


def first(x: Tensor, severity: int) -> Tensor:
    """Leaves a mark on the first pixel."""
    out = x.clone()
    out[:, :, 0, 0] = severity / 5
    return out


def second(x: Tensor, severity: int) -> Tensor:
    """Leaves a mark on the second pixel, and a copy of the first pixel on the third: it tells what came before."""
    out = x.clone()
    out[:, :, 0, 1] = severity / 5
    out[:, :, 0, 2] = x[:, :, 0, 0]
    return out


def idle(x: Tensor, severity: int) -> Tensor:
    return x.clone()


def other(x: Tensor, severity: int) -> Tensor:
    return x.clone()


class Planted(nn.Module):
    """Right, but for `first` at severity 2 or more followed by `second` at 3 or more."""

    def forward(self, x: Tensor) -> Tensor:
        value = x[:, 0, 3, 3] - 0.5
        mark = (x[:, 0, 0, 2] - 0.3).clamp(max=0.2) + (x[:, 0, 0, 1] - 0.5).clamp(max=0.2)
        broken = (x[:, 0, 0, 2] > 0.3) & (x[:, 0, 0, 1] > 0.5)
        strength = torch.where(broken, -torch.ones_like(mark), 1 - mark)
        return torch.stack([-value.sign() * strength, value.sign() * strength], 1)


class Fragile(nn.Module):
    """Right while the images are as bright as they are."""

    def forward(self, x: Tensor) -> Tensor:
        value = x[:, 0, 3, 3] - 0.5
        return torch.stack([-value, value], 1)


CHAINS = compositions(shifts([idle, first, other, second]))
PLANTED = Composition((Shift("first", 2, first), Shift("second", 3, second)))


def brighter(x: Tensor, severity: int) -> Tensor:
    return x + 0.05 * severity


def test_hypothesis_shrinks_to_the_planted_mildest_composition() -> None:
    result = measure_robust_to(Planted(), data(), CHAINS, at_least=0.9, max_examples=1000)
    assert result.verdict == "failed"
    assert result.details["mildest"]["change"] == str(PLANTED)
    assert result.details["mildest"]["code"] == ("Composition((Shift('first', 2, first), Shift('second', 3, second),))")
    assert result.estimate == 0.0
    assert result.outcomes == (False,) * N
    assert result.rule == f"certain: a counterexample among {result.details['examples']} examples"


def test_what_it_found_can_be_claimed_again() -> None:
    with pytest.raises(ClaimFailed):
        assert_shift_accuracy(Planted(), data(), PLANTED, at_least=0.9)
    assert_shift_accuracy(Planted(), data(), Composition(PLANTED.steps[::-1]), at_least=1.0)
    assert_shift_accuracy(Planted(), data(), Composition((Shift("first", 1, first), PLANTED.steps[1])), at_least=1.0)


def test_the_mildest_severity_that_breaks_the_claim() -> None:
    strategy = shifts([brighter])
    accuracies = {
        level: measure_shift_accuracy(Fragile(), data(), brighter, severity=level, exact=True).estimate
        for level in range(1, 6)
    }
    mildest = min(level for level, accuracy in accuracies.items() if accuracy is not None and accuracy < 0.875)
    assert 1 < mildest < 5
    result = measure_robust_to(Fragile(), data(), strategy, at_least=0.875)
    assert result.details["mildest"]["change"] == f"brighter, severity {mildest}"
    assert result.details["mildest"]["accuracy"] == accuracies[mildest]
    assert result.details["worst"]["accuracy"] == result.estimate
    assert result.estimate in [value for value in accuracies.values() if value is not None and value < 0.875]


def test_a_threshold_is_met_at_its_exact_count() -> None:
    lowest = measure_shift_accuracy(Fragile(), data(), brighter, severity=5, exact=True).estimate
    assert lowest is not None
    assert measure_robust_to(Fragile(), data(), shifts([brighter]), at_least=lowest).verdict == "passed"
    assert measure_robust_to(Fragile(), data(), shifts([brighter]), at_least=lowest + 1 / N).verdict == "failed"


def test_a_pass_says_that_it_is_a_search() -> None:
    result = measure_robust_to(Planted(), data(), shifts([idle, first]), at_least=1.0)
    tried = result.details["examples"]
    assert result.verdict == "passed"
    assert result.rule == f"no counterexample in {tried} examples: a search, not a proof"
    assert 1 < tried <= 10
    assert result.interval == (0.0, 1.0)  # nothing vouches for what was not tried
    assert result.details["mildest"] is None


def test_without_a_threshold_it_looks_for_the_lowest() -> None:
    result = measure_robust_to(Fragile(), data(), shifts([brighter]))
    assert result.verdict == "inconclusive"
    assert result.details["worst"]["change"] == "brighter, severity 5"


@pytest.mark.parametrize("seed", [0, 7])
def test_a_seed_gives_the_same_search(seed: int) -> None:
    one, two = (
        measure_robust_to(Planted(), data(), CHAINS, at_least=0.9, max_examples=25, seed=seed) for _ in range(2)
    )
    assert one.details == two.details
    assert one.cost.forward == two.cost.forward


def test_another_seed_gives_another_search() -> None:
    tried = {
        seed: measure_robust_to(Planted(), data(), CHAINS, at_least=0.9, max_examples=25, seed=seed).cost.forward
        for seed in range(4)
    }
    assert len(set(tried.values())) > 1


def test_each_change_is_measured_once() -> None:
    passes: list[int] = []

    def model(x: Tensor) -> Tensor:
        passes.append(len(x))
        return Fragile()(x)

    result = measure_robust_to(model, data(), shifts([idle, brighter]), at_least=0.5)
    assert result.details["examples"] <= 10
    # Both checks of the forward (few samples twice, among others and alone), each change once, and all samples
    # twice for the change that is shown.
    checks = 2 * (3 * 8 + 2)
    assert sum(passes) == result.cost.forward
    assert sum(passes) <= N * (result.details["examples"] + 2) + checks


def test_hypothesis_is_told_the_margin_on_which_the_claim_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []

    def target(value: float, *, label: str) -> None:
        assert label == "margin"
        told.append(value)

    monkeypatch.setattr(hypothesis, "target", target)
    x, y = data(4)
    margins = 2 * (x[:, 0, 3, 3] - 0.5).abs()  # 1, 1/3, 1/3, 1
    for at_least, expected in ((1.0, margins.min()), (0.5, margins.max()), (None, margins.mean())):
        told.clear()
        measure_robust_to(Fragile(), (x, y), shifts([idle], max_severity=1), at_least=at_least)
        assert told == pytest.approx([-float(expected)] * len(told))
        assert told


def test_models_that_give_labels_alone_are_searched_by_accuracy() -> None:
    model = labels_model(lambda x: (x[:, 0, 3, 3] > 0.5).astype(int), classes=2)
    result = measure_robust_to(model, data(), shifts([brighter]), at_least=0.81)
    assert result.details["mildest"]["change"] == "brighter, severity 4"


def test_part_of_the_samples_is_searched_on_and_all_are_judged() -> None:
    result = measure_robust_to(Planted(), data(200), CHAINS, at_least=0.9, max_samples=64, max_examples=1000)
    assert result.verdict == "failed"
    assert (result.numbers.n, result.details["searched_on"]) == (200, 64)


def test_what_breaks_a_part_and_not_the_whole_is_inconclusive() -> None:
    x = torch.full((400, 1, 4, 4), 0.1)
    x[rng.permutation(0, 400)[:64]] = 0.48  # those looked at first are the fragile ones
    y = torch.zeros(400, dtype=torch.int64)
    result = measure_robust_to(Fragile(), (x, y), shifts([brighter]), at_least=0.8, max_samples=64, seed=0)
    assert result.details["mildest"] == {
        "change": "brighter, severity 1",
        "code": "Shift('brighter', 1, brighter)",
        "accuracy": 0.0,
    }
    assert (result.verdict, result.estimate) == ("inconclusive", 1 - 64 / 400)
    assert "not all 400: raise max_samples" in result.rule


@contextmanager
def time_until(monkeypatch: pytest.MonkeyPatch, up: Callable[[int, int], bool]) -> Iterator[None]:
    """Let the time be up once a predicate of the examples tried, and of those that break the claim, is true."""
    over: list[bool] = []

    class Time:
        @staticmethod
        def monotonic() -> float:
            return 10.0 if over else 0.0

        time = monotonic

    def told(statement: str, done: int, total: int, broken: int) -> None:
        over.extend([True] if up(done, broken) else [])

    monkeypatch.setattr(clock, "time", Time)
    with running(Context(progress=told)):
        yield


def test_a_time_budget_ends_a_search_that_found_nothing_as_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    with time_until(monkeypatch, lambda done, _: done > 0):
        result = measure_robust_to(Planted(), data(), shifts([idle, other]), at_least=0.9, time_budget=5)
    assert result.verdict == "inconclusive"
    assert result.rule == "budget: no counterexample in 1 example before the time was up"


def test_a_time_budget_ends_the_shrinking_but_not_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    broken: list[int] = []

    def late(x: Tensor, severity: int) -> Tensor:
        broken.extend([severity] if severity > 1 else [])
        return x + 0.05 * severity

    with time_until(monkeypatch, lambda _, broken: broken > 0):
        result = measure_robust_to(Fragile(), data(), shifts([late]), at_least=0.95, time_budget=5)
    assert result.verdict == "failed"
    assert "ended with the time budget" in result.rule
    assert result.details["mildest"]["change"] == f"late, severity {broken[0]}"


def raising(error: Exception) -> Callable[[Tensor], Tensor]:
    def shift(x: Tensor) -> Tensor:
        raise error

    return shift


def test_an_error_is_no_counterexample_and_is_not_shrunk() -> None:
    calls: list[int] = []

    def nan(x: Tensor, severity: int) -> Tensor:
        calls.append(severity)
        return x * float("nan")

    with pytest.raises(ModelError, match="finite inputs"):
        measure_robust_to(Fragile(), data(), shifts([nan]), at_least=0.9)
    assert len(calls) == 1
    with pytest.raises(KeyError, match="mine"):
        measure_robust_to(Fragile(), data(), shifts([raising(KeyError("mine"))]), at_least=0.9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measure_robust_to(Fragile(), data(), ["fog"]), "a strategy such as robustest.strategies.shifts"),
        (lambda: measure_robust_to(Fragile(), data(), shifts(), max_examples=0), "max_examples"),
        (lambda: measure_robust_to(Fragile(), data(), shifts(), at_least=90), "at_least in 0..1"),
        (lambda: assert_robust_to(Fragile(), data(), shifts(), at_least=None), "nothing to claim"),
        (lambda: measure_robust_to(Fragile(), data(), st.integers(), at_least=0.9), "a strategy that draws shifts"),
        (lambda: measure_robust_to(Fragile(), data(), st.nothing(), at_least=0.9), "a strategy that draws changes"),
        (lambda: measure_robust_to(Fragile(), data(), shifts(), replay_only=True), "no option|option"),
    ],
)
def test_what_is_wrong_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.fixture
def database() -> Any:
    """Hypothesis with a database of its own, and as its users have it: not derandomised."""
    memory = InMemoryExampleDatabase()
    settings.register_profile("with a database", deadline=None, derandomize=False, database=memory)
    settings.load_profile("with a database")
    yield memory
    settings.load_profile("robustest")


def test_what_broke_is_tried_first_the_next_time(database: InMemoryExampleDatabase) -> None:
    found = measure_robust_to(Planted(), data(), CHAINS, at_least=0.9, max_examples=1000)
    again = measure_robust_to(Planted(), data(), CHAINS, at_least=0.9, max_examples=1, seed=9)
    assert again.details["mildest"] == found.details["mildest"]
    assert again.details["examples"] < found.details["examples"]
    apart = measure_robust_to(Planted(), data(), compositions(shifts([first, second])), at_least=0.9, max_examples=1)
    # Another claim's examples are not this one's: its first is the simplest, which changes nothing.
    assert (apart.verdict, apart.details["examples"]) == ("inconclusive", 1)
    assert apart.rule.startswith("nothing was tested")


def reds(seeds: range) -> dict[int, Any]:
    """What the search ends with, by seed."""
    few: dict[str, Any] = {"at_least": 0.9, "max_examples": 40, "cache": False}
    results = {seed: measure_robust_to(Planted(), data(), CHAINS, seed=seed, **few) for seed in seeds}
    return {
        seed: (result.verdict, result.details["examples"], result.details["worst"]) for seed, result in results.items()
    }


@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(30), marks=pytest.mark.slow)])
def test_a_seed_searches_alike_with_and_without_a_database_and_under_any_profile(
    monkeypatch: pytest.MonkeyPatch, seeds: range
) -> None:
    """Without a database hypothesis generates otherwise; the profile for CI has none, and seeds by the test."""
    settings.register_profile("a desk", database=InMemoryExampleDatabase(), derandomize=False)
    settings.register_profile("in CI", database=None, derandomize=True, deadline=None)  # hypothesis' own is newer
    settings.register_profile("elsewhere", max_examples=3, phases=[Phase.generate], database=None, derandomize=False)
    found = {}
    try:
        for profile in ("a desk", "in CI", "elsewhere"):
            settings.load_profile(profile)
            found[profile] = reds(seeds)
        monkeypatch.setattr(hypothesis.core, "global_force_seed", 5)
        found["a seed of its own"] = reds(seeds)
    finally:
        settings.load_profile("robustest")
    assert len({verdict for verdict, *_ in found["in CI"].values()}) == 2, (
        "some seeds find what is planted, some do not"
    )
    assert all(one == found["in CI"] for one in found.values())


class Other(Planted):
    """Breaks under the second mark alone, where it is strongest."""

    def forward(self, x: Tensor) -> Tensor:
        value = (x[:, 0, 3, 3] - 0.5).sign() * torch.where(x[:, 0, 0, 1] > 0.9, -1.0, 1.0)
        return torch.stack([-value, value], 1)


def test_what_is_remembered_changes_no_search_that_it_does_not_end(database: InMemoryExampleDatabase) -> None:
    """With another model nothing that is remembered breaks any more: the search starts from nothing all the same."""
    measure_robust_to(Planted(), data(), CHAINS, at_least=0.9, max_examples=1000)
    assert database.data
    found = [measure_robust_to(Other(), data(), CHAINS, at_least=0.9, max_examples=60, cache=c) for c in (True, False)]
    assert found[0].verdict == "failed"
    assert found[0].details["mildest"] == found[1].details["mildest"]


@dataclass
class Dimmed:
    """A change that cannot be hashed, as a user writes it."""

    by: float

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.by


class Lit:
    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, x: Tensor) -> Tensor:
        return x * (1 - self.by)


def dim(x: Tensor, by: float = 1.0) -> Tensor:
    return x * by


@pytest.mark.parametrize(
    "strategy",
    [
        st.builds(Dimmed, st.floats(0, 1)),
        st.builds(Lit, st.floats(0, 1)),
        st.floats(0, 1).map(lambda by: partial(dim, by=by)),
        st.builds(Dimmed, st.floats(0, 1)).map(lambda change: Shift("dimmed", 3, change)),
    ],
)
def test_changes_of_a_users_own_are_told_as_code_that_makes_them_again(strategy: Any) -> None:
    result = measure_robust_to(Fragile(), data(), strategy, at_least=0.9, max_examples=20)
    assert result.verdict == "failed"
    change = eval(result.details["mildest"]["code"])  # noqa: S307 - as a person would paste it
    with pytest.raises(ClaimFailed):
        assert_shift_accuracy(Fragile(), data(), change, at_least=0.9)


def test_without_the_cache_nothing_is_remembered(database: InMemoryExampleDatabase) -> None:
    measure_robust_to(Planted(), data(), CHAINS, at_least=0.9, max_examples=1000, cache=False)
    assert not database.data


def test_a_replay_fails_or_vouches_for_nothing(database: InMemoryExampleDatabase) -> None:
    def replayed(model: nn.Module) -> Result:
        with running(Context(settings=Settings(replay_only=True), test="t", skip=pytest.skip)):
            return measure_robust_to(model, data(), CHAINS, at_least=0.9)

    with running(Context(test="t")):
        measure_robust_to(Planted(), data(), CHAINS, at_least=0.9, max_examples=1000)
    assert replayed(Planted()).verdict == "failed"
    with pytest.raises(NotSearched, match="replayed only"):
        replayed(Fragile())


def test_the_users_own_tests_under_given_hunt_too() -> None:
    """A test as a user writes it: hypothesis is told the margin, and ends with the mildest."""
    seen: list[Composition] = []

    @given(change=compositions(shifts([first, second])))
    @settings(max_examples=300, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    def test(change: Composition) -> None:
        seen.append(change)
        assert accuracy_under(Planted(), data(), change, at_least=0.9) >= 0.9

    with pytest.raises(AssertionError):
        test()
    assert seen[-1] == PLANTED


def test_accuracy_under_is_that_of_the_claim_on_the_shift() -> None:
    result = measure_shift_accuracy(Fragile(), data(), brighter, severity=5, exact=True)
    assert accuracy_under(Fragile(), data(), Shift("brighter", 5, brighter)) == result.estimate


def test_a_failed_claim_tells_the_mildest_change_and_how_to_make_it() -> None:
    with pytest.raises(ClaimFailed) as failed:
        assert_robust_to(Planted(), data(), CHAINS, at_least=0.9, max_examples=1000)
    text = str(failed.value)
    assert f"  mildest   {PLANTED}: accuracy 0.000" in text
    assert "  as code   Composition((Shift('first', 2, first), Shift('second', 3, second),))" in text
    assert "  setting   compositions(steps=shifts(names=" in text
