"""Claims on units that were drawn together: how often they are wrong, and what shows them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from robustest.decisions import DropRule, MeanRule, ShareRule, Terms, clopper_pearson
from robustest.decisions.clusters import (
    CLUSTER,
    FEWEST,
    Sizes,
    capital_by_cluster,
    cluster_interval,
    count_clusters,
    decide_by_cluster,
    refutes,
    whole_clusters,
)
from robustest.decisions.drop import AboveChanceRule
from robustest.decisions.groups import WorstGroupRule
from robustest.decisions.mean import ItemsRule, ScoreRule
from robustest.decisions.rate import AgreementRule
from robustest.decisions.rule import Decision
from robustest.results import Verdict

ALPHA = 0.01
POPULATION = Terms(scope="population", alpha=ALPHA, fail_alpha=ALPHA)
SET = Terms(scope="set", alpha=ALPHA, fail_alpha=ALPHA)


def drawn(
    random: np.random.Generator, sizes: NDArray[np.int64], mean: float, icc: float
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Units of beta-binomial clusters: outcomes (n,) and clusters (n,)."""
    total = 1 / icc - 1 if icc else 0.0
    shares = random.beta(mean * total, (1 - mean) * total, len(sizes)) if icc else np.full(len(sizes), mean)
    return random.random(sizes.sum()) < np.repeat(shares, sizes), np.repeat(np.arange(len(sizes)), sizes)


@pytest.mark.thinned
@pytest.mark.parametrize("sizes", [np.full(25, 20), np.full(50, 20), np.tile([1, 5, 50], 20)], ids=len)
@pytest.mark.parametrize("icc", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("draws", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_the_true_mean_is_beyond_an_end_no_more_often_than_alpha(
    sizes: NDArray[np.int64], icc: float, draws: int
) -> None:
    random, beyond = np.random.default_rng(7), np.zeros(2)
    for _ in range(draws):
        held, clusters = drawn(random, sizes, 0.8, icc)
        how: dict[str, Any] = {"low": 0.0, "high": 1.0, "alpha": ALPHA}
        beyond += [refutes(held, clusters, 0.8, above=above, **how) for above in (True, False)]
    assert (beyond <= binom.ppf(1 - 0.005, draws, ALPHA)).all()


@pytest.mark.parametrize(("videos", "frames"), [(25, 20), pytest.param(50, 20, marks=pytest.mark.slow)])
def test_a_claim_of_082_where_080_is_true_seldom_passes(videos: int, frames: int) -> None:
    # Treated as items, these pass in 7 to 13 % of the draws.
    random, by_item, by_cluster = np.random.default_rng(1), 0, 0
    rule = ShareRule(threshold=0.82, at_least=True, terms=POPULATION)
    sizes = np.full(videos, frames)
    for _ in range(200):
        held, clusters = drawn(random, sizes, 0.8, 0.625)
        by_item += rule.decide({"held": held}, len(held), None).verdict is Verdict.PASSED
        by_cluster += rule.decide({"held": held, CLUSTER: clusters}, len(held), None).verdict is Verdict.PASSED
    assert by_item >= 10, "else the case is none"
    assert by_cluster <= 6, "of 200, more than 6 have a chance below .005 at an error of .01"


@pytest.mark.parametrize(("draws", "most"), [(300, 7), pytest.param(1000, 17, marks=pytest.mark.slow)])
def test_sizes_may_depend_on_the_outcomes(draws: int, most: int) -> None:
    # A cluster that is hard has 30 units, an easy one 5: the mean over units is far below the mean over clusters.
    random, passes = np.random.default_rng(3), 0
    true = (0.5 * 30 * 0.6 + 0.5 * 5 * 1.0) / 17.5
    for _ in range(draws):
        hard = random.random(80) < 0.5
        sizes = np.where(hard, 30, 5)
        held = random.random(sizes.sum()) < np.repeat(np.where(hard, 0.6, 1.0), sizes)
        of = np.repeat(np.arange(80), sizes)
        passes += refutes(held, of, true, low=0.0, high=1.0, alpha=ALPHA, above=True)
    assert passes <= most


def test_the_capital_is_fair_for_every_stake_and_size() -> None:
    # Over all 16 outcomes of two clusters of two units, equally likely, the capital's mean is 1 at the true mean.
    clusters = np.array([0, 0, 1, 1])
    means = np.mean(
        [
            np.exp(capital_by_cluster(np.array(one), clusters, 0.5, low=0.0, high=1.0, above=above))
            for one in product([0, 1], repeat=4)
            for above in (True, False)
        ],
        axis=0,
    )
    assert means == pytest.approx([1.0, 1.0])


def test_a_known_larger_cluster_makes_bets_smaller() -> None:
    held, clusters = np.ones(200, dtype=bool), np.repeat(np.arange(100), 2)
    alone = cluster_interval(held, clusters, 0.0, 1.0, ALPHA)
    beside = cluster_interval(held, clusters, 0.0, 1.0, ALPHA, largest=4)
    assert 0 < beside[0] < alone[0] < alone[1] == 1


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (-3.0, 5.0)])
def test_an_interval_moves_with_the_range_and_turns_with_the_sign(low: float, high: float) -> None:
    random = np.random.default_rng(5)
    share, clusters = random.random(300), random.integers(0, 60, 300)
    within = cluster_interval(share, clusters, 0.0, 1.0, ALPHA)
    moved = cluster_interval(low + (high - low) * share, clusters, low, high, ALPHA)
    assert moved == pytest.approx([low + (high - low) * end for end in within])
    turned = cluster_interval(-(low + (high - low) * share), clusters, -high, -low, ALPHA)
    assert turned == pytest.approx([-moved[1], -moved[0]])
    assert within[0] < share.mean() < within[1]


@pytest.mark.parametrize("anytime", [False, True])
def test_an_end_is_where_the_bets_win(anytime: bool) -> None:
    random = np.random.default_rng(6)
    held, clusters = random.random(600) < 0.7, np.repeat(np.arange(60), 10)
    low, high = cluster_interval(held, clusters, 0.0, 1.0, ALPHA, anytime=anytime)

    def won(null: float, *, above: bool) -> bool:
        if not anytime:
            return refutes(held, clusters, null, low=0.0, high=1.0, alpha=ALPHA, above=above)
        how: dict[str, Any] = {"low": 0.0, "high": 1.0, "above": above}
        return bool(capital_by_cluster(held, clusters, null, **how).max() >= -np.log(ALPHA))

    assert won(low, above=True)
    assert won(low / 2, above=True)
    assert not won(low + 1e-4, above=True)
    assert won(high, above=False)
    assert won((1 + high) / 2, above=False)
    assert not won(high - 1e-4, above=False)
    # A threshold is beyond the end exactly if its own bet has won.
    for near in (low - 1e-6, low + 1e-6):
        beside = cluster_interval(held, clusters, 0.0, 1.0, ALPHA, beside=near)
        assert (beside[0] >= near) == won(near, above=True) or anytime


def test_outcomes_that_are_all_alike() -> None:
    clusters = np.repeat(np.arange(100), 10)
    low, high = cluster_interval(np.ones(1000), clusters, 0.0, 1.0, ALPHA)
    assert (low > 0.9, high) == (True, 1.0)
    assert cluster_interval(np.zeros(1000), clusters, 0.0, 1.0, ALPHA) == pytest.approx((0.0, 1 - low))


@pytest.mark.parametrize("draws", [100, pytest.param(200, marks=pytest.mark.slow)])
def test_power_is_that_of_the_clusters(draws: int) -> None:
    # A sound claim of .8 where .95 is true: 50 videos of 20 frames show it, as 50 items would not do worse.
    random, passes = np.random.default_rng(8), 0
    rule = ShareRule(threshold=0.8, at_least=True, terms=POPULATION)
    for _ in range(draws):
        held, clusters = drawn(random, np.full(50, 20), 0.95, 0.1)
        passes += rule.decide({"held": held, CLUSTER: clusters}, len(held), None).verdict is Verdict.PASSED
    assert passes >= 0.95 * draws


def test_clusters_of_one_unit_are_items() -> None:
    held = np.arange(500) % 10 > 0
    rule = ShareRule(threshold=0.85, at_least=True, terms=POPULATION)
    alone = rule.decide({"held": held}, 500, None)
    found = rule.decide({"held": held, CLUSTER: np.arange(500)}, 500, None)
    assert (found.verdict, found.interval) == (alone.verdict, alone.interval)
    assert alone.verdict is Verdict.PASSED
    assert found.clusters == "500 clusters of 1 unit"


def rules(terms: Terms, threshold: float) -> dict[str, object]:
    whole = np.arange(1000)
    return {
        "share": ShareRule(threshold=threshold, at_least=True, terms=terms),
        "share at most": ShareRule(threshold=1 - threshold, at_least=False, terms=terms),
        "score": ScoreRule(threshold=threshold, terms=terms),
        "mean": MeanRule(threshold=1 - 2 * threshold, terms=terms),
        "negated mean": MeanRule(threshold=-threshold, terms=terms, column="negated", sign=-1),
        "items": ItemsRule(threshold=threshold, terms=terms, single=True, largest=10),
        "scored items": ItemsRule(threshold=threshold, terms=terms, single=False, largest=10),
        "groups": WorstGroupRule(
            threshold=threshold, terms=terms, names=("first", "last"), members=(whole[:500], whole[500:]), disjoint=True
        ),
        "drop": DropRule(threshold=1 - threshold, terms=terms),
        "agreement": AgreementRule(threshold=threshold, terms=terms),
    }


def columns_of(held: NDArray[np.bool_], clusters: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
    score = held.astype(float)
    return {
        "held": held,
        "score": score,
        "value": 1 - 2 * score,
        "negated": -score,
        "clean": np.ones(len(held), dtype=bool),
        "counts": np.ones(len(held), dtype=bool),
        "agreed": held,
        "id": np.arange(len(held)),
        CLUSTER: clusters,
    }


KINDS = tuple(rules(POPULATION, 0.5))


@pytest.mark.parametrize("kind", KINDS)
def test_no_rule_passes_on_few_clusters_or_on_what_many_do_not_show(kind: str) -> None:
    every = np.ones(1000, dtype=bool)

    def decided(clusters: NDArray[np.int64], threshold: float, terms: Terms = POPULATION) -> Decision:
        return rules(terms, threshold)[kind].decide(columns_of(every, clusters), 1000, None)  # type: ignore[attr-defined, no-any-return]

    for few in (1, 2):
        found = decided(np.arange(1000) % few, 0.01)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert found.clusters.startswith(f"{few} cluster")
    # 20 clusters, all right: .5 is shown, .9 is not, as a tenth of the clusters may be of another kind.
    assert decided(np.arange(1000) % 20, 0.5).verdict is Verdict.PASSED
    assert decided(np.arange(1000) % 20, 0.9).verdict is Verdict.INCONCLUSIVE
    assert "20 clusters of" in decided(np.arange(1000) % 20, 0.9).rule
    assert decided(np.arange(1000) % 200, 0.9).verdict is Verdict.PASSED
    assert decided(np.arange(1000) % 2, 0.9, SET).verdict is Verdict.PASSED, "a set is what it is"


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_is_red_where_clusters_show_it(kind: str) -> None:
    held = np.arange(1000) % 200 < 60
    found = rules(POPULATION, 0.5)[kind].decide(columns_of(held, np.arange(1000) % 100), 1000, None)  # type: ignore[attr-defined]
    assert found.verdict is Verdict.FAILED
    assert found.interval[0] <= (
        0.7 if kind in ("share at most", "drop") else found.estimate if kind != "mean" else 0.4
    )


def test_agreement_counts_the_clusters_of_what_counts() -> None:
    counts = np.arange(1000) < 200
    columns = columns_of(np.ones(1000, dtype=bool), np.arange(1000) // 100) | {"counts": counts}
    found = AgreementRule(threshold=0.05, terms=POPULATION).decide(columns, 1000, None)
    assert (found.verdict, found.clusters) == (Verdict.INCONCLUSIVE, "2 clusters of 100 units")


@pytest.mark.parametrize(("clusters", "verdict"), [(1, "inconclusive"), (2, "inconclusive"), (3, "passed")])
def test_a_pass_needs_three_clusters_whatever_the_bets_say(clusters: int, verdict: str) -> None:
    passed = Decision(verdict=Verdict.PASSED, rule="by the bets", estimate=1.0, interval=(0.5, 1.0))
    found = count_clusters(passed, np.arange(300) % clusters)
    assert (str(found.verdict), found.reasons) == (verdict, () if clusters == 3 else ("clusters",))
    if clusters < 3:
        assert found.rule.endswith(": a claim about the population needs 3 clusters or more")
    failed = replace(passed, verdict=Verdict.FAILED)
    assert count_clusters(failed, np.arange(300) % clusters).verdict is Verdict.FAILED


def test_a_start_above_chance_is_shown_by_clusters() -> None:
    # 900 of 1,000 are right before, and saying one class is right on 872: of pairs that are alike that shows nothing.
    pairs = np.repeat(np.arange(500), 2)
    clean = pairs % 10 > 0
    columns = {"clean": clean, "held": clean, "label": np.arange(1000) >= 872, "id": np.arange(1000)}
    rule = AboveChanceRule(other=DropRule(threshold=0.02, terms=POPULATION), threshold=0.02, terms=POPULATION)
    assert rule.decide(columns, 1000, None).verdict is Verdict.PASSED
    alike = columns | {CLUSTER: pairs}
    found, drop = rule.decide(alike, 1000, None), rule.other.decide(alike, 1000, None)
    assert drop.verdict is Verdict.PASSED
    assert (found.verdict, found.reasons) == (Verdict.INCONCLUSIVE, ("no_fall",))


def test_groups_need_enough_clusters_each() -> None:
    members = (np.arange(0, 980), np.arange(980, 1000))
    rule = WorstGroupRule(threshold=0.0, terms=POPULATION, names=("a", "b"), members=members, disjoint=True)
    found = rule.decide(columns_of(np.ones(1000, dtype=bool), np.arange(1000) // 10), 1000, None)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.rule.startswith("2 clusters of 10 units in the smallest group: ")


def test_items_are_settled_at_the_end_of_a_cluster_only() -> None:
    rule = ItemsRule(threshold=0.5, terms=POPULATION, single=True, largest=10)
    held, clusters = np.ones(400, dtype=bool), np.repeat(np.arange(40), 10)
    found = rule.settle(columns_of(held, clusters), 1000)
    assert found is not None
    assert found.verdict is Verdict.PASSED
    assert found.after % 10 == 0
    # ln(4 / .01) / ln(1 / .5) clusters, and one or two for what the other stakes have of the capital
    assert 9 <= found.after / 10 <= 11
    decision = rule.decide(columns_of(held, clusters), 1000, found)
    assert decision.verdict is Verdict.PASSED
    assert decision.interval[0] >= 0.5
    small = ItemsRule(threshold=0.01, terms=POPULATION, single=True, largest=10)
    settled = small.settle(columns_of(held, clusters), 1000)
    assert settled is not None
    assert settled.after == 10 * FEWEST, "two clusters reach .01 by the bets"


@pytest.mark.parametrize("draws", [100, pytest.param(200, marks=pytest.mark.slow)])
def test_items_asked_until_certain_are_seldom_wrong(draws: int) -> None:
    random, wrong = np.random.default_rng(11), 0
    rule = ItemsRule(threshold=0.8, terms=POPULATION, single=True, largest=20)
    for _ in range(draws):
        held, clusters = drawn(random, np.full(50, 20), 0.8, 0.6)
        columns = columns_of(held, clusters)
        early = rule.settle(columns, 1000)
        wrong += (rule.decide(columns, 1000, early) if early is None else early).verdict is Verdict.PASSED
    assert wrong <= binom.ppf(1 - 0.005, draws, 0.01)


def test_items_read_in_part_have_wider_bounds_than_items_read_to_the_end() -> None:
    rule = ItemsRule(threshold=0.9, terms=POPULATION, single=True, largest=10)
    columns = columns_of(np.ones(300, dtype=bool), np.repeat(np.arange(30), 10))
    part, whole = rule.decide(columns, 1000, None), rule.decide(columns, 300, None)
    assert part.interval[0] < whole.interval[0]
    assert "30 clusters of 10 units" in part.rule


def test_clusters_are_evaluated_as_a_whole_or_not_at_all() -> None:
    clusters = np.array([2, 0, 1, 0, 2, 2, 1])
    assert whole_clusters(clusters, 4).tolist() == [False, True, True, True, False, False, True]
    assert whole_clusters(clusters, 6).sum() == 4
    assert whole_clusters(clusters, 7).all()
    assert whole_clusters(clusters, 1).tolist() == [False, True, False, True, False, False, False]


def test_sizes_in_words() -> None:
    assert str(Sizes.of(np.array([3, 3, 5, 9, 9, 9]))) == "3 clusters of 1..3 units"
    assert str(Sizes.of(np.array([3, 3]))) == "1 cluster of 2 units"
    assert str(Sizes.of(np.array([1, 2]))) == "2 clusters of 1 unit"


def test_a_part_of_the_units_is_decided_by_its_clusters() -> None:
    held = np.ones(400, dtype=bool)
    found = decide_by_cluster(held, np.arange(400) % 40, 1000, 0.8, at_least=True, terms=POPULATION)
    assert (found.verdict, found.estimate) == (Verdict.PASSED, None)
    assert "400 of 1000" in found.rule


def test_an_item_bound_is_narrower_than_the_truth_allows() -> None:
    # The reason for all of this: 1,000 frames of 10 videos, all right, are 10 draws.
    held, clusters = np.ones(1000, dtype=bool), np.repeat(np.arange(10), 100)
    assert clopper_pearson(1000, 1000, ALPHA)[0] > 0.99
    assert cluster_interval(held, clusters, 0.0, 1.0, ALPHA)[0] < clopper_pearson(10, 10, ALPHA)[0]
