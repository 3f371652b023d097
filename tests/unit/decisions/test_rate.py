"""Rates among some of the samples, decided early."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from robustest.decisions import Terms
from robustest.decisions.rate import RateRule, rate_interval
from robustest.results import Verdict

N = 600


def stream(seed: int, share: float, events: int, *, gains: int = 0) -> dict[str, Any]:
    """N samples in random order, of which `share` count; `events` of those happen, `gains` go the other way."""
    counts = np.arange(N) < round(share * N)
    event = (np.arange(N) < events).astype(np.int64) - ((np.arange(N) >= events) & (np.arange(N) < events + gains))
    order = np.random.default_rng(seed).permutation(N)
    return {"event": event[order], "counts": counts[order]}


def head(columns: dict[str, Any], read: int) -> dict[str, Any]:
    return {name: column[:read] for name, column in columns.items()}


def claim(threshold: float | None, alpha: float = 0.05) -> RateRule:
    return RateRule(threshold=threshold, terms=Terms(scope="set", alpha=alpha, fail_alpha=alpha))


@pytest.mark.parametrize(("events", "verdict"), [(0, Verdict.PASSED), (60, Verdict.FAILED)])
def test_what_is_clear_is_settled_early(events: int, verdict: Verdict) -> None:
    """Of 200 samples that count, 0 or 60 events; claimed are 10 % at most."""
    settled = claim(0.1).settle(stream(0, 1 / 3, events), N)
    assert settled is not None
    assert settled.verdict is verdict
    assert settled.after < N / 2


@pytest.mark.parametrize("gains", [0, 10])
@pytest.mark.parametrize("events", [20, 21])
def test_early_verdicts_are_seldom_wrong_at_the_threshold(events: int, gains: int) -> None:
    """20 of 200 is just what is claimed, 21 just too much: either is called wrongly in at most alpha of all orders."""
    events += gains
    right = Verdict.PASSED if events - gains == 20 else Verdict.FAILED
    wrong = 0
    for seed in range(200):
        settled = claim(0.1, alpha=0.1).settle(head(stream(seed, 1 / 3, events, gains=gains), N - 50), N)
        wrong += settled is not None and settled.verdict is not right
    assert wrong <= 30  # .1 of 200, and 2.4 standard deviations


def test_the_whole_set_is_always_settled_and_right() -> None:
    for events in (0, 19, 20, 21, 40):
        settled = claim(0.1, alpha=1e-6).settle(stream(1, 1 / 3, events), N)
        if settled is None:  # exactly at the threshold nothing but the end tells
            assert events in {20, 21}
        else:
            assert settled.verdict is (Verdict.PASSED if events <= 20 else Verdict.FAILED)


@pytest.mark.parametrize("read", [50, 200, 500])
def test_intervals_cover(read: int) -> None:
    missed = 0
    for seed in range(60):
        low, high = rate_interval(head(stream(seed, 0.5, 90), read), N, 0.05)
        missed += not low <= 0.3 <= high
    assert missed <= 9  # .1 of 60, and 1.3 standard deviations


def test_intervals_shrink_and_may_be_negative() -> None:
    columns = stream(3, 0.5, 0, gains=90)
    first, second = (rate_interval(head(columns, read), N, 0.05) for read in (100, 400))
    assert second[1] - second[0] < first[1] - first[0]
    assert second[0] <= -0.3 <= second[1] < 0


def test_a_share_is_never_below_zero_and_a_fall_never_below_minus_one() -> None:
    columns = head(stream(3, 0.5, 0), 5)
    assert rate_interval(columns, N, 0.05, signed=False)[0] == 0
    assert -1 <= rate_interval(columns, N, 0.05)[0] < -0.9


def test_a_settled_claim_has_its_threshold_outside_the_interval() -> None:
    for events, failed in ((0, False), (60, True)):
        columns = stream(0, 1 / 3, events)
        settled = claim(0.1).settle(columns, N)
        assert settled is not None
        decision = claim(0.1).decide(head(columns, settled.after), N, settled)
        assert decision.estimate is None
        assert decision.verdict is settled.verdict
        low, high = decision.interval
        assert low >= 0.1 - 1e-3 if failed else high <= 0.1 + 1e-3


def test_without_a_threshold_nothing_is_settled() -> None:
    columns = head(stream(0, 0.5, 3), 100)
    assert claim(None).settle(columns, N) is None
    assert claim(None).decide(columns, N, None).rule.startswith("no threshold given")


def test_a_stream_that_turns_round_does_not_pass_while_the_contrary_bet_has_won() -> None:
    """At a share of a half both bets win: 56 of 90 fell, then none of 62. No rate is left, and nothing is said."""
    random = np.random.default_rng(116)
    held = np.concatenate([random.random(length) < share for length, share in [(1, 1.0), (89, 0.375), (62, 1.0)]])
    columns = {"event": (~held).astype(np.int64), "counts": np.ones(len(held), dtype=bool)}
    low, high = rate_interval(columns, 300, 0.05)
    assert low < 0.5 < high < 0.51
    terms = Terms(scope="set", alpha=0.05, fail_alpha=0.01)
    assert RateRule(threshold=0.5, terms=terms).settle(columns, 300) is None
    assert RateRule(threshold=0.6, terms=terms).settle(columns, 300) is not None
