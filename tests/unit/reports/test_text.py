"""Results in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustest import Cost, Counterexample, Result, Verdict
from robustest.claims.cues.interventions import NO_SPURIOUS_FEATURE
from robustest.claims.robustness.robust_accuracy import ROBUST_ACCURACY
from robustest.claims.shifts.shift_accuracy import SHIFT_ACCURACY
from robustest.reports.html.figures import scale_of
from robustest.reports.text import failure_text, measured
from robustest.results import Limit
from robustest.words import interval_in_words


def described(told: Result) -> Result:
    """A result as its kind describes it when it is measured."""
    kinds = {kind.name: kind for kind in (ROBUST_ACCURACY, SHIFT_ACCURACY, NO_SPURIOUS_FEATURE)}
    return kinds[told.subject.kind].describe(told)


def result(**changes: Any) -> Result:
    values: dict[str, Any] = {
        "kind": "robust_accuracy",
        "statement": "robust accuracy under Linf(eps=8/255), pgd",
        "verdict": Verdict.FAILED,
        "rule": "certain: exact on this set",
        "quantity": "accuracy",
        "estimate": 0.3125,
        "interval": (0.25, 0.375),
        "threshold": 0.4,
        "comparison": ">=",
        "n": 512,
        "n_total": 512,
        "outcomes": (True,) * 512,
        "cost": Cost(),
        "seed": 7,
        "setting": "Linf(eps=8/255)",
        "method": "pgd",
        "details": {"clean_accuracy": 0.875},
    }
    return described(Result.of(**{**values, **changes}))


def test_a_measured_value_has_its_interval_and_number_of_samples() -> None:
    assert measured(result()) == "accuracy 0.312 [0.250, 0.375], required >= 0.40; n=512"
    assert measured(result(n=100)) == "accuracy 0.312 [0.250, 0.375], required >= 0.40; n=100 of 512"


def test_an_early_verdict_shows_an_interval_and_never_a_number_alone() -> None:
    early = result(estimate=None, n=212, rule="alpha = 0.01 after 201 of 512", details={"clean_accuracy": None})
    assert measured(early) == "accuracy in [0.250, 0.375], required >= 0.40; n=212 of 512"
    text = failure_text(early, replay="")
    assert "  measured  accuracy in [0.250, 0.375], required >= 0.40; n=212 of 512" in text.splitlines()
    assert "  verdict   failed (alpha = 0.01 after 201 of 512)" in text.splitlines()
    assert "clean" not in text
    assert "None" not in text


def test_what_a_search_found_bounds_a_value_on_one_side() -> None:
    left = {"details": {"left_interval": [0.25, 0.375]}, "bounds": "above", "quantity": "robust accuracy"}
    whole = result(**left, interval=(0.0, 0.375))
    required = "required >= 0.40"
    assert measured(whole) == (
        f"robust accuracy 0.312 [0.250, 0.375] after attack (true value at most 0.375), {required}; n=512"
    )
    early = result(**left, interval=(0.0, 0.3701), estimate=None, n=212)
    line = f"robust accuracy in [0.250, 0.371] after attack (true value at most 0.371), {required}; n=212 of 512"
    assert measured(early) == line
    assert f"  measured  {line}" in failure_text(early, replay="").splitlines()
    rate = result(bounds="below", quantity="fooling rate", interval=(0.25, 1.0))
    assert measured(rate) == f"fooling rate 0.312 after attack (true value at least 0.250), {required}; n=512"
    assert measured(rate.but(estimate=None, n=9)) == (
        f"fooling rate in [0.250, 1.000] after attack (true value at least 0.250), {required}; n=9 of 512"
    )
    odd = result(bounds="below", quantity="anomaly", estimate=1.5, interval=(1.5, 1.5))
    assert measured(odd) == f"anomaly 1.500 after attack (true value at least 1.500), {required}; n=512"


@given(st.floats(0, 1e300), st.sampled_from(["above", "below"]))
def test_a_bound_is_rounded_outwards(value: float, bounds: str) -> None:
    shown = float(measured(result(interval=(value, value), bounds=bounds)).split("(true value at ")[1].split()[1][:-2])
    assert shown >= value if bounds == "above" else shown <= value
    assert abs(shown - value) <= 0.001 or value > 1e9


@given(low=st.floats(0, 1), size=st.floats(0, 1), threshold=st.floats(0, 1))
def test_an_interval_is_rounded_outwards_and_keeps_its_side_of_the_threshold(
    low: float, size: float, threshold: float
) -> None:
    high = low + size
    first, last = (float(end) for end in interval_in_words(low, high, threshold)[1:-1].split(", "))
    assert low - 0.001 <= first <= low
    assert high <= last <= high + 0.001
    if min(abs(low - threshold), abs(high - threshold)) > 1e-9:
        assert (first < threshold < last) == (low < threshold < high)


def test_no_two_reports_show_different_ends() -> None:
    """The scale's description for screen readers has the numbers of the sentence."""
    one = result(estimate=0.91, interval=(0.8494, 0.9706))
    assert "[0.849, 0.971]" in measured(one)
    assert "between 0.849 and 0.971" in scale_of(one).words


def test_caveats_are_on_the_line() -> None:
    few = result(n=5, n_total=5, caveats=("5 samples alone", "Linf(eps=0) allows no change"))
    assert measured(few) == (
        "accuracy 0.312 [0.250, 0.375], required >= 0.40; n=5; 5 samples alone; Linf(eps=0) allows no change"
    )


def test_what_was_remembered_and_replayed_is_said() -> None:
    lines = failure_text(result(cached="2026-11-25, commit 1a2b3c4", replayed=17), replay="").splitlines()
    assert "  cached    2026-11-25, commit 1a2b3c4" in lines
    assert "  replayed  17 samples broken by counterexamples of earlier runs" in lines
    text = failure_text(result(), replay="")
    assert "cached" not in text
    assert "replayed" not in text


def test_a_counterexample_that_was_made_smaller_says_how_many_pixels_it_takes() -> None:
    worst = Counterexample(index=445, label=3, clean=3, predicted=5, size=0.0123, pixels=4, image="pictures/a.png")
    (line,) = (
        row for row in failure_text(result(counterexamples=(worst,)), replay="").splitlines() if "  worst " in row
    )
    assert line == ("  worst 1   sample 445: label 3, predicted 3 -> 5, size 0.0123, 4 pixels, pictures/a.png")


def test_a_size_has_its_unit() -> None:
    worst = Counterexample(index=4, label=1, clean=1, predicted=0, size=24.318, unit="dB")
    assert "  worst 1   sample 4: label 1, predicted 1 -> 0, size 24.32 dB" in failure_text(
        result(counterexamples=(worst,)), replay=""
    )


def test_a_baseline_shows_what_was_lost_and_gained() -> None:
    baseline = {
        "file": "robust-baseline.json",
        "key": "t.py::t: s",
        "tolerance": 0.01,
        "lost": 30,
        "gained": 10,
        "drop": 20 / 512,
        "drop_interval": [0.01, 0.07],
        "accuracy": 0.35,
        "date": "2026-11-25",
        "commit": "1a2b3c4",
    }
    text = failure_text(result(details={"baseline": baseline}), replay="")
    assert (
        "  baseline  accuracy 0.350; 30 lost, 10 gained: drop 0.0391 [0.0100, 0.0700], "
        "tolerance 0.01 (2026-11-25, commit 1a2b3c4)"
    ) in text.splitlines()
    assert "lost" not in failure_text(result(details={"baseline": {"update": True}}), replay="")


def test_what_is_required_has_every_limit() -> None:
    assert result().requirement == ">= 0.40"
    assert result(comparison="<=", threshold=0.05).requirement == "<= 0.05"
    assert result(threshold=0.0125).requirement == ">= 0.0125"
    assert result(threshold=None).requirement == ""
    assert measured(result(threshold=None)) == "accuracy 0.312 [0.250, 0.375], nothing required; n=512"
    limits = (Limit("at_least", ">=", 0.4), Limit("max_recall_drop", "<=", 0.1))
    several = result(threshold_name="at_least", limits=limits)
    assert several.requirement == ">= 0.40 and max_recall_drop <= 0.10"
    assert several.but(threshold=None).requirement == "", "limits alone claim nothing"


def test_what_is_required_has_the_baseline() -> None:
    about = {"file": "b.json", "key": "k", "tolerance": 0.01}
    compared = {**about, "accuracy": 0.35, "drop": 20 / 512, "drop_interval": [0.005, 0.0712], "scope": "set"}
    of = {"details": {"baseline": compared}}
    told = "no worse than the baseline's 0.350 (fell by 0.0391 on this set, tolerance 0.01)"
    assert result(**of).requirement == f">= 0.40 and {told}"
    assert result(**of, threshold=None).requirement == told
    of_all = result(details={"baseline": {**compared, "scope": "population"}}, threshold=None)
    told = "no worse than the baseline's 0.350 (fell by 0.0391 [0.0050, 0.0712] of the population, tolerance 0.01)"
    assert of_all.requirement == told
    early = result(details={"baseline": about}, threshold=None)
    assert early.requirement == "no worse than the baseline", "it was settled before all samples were seen"
    making = result(details={"baseline": {**about, "update": True}}, threshold=None)
    assert making.requirement == "", "there is nothing to compare with yet"


@given(st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_a_value_never_looks_like_a_threshold_that_it_is_not(value: float, threshold: float, at_least: bool) -> None:
    ends = {"interval": (value, value), "comparison": ">=" if at_least else "<="}
    for estimate in (value, None):
        words = measured(result(estimate=estimate, threshold=threshold, **ends))
        shown = float(words.split(" [" if estimate is None else " ")[1].strip("[").split(",")[0].split()[0])
        assert (shown == threshold) <= (value == threshold)


def test_a_value_that_rounds_to_its_threshold_has_more_decimals() -> None:
    near = result(estimate=0.39996, interval=(0.39996, 0.41))
    assert measured(near) == "accuracy 0.39996 [0.399, 0.410], required >= 0.40; n=512"


def test_a_failure_tells_the_whole_story_in_order() -> None:
    worst = Counterexample(index=445, label=3, clean=3, predicted=5, size=0.03137, image="pictures/a.png")
    bare = Counterexample(index=7, label=1, clean=1, predicted=0)
    text = failure_text(result(counterexamples=(worst, bare), notes=("a note",)), replay="pytest --robust t.py::t")
    assert text.splitlines() == [
        "accuracy 0.312 < 0.40: robust accuracy under Linf(eps=8/255), pgd",
        "  cause     the value misses the threshold by 0.0875, and no check, class or group explains it",
        "  next      look at the worst samples; robustest suggest prints the threshold that the model holds "
        "(docs/cli.md#suggest)",
        "  claim     robust accuracy under Linf(eps=8/255), pgd",
        "  measured  accuracy 0.312 [0.250, 0.375], required >= 0.40; n=512",
        "  threat    Linf(eps=8/255)",
        "  method    pgd; seed 7",
        "  verdict   failed (certain: exact on this set)",
        "  clean accuracy 0.875",
        "  worst 1   sample 445: label 3, predicted 3 -> 5, size 0.03137, pictures/a.png",
        "  worst 2   sample 7: label 1, predicted 1 -> 0",
        "  note      a note",
        "  replay    pytest --robust t.py::t",
    ]


def test_what_there_is_not_leaves_no_line() -> None:
    text = failure_text(result(details={}), replay="")
    for word in ("worst", "note", "replay", "clean"):
        assert word not in text


def test_only_attacks_have_a_threat() -> None:
    text = failure_text(result(kind="shift_accuracy", setting="rotation, severity 3"), replay="")
    assert "  setting   rotation, severity 3" in text
    assert "threat" not in text


SIZE = {"size_l2": 2.0, "size_linf": 1.0}
NULL: dict[str, Any] = {"null_flips": 0, "null_samples": 64, "controls": []}


def test_a_cue_has_its_own_numbers() -> None:
    details = {
        "flips": 128,
        "of": 512,
        "flip_rate": 0.25,
        "recall_drop": 0.5,
        "recall_drop_class": 2,
        "most_drawn_class": 1,
        "drawn": 30,
        "driven_away": 4,
        "mcnemar_p": 1.5e-6,
        "accuracy_on": 0.75,
        "accuracy_off": 0.5,
        **SIZE,
        "cues": [],
        "sensitivity": NULL,
    }
    text = failure_text(result(kind="no_spurious_feature", details=details), replay="")
    for line in (
        "  flips     128 of 512; most drawn to class 1: 30 in, 4 out, McNemar p = 1.5e-06",
        "  recall    falls by 0.500 in class 2 with the cue off",
        "  accuracy  0.750 with the cue on, 0.500 off",
    ):
        assert line in text.splitlines()


def test_several_cues_and_their_controls_are_told() -> None:
    one = {"flips": 3, "of": 90, "most_drawn_class": 1, "drawn": 3, "driven_away": 0, "mcnemar_p": 0.75}
    two = {**one, "flips": 60, "drawn": 60, "mcnemar_p": 1e-9}
    details = {
        **two,
        "lead": "a border",
        "size_l2": 2.0,
        "size_linf": 1.0,
        "cues": [{"name": "a patch", **one}, {"name": "a border", **two}],
        "sensitivity": {
            "null_flips": 0,
            "null_samples": 64,
            "controls": [{"cue": "a patch", "verdict": "failed", "measured": None, "n": 64}],
        },
    }
    text = failure_text(result(kind="no_spurious_feature", details=details), replay="")
    for line in (
        "  cue       a border",
        "  flips     60 of 90; most drawn to class 1: 60 in, 0 out, McNemar p = 1e-09",
        "  also      a patch: 3 of 90; most drawn to class 1: 3 in, 0 out, McNemar p = 0.75",
        "  size      L2 2, Linf 1 (medians of on - off)",
        "  proof     null cue moved 0 of 64, control failed (a patch)",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize("proposals", [0, 2])
def test_what_a_search_for_cues_found_is_told(proposals: int) -> None:
    one = {"flips": 3, "of": 90, "most_drawn_class": 1, "drawn": 3, "driven_away": 0, "mcnemar_p": 0.75}
    patch = {"class": 3, "cue": "a patch", "found_by": "a look", "score": 0.851, "region": [0, 0, 1, 1], "value": [1.0]}
    cast = {**patch, "cue": "a cast", "region": None, "value": [0.25, 0.5], "p": 0.5, "confirmed": False}
    details = {
        **one,
        **SIZE,
        "cues": [],
        "lead": "a patch",
        "discovery": {
            "proposed": [{**patch, "p": 1e-9, "confirmed": True}, cast][:proposals],
            "left_out": ["cheapest patches: no gradients"],
        },
        "sensitivity": {
            "null_flips": 0,
            "null_samples": 64,
            "controls": [{"cue": "a pattern", "verdict": "failed", "measured": 1.0, "n": 64, "model": "simulated"}],
        },
    }
    lines = failure_text(result(kind="no_spurious_feature", details=details), replay="").splitlines()
    found = [
        "  found     class 3, a patch, value 1: a look, score 0.85; confirmed, p = 1e-09",
        "  proposed  class 3, a cast, value 0.25, 0.5: a look, score 0.85; not confirmed, p = 0.5",
    ][:proposals] or ["  proposed  no cue"]
    assert [line for line in lines if line.startswith(("  found ", "  proposed "))] == found
    assert "  left out  cheapest patches: no gradients" in lines
    assert "  proof     null cue moved 0 of 64, simulated control failed (a pattern)" in lines


@pytest.mark.parametrize("options", [{"exact": True}, {"exact": False}, {"max_samples": 10}], ids=str)
def test_every_measurement_can_be_put_in_words(options: dict[str, Any], toys: Any) -> None:
    from robustest import Linf
    from robustest.cues import PixelPatch
    from robustest.measure import measure_no_spurious_feature, measure_robust_accuracy, measure_shift_accuracy

    toy = toys(200)
    data = (toy.x, toy.y)
    for found in (
        measure_robust_accuracy(toy.model, data, Linf(0.3), attack="fgsm", at_least=1.0, **options),
        measure_shift_accuracy(toy.model, data, "rotation", max_drop=0.0, **options),
        measure_no_spurious_feature(toy.model, data, PixelPatch(top=0, left=0), max_flip_rate=0.5, **options),
        measure_no_spurious_feature(
            toy.model, data, PixelPatch(top=0, left=0), max_flip_rate=0.0, max_recall_drop=0.0, **options
        ),
    ):
        text = failure_text(found, replay="")
        assert found.subject.statement in text
        assert "None" not in text
        early = found.numbers.n < found.numbers.n_total
        if found.numbers.bounds:
            assert " after attack (true value at most " in measured(found)
            assert found.interval[0] == 0
            assert found.details["left_interval"][0] <= found.numbers.value
        assert (" in [" in measured(found)) == early
