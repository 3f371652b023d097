"""Bounds for many groups at once: they cover as promised, and early verdicts are those of the groups' own streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from robustest import Verdict
from robustest.decisions import Terms, clopper_pearson
from robustest.decisions.groups import GroupShare, WorstGroupRule, group_shares, simultaneous, worst_interval
from robustest.decisions.multiplicity import group_level
from robustest.decisions.share import settle_share
from robustest.decisions.thresholds import count_at_least

SIZES = [15, 25, 40, 80, 200, 500, 1000, 2000]
TRUE = [0.97, 0.8, 0.99, 0.6, 0.9, 0.95, 0.5, 0.7]


def judged(names: Sequence[str], held: Sequence[int], n: Sequence[int], alpha: float) -> list[GroupShare]:
    return group_shares(names, held, n, alpha=alpha, disjoint=True)


@pytest.mark.parametrize("disjoint", [True, False])
def test_all_groups_are_covered_at_once_at_least_as_often_as_promised(disjoint: bool) -> None:
    """2,000 runs of eight groups; each side may miss any group in one run of twenty."""
    alpha, runs = 0.05, 2000
    draws = np.random.default_rng(1).binomial(SIZES, TRUE, size=(runs, len(SIZES)))
    low, high = np.empty(draws.shape), np.empty(draws.shape)
    for group, size in enumerate(SIZES):
        seen = {k: simultaneous_of(k, size, alpha, disjoint) for k in np.unique(draws[:, group]).tolist()}
        low[:, group], high[:, group] = np.array([seen[k] for k in draws[:, group].tolist()]).T
    assert (low <= TRUE).all(1).mean() >= 1 - alpha
    assert (high >= TRUE).all(1).mean() >= 1 - alpha
    assert ((low <= TRUE) & (high >= TRUE)).all(1).mean() >= 1 - 2 * alpha
    assert (low <= TRUE).all(1).mean() < 1 - alpha / 10, "and not by bounds that say nothing"


def simultaneous_of(held: int, size: int, alpha: float, disjoint: bool) -> tuple[float, float]:
    """The bounds of one of eight groups; they do not depend on the others' counts."""
    sizes = [size] * len(SIZES)
    return simultaneous([held] * len(SIZES), sizes, alpha, disjoint=disjoint)[0]


def test_the_smallest_share_is_covered_on_each_side() -> None:
    """Groups that are all as good as each other are the hardest: any of them may look worst."""
    alpha, runs, truth, sizes = 0.05, 2000, 0.8, [40, 60, 200, 500]
    draws = np.random.default_rng(2).binomial(sizes, truth, size=(runs, len(sizes)))
    cache: dict[tuple[int, ...], tuple[float, float]] = {}
    ends = []
    for row in map(tuple, draws.tolist()):
        if row not in cache:
            cache[row] = worst_interval(judged("abcd", row, sizes, alpha), alpha, disjoint=True)
        ends.append(cache[row])
    low, high = np.array(ends).T
    assert (low <= truth).mean() >= 1 - alpha
    assert (high >= truth).mean() >= 1 - alpha


def test_one_group_has_its_own_exact_bounds() -> None:
    assert simultaneous([18], [20], 0.01, disjoint=True) == [clopper_pearson(18, 20, 0.01)]
    assert simultaneous([], [], 0.01, disjoint=True) == []
    assert simultaneous([0], [0], 0.01, disjoint=True) == [(0.0, 1.0)]


@given(st.floats(1e-9, 0.4), st.integers(1, 1000))
def test_independent_groups_share_the_error_exactly(alpha: float, groups: int) -> None:
    assert 1 - (1 - group_level(alpha, groups, disjoint=True)) ** groups == pytest.approx(alpha, rel=1e-6, abs=1e-12)
    assert group_level(alpha, groups, disjoint=False) <= group_level(alpha, groups, disjoint=True) * (1 + 1e-12)


def test_the_worst_come_first() -> None:
    shares = group_shares(["a", "b", "c", "d"], [9, 1, 50, 40], [10, 3, 100, 80], alpha=0.05, disjoint=True)
    assert [group.name for group in shares] == ["b", "d", "c", "a"]
    assert shares[0].interval == clopper_pearson(1, 3, group_level(0.05, 4, disjoint=True))


def claim_of(members: Sequence[Sequence[int]], threshold: float | None, **changes: Any) -> WorstGroupRule:
    terms = Terms(scope=changes.pop("scope", "set"), alpha=0.05, fail_alpha=changes.pop("fail_alpha", 0.05))
    return WorstGroupRule(
        threshold=threshold,
        names=tuple("abcdefgh"[: len(members)]),
        members=tuple(np.array(ids, dtype=np.int64) for ids in members),
        disjoint=True,
        terms=terms,
        **changes,
    )


def stream(held: NDArray[np.bool_], order: NDArray[np.int64], read: int) -> dict[str, NDArray[Any]]:
    return {"held": held[order[:read]], "id": order[:read]}


@given(st.data())
def test_it_settles_where_the_groups_own_streams_do(data: st.DataObject) -> None:
    """Failed once one group is, passed once all are: read one by one, against the rule for a single share."""
    n, groups = data.draw(st.integers(2, 60)), data.draw(st.integers(1, 3))
    of = np.array(data.draw(st.lists(st.integers(-1, groups - 1), min_size=n, max_size=n)))
    held = np.array(data.draw(st.lists(st.sampled_from([True, True, True, False]), min_size=n, max_size=n)))
    order = np.array(data.draw(st.permutations(range(n))))
    threshold = data.draw(st.sampled_from([0.1, 0.5, 0.8, 1.0]))
    members = [np.flatnonzero(of == g).tolist() for g in range(groups) if (of == g).any()]
    if not members:
        return
    claim = claim_of(members, threshold)
    level = group_level(0.05, len(members), disjoint=True)
    want = None
    for read in range(n + 1):
        ends = []
        for ids in members:
            mine = np.array([held[at] for at in order[:read] if at in ids], dtype=bool)
            ends.append(
                settle_share(mine, len(ids), count_at_least(threshold, len(ids)), pass_alpha=0.05, fail_alpha=level)
            )
        verdicts = [None if end is None else end.verdict for end in ends]
        if Verdict.FAILED in verdicts or set(verdicts) == {Verdict.PASSED}:
            want = (Verdict.FAILED if Verdict.FAILED in verdicts else Verdict.PASSED, read)
            break
    upto = data.draw(st.integers(0, n))
    got = claim.settle(stream(held, order, upto), n)
    expected = want if want is not None and want[1] <= upto else None
    assert (None if got is None else (got.verdict, got.after)) == expected
    every = claim.settle(stream(held, order, n), n)
    assert every is not None, "all samples settle any claim"


def test_an_early_verdict_is_seldom_wrong() -> None:
    """Four groups, one of them one sample short of its threshold, the others far above it: few runs may pass."""
    sizes = [150, 150, 150, 150]
    members = [list(range(150 * g, 150 * (g + 1))) for g in range(4)]
    held = np.ones(600, dtype=bool)
    held[: 150 - (count_at_least(0.8, 150) - 1)] = False
    claim, random, passed, early = claim_of(members, 0.8), np.random.default_rng(3), 0, 0
    for _ in range(400):
        settled = claim.settle(stream(held, random.permutation(600), 600), 600)
        assert settled is not None
        passed += settled.verdict is Verdict.PASSED
        early += settled.after < 500
    assert sum(sizes) == 600
    assert passed <= 0.05 * 400
    assert early > 0


def test_one_bad_group_fails_early_and_is_named() -> None:
    members = [list(range(100)), list(range(100, 500))]
    held = np.arange(500) >= 60
    order = np.random.default_rng(4).permutation(500)
    claim = claim_of(members, 0.8)
    settled = claim.settle(stream(held, order, 400), 500)
    assert settled is not None
    assert settled.verdict is Verdict.FAILED
    assert settled.after < 400
    decision = claim.decide(stream(held, order, 400), 500, settled)
    assert decision.verdict is Verdict.FAILED
    assert decision.estimate is None
    assert decision.rule.endswith(f"after {settled.after} of 500: a")
    assert decision.interval[1] < 0.8


@pytest.mark.parametrize(
    ("threshold", "verdict"), [(1 / 3, Verdict.PASSED), (0.34, Verdict.FAILED), (None, Verdict.INCONCLUSIVE)]
)
def test_the_whole_set_is_judged_exactly(threshold: float | None, verdict: Verdict) -> None:
    """Group a: 6 of 10; group b: 90 of 100; group c: 1 of 3."""
    held = np.concatenate([np.arange(10) < 6, np.arange(100) < 90, np.arange(3) < 1])
    members = [range(10), range(10, 110), range(110, 113)]
    claim = claim_of(list(map(list, members)), threshold)
    decision = claim.decide(stream(held, np.arange(113), 113), 113, None)
    assert (decision.verdict, decision.estimate) == (verdict, 1 / 3)
    assert decision.interval[0] == clopper_pearson(1, 3, 0.05)[0]
    assert decision.interval[1] == clopper_pearson(6, 10, group_level(0.05, 3, disjoint=True))[1], (
        "the lowest upper bound"
    )


def test_a_population_claim_needs_the_interval() -> None:
    """190 of 200 and 195 of 200 right: surely above .9 and below .99; .95 cannot be told; it never settles early."""
    held = np.concatenate([np.arange(200) < 190, np.arange(200) < 195])
    members = [list(range(200)), list(range(200, 400))]
    data = stream(held, np.arange(400), 400)
    want = {0.9: Verdict.PASSED, 0.95: Verdict.INCONCLUSIVE, 0.99: Verdict.FAILED}
    for threshold, verdict in want.items():
        claim = claim_of(members, threshold, scope="population")
        assert claim.settle(data, 400) is None
        assert claim.decide(data, 400, None).verdict is verdict
    shared = claim_of(members, 0.99, scope="population", fail_alpha=1e-9)
    assert shared.decide(data, 400, None).verdict is Verdict.FAILED, "failing is at alpha as well"


def test_a_budget_gives_an_interval_and_no_verdict() -> None:
    held, order = np.arange(100) % 10 != 0, np.random.default_rng(5).permutation(100)
    for scope in ("set", "population"):
        decision = claim_of([list(range(50)), list(range(50, 100))], 0.9, scope=scope).decide(
            stream(held, order, 40), 100, None
        )
        assert (decision.verdict, decision.estimate) == (Verdict.INCONCLUSIVE, None)
        assert "40 of 100" in decision.rule
        assert decision.interval[0] <= 0.9 <= decision.interval[1]
    assert not claim_of([[0]], 0.9).doomed(100, 100), "nobody knows in which group they are"
