"""Rates of recorded outcomes: exact for single runs, by bets for repeated ones, paired by the names of items."""

from __future__ import annotations

import functools
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from robustest import Result, Verdict
from robustest.claims.outcomes import measure_consistent_runs, measure_rate, measure_worst_group_rate
from robustest.data.outcomes import Outcomes
from robustest.decisions.baseline import usable_tolerance
from robustest.decisions.paired import paired_interval
from robustest.errors import ConfigError, DataError
from robustest.results import NOT_PAIRED, Counterexample, Pairing


def rows(scores: dict[str, tuple[float | None, ...]], **more: Any) -> Outcomes:
    """Return outcomes of items, by name, with the scores of their runs."""
    return Outcomes.of([{"item": name, "score": s, **more} for name, many in scores.items() for s in many])


def right(count: int, of: int, **more: Any) -> Outcomes:
    """Return single runs of items, the first of which are right."""
    return Outcomes.of([{"item": f"q{i:04d}", "score": i < count, **more} for i in range(of)])


@pytest.mark.parametrize("count", [0, 7, 93, 100])
def test_a_share_of_single_runs_has_the_exact_interval(count: int) -> None:
    found = measure_rate(right(count, 100), at_least=0.5, alpha=0.01)
    low = beta.ppf(0.01, count, 101 - count) if count else 0
    high = beta.ppf(0.99, count + 1, 100 - count) if count < 100 else 1
    assert found.estimate == count / 100
    assert found.interval == pytest.approx((low, high))


def test_items_of_one_input_are_named_where_they_count_as_draws() -> None:
    asked = Outcomes.of([{"item": i, "prompt": f"p{i % 3}", "group": "a", "score": True} for i in range(100)])
    for measure in (measure_rate, measure_worst_group_rate):
        assert "97 items with the input of another" in measure(asked, at_least=0.9).words.caveats
        assert "97 items with the input of another" not in measure(asked, at_least=0.9, scope="set").words.caveats
    for others in (right(100, 100), Outcomes.of([{"item": i, "prompt": f"p{i}", "score": 1} for i in range(100)])):
        assert measure_rate(others, at_least=0.9).words.caveats == ()


def several(inputs: int, times: int, right: int, **more: Any) -> Outcomes:
    """Return items of so many inputs, each so many times, of which the first inputs are right."""
    rows = [
        {"item": f"q{i}-{k}", "prompt": f"p{i}", "score": i < right, "group": "a", **more}
        for i in range(inputs)
        for k in range(times)
    ]
    return Outcomes.of(rows)


@pytest.mark.parametrize("measure", [measure_rate, measure_worst_group_rate])
def test_items_of_one_input_are_one_draw_of_the_population(measure: Any) -> None:
    few = measure(several(20, 50, 19), at_least=0.9)
    assert (few.verdict, few.ruling.reasons) == (Verdict.INCONCLUSIVE, ("copies",))
    assert "980 of 1000 items have the input of another" in few.rule
    assert few.estimate == 0.95
    assert measure(several(20, 50, 19), at_least=0.7).verdict is Verdict.PASSED
    assert measure(several(20, 50, 19), at_least=0.9, scope="set").verdict is Verdict.PASSED
    assert measure(several(1000, 1, 950), at_least=0.9).verdict is Verdict.PASSED
    assert measure(several(20, 50, 19, prompt=""), at_least=0.9).verdict is Verdict.PASSED  # inputs are not known


def test_items_of_one_input_with_other_scores_count_by_their_mean() -> None:
    rows = [{"item": f"{i}-{k}", "prompt": f"p{i}", "score": k < 9} for i in range(30) for k in range(10)]
    assert measure_rate(Outcomes.of(rows), at_least=0.8).ruling.reasons == ("copies",)
    assert measure_rate(Outcomes.of(rows), at_least=0.6).verdict is Verdict.PASSED


def test_items_of_one_input_compare_as_one_pair() -> None:
    def compared(inputs: int, times: int, scope: str = "population") -> Result:
        both = several(inputs, times, inputs), several(inputs, times, inputs - 1)
        return measure_rate(both[0], no_worse_than=both[1], tolerance=0.05, scope=scope)

    assert compared(20, 50).ruling.reasons == ("copies",)
    assert compared(1000, 1).verdict is Verdict.PASSED
    assert compared(20, 50, "set").verdict is Verdict.PASSED


def test_items_of_one_input_are_one_draw_of_consistency() -> None:
    rows = [
        {"item": f"q{i}-{k}", "prompt": f"p{i}", "run": run, "score": 1}
        for i in range(20)
        for k in range(50)
        for run in "ab"
    ]
    assert measure_consistent_runs(Outcomes.of(rows), max_flip_rate=0.1).ruling.reasons == ("copies",)
    assert measure_consistent_runs(Outcomes.of(rows), max_flip_rate=0.5).verdict is Verdict.PASSED


def test_the_claim_is_about_the_population_unless_the_call_says_otherwise() -> None:
    outcomes = right(80, 100)
    assert measure_rate(outcomes, at_least=0.78).verdict is Verdict.INCONCLUSIVE
    assert measure_rate(outcomes, at_least=0.78).subject.scope == "population"
    assert measure_rate(outcomes, at_least=0.78, scope="set").verdict is Verdict.PASSED
    assert measure_rate(outcomes, at_least=0.65).verdict is Verdict.PASSED
    assert measure_rate(outcomes, at_least=0.95).verdict is Verdict.FAILED


def test_runs_of_an_item_are_no_further_samples() -> None:
    """Ten items with a hundred equal runs each show no more than ten items."""
    many = Outcomes.of([{"item": f"q{i}", "score": 1.0} for i in range(10) for _ in range(100)])
    found = measure_rate(many, at_least=0.9)
    assert found.numbers.n == 10
    assert found.verdict is Verdict.INCONCLUSIVE
    assert (
        measure_rate(Outcomes.of([{"item": i, "score": 1.0} for i in range(1000)]), at_least=0.9).verdict
        is Verdict.PASSED
    )


@functools.cache
def of_forty(order: tuple[int, ...]) -> Result:
    return measure_rate(Outcomes.of([{"item": f"q{i}", "score": (i % 5) / 4} for i in order]), at_least=0.3)


@given(st.permutations(range(40)))
@settings(max_examples=20)
def test_the_order_of_rows_changes_no_verdict(order: list[int]) -> None:
    found, straight = of_forty(tuple(order)), of_forty(tuple(range(40)))
    assert (found.verdict, found.interval, found.outcomes) == (straight.verdict, straight.interval, straight.outcomes)


def test_a_run_without_a_score_counts_against_the_claim() -> None:
    crashed = rows({f"q{i}": (1.0,) for i in range(90)} | {f"z{i}": (None,) for i in range(10)})
    kept, dropped = (measure_rate(crashed, at_least=0.95, scope="set", missing=how) for how in ("fail", "drop"))
    assert kept.estimate == 0.9
    assert kept.verdict is Verdict.FAILED
    assert kept.words.caveats == ("10 items without a score counted as 0",)
    assert dropped.estimate == 1
    assert dropped.words.caveats == ("10 items without a score left out",)
    some = rows({"a": (1.0, None, 1.0, None)})
    assert measure_rate(some, at_least=0.5, scope="set").estimate == 0.5


def test_a_loss_is_shown_by_the_pairs() -> None:
    before, now = right(90, 100), Outcomes.of([{"item": f"q{i:04d}", "score": 8 <= i < 90} for i in range(100)])
    found = measure_rate(now, no_worse_than=before, tolerance=0.01)
    assert found.verdict is Verdict.FAILED
    assert found.subject.scope == "population"
    low, high = paired_interval(8, 0, 100, 0.01)
    assert found.details["baseline"]["drop_interval"] == [low, high]
    assert 0.01 < low < 0.03
    assert measure_rate(now, no_worse_than=before, tolerance=0.03).verdict is Verdict.INCONCLUSIVE
    assert measure_rate(now, no_worse_than=before, tolerance=0.2).verdict is Verdict.PASSED
    assert measure_rate(before, no_worse_than=now, tolerance=0.01).verdict is Verdict.PASSED
    of_these = measure_rate(now, no_worse_than=before, tolerance=0.08, scope="set")
    assert (of_these.verdict, of_these.ruling.at_alpha) == (Verdict.PASSED, False)
    assert of_these.rule == "no worse: fell by 0.0800 on this set, tolerance 0.08 (8 lost, 0 gained of 100)"
    assert measure_rate(now, no_worse_than=before, tolerance=0.079, scope="set").verdict is Verdict.FAILED


@pytest.mark.parametrize("n", [20, 100, 400])
def test_no_number_of_items_shows_that_nothing_was_lost(n: int) -> None:
    """The message names a tolerance that these items can show; a set takes 0."""
    usable, more = usable_tolerance(n, 0.01)
    assert paired_interval(round(n / 40), round(n / 40), n, 0.01)[1] <= usable < 1
    wanted = rf"{n} items can show tolerance={usable:g}, and about {more:,} items {usable / 2:g}\. .*scope=.set."
    for options in ({}, {"tolerance": 0}, {"at_least": 0.5}, {"scope": "population"}):
        with pytest.raises(ConfigError, match=wanted):
            measure_rate(right(n, n), no_worse_than=right(n - 1, n), **options)
    assert measure_rate(right(n, n), no_worse_than=right(n - 1, n), scope="set").verdict is Verdict.PASSED
    assert measure_rate(right(n - 1, n), no_worse_than=right(n, n), scope="set").verdict is Verdict.FAILED


def test_few_items_with_many_losses_are_red_and_not_green() -> None:
    now, before = right(14, 20), right(20, 20)
    assert measure_rate(now, no_worse_than=before, tolerance=0.02).verdict is Verdict.FAILED
    assert measure_rate(right(17, 20), no_worse_than=before, tolerance=0.02).verdict is Verdict.INCONCLUSIVE
    assert measure_rate(now, no_worse_than=before, scope="set").verdict is Verdict.FAILED


def test_a_system_is_red_beside_itself_no_oftener_than_alpha() -> None:
    random, verdicts = np.random.default_rng(0), []
    chance = np.clip(random.normal(0.8, 0.2, 200), 0, 1)
    for _ in range(60):
        pair = [
            Outcomes.of([{"item": i, "score": bool(one)} for i, one in enumerate(random.random(200) < chance)])
            for _ in range(2)
        ]
        verdicts.append(measure_rate(pair[0], no_worse_than=pair[1], tolerance=0.01, alpha=0.05).verdict)
    assert verdicts.count(Verdict.FAILED) <= 6
    assert Verdict.INCONCLUSIVE in verdicts


def test_an_item_that_the_candidate_lacks_is_lost() -> None:
    """A candidate that answers the easy items alone is no better."""
    before, easy = right(90, 100), right(50, 50)
    found = measure_rate(easy, no_worse_than=before, scope="set")
    assert found.verdict is Verdict.FAILED
    assert "50 items missing, counted as 0" in found.words.caveats
    dropped = measure_rate(easy, no_worse_than=before, missing="drop", scope="set")
    assert dropped.verdict is Verdict.PASSED
    assert "50 items missing, left out" in dropped.words.caveats


def test_new_and_changed_items_are_named_and_not_paired() -> None:
    before = Outcomes.of([{"item": f"q{i}", "score": 1, "prompt": f"{i}"} for i in range(60)])
    now = Outcomes.of(
        [{"item": f"q{i}", "score": i >= 20, "prompt": f"{i}" if i >= 20 else "harder"} for i in range(70)]
    )
    found = measure_rate(now, no_worse_than=before, scope="set")
    assert found.details["baseline"]["pairs"] == 40
    assert "10 items new, not compared" in found.words.caveats
    assert "20 items of another input, not compared" in found.words.caveats


def test_items_that_got_another_input_cannot_hide_a_loss() -> None:
    """A candidate that fails twenty items and rewords them loses nothing among the pairs."""
    before = Outcomes.of([{"item": i, "score": i < 99, "prompt": f"{i}"} for i in range(100)])
    now = Outcomes.of([{"item": i, "score": i >= 20, "prompt": f"{i}" if i >= 20 else "reworded"} for i in range(100)])
    found = measure_rate(now, no_worse_than=before, scope="set")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "20 items of another input could hide a loss" in found.rule
    assert measure_rate(now, no_worse_than=before, missing="drop", scope="set").verdict is Verdict.PASSED
    few = Outcomes.of([{"item": i, "score": 1, "prompt": f"{i}" if i >= 2 else "reworded"} for i in range(100)])
    assert measure_rate(few, no_worse_than=before, tolerance=0.05, scope="set").verdict is Verdict.PASSED
    assert measure_rate(few, no_worse_than=before, tolerance=0.005, scope="set").verdict is Verdict.INCONCLUSIVE


def test_fewer_runs_of_an_item_are_named() -> None:
    before, now = rows({f"q{i}": (1.0, 0.0, 1.0) for i in range(50)}), rows({f"q{i}": (1.0,) for i in range(50)})
    found = measure_rate(now, no_worse_than=before, scope="set")
    assert "50 items with fewer runs than in the other outcomes" in found.words.caveats


def test_a_crash_of_the_other_system_makes_it_no_easier_to_match() -> None:
    before = rows({f"q{i}": (1.0, None) for i in range(100)})
    now = rows({f"q{i}": (float(i % 10 < 6),) for i in range(100)})
    found = measure_rate(now, no_worse_than=before, scope="set")
    assert found.details["baseline"]["accuracy"] == 1
    assert found.verdict is Verdict.FAILED
    assert "100 items with a run that the other outcomes have no score of" in found.words.caveats


def test_other_items_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="0 share a name"):
        measure_rate(right(5, 10), no_worse_than=rows({"other": (1.0,)}), scope="set")
    changed = [Outcomes.of([{"item": "a", "score": 1, "prompt": text}]) for text in ("x", "y")]
    with pytest.raises(DataError, match="1 share a name"):
        measure_rate(changed[0], no_worse_than=changed[1], scope="set")
    with pytest.raises(DataError, match="one range"):
        measure_rate(right(5, 10), no_worse_than=Outcomes.of([{"item": "q0000", "score": 1}], high=2), scope="set")


def test_both_the_rate_and_the_comparison_must_hold() -> None:
    before, now = right(95, 100), right(80, 100)

    def verdict(*pair: Outcomes, at_least: float) -> Verdict:
        return measure_rate(pair[0], at_least=at_least, no_worse_than=pair[1], tolerance=0.02).verdict

    assert verdict(now, before, at_least=0.6) is Verdict.FAILED
    assert verdict(before, now, at_least=0.999) is Verdict.FAILED
    assert verdict(before, now, at_least=0.8) is Verdict.PASSED
    assert verdict(before, now, at_least=0.94) is Verdict.INCONCLUSIVE
    assert verdict(before, right(96, 100), at_least=0.8) is Verdict.INCONCLUSIVE
    found = measure_rate(before, at_least=0.8, no_worse_than=right(96, 100), tolerance=0.02)
    assert found.estimate == 0.95
    assert found.interval == measure_rate(before, at_least=0.8).interval


def test_repeated_runs_are_compared_by_their_means() -> None:
    random = np.random.default_rng(0)
    chance = np.clip(random.normal(0.8, 0.2, 300), 0, 1)

    def system(loss: float) -> Outcomes:
        runs = random.random((300, 3)) < (chance - loss)[:, None]
        return Outcomes.of(
            [{"item": i, "score": bool(one), "run": k} for i, many in enumerate(runs) for k, one in enumerate(many)]
        )

    assert measure_rate(system(0.0), no_worse_than=system(0.0), tolerance=0.07).verdict is Verdict.PASSED
    assert measure_rate(system(0.0), no_worse_than=system(0.0), tolerance=0.001).verdict is Verdict.INCONCLUSIVE
    assert measure_rate(system(0.2), no_worse_than=system(0.0), tolerance=0.07).verdict is Verdict.FAILED


def test_the_worst_group_decides() -> None:
    good = [{"item": f"a{i}", "score": 1, "group": "a"} for i in range(200)]
    bad = [{"item": f"b{i}", "score": i % 2, "group": "b"} for i in range(200)]
    alone = [{"item": f"c{i}", "score": 0} for i in range(5)]
    found = measure_worst_group_rate(Outcomes.of(good + bad + alone), at_least=0.8)
    assert found.verdict is Verdict.FAILED
    assert found.estimate == 0.5
    assert found.words.caveats == ("worst group 'b'", "5 items in no group")
    assert measure_worst_group_rate(Outcomes.of(good), at_least=0.8).verdict is Verdict.PASSED
    few = Outcomes.of([*good, {"item": "d", "score": 1, "group": "d"}])
    assert measure_worst_group_rate(few, at_least=0.8).verdict is Verdict.INCONCLUSIVE  # one item shows nothing


def test_items_without_a_group_hide_no_failure() -> None:
    """A crash that lost the group of its items would otherwise raise the rate of that group."""
    good = [{"item": f"{g}{i}", "score": 1, "group": g} for g in "ab" for i in range(100)]
    lost = [{"item": f"c{i}", "score": None if i % 2 else 0} for i in range(40)]
    found = measure_worst_group_rate(Outcomes.of(good + lost), at_least=0.8)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "40 items in no group could hide a lower rate" in found.rule
    for kept, how in ((good + lost, "drop"), (good + lost[:2], "fail")):
        assert measure_worst_group_rate(Outcomes.of(kept), at_least=0.8, missing=how).verdict is Verdict.PASSED
    right = [{**one, "score": 1} for one in lost]
    assert measure_worst_group_rate(Outcomes.of(good + right), at_least=0.8).verdict is Verdict.PASSED


def test_of_groups_with_one_rate_the_smaller_is_the_worst() -> None:
    sizes = {"a": 40, "b": 10, "c": 20}
    outcomes = Outcomes.of(
        [{"item": f"{g}{i}", "score": i % 2, "group": g} for g, n in sizes.items() for i in range(n)]
    )
    found = measure_worst_group_rate(outcomes, at_least=0.1)
    assert "worst group 'b'" in found.words.caveats
    assert [(one["group"], one["n"], one["estimate"]) for one in found.details["groups"]] == [
        (name, n, 0.5) for name, n in sizes.items()
    ]
    low, high = zip(*(one["interval"] for one in found.details["groups"]), strict=True)
    assert found.interval == (min(low), min(high))
    assert high[1] > high[2] > high[0] > 0.5
    assert found.evidence.pairing == NOT_PAIRED


@pytest.mark.parametrize(
    ("a", "b", "verdict"), [(1, 1, "passed"), (1, 0, "failed"), (0.5, 1, "inconclusive"), (0.5, 0, "failed")]
)
def test_one_group_that_fails_or_is_open_decides(a: float, b: float, verdict: str) -> None:
    """Of 60 items .5 are open at .5, all are at least that, and none are not."""
    rows = [
        {"item": f"{g}{i}", "score": i < share * 60, "group": g} for g, share in (("a", a), ("b", b)) for i in range(60)
    ]
    for order in (rows, rows[::-1]):
        assert measure_worst_group_rate(Outcomes.of(order), at_least=0.5).verdict.value == verdict


def test_groups_share_the_error() -> None:
    """A level that one group would keep by itself is not kept as the worst of twenty."""
    alone = [{"item": f"{g}-{i}", "score": i >= 1, "group": g} for g in range(20) for i in range(70)]
    one = [row for row in alone if row["group"] == 0]
    threshold = measure_rate(Outcomes.of(one), at_least=0.5).interval[0]
    assert measure_rate(Outcomes.of(one), at_least=threshold).verdict is Verdict.PASSED
    assert measure_worst_group_rate(Outcomes.of(alone), at_least=threshold).verdict is Verdict.INCONCLUSIVE


def test_flips_between_runs_are_counted_by_item() -> None:
    steady = {f"s{i}": (1.0, 1.0, 1.0) for i in range(300)}
    shaky = {f"f{i}": (0.0, 1.0, 1.0) for i in range(30)}
    found = measure_consistent_runs(rows(steady | shaky | {"once": (1.0,)}), max_flip_rate=0.2)
    assert found.verdict is Verdict.PASSED
    assert found.estimate == pytest.approx(30 * (2 / 3) / 330)
    assert found.interval[0] <= found.estimate <= found.interval[1]
    assert found.details["flipped_items"] == 30
    assert found.words.caveats == ("1 item with one run left out",)
    assert measure_consistent_runs(rows(steady | shaky), max_flip_rate=0.01).verdict is Verdict.FAILED
    with pytest.raises(DataError, match="several runs"):
        measure_consistent_runs(right(3, 5), max_flip_rate=0.1)


def test_a_run_that_crashed_differs_from_every_other() -> None:
    """Otherwise a system that crashes in every other run is perfectly consistent."""
    steady = {f"s{i}": (1.0, 1.0, 0.5) for i in range(90)}
    crashed = {f"c{i}": (1.0, None, 1.0) for i in range(10)}
    found = measure_consistent_runs(rows(steady | crashed | {"d": (None, None)}), max_flip_rate=0.5)
    assert found.estimate == pytest.approx((90 * 2 / 3 + 10 * 2 / 3 + 1) / 101)
    assert "11 items with a run without a score" in found.words.caveats
    halves = rows({f"q{i}": (1.0, None if i % 2 else 1.0) for i in range(200)})
    assert measure_consistent_runs(halves, max_flip_rate=0.1).verdict is Verdict.FAILED


def test_a_file_that_was_written_twice_is_not_consistent() -> None:
    once = [{"item": f"q{i}", "score": i % 2, "answer": f"x{i % 3}"} for i in range(300)]
    found = measure_consistent_runs(Outcomes.of(once + once), max_flip_rate=0.1)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "name them, run=" in found.rule
    named = [{**one, "run": run} for one in once for run in "rs"]
    assert measure_consistent_runs(Outcomes.of(named), max_flip_rate=0.1).verdict is Verdict.PASSED


def test_one_run_and_thirty_have_means_that_are_compared() -> None:
    """The fall of the mean is that of the rate, whatever the numbers of runs are; one run only spreads more."""
    names, before = [f"q{i}" for i in range(60)], rows({f"q{i}": (1.0,) for i in range(60)})
    near, far = (rows(dict.fromkeys(names, (1.0,) * right + (0.0,) * (30 - right))) for right in (29, 12))
    found = measure_rate(near, no_worse_than=before, tolerance=0.15)
    assert found.verdict is Verdict.PASSED
    assert found.details["baseline"]["drop"] == pytest.approx(1 / 30)
    assert measure_rate(near, no_worse_than=before, tolerance=0.03).verdict is Verdict.INCONCLUSIVE
    assert measure_rate(far, no_worse_than=before, tolerance=0.15).verdict is Verdict.FAILED
    assert measure_rate(before, no_worse_than=far, tolerance=0.15).verdict is Verdict.PASSED
    shuffled = replace(
        near, **{name: getattr(near, name)[::-1] for name in ("item", "score", "run", "group", "digest", "cluster")}
    )
    again = measure_rate(shuffled, no_worse_than=before, tolerance=0.15)
    assert again.details["baseline"] == found.details["baseline"]


@pytest.mark.parametrize(("draws", "most"), [(30, 4), pytest.param(60, 6, marks=pytest.mark.slow)])
def test_one_run_beside_thirty_of_a_like_system_is_red_no_oftener_than_alpha(draws: int, most: int) -> None:
    random, verdicts = np.random.default_rng(1), []
    chance = np.clip(random.normal(0.9, 0.15, 60), 0, 1)
    for _ in range(draws):
        one, many = random.random((60, 1)) < chance[:, None], random.random((60, 30)) < chance[:, None]
        pair = [rows({f"q{i}": tuple(map(float, each)) for i, each in enumerate(runs)}) for runs in (one, many)]
        verdicts.append(measure_rate(pair[0], no_worse_than=pair[1], tolerance=0.001, alpha=0.05).verdict)
    assert verdicts.count(Verdict.FAILED) <= most


def test_many_runs_of_one_item_do_not_outweigh_the_others() -> None:
    shaky = {"one": tuple(float(i % 2) for i in range(1000))}
    steady = {f"s{i}": (1.0, 1.0) for i in range(99)}
    assert measure_consistent_runs(rows(shaky | steady)).estimate == pytest.approx(0.005, abs=1e-3)


def test_a_comparison_is_about_the_population_as_a_rate_is() -> None:
    outcomes, other = right(90, 100), right(89, 100)
    assert measure_rate(outcomes, no_worse_than=other, tolerance=0.1).subject.scope == "population"
    assert measure_rate(outcomes, no_worse_than=other, scope="set").subject.scope == "set"
    assert measure_rate(outcomes, no_worse_than=other, at_least=0.5, tolerance=0.1).subject.scope == "population"
    assert measure_rate(outcomes, no_worse_than=other, at_least=0.5, scope="set").subject.scope == "set"


@pytest.mark.parametrize("tolerance", [-0.01, 1.0, 2.0])
def test_a_tolerance_is_a_share_below_one(tolerance: float) -> None:
    with pytest.raises(ConfigError, match=r"a tolerance in 0\.\.1, below 1"):
        measure_rate(right(3, 5), no_worse_than=right(3, 5), tolerance=tolerance)
    of_set = measure_rate(right(3, 5), no_worse_than=right(2, 5), tolerance=0.0, scope="set")
    assert of_set.details["baseline"]["tolerance"] == 0


@pytest.mark.parametrize("without", ["now", "before"])
def test_an_input_that_one_side_does_not_know_is_taken_for_the_same(without: str) -> None:
    plain, known = (
        right(90, 100),
        Outcomes.of([{"item": f"q{i:04d}", "score": 1, "prompt": f"{i}"} for i in range(100)]),
    )
    now, before = (plain, known) if without == "now" else (known, plain)
    found = measure_rate(now, no_worse_than=before, scope="set")
    assert (found.details["baseline"]["pairs"], found.details["baseline"]["changed"]) == (100, 0)


def test_only_single_runs_of_right_or_wrong_are_paired_with_another_run_of_the_claim() -> None:
    single = measure_rate(right(3, 5))
    assert single.evidence.pairing == Pairing()
    assert single.details["right"] == 3
    for other in (rows({"a": (1.0, 1.0)}), rows({"a": (0.5,)}), rows({"a": (1.0, None)})):
        found = measure_rate(other)
        assert found.evidence.pairing == NOT_PAIRED
        assert "right" not in found.details
    assert measure_consistent_runs(rows({"a": (1.0, 1.0)})).evidence.pairing == NOT_PAIRED


def test_an_example_is_shown_where_something_was_claimed_and_did_not_pass() -> None:
    outcomes = right(90, 100)
    assert measure_rate(outcomes).counterexamples == ()
    assert measure_rate(outcomes, at_least=0.5).counterexamples == ()
    assert measure_rate(outcomes, no_worse_than=right(89, 100), scope="set").counterexamples == ()
    worse = measure_rate(outcomes, no_worse_than=right(100, 100), scope="set")
    for found in (measure_rate(outcomes, at_least=0.99), worse):
        assert found.verdict is Verdict.FAILED
        assert found.counterexamples[0] == Counterexample(
            index=90, label=-1, clean=-1, predicted=-1, answer="item 'q0090', score 0"
        )
    full = measure_rate(right(99, 100), at_least=0.9999, scope="set")
    assert len(full.counterexamples) == 1, "an item that is right is no example"


@pytest.mark.parametrize("wrong", [(right(9, 10), 0.95), (right(5, 10), 0.5), (right(0, 10), 0.1)])
def test_the_number_and_the_comparison_are_both_said(wrong: tuple[Outcomes, float]) -> None:
    outcomes, threshold = wrong
    worse = right(max(0, round(10 * float(np.mean(outcomes.score))) - 1), 10)
    found = measure_rate(outcomes, at_least=threshold, no_worse_than=worse, scope="set")
    alone = measure_rate(outcomes, at_least=threshold, scope="set")
    if alone.verdict is Verdict.PASSED:
        assert found.rule.startswith(f"{alone.rule}; no worse: ")
    else:
        assert found.rule == alone.rule
    assert found.ruling.at_alpha is alone.ruling.at_alpha is False
    assert (found.estimate, found.interval) == (alone.estimate, alone.interval)


def test_the_worst_items_are_shown_with_their_texts() -> None:
    outcomes = Outcomes.of(
        [{"item": f"q{i}", "score": i % 2, "prompt": f"<b>\x1b[31m]]> {i}", "answer": "no"} for i in range(20)]
    )
    found = measure_rate(outcomes, at_least=0.99)
    assert found.verdict is Verdict.FAILED
    assert len(found.counterexamples) == 3
    assert found.counterexamples[0].answer == "item 'q0', score 0; prompt '<b>\\x1b[31m]]> 0'; answer 'no'"


def test_a_path_is_read(tmp_path: Path) -> None:
    path = tmp_path / "now.jsonl"
    path.write_text('{"item": "a", "score": 1}\n{"item": "b", "score": 0}\n', encoding="utf-8")
    before = shutil.copy(path, tmp_path / "before.jsonl")
    assert measure_rate(path, at_least=0.4, scope="set", no_worse_than=before).verdict is Verdict.PASSED


def test_a_file_is_not_compared_with_itself(tmp_path: Path) -> None:
    path, link = tmp_path / "now.jsonl", tmp_path / "main.jsonl"
    path.write_text('{"item": "a", "score": 1}\n', encoding="utf-8")
    link.symlink_to(path)
    for other in (str(path), link, tmp_path / "." / "now.jsonl"):
        with pytest.raises(ConfigError, match="No file is worse than itself"):
            measure_rate(path, no_worse_than=other)
    with pytest.raises(DataError, match=r"now\.jsonl is there twice"):
        Outcomes.read([path, link])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"at_least": 0}, "more than 0"),
        ({"at_least": 1.2}, "0..1"),
        ({"missing": "skip", "at_least": 0.5}, "missing="),
        ({"tolerance": 1.0, "no_worse_than": right(1, 2)}, "tolerance"),
        ({"no_worse_than": 0.5, "tolerance": 0.1}, "outcomes or the path"),
    ],
)
def test_a_wrong_argument_is_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        measure_rate(right(3, 5), **wrong)


def test_outcomes_without_any_score_claim_nothing() -> None:
    nothing = rows({"a": (None,), "b": (None,)})
    with pytest.raises(DataError, match="at least one item with a score"):
        measure_rate(nothing, at_least=0.5, missing="drop")
    assert measure_rate(nothing, at_least=0.5, scope="set").verdict is Verdict.FAILED
