"""Claims on a stream: when they are settled, and what is said of what was read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from robustest import Verdict
from robustest.decisions import (
    DropRule,
    ShareRule,
    Terms,
    clopper_pearson,
    count_at_least,
    count_at_most,
    decide_drop,
    decide_share,
)
from robustest.decisions.bets import betting_interval
from robustest.decisions.paired import paired_interval
from robustest.decisions.rule import Decision, EarlyVerdict, decide_by_interval
from robustest.decisions.share import set_share_interval
from robustest.engine.chunks import partition

Bools = NDArray[np.bool_]

SET = Terms(scope="set", alpha=0.01, fail_alpha=0.01)
POPULATION = Terms(scope="population", alpha=0.01, fail_alpha=0.01)

streams = st.lists(st.booleans(), min_size=1, max_size=80).map(np.array)
thresholds = st.integers(0, 20).map(lambda k: k / 20)


def shuffled(right: int, n: int, seed: int = 0) -> Bools:
    return np.random.default_rng(seed).permutation(np.arange(n) < right)


def at_least(threshold: float | None, terms: Terms = SET) -> ShareRule:
    return ShareRule(threshold=threshold, at_least=True, terms=terms)


def run(claim: Any, columns: dict[str, Bools], n: int, *, read: int | None = None) -> Decision:
    """Read chunk by chunk, as a measurement does, up to the chunk that settles the claim or up to `read` samples."""
    seen = 0
    for chunk in partition(torch.arange(n if read is None else read)):
        seen += len(chunk)
        part = {name: column[:seen] for name, column in columns.items()}
        settled = claim.settle(part, n)
        if settled is not None:
            break
    decision: Decision = claim.decide(part, n, settled)
    return decision


@given(streams, thresholds, st.booleans(), st.sampled_from([SET, POPULATION]))
def test_when_all_was_read_the_rule_for_all_decides(held: Bools, threshold: float, least: bool, terms: Terms) -> None:
    """Even where the claim was settled before: what is certain now overrules what was likely then."""
    n = len(held)
    claim = ShareRule(threshold=threshold, at_least=least, terms=terms)
    events = int(held.sum() if least else (~held).sum())
    want = decide_share(events, n, threshold, at_least=least, scope=terms.scope, alpha=terms.alpha)
    for settled in (None, claim.settle({"held": held}, n)):
        assert claim.decide({"held": held}, n, settled) == want
    assert want.estimate == events / n


def test_an_early_verdict_that_was_wrong_does_not_outlive_the_last_sample() -> None:
    wrong = EarlyVerdict(Verdict.PASSED, 3, certain=False, alpha=0.01)
    assert at_least(0.5).decide({"held": shuffled(4, 10)}, 10, wrong).verdict is Verdict.FAILED


@pytest.mark.parametrize(("right", "verdict"), [(900, Verdict.PASSED), (100, Verdict.FAILED)])
def test_an_early_verdict_says_when_and_how_sure_and_measures_nothing(right: int, verdict: Verdict) -> None:
    columns = {"held": shuffled(right, 1000)}
    decision = run(at_least(0.5), columns, 1000)
    settled = at_least(0.5).settle(columns, 1000)
    assert settled is not None
    assert settled.after < 64  # so that the first chunk settles it
    assert decision.verdict is settled.verdict is verdict
    assert decision.estimate is None
    assert decision.rule == f"alpha = 0.01 after {settled.after} of 1000"
    low, high = decision.interval
    assert low <= right / 1000 <= high
    assert low >= 0.5 if verdict is Verdict.PASSED else high < 0.5


def test_a_certain_verdict_says_so() -> None:
    held = np.zeros(200, dtype=bool)
    decision = at_least(0.95).decide({"held": held[:64]}, 200, at_least(0.95).settle({"held": held[:64]}, 200))
    assert decision.verdict is Verdict.FAILED
    assert decision.rule.startswith("alpha = 0.01 after ")
    strict = Terms(scope="set", alpha=1e-300, fail_alpha=1e-300)
    claim = at_least(0.95, strict)
    decision = claim.decide({"held": held[:64]}, 200, claim.settle({"held": held[:64]}, 200))
    assert decision.rule == "certain after 11 of 200"
    assert decision.estimate is None


def test_the_error_that_a_failure_may_take_is_the_one_it_names() -> None:
    terms = Terms(scope="set", alpha=0.01, fail_alpha=0.00125)
    failed = run(at_least(0.5, terms), {"held": shuffled(100, 1000)}, 1000)
    assert failed.rule.startswith("alpha = 0.0013 after ") or failed.rule.startswith("alpha = 0.0012 after ")
    passed = run(at_least(0.5, terms), {"held": shuffled(900, 1000)}, 1000)
    assert passed.rule.startswith("alpha = 0.01 after ")


@given(streams, thresholds, st.integers(0, 80))
def test_at_most_of_what_does_not_hold_is_at_least_of_what_does(held: Bools, share: float, read: int) -> None:
    n, part = len(held), {"held": held[: max(1, read)]}
    fewest, largest = count_at_least(share, n), count_at_most(1 - share, n)
    assume(fewest + largest == n)  # 1 - 0.55 is not 0.45 to the last digit
    least = ShareRule(threshold=share, at_least=True, terms=SET)
    greatest = ShareRule(threshold=1 - share, at_least=False, terms=SET)
    one, other = least.settle(part, n), greatest.settle(part, n)
    assert one == other
    first, second = least.decide(part, n, one), greatest.decide(part, n, other)
    assert first.verdict is second.verdict
    if len(part["held"]) < n:
        assert first.rule == second.rule
        assert second.interval == pytest.approx((1 - first.interval[1], 1 - first.interval[0]))


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5])
def test_claims_about_a_population_wait_for_every_sample(threshold: float) -> None:
    held = np.ones(1000, dtype=bool)
    assert at_least(threshold, POPULATION).settle({"held": held}, 1000) is None
    drop = DropRule(threshold=threshold, terms=POPULATION)
    assert drop.settle({"held": held, "clean": held}, 1000) is None


def test_nothing_claimed_is_never_settled() -> None:
    columns = {"held": np.zeros(100, dtype=bool), "clean": np.zeros(100, dtype=bool)}
    for claim in (at_least(None), DropRule(threshold=None, terms=SET)):
        assert claim.settle(columns, 100) is None
        whole = claim.decide(columns, 100, None)
        assert (whole.verdict, whole.rule) == (Verdict.INCONCLUSIVE, "no threshold given")
        assert whole.estimate == 0
        part = claim.decide({name: column[:64] for name, column in columns.items()}, 100, None)
        assert part.verdict is Verdict.INCONCLUSIVE
        assert part.rule == "no threshold given; budget: 64 of 100 samples looked at"
        assert part.estimate is None


def test_a_budget_that_runs_out_leaves_a_claim_about_this_set_open() -> None:
    claim = at_least(0.5)
    held = shuffled(500, 1000)[:64]
    assert claim.settle({"held": held}, 1000) is None
    decision = claim.decide({"held": held}, 1000, None)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.rule == "budget: 64 of 1000 samples looked at"
    assert decision.estimate is None
    assert decision.interval == set_share_interval(int(held.sum()), 64 - int(held.sum()), 1000, 0.01)


@pytest.mark.parametrize(("right", "verdict"), [(60, Verdict.PASSED), (30, Verdict.INCONCLUSIVE), (5, Verdict.FAILED)])
def test_a_budget_makes_a_smaller_sample_of_a_population(right: int, verdict: Verdict) -> None:
    decision = at_least(0.5, POPULATION).decide({"held": shuffled(right, 64)}, 1000, None)
    assert decision.verdict is verdict
    assert decision.rule == "population, alpha = 0.01 a side; budget: 64 of 1000 samples looked at"
    assert decision.estimate is None
    assert decision.interval == clopper_pearson(right, 64, 0.01)


@pytest.mark.parametrize("read", [200, 100])
@pytest.mark.parametrize("kind", ["share", "drop"])
def test_failures_about_a_population_err_with_alpha_however_many_were_read(kind: str, read: int) -> None:
    """Nothing is looked at after it: what early failures may spend is not its measure."""
    terms = Terms(scope="population", alpha=0.05, fail_alpha=1e-6)
    right = round(0.4 * read)
    columns = {"held": shuffled(right, read), "clean": np.ones(read, dtype=bool)}
    if kind == "share":
        claim: Any = at_least(0.5, terms)
        assert clopper_pearson(right, read, 0.05)[1] < 0.5 < clopper_pearson(right, read, 1e-6)[1]
    else:
        claim = DropRule(threshold=0.45, terms=terms)
        assert paired_interval(read - right, 0, read, 0.05)[0] > 0.45 > paired_interval(read - right, 0, read, 1e-6)[0]
    assert claim.decide(columns, 200, None).verdict is Verdict.FAILED


@given(streams, thresholds, st.booleans())
def test_doomed_is_certain_to_fail(held: Bools, threshold: float, least: bool) -> None:
    n, broken = len(held), int((~held).sum())
    claim = ShareRule(threshold=threshold, at_least=least, terms=SET)
    whole = claim.decide({"held": held}, n, None)
    assert claim.doomed(broken, n) is (whole.verdict is Verdict.FAILED)


def test_what_is_not_about_these_samples_is_never_doomed() -> None:
    assert not at_least(None).doomed(100, 100)
    assert not at_least(1.0, POPULATION).doomed(100, 100)
    assert not DropRule(threshold=0.0, terms=SET).doomed(100, 100)


@pytest.mark.parametrize("share", [0.3, 0.52, 0.9])
def test_the_interval_of_a_run_that_stopped_holds_the_truth_as_often_as_it_says(share: float) -> None:
    """Samples of the last chunk are read after the verdict: what they say is heard too."""
    n, runs, alpha = 400, 300, 0.1
    claim = at_least(0.5, Terms(scope="set", alpha=alpha, fail_alpha=alpha))
    missed = early = 0
    for seed in range(runs):
        decision = run(claim, {"held": shuffled(round(share * n), n, seed)}, n)
        early += decision.estimate is None
        missed += not decision.interval[0] <= share <= decision.interval[1]
    assert early > 100
    assert missed <= binom.ppf(1 - 1e-4, runs, 2 * alpha)


@given(streams, thresholds, st.integers(1, 80))
def test_the_interval_of_an_early_verdict_stays_on_its_side(held: Bools, threshold: float, extra: int) -> None:
    n = len(held)
    claim = at_least(threshold, Terms(scope="set", alpha=0.3, fail_alpha=0.3))
    settled = claim.settle({"held": held}, n)
    assert settled is not None
    read = min(n, settled.after + extra)
    decision = claim.decide({"held": held[:read]}, n, settled)
    if read == n:
        return
    low, high = decision.interval
    if settled.verdict is Verdict.PASSED:
        assert low >= count_at_least(threshold, n) / n
    else:
        assert high < count_at_least(threshold, n) / n


def test_samples_read_after_a_verdict_do_not_blur_it() -> None:
    """The rest of the chunk speaks against it, not so much that both could not be true."""
    claim, n = at_least(0.5), 1000
    settled = claim.settle({"held": np.ones(64, dtype=bool)}, n)
    assert settled is not None
    held = np.concatenate([np.ones(settled.after, dtype=bool), np.zeros(8, dtype=bool)])
    assert set_share_interval(settled.after, 8, n, 0.01)[0] < 0.5
    low, high = claim.decide({"held": held}, n, settled).interval
    assert low >= 0.5
    assert high == set_share_interval(settled.after, 8, n, 0.01)[1]  # and are heard all the same


def test_samples_read_after_a_verdict_that_speak_against_it_leave_an_interval_all_the_same() -> None:
    """As unlikely a stream as there is: all hold until the verdict, none after it."""
    held = np.concatenate([np.ones(40, dtype=bool), np.zeros(400, dtype=bool)])
    claim = at_least(0.5)
    settled = claim.settle({"held": held[:40]}, 1000)
    assert settled is not None
    low, high = claim.decide({"held": held}, 1000, settled).interval
    assert 0 <= low <= high <= 1


def drops(lost: int, gained: int, n: int, seed: int = 0) -> dict[str, Bools]:
    """Columns of samples of which some were right before alone, some after alone, and the others both times."""
    order = np.random.default_rng(seed).permutation(n)
    return {"clean": ~((order >= lost) & (order < lost + gained)), "held": ~(order < lost)}


@pytest.mark.parametrize("terms", [SET, POPULATION], ids=["set", "population"])
@pytest.mark.parametrize("max_drop", [0.0, 0.05, 0.2])
def test_a_fall_over_all_pairs_is_decided_by_the_rule_for_all(max_drop: float, terms: Terms) -> None:
    claim, columns = DropRule(threshold=max_drop, terms=terms), drops(20, 5, 200)
    want = decide_drop(20, 5, 200, max_drop, scope=terms.scope, alpha=terms.alpha)
    for settled in (None, claim.settle(columns, 200)):
        assert claim.decide(columns, 200, settled) == want


@pytest.mark.parametrize(("lost", "verdict"), [(0, Verdict.PASSED), (600, Verdict.FAILED)])
def test_a_fall_that_is_clear_is_settled_early(lost: int, verdict: Verdict) -> None:
    claim = DropRule(threshold=0.3, terms=SET)
    decision = run(claim, drops(lost, 20, 1000), 1000)
    assert decision.verdict is verdict
    assert decision.estimate is None
    assert decision.rule.startswith("alpha = 0.01 after ")
    assert decision.rule.endswith(" of 1000")
    low, high = decision.interval
    assert low <= (lost - 20) / 1000 <= high
    assert high <= 0.3 if verdict is Verdict.PASSED else low > 0.3


def test_a_fall_cut_short_is_left_open_with_the_interval_of_the_bets() -> None:
    claim, columns = DropRule(threshold=0.1, terms=SET), drops(100, 0, 1000)
    part = {name: column[:64] for name, column in columns.items()}
    decision = claim.decide(part, 1000, None)
    change = part["clean"].astype(np.int64) - part["held"].astype(np.int64)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.rule == "budget: 64 of 1000 samples looked at"
    assert decision.interval == betting_interval(change, 1000, 0.01)
    assert decision.estimate is None


@pytest.mark.parametrize(
    ("threshold", "at_least", "verdict"),
    [
        (0.3, True, Verdict.PASSED),  # the interval is .3 to .5
        (0.31, True, Verdict.INCONCLUSIVE),
        (0.5, True, Verdict.INCONCLUSIVE),
        (0.51, True, Verdict.FAILED),
        (0.5, False, Verdict.PASSED),
        (0.3, False, Verdict.INCONCLUSIVE),
        (0.29, False, Verdict.FAILED),
    ],
)
def test_an_interval_decides(threshold: float, at_least: bool, verdict: Verdict) -> None:
    how: dict[str, Any] = {"at_least": at_least, "how": "by town"}
    for terms in (SET, POPULATION):
        exact = decide_by_interval(0.4, (0.3, 0.5), threshold, terms=terms, **how)
        assert (exact.verdict, exact.rule) == (verdict, "by town, alpha = 0.01 a side")
        assert (exact.estimate, exact.interval, exact.at_alpha, exact.approximate) == (0.4, (0.3, 0.5), True, False)
    rough = decide_by_interval(0.4, (0.3, 0.5), threshold, terms=SET, by="Student's t", **how)
    assert (rough.verdict, rough.rule, rough.approximate) == (verdict, "by town, about alpha = 0.01 a side", True)
    # An interval that only aims at its error passes no claim about a population.
    drawn = decide_by_interval(0.4, (0.3, 0.5), threshold, terms=POPULATION, by="Student's t", units="towns", **how)
    passed = verdict is Verdict.PASSED
    assert drawn.verdict is (Verdict.INCONCLUSIVE if passed else verdict)
    assert drawn.rule.startswith("not shown for the population: Student's t" if passed else "by town, about")


def test_an_interval_decides_nothing_without_a_threshold_or_where_it_is_in_doubt() -> None:
    how: dict[str, Any] = {"at_least": True, "terms": SET, "how": "by town"}
    unclaimed = decide_by_interval(0.4, (0.3, 0.5), None, **how)
    assert (unclaimed.verdict, unclaimed.rule) == (Verdict.INCONCLUSIVE, "no threshold given")
    assert not unclaimed.at_alpha
    doubted = decide_by_interval(0.4, (0.3, 0.5), 0.2, doubt="two towns alone", **how)
    assert (doubted.verdict, doubted.rule, doubted.estimate) == (Verdict.INCONCLUSIVE, "two towns alone", 0.4)
