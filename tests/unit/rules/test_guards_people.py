"""Guards of rules on people: what they foresee and notice, and how many labels are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from robustest import Verdict
from robustest.rules import Terms
from robustest.rules.people.foreseen import decide_foreseen, decide_noticed
from robustest.rules.people.wrong_labels import decide_wrong
from robustest.statistics import clopper_pearson
from robustest.statistics.resampling.two_way import FEWEST_ANNOTATORS, Estimate

TERMS = Terms(scope="population", alpha=0.05, fail_alpha=0.05)

P, F, Q = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE


def estimate(value: float, error: float = 0.02, annotators: int = 30) -> Estimate:
    return Estimate(value=value, error=error, items=100, annotators=annotators, freedom=annotators - 1)


def foreseen(at_least: float | None, *, share: float = 0.8, idle: float = 0.5, annotators: int = 30) -> Any:
    held = np.arange(1000) < 1000 * share
    return decide_foreseen(held, estimate(share, annotators=annotators), at_least, idle=idle, terms=TERMS)


@pytest.mark.parametrize(("at_least", "verdict"), [(0.7, P), (0.8, Q), (0.9, F), (None, Q)])
def test_what_is_foreseen_is_judged_by_its_interval(at_least: float | None, verdict: Verdict) -> None:
    found = foreseen(at_least)
    assert (found.verdict, found.estimate) == (verdict, 0.8)
    assert found.at_alpha is (at_least is not None)
    assert found.interval[0] < 0.8 < found.interval[1]
    assert found.rule == ("no threshold given" if at_least is None else "by annotator, alpha = 0.05 a side")


def test_guessing_foresees_nothing() -> None:
    low = foreseen(0.7).interval[0]
    assert foreseen(0.7, idle=low - 0.001).verdict is P
    guessed = foreseen(0.7, idle=low)
    assert guessed.verdict is Q
    assert guessed.rule.startswith(f"guessing, or always giving the most frequent answer, is right in {low:.3f}")
    assert foreseen(0.9, idle=0.99).verdict is F, "what fails, fails"


@pytest.mark.parametrize(("annotators", "verdict"), [(FEWEST_ANNOTATORS - 1, Q), (FEWEST_ANNOTATORS, P)])
def test_few_annotators_speak_for_nobody_else(annotators: int, verdict: Verdict) -> None:
    assert foreseen(0.5, annotators=annotators).verdict is verdict
    assert noticed(0.1, annotators=annotators).verdict is verdict


def noticed(at_least: float | None, *, cue: float = 0.4, planted: float | None = 0.6, annotators: int = 30) -> Any:
    known = None if planted is None else estimate(planted)
    return decide_noticed(estimate(cue, annotators=annotators), known, at_least, terms=TERMS)


@pytest.mark.parametrize(("at_least", "verdict"), [(0.3, P), (0.4, Q), (0.5, F), (None, Q)])
def test_what_is_noticed_is_judged_by_its_interval(at_least: float | None, verdict: Verdict) -> None:
    found = noticed(at_least)
    assert (found.verdict, found.estimate) == (verdict, 0.4)
    assert found.at_alpha is (at_least is not None)
    assert found.interval == estimate(0.4).interval(0.05)


def test_more_than_none_is_more_than_none() -> None:
    low, high = estimate(0.4).interval(0.05)
    assert noticed(low).verdict is Q
    assert noticed(low - 1e-6).verdict is P
    assert noticed(high).verdict is Q
    assert noticed(high + 1e-6).verdict is F


def test_a_study_that_could_show_nothing_shows_nothing() -> None:
    """Where nobody notices what is known to be spurious, or nothing was there to compare with."""
    edge = estimate(0.0).interval(0.05)[1]
    blind = noticed(0.3, planted=edge - 1e-6)
    assert blind.verdict is Q
    assert blind.rule.startswith("people do not notice the planted cue either")
    assert noticed(0.3, planted=edge + 1e-6).verdict is P
    for cue, planted in ((None, estimate(0.6)), (estimate(0.4), None), (None, None)):
        found = decide_noticed(cue, planted, 0.1, terms=TERMS)
        assert found.verdict is Q
        assert found.rule.startswith("the study holds no null cue and planted cue")
    nothing = decide_noticed(None, None, None, terms=TERMS)
    assert (nothing.estimate, nothing.interval, nothing.rule) == (None, (-1.0, 1.0), "no threshold given")


def wrong(at_most: float | None, *, bad: int, undecided: int = 0, looked: int = 100, scope: str = "set") -> Any:
    return decide_wrong(bad, undecided, looked, 100 if scope == "set" else 1000, at_most, scope=scope, alpha=0.05)


@pytest.mark.parametrize(
    ("at_most", "undecided", "verdict"),
    [(0.1, 0, P), (0.099, 0, F), (0.15, 5, P), (0.149, 5, Q), (0.1, 5, Q), (0.09, 5, F), (None, 0, Q)],
)
def test_a_whole_set_is_counted_and_the_undecided_speak_for_neither(
    at_most: float | None, undecided: int, verdict: Verdict
) -> None:
    found = wrong(at_most, bad=10, undecided=undecided)
    assert (found.verdict, found.estimate, found.at_alpha) == (verdict, 0.1, False)
    assert found.interval == (0.1, (10 + undecided) / 100)
    assert found.rule == ("no threshold given" if at_most is None else "certain: exact on this set")


@pytest.mark.parametrize(("at_most", "verdict"), [(0.5, P), (0.1, Q), (0.01, F), (None, Q)])
def test_a_sample_of_a_set_leaves_room(at_most: float | None, verdict: Verdict) -> None:
    found = wrong(at_most, bad=6, looked=60)
    assert found.verdict is verdict
    assert found.at_alpha is (at_most is not None)
    low, high = found.interval
    assert 0.06 <= low < 0.1 < high <= 0.46, "six are known to be wrong, and 54 to be right"
    if at_most is not None:
        assert found.rule == "uniform sample of the set, alpha = 0.05 a side"


@pytest.mark.parametrize(("at_most", "verdict"), [(0.5, P), (0.1, Q), (0.01, F), (None, Q)])
def test_a_population_has_exact_bounds(at_most: float | None, verdict: Verdict) -> None:
    found = wrong(at_most, bad=10, undecided=5, scope="population")
    assert found.verdict is verdict
    low, high = clopper_pearson(10, 100, 0.05)[0], clopper_pearson(15, 100, 0.05)[1]
    assert found.interval == pytest.approx((low, high))
    assert found.at_alpha is (at_most is not None)
    assert wrong(high, bad=10, undecided=5, scope="population").verdict is P
    assert wrong(high - 1e-6, bad=10, undecided=5, scope="population").verdict is Q
    assert wrong(low, bad=10, undecided=5, scope="population").verdict is Q
    assert wrong(low - 1e-6, bad=10, undecided=5, scope="population").verdict is F
