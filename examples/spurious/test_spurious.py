"""A story in three tests: a claim finds what a net relies on, a repair cures it, the claim stays to guard the cure."""

from pathlib import Path

from robustest import Verdict, assert_no_spurious_feature
from robustest.measure import measure_no_spurious_feature, measure_shift_accuracy

from .model import LIMITS, SCANNER, TARGET


def accuracy(model, data):
    return measure_shift_accuracy(model, data, lambda x: x, exact=True).estimate


def test_1_the_claim_finds_the_fault(robust, faulty_model, robust_data, same_scanners):
    """Accuracy shows nothing; switching the pixel does. A claim in its place would fail: see failing/."""
    assert accuracy(faulty_model, same_scanners) > 0.92
    result = measure_no_spurious_feature(faulty_model, robust_data, SCANNER, exact=True, **LIMITS)
    assert result.verdict is Verdict.FAILED
    assert result.details["most_drawn_class"] == TARGET
    for example in result.counterexamples:  # digits that the pixel turned into a three: without, with, difference
        assert example.predicted == TARGET != example.label
        assert Path(example.image).is_file()


def test_2_a_repair_cures_it(faulty_model, repair, robust_data):
    """The very net, trained on with the pixel switched by a coin; the net that was given is as it was."""
    assert accuracy(repair.model, robust_data) > accuracy(faulty_model, robust_data)
    cured = measure_no_spurious_feature(repair.model, robust_data, SCANNER, exact=True, **LIMITS)
    still = measure_no_spurious_feature(faulty_model, robust_data, SCANNER, exact=True, **LIMITS)
    assert cured.details["flip_rate"] < still.details["flip_rate"] / 2


def test_3_the_claim_guards_the_cure(robust_model, robust_data):
    """The one that stays in the suite: whoever trains the net anew will hear of the pixel."""
    assert_no_spurious_feature(robust_model, robust_data, SCANNER, **LIMITS)
