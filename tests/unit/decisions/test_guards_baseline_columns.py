"""Guards of comparisons with a baseline: several outcomes a sample, its parts and groups, and scores at the border."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustest import Verdict
from robustest.decisions import BaselineRule, ScoreBaselineRule, ShareRule, Terms
from robustest.decisions.baseline import Fall
from robustest.decisions.bets import fall_interval
from robustest.decisions.clusters import CLUSTER, FEWEST
from robustest.decisions.mean import ScoreRule
from robustest.decisions.paired import paired_interval

TERMS = Terms(scope="set", alpha=0.02, fail_alpha=0.01)
POPULATION = Terms(scope="population", alpha=0.02, fail_alpha=0.01)
CELLS = ("fog/1", "fog/2", "snow/1", "snow/2")
PARTS = (("fog", CELLS[:2]), ("snow", CELLS[2:]))


def rule(before: NDArray[np.bool_], **fields: Any) -> BaselineRule:
    given: dict[str, Any] = {"columns": CELLS, "parts": PARTS, "terms": TERMS, "tolerance": 0.0, **fields}
    other = ShareRule(threshold=None, at_least=True, terms=given["terms"])
    return BaselineRule(other=other, has_threshold=False, before=before, **given)


def of(now: NDArray[np.bool_], order: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    return {"id": order, **{name: now[order, at] for at, name in enumerate(CELLS)}}


@pytest.mark.parametrize("ravelled", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_parts_are_compared_alone_and_all_together_if_asked(together: bool, ravelled: bool) -> None:
    random = np.random.default_rng(3)
    before, now = random.random((2, 9, 4)) < np.array([0.9, 0.6])[:, None, None]
    order = random.permutation(9)
    one = rule(before.ravel() if ravelled else before, together=together, level=0.005)
    assert one.share_before == pytest.approx(before.mean() if together else before[:, :2].mean())
    found = one.falls(of(now, order))
    named = {"": slice(0, 4), "fog": slice(0, 2), "snow": slice(2, 4)}
    assert [each.name for each in found] == [name for name in named if name or together]
    for each in found:
        was, is_now = before[:, named[each.name]], now[:, named[each.name]]
        assert (each.lost, each.gained, each.n) == ((was & ~is_now).sum(), (is_now & ~was).sum(), was.size)
        drop = (was.sum(1).astype(int) - is_now.sum(1))[order] / was.shape[1]
        assert each.fall == pytest.approx(drop.mean())
        assert each.interval == fall_interval(drop, 0.02, 0.0)
        assert each.low == fall_interval(drop, 0.005, 0.0)[0]
    assert one.compare(of(now, order)) == found[0]


@pytest.mark.parametrize("level", [None, 0.004])
def test_groups_are_compared_alone_and_a_result_shows_all(level: float | None) -> None:
    before = np.array([True, True, True, False, False, True])
    now = np.array([False, True, True, True, False, False])
    groups = (("a", np.array([0, 1, 5])), ("b", np.array([2, 3, 4])))
    one = rule(before, columns=("held",), parts=(), groups=groups, level=level)
    order = np.array([3, 0, 5, 1, 4, 2])
    columns = {"id": order, "held": now[order]}
    first, second = one.falls(columns)
    whole = one.compare(columns)
    counts = [(each.name, each.lost, each.gained, each.n) for each in (first, second, whole)]
    assert counts == [("a", 2, 0, 3), ("b", 0, 1, 3), ("", 2, 1, 6)]
    for each in (first, second, whole):
        assert each.interval == paired_interval(each.lost, each.gained, each.n, 0.02)
    for each in (first, second):
        shared = 0.01 if level is None else level
        assert each.low == paired_interval(each.lost, each.gained, each.n, shared)[0]
    assert whole.low == whole.interval[0]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_failure_may_spend_its_part_of_alpha(number: int) -> None:
    """Of one comparison all of it; of two parts beside all columns together a third."""
    before, now = np.ones((2, 40, 4), dtype=bool)
    now[:9, 0] = False
    parts = (("fog", CELLS[:1]), ("snow", CELLS[1:2]))[: number - 1]
    found = rule(before, parts=parts, terms=POPULATION).falls(of(now, np.arange(40)))
    assert len(found) == number
    drop = (before.sum(1).astype(int) - now.sum(1)) / 4
    assert found[0].low == fall_interval(drop, 0.02 / number, 0.0)[0]
    if number > 1:
        assert found[1].low == paired_interval(9, 0, 40, 0.02 / number)[0]
        assert found[1].interval == paired_interval(9, 0, 40, 0.02)


# Clusters


@pytest.mark.parametrize("scores", [False, True])
def test_samples_of_one_cluster_are_one_draw(scores: bool) -> None:
    """Of 40 samples in 4 clusters nothing is lost: as 40 draws they show the tolerance, as four they do not."""
    before = np.ones(40, dtype=bool)
    clusters = np.repeat(np.arange(4), 10)
    for each, verdict in ((np.arange(40), Verdict.PASSED), (clusters, Verdict.INCONCLUSIVE)):
        one = rule(before, columns=("held",), parts=(), terms=POPULATION, tolerance=0.1)
        if scores:
            one = of_scores(before.astype(float), POPULATION, 0.1)
        columns = {"id": np.arange(40), "held": before, "score": before.astype(float), CLUSTER: each}
        found = one.decide(columns, 40, None)
        assert found.verdict is verdict
        assert found.clusters == ("40 clusters of 1 unit" if verdict is Verdict.PASSED else "4 clusters of 10 units")
    alone = {name: column for name, column in columns.items() if name != CLUSTER}
    assert not one.decide(alone, 40, None).clusters


def of_scores(before: NDArray[np.float64], terms: Terms, tolerance: float) -> ScoreBaselineRule:
    other = ScoreRule(threshold=None, terms=terms)
    return ScoreBaselineRule(other=other, has_threshold=False, before=before, tolerance=tolerance, terms=terms, seed=0)


def test_a_comparison_of_a_model_with_its_like_in_clusters_fails_no_oftener_than_alpha() -> None:
    """Each cluster falls or rises as a whole: as single draws, most comparisons would fail or pass."""
    random = np.random.default_rng(0)
    clusters = np.repeat(np.arange(30), 10)
    verdicts = []
    for _ in range(60):
        kind = random.choice([-1, 0, 1], 30, p=[0.25, 0.5, 0.25])[clusters]
        before, now = kind >= 0, kind <= 0
        one = rule(before, columns=("held",), parts=(), terms=POPULATION)
        columns = {"id": np.arange(300), "held": now, CLUSTER: clusters}
        verdicts.append(one.decide(columns, 300, None).verdict)
    assert verdicts.count(Verdict.FAILED) <= 5
    assert verdicts.count(Verdict.PASSED) <= 5


def test_fewer_clusters_than_a_claim_needs_pass_nothing() -> None:
    before = np.ones(40, dtype=bool)
    few = np.repeat(np.arange(FEWEST - 1), 20)
    one = rule(before, columns=("held",), parts=(), terms=POPULATION, tolerance=0.9)
    columns = {"id": np.arange(40), "held": before, CLUSTER: few}
    found = one.decide(columns, 40, None)
    assert found.verdict is Verdict.INCONCLUSIVE
    set_alone = rule(before, columns=("held",), parts=(), tolerance=0.9).decide(columns, 40, None)
    assert set_alone.verdict is Verdict.PASSED


# Borders


def fall(**fields: Any) -> Fall:
    values: dict[str, Any] = {
        "fall": 0.1, "lost": 5, "gained": 1, "n": 40, "tolerance": 0.1, "kept": True, "scope": "population",
        "interval": (0.0, 0.2), "low": 0.0,
    }  # fmt: skip
    return Fall(**{**values, **fields})


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({"interval": (0.0, 0.1)}, Verdict.PASSED),  # at the tolerance
        ({"interval": (0.0, 0.1 + 1e-9)}, Verdict.INCONCLUSIVE),
        ({"low": 0.1}, Verdict.INCONCLUSIVE),
        ({"low": 0.1 + 1e-9}, Verdict.FAILED),
        ({"interval": (0.2, 0.3), "low": 0.05}, Verdict.INCONCLUSIVE),  # beyond at alpha, and not at its part of it
        ({"scope": "set"}, Verdict.PASSED),
        ({"scope": "set", "kept": False}, Verdict.FAILED),
        ({"scope": "set", "kept": False, "interval": (0.0, 0.1)}, Verdict.FAILED),
        ({"scope": "set", "low": 0.5}, Verdict.PASSED),
    ],
)
def test_a_verdict_is_of_its_scope_alone(fields: dict[str, Any], verdict: Verdict) -> None:
    assert fall(**fields).verdict is verdict


def test_a_gain_is_better_where_the_population_gained() -> None:
    assert fall(fall=-0.2, interval=(-0.3, -0.01)).better
    assert not fall(fall=-0.2, interval=(-0.3, 0.0)).better
    assert not fall(fall=-0.1, interval=(-0.3, -0.01)).better
    assert not fall(fall=0.2, interval=(0.1, 0.3)).better


def test_details_hold_what_reports_show() -> None:
    common = {"lost": 5, "gained": 1, "drop": 0.1, "drop_interval": [0.0, 0.2], "scope": "population"}
    assert fall().details() == common
    assert fall(of="mean score").details() == {**common, "of": "mean score"}


def test_words_name_group_mean_and_samples() -> None:
    assert str(fall(name="a")) == (
        "fell by 0.1000 [0.0000, 0.2000] in 'a', tolerance 0.1 (population; 5 lost, 1 gained of 40)"
    )
    assert str(fall(of="rate", scope="set")) == (
        "the rate fell by 0.1000 on this set, tolerance 0.1 (5 lower, 1 higher of 40)"
    )
    open_ = fall(fall=0.05, needed=1297, noun="items").open_words()
    assert open_ == "about 1,300 more items like these would show that the fall is within the tolerance"
    assert fall(fall=0.15, needed=41).open_words().startswith("about 1 more samples like these")
    assert "beyond" in fall(fall=0.15, needed=41).open_words()
    assert fall(fall=0.15).open_words() == "more of them could decide it"
