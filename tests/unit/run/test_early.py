"""Verdicts before the last sample, in every measurement: what is looked at, what is said, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from robustest import ConfigError, Linf, Settings, Verdict, clock, find_adversarial, rng
from robustest.attacks import PGD
from robustest.context import Context, running
from robustest.cues import PixelPatch
from robustest.engine.chunks import partition
from robustest.measure import (
    measure_min_perturbation,
    measure_no_spurious_feature,
    measure_no_universal_perturbation,
    measure_robust_accuracy,
    measure_shift_accuracy,
)

N = 1000
Toys = Callable[..., Any]

MEASUREMENTS: dict[str, Callable[..., Any]] = {
    "attack": lambda m, d, **o: measure_robust_accuracy(m, d, Linf(1e-5), attack="fgsm", at_least=o.pop("share"), **o),
    "shift": lambda m, d, **o: measure_shift_accuracy(m, d, paler, at_least=o.pop("share"), **o),
    "drop": lambda m, d, **o: drop(m, d, o.pop("share"), **o),
    "cue": lambda m, d, **o: measure_no_spurious_feature(
        m, d, PixelPatch(top=0, left=0, height=6, width=6), max_flip_rate=1 - o.pop("share"), **o
    ),
    "universal": lambda m, d, **o: measure_no_universal_perturbation(
        m, d, Linf(1e-5), iterations=1, max_fooling_rate=1 - o.pop("share"), **o
    ),
    "median": lambda m, d, **o: median(m, d, o.pop("share"), **o),
}
"""Each claims that a share of the samples holds: small for a claim that is clearly true, 1 for one that is not.

One answer for every sample is right on a sixth of them, which claims nothing.
"""


def drop(model: Any, data: Any, share: float, **options: Any) -> Any:
    """For a small share all samples are right, and darker ones as well; for a large one black ones lose what was right.

    A model that is right on half of the samples of twelve classes, of which one makes a tenth, has .4 to lose.
    """
    x, y = data
    y, change = (model(x).argmax(1), darkened) if share < 0.5 else (y, blackened)
    return measure_shift_accuracy(model, (x, y), change, max_drop=0.4 * (1 - share), **options)


def median(model: Any, data: Any, share: float, **options: Any) -> Any:
    """For a small share all samples are right, and each needs a perturbation; for a large one none needs so large."""
    x, y = data
    y = model(x).argmax(1) if share < 0.5 else y
    least = 1e-9 if share < 0.5 else 1.0
    return measure_min_perturbation(model, (x, y), "linf", attack="fgsm", at_least=least, **options)


every_measurement = pytest.mark.parametrize("measure", MEASUREMENTS.values(), ids=MEASUREMENTS)


def paler(x: Any, severity: int, key: Any) -> Any:
    """Every sample changes, and no answer of a linear model."""
    return x * 0.999


def darkened(x: Any, severity: int, key: Any) -> Any:
    return 0.95 * x


def blackened(x: Any, severity: int, key: Any) -> Any:
    return torch.zeros_like(x)


@pytest.fixture(scope="module")
def half(toys: Toys) -> Any:
    """A thousand samples of which every other has a wrong label."""
    toy = toys(N, classes=12)
    return toy._replace(y=torch.where(torch.arange(N) % 2 == 0, toy.y, (toy.y + 1) % 12))


def attacked(model: Any, data: Any, **options: Any) -> Any:
    return measure_robust_accuracy(model, data, Linf(1e-5), attack="fgsm", **options)


@pytest.mark.thinned
@every_measurement
@pytest.mark.parametrize("share", [0.2, 0.98])
def test_a_clear_claim_stops_early_and_an_exact_one_agrees_with_it(
    measure: Callable[..., Any], share: float, half: Any
) -> None:
    data = (half.x, half.y)
    early, exact = (measure(half.model, data, share=share, exact=flag) for flag in (False, True))
    assert early.verdict is exact.verdict
    assert early.verdict is not Verdict.INCONCLUSIVE
    assert early.numbers.n < exact.numbers.n
    assert early.numbers.n_total == exact.numbers.n_total == len(early.outcomes)
    assert early.estimate is None
    assert exact.estimate is not None
    known = [(a, b) for a, b in zip(early.outcomes, exact.outcomes, strict=True) if a is not None]
    assert len(known) == early.numbers.n
    assert all(a is b for a, b in known)
    assert early.interval[0] <= exact.estimate <= early.interval[1]
    assert early.cost.forward < exact.cost.forward
    assert early.rule.startswith(("alpha = 0.01 after ", "alpha = 0.0001 after ", "certain after "))
    assert exact.rule == "certain: exact on this set"
    early.to_dict()


@pytest.mark.parametrize(("at_least", "verdict"), [(0.3, Verdict.PASSED), (0.7, Verdict.FAILED)])
def test_what_was_read_is_the_beginning_of_the_seeded_order(at_least: float, verdict: Verdict, half: Any) -> None:
    for seed in (0, 1):
        result = attacked(half.model, (half.x, half.y), at_least=at_least, seed=seed)
        assert result.verdict is verdict
        read = {index for index, held in enumerate(result.outcomes) if held is not None}
        assert read == set(rng.permutation(seed, N)[: result.numbers.n].tolist())
        after = int(result.rule.split(" after ")[1].split()[0])
        ends = torch.tensor([len(chunk) for chunk in partition(torch.arange(N))]).cumsum(0)
        assert result.numbers.n == int(ends[ends >= after][0])  # the chunk that settled it is the last


@pytest.mark.parametrize("size", [1, 7, 256])
def test_batches_change_neither_the_point_nor_the_verdict(size: int, half: Any) -> None:
    data = (half.x, half.y)
    want = attacked(half.model, data, at_least=0.35)
    found = attacked(half.model, data, at_least=0.35, batch_size=size)
    assert (found.rule, found.outcomes, found.interval) == (want.rule, want.outcomes, want.interval)


def test_broken_samples_do_not_come_first_because_they_are_done_first(toys: Toys) -> None:
    """Broken ones leave the attack's batches long before the others; what is read is whole chunks all the same."""
    toy = toys(N, classes=12)
    exact = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.02), attack=PGD(steps=5), exact=True)
    share = exact.estimate
    for at_least in (share - 0.15, share + 0.15):
        options: dict[str, Any] = {"attack": PGD(steps=5), "at_least": round(at_least, 3)}
        early = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.02), batch_size=16, **options)
        assert early.numbers.n < N
        assert early.verdict is (Verdict.PASSED if at_least < share else Verdict.FAILED)
        assert early.interval[0] <= share <= early.interval[1]


def test_a_claim_at_its_threshold_is_looked_at_to_the_end(half: Any) -> None:
    """500 of 1,000 hold: a claim of 0.5 is true, and nothing but the last samples shows it."""
    data = (half.x, half.y)
    assert attacked(half.model, data, at_least=0.5).numbers.n == N
    just = attacked(half.model, data, at_least=0.501)
    assert (just.numbers.n, just.verdict, just.estimate) == (N, Verdict.FAILED, 0.5)


@pytest.mark.parametrize("at_least", [0.2, 1.0])
def test_claims_of_little_and_of_everything_take_one_chunk(at_least: float, half: Any) -> None:
    result = attacked(half.model, (half.x, half.y), at_least=at_least)
    assert result.numbers.n == 64
    assert result.verdict is (Verdict.PASSED if at_least == 0.2 else Verdict.FAILED)
    assert result.rule.startswith("certain after " if at_least == 1 else "alpha = 0.01 after ")


def test_most_samples_cut_the_order_short(half: Any) -> None:
    data = (half.x, half.y)
    result = attacked(half.model, data, at_least=0.5, max_samples=100)
    assert (result.verdict, result.numbers.n, result.estimate) == (Verdict.INCONCLUSIVE, 100, None)
    assert result.rule == "budget: 100 of 1000 samples looked at"
    assert result.interval[0] < 0.5 < result.interval[1]
    whole = attacked(half.model, data, at_least=0.5, max_samples=5000)
    assert (whole.numbers.n, whole.verdict) == (N, Verdict.PASSED)


def test_a_budget_that_suffices_for_a_verdict_is_no_matter(half: Any) -> None:
    data = (half.x, half.y)
    want = attacked(half.model, data, at_least=0.2)
    assert attacked(half.model, data, at_least=0.2, max_samples=want.numbers.n).rule == want.rule


@pytest.fixture
def one_chunk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the time be up as soon as the first chunk was read."""
    read: list[object] = []

    class Time:
        @staticmethod
        def monotonic() -> float:
            return 10.0 if read else 0.0

        time = monotonic

    monkeypatch.setattr(clock, "time", Time)
    with running(Context(progress=lambda *told: read.append(told))):
        yield


def test_what_was_read_when_the_time_is_up_counts(half: Any, one_chunk: None) -> None:
    result = attacked(half.model, (half.x, half.y), at_least=0.5, time_budget=5)
    assert (result.verdict, result.numbers.n) == (Verdict.INCONCLUSIVE, 64)
    assert result.rule == "budget: 64 of 1000 samples looked at"


def test_a_claim_whose_time_is_up_before_its_first_chunk_is_inconclusive(half: Any) -> None:
    result = attacked(half.model, (half.x, half.y), at_least=0.5, time_budget=1e-9)
    assert (result.verdict, result.numbers.n, result.is_claim) == (Verdict.INCONCLUSIVE, 0, True)
    assert result.rule == "the clock: 0 of 1000 samples looked at"
    assert (result.subject.statement, result.ruling.reasons) == ("robust accuracy", ("budget",))
    assert result.subject.claim == attacked(half.model, (half.x, half.y), at_least=0.5).subject.claim


def test_without_a_claim_everything_is_measured_that_the_budget_allows(half: Any) -> None:
    data = (half.x, half.y)
    assert attacked(half.model, data).estimate == 0.5
    cut = attacked(half.model, data, max_samples=128)
    assert (cut.estimate, cut.numbers.n, cut.verdict) == (None, 128, Verdict.INCONCLUSIVE)


def test_a_claim_about_the_population_waits_and_takes_a_budget_for_a_smaller_sample(half: Any) -> None:
    data = (half.x, half.y)
    whole = attacked(half.model, data, at_least=0.2, scope="population")
    assert (whole.numbers.n, whole.verdict, whole.estimate) == (N, Verdict.PASSED, 0.5)
    part = attacked(half.model, data, at_least=0.2, scope="population", max_samples=100)
    assert (part.numbers.n, part.verdict, part.estimate) == (100, Verdict.PASSED, None)
    assert part.rule.startswith("population, ")


@pytest.mark.parametrize("at_least", [0.2, 0.8])
def test_a_claim_about_the_population_that_the_clock_ends_is_open(half: Any, at_least: float, one_chunk: None) -> None:
    """Broken samples are quicker: how many are read by then hangs on their outcomes, and bounds do not hold."""
    found = attacked(half.model, (half.x, half.y), at_least=at_least, scope="population", time_budget=5)
    assert (found.numbers.n, found.verdict, found.ruling.at_alpha) == (64, Verdict.INCONCLUSIVE, False)
    assert found.rule == f"the clock: 64 of {N} samples looked at"
    in_time = attacked(half.model, (half.x, half.y), at_least=at_least, scope="population")
    assert in_time.verdict is not Verdict.INCONCLUSIVE


def test_where_many_claims_share_the_error_failing_takes_more_evidence_and_passing_does_not(half: Any) -> None:
    data = (half.x, half.y)
    alone, shared = (
        [attacked(half.model, data, at_least=share, family_size=size) for share in (0.35, 0.65)] for size in (1, 1000)
    )
    assert [r.verdict for r in shared] == [r.verdict for r in alone] == [Verdict.PASSED, Verdict.FAILED]
    assert shared[0].rule == alone[0].rule

    def after(result: Any) -> int:
        return int(result.rule.split(" after ")[1].split()[0])

    assert after(shared[1]) > after(alone[1])


def test_settings_may_ask_for_exact_verdicts_and_a_call_for_others(half: Any) -> None:
    data = (half.x, half.y)
    with running(Context(settings=Settings(exact=True), test="t")):
        assert attacked(half.model, data, at_least=0.2).numbers.n == N
        assert attacked(half.model, data, at_least=0.2, exact=False).numbers.n < N


def test_adversarial_examples_are_made_of_every_sample_whatever_the_budget(toys: Toys) -> None:
    toy = toys(200)
    with running(Context(settings=Settings(max_samples=10, time_budget=1e-9), test="t")):
        found = find_adversarial(toy.model, toy.x, toy.y, Linf(0.3), attack="fgsm")
    assert found.x.shape == toy.x.shape
    assert len(found.broken) == 200


@every_measurement
@pytest.mark.parametrize(("option", "value"), [("exact", 1), ("max_samples", 0), ("time_budget", -1), ("cache", "no")])
def test_budgets_are_checked_before_any_work(
    measure: Callable[..., Any], option: str, value: Any, toy: Any, watched: Callable[..., Any]
) -> None:
    model = watched(toy.model)
    with pytest.raises(ConfigError, match=option):
        measure(model, (toy.x, toy.y), share=0.5, **{option: value})
    assert model.calls == []
