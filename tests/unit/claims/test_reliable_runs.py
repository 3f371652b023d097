"""Claims on runs of recorded items: all or some of k, each item alone, and what lets runs look reliable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustest import ConfigError, DataError, Verdict
from robustest.claims.reliability import measure_reliable, measure_worst_item_rate
from robustest.data import Outcomes
from robustest.decisions.share import clopper_pearson


def runs(right: NDArray[Any], **more: Any) -> Outcomes:
    """Return outcomes of scores (items, runs); NaN is a run without one."""
    return Outcomes.of(
        [
            {"item": f"q{i:04d}", "run": f"{k}", "score": None if np.isnan(one) else float(one), **more}
            for i, row in enumerate(np.asarray(right, dtype=float))
            for k, one in enumerate(row)
        ]
    )


def drawn(chance: float, items: int, times: int, seed: int = 0) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random((items, times)) < chance


def test_all_of_k_runs_of_as_many_are_a_share() -> None:
    right = drawn(0.95, 100, 3)
    found = measure_reliable(runs(right), k=3, at_least=0.6)
    all_right = int(right.all(1).sum())
    assert found.estimate == all_right / 100
    assert found.interval == clopper_pearson(all_right, 100, 0.01)
    assert found.verdict is Verdict.PASSED
    assert found.subject.statement == "chance of an item to succeed in all of 3 runs"
    assert (found.subject.axis, found.subject.at) == ("k", 3)
    some = measure_reliable(runs(right), k=3, needed=1, at_least=0.9)
    assert some.estimate == right.any(1).mean()
    assert some.subject.statement.endswith("in 1 or more of 3 runs")


def test_more_runs_than_k_are_used_without_bias() -> None:
    """Of 4 runs with 3 right ones two succeed in half of the pairs; (3 / 4)^2 would be too high."""
    right = np.tile([1, 1, 1, 0], (40, 1))
    assert measure_reliable(runs(right), k=2, scope="set").estimate == pytest.approx(0.5)
    assert measure_reliable(runs(right), k=2, needed=1, scope="set").estimate == 1
    assert measure_reliable(runs(right), k=1, scope="set").estimate == pytest.approx(0.75)


def test_a_rate_is_no_reliability() -> None:
    """Nine in ten runs succeed, and six in ten items in all of five runs."""
    outcomes = runs(drawn(0.9, 400, 5))
    assert measure_reliable(outcomes, k=1, at_least=0.8).verdict is Verdict.PASSED
    assert measure_reliable(outcomes, k=5, at_least=0.8).verdict is Verdict.FAILED


def test_runs_of_an_item_are_no_further_draws() -> None:
    few = runs(np.tile(drawn(0.9, 12, 1), (1, 50)) * drawn(0.99, 12, 50, 1))
    found = measure_reliable(few, k=2, at_least=0.6)
    assert found.numbers.n == 12
    assert found.interval[1] - found.interval[0] > 0.3


@pytest.mark.parametrize(
    ("k", "more", "message"),
    [
        (0, {}, "k to be a whole number"),
        (True, {}, "k to be a whole number"),
        (2, {"needed": 3}, r"needed to be a whole number in 1\.\.2"),
        (2, {"needed": 0}, "needed to be"),
        (2, {"min_score": 0.0}, "min_score above 0"),
        (2, {"at_least": 0}, "at_least to be more than 0"),
        (2, {"no_worse_than": runs(np.ones((9, 2)))}, "a tolerance above 0"),
    ],
)
def test_arguments_out_of_range_are_errors(k: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        measure_reliable(runs(np.ones((9, 3))), k=k, **more)


def test_more_runs_than_there_are_is_an_error_with_the_most_that_can_be_claimed() -> None:
    with pytest.raises(DataError, match=r"items with 5 runs .* most of any is 3\. Record more runs, or claim k=3"):
        measure_reliable(runs(np.ones((9, 3))), k=5)


def test_graded_scores_need_the_score_of_a_success() -> None:
    graded = runs(np.tile([0.5, 0.9], (20, 1)))
    with pytest.raises(ConfigError, match="min_score="):
        measure_reliable(graded, k=2)
    assert measure_reliable(graded, k=2, min_score=0.5, scope="set").estimate == 1
    assert measure_reliable(graded, k=2, min_score=0.6, scope="set").estimate == 0
    assert measure_reliable(graded, k=2, needed=1, min_score=0.6, scope="set").estimate == 1


def test_a_crash_is_a_failed_run() -> None:
    right = np.ones((60, 3))
    right[:20, 0] = np.nan
    found = measure_reliable(runs(right), k=3, scope="set", at_least=0.9)
    assert found.estimate == pytest.approx(40 / 60)
    assert "20 items without a score counted as 0" in found.words.caveats
    assert measure_reliable(runs(right), k=3, needed=2, scope="set").estimate == 1
    dropped = measure_reliable(runs(right), k=3, scope="set", missing="drop")
    assert (dropped.estimate, dropped.numbers.n) == (1, 40)
    assert "20 items with fewer than 3 runs left out" in dropped.words.caveats


def lacking(fewer: int, right: int = 200) -> Outcomes:
    """Return 200 items of three runs, of which some have but two; all runs of the first items succeed."""
    rows = [
        {"item": f"q{i:04d}", "run": str(k), "score": i < right}
        for i in range(200)
        for k in range(2 if i < fewer else 3)
    ]
    return Outcomes.of(rows)


def test_items_with_fewer_runs_count_at_worst_both_ways() -> None:
    few, many = (measure_reliable(lacking(fewer), k=3, at_least=0.9) for fewer in (3, 60))
    assert (few.verdict, many.verdict) == (Verdict.PASSED, Verdict.INCONCLUSIVE)
    assert "60 items with fewer than 3 runs could decide it" in many.rule
    assert "60 items with fewer than 3 runs counted at worst" in many.words.caveats
    assert many.interval[0] < 0.7
    assert many.interval[1] > 0.97
    # A failure does not rest on runs that are not there.
    assert measure_reliable(lacking(60), k=3, at_least=0.9, scope="set").verdict is Verdict.INCONCLUSIVE
    assert measure_reliable(lacking(10, right=100), k=3, at_least=0.9).verdict is Verdict.FAILED
    assert measure_reliable(lacking(60), k=3, at_least=0.9, missing="drop").verdict is Verdict.PASSED


def test_copies_of_one_run_show_no_more_than_one_run() -> None:
    one = drawn(0.9, 300, 1)
    copied = measure_reliable(runs(np.tile(one, (1, 5))), k=5, at_least=0.8)
    assert (copied.verdict, copied.ruling.reasons) == (Verdict.INCONCLUSIVE, ("copies",))
    assert "assert_rate" in copied.rule
    # The rate of one run, to the fifth, is a bound for copies too.
    assert measure_reliable(runs(np.tile(one, (1, 5))), k=5, at_least=0.3).verdict is Verdict.PASSED
    # Some of k runs are no more likely for copies.
    assert measure_reliable(runs(np.tile(one, (1, 5))), k=5, needed=1, at_least=0.8).verdict is Verdict.PASSED
    assert measure_reliable(runs(np.ones((300, 5))), k=5, at_least=0.9).verdict is Verdict.PASSED
    twice = Outcomes.of([{"item": i, "score": bool(ok)} for i, ok in enumerate(one[:, 0])] * 2)
    assert "written twice" in measure_reliable(twice, k=2, at_least=0.8).rule


def test_answers_that_differ_are_no_copies() -> None:
    one = drawn(0.9, 300, 1)[:, 0]
    rows = [
        {"item": i, "run": k, "score": bool(ok), "answer": f"{i} {k}"} for i, ok in enumerate(one) for k in range(2)
    ]
    assert measure_reliable(Outcomes.of(rows), k=2, at_least=0.8).verdict is Verdict.PASSED


def test_reliability_is_compared_item_by_item() -> None:
    before, same, worse = (runs(drawn(p, 400, 4, seed)) for p, seed in ((0.9, 0), (0.9, 1), (0.7, 2)))
    how: dict[str, Any] = {"k": 2, "tolerance": 0.08}
    assert measure_reliable(same, no_worse_than=before, **how).verdict is Verdict.PASSED
    found = measure_reliable(worse, no_worse_than=before, **how)
    assert found.verdict is Verdict.FAILED
    assert "the chance fell by" in found.rule
    assert measure_reliable(before, no_worse_than=before, **how).ruling.reasons == ("health:same_model",)
    one = drawn(0.9, 400, 1)
    copies = measure_reliable(runs(np.tile(one, (1, 4))), no_worse_than=before, **how)
    assert (copies.verdict, copies.ruling.reasons) == (Verdict.INCONCLUSIVE, ("copies",))


def test_an_item_that_the_candidate_lacks_is_lost() -> None:
    before, easy = runs(drawn(0.9, 100, 2)), runs(np.ones((50, 2)))
    found = measure_reliable(easy, k=2, no_worse_than=before, tolerance=0.05)
    assert found.verdict is Verdict.FAILED
    assert "50 items missing, counted as 0" in found.words.caveats


def test_reliability_counts_clusters() -> None:
    right = np.repeat(drawn(0.9, 20, 1), 20, axis=0) * drawn(0.99, 400, 3, 1)
    by_item = measure_reliable(runs(right), k=2, at_least=0.75)
    by_text = measure_reliable(runs(right), k=2, at_least=0.75, cluster=lambda name: int(name[1:]) // 20)
    assert by_text.interval[0] < by_item.interval[0]
    assert "by 20 clusters" in by_text.rule


def test_a_function_is_asked_k_times() -> None:
    asked: list[str] = []

    def system(item: str) -> bool:
        asked.append(item)
        return not (item == "q3" and asked.count(item) == 2)

    names = [f"q{i}" for i in range(5)]
    found = measure_reliable(system, names, score=lambda answer, _: answer, k=3, scope="set", exact=True)
    assert (found.estimate, len(asked)) == (0.8, 15)
    assert measure_reliable(lambda _: 0.7, names, score=lambda a, _: a, k=2, min_score=0.6, scope="set").estimate == 1
    with pytest.raises(ConfigError, match="runs to be a whole number >= 3"):
        measure_reliable(system, names, score=lambda answer, _: answer, k=3, runs=2)


def test_no_case_is_below_three_of_five() -> None:
    right = np.ones((30, 5))
    right[4, :3] = 0
    right[7, :2] = 0
    found = measure_worst_item_rate(runs(right), at_least=0.6, scope="set")
    assert (found.verdict, found.estimate) == (Verdict.FAILED, 0.4)
    assert found.words.caveats[0] == "1 item below 0.6: 'q0004' 2 of 5"
    assert found.details["items_below"] == ["q0004"]
    assert "item 'q0004'" in found.counterexamples[0].answer
    right[4, :3] = 1
    assert measure_worst_item_rate(runs(right), at_least=0.6, scope="set").verdict is Verdict.PASSED
    crash = right.copy()
    crash[0, :3] = np.nan
    assert measure_worst_item_rate(runs(crash), at_least=0.6, scope="set").verdict is Verdict.FAILED
    assert measure_worst_item_rate(runs(crash), at_least=0.6, scope="set", missing="drop").verdict is Verdict.PASSED


def test_the_chance_of_every_item_needs_enough_runs() -> None:
    few = measure_worst_item_rate(runs(np.ones((30, 5))), at_least=0.6)
    assert few.verdict is Verdict.INCONCLUSIVE
    assert "10 runs of an item that all succeed would show it" in few.rule
    assert measure_worst_item_rate(runs(np.ones((30, 10))), at_least=0.6).verdict is Verdict.PASSED
    bad = np.ones((30, 20))
    bad[3, :17] = 0
    assert measure_worst_item_rate(runs(bad), at_least=0.6).verdict is Verdict.FAILED
    assert measure_worst_item_rate(runs(np.ones((30, 10)), cluster="a"), at_least=0.6).verdict is Verdict.PASSED
    with pytest.raises(ConfigError, match="no cluster="):
        measure_worst_item_rate(runs(bad), at_least=0.6, cluster="group")


def test_every_item_is_asked() -> None:
    found = measure_worst_item_rate(
        lambda item: item != "b", ["a", "b"], score=lambda answer, _: answer, runs=4, at_least=0.5, scope="set"
    )
    assert (found.verdict, found.estimate) == (Verdict.FAILED, 0)
