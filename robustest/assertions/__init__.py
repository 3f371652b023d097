"""The assertions: each measures, records the result for the reports, and raises unless it passed.

`assertion` makes each from its measurement, with the same arguments. `kinds` lists the kinds of claims, also of packs.
"""

from robustest.assertions.assertion import assertion as assertion
from robustest.assertions.assertion import kinds as kinds
from robustest.claims.confidence import measure_calibrated, measure_ood_rejected, measure_selective_accuracy
from robustest.claims.cues.backdoor_trigger import measure_no_backdoor_trigger
from robustest.claims.cues.failure_direction import MAX_EXCESS, measure_no_failure_direction
from robustest.claims.cues.spurious_feature import measure_no_spurious_feature
from robustest.claims.datasets.accuracy import measure_accuracy, measure_transfer_accuracy, measure_worst_group_accuracy
from robustest.claims.datasets.subpopulation import measure_subpopulation_shift
from robustest.claims.outcomes import measure_consistent_runs, measure_rate, measure_worst_group_rate
from robustest.claims.representations.class_evidence import measure_class_evidence
from robustest.claims.representations.gradient_alignment import measure_gradient_alignment
from robustest.claims.representations.invertible_features import measure_invertible_features
from robustest.claims.representations.sparse_head import measure_sparse_head
from robustest.claims.robustness.certified_accuracy import measure_certified_accuracy
from robustest.claims.robustness.min_perturbation import measure_min_perturbation
from robustest.claims.robustness.robust_accuracy import measure_robust_accuracy
from robustest.claims.robustness.robust_score import measure_robust_score
from robustest.claims.robustness.universal import measure_no_universal_perturbation
from robustest.claims.shifts.corruptions import measure_corruption_robustness
from robustest.claims.shifts.perturbations import measure_stable_under_perturbations
from robustest.claims.shifts.shift_accuracy import measure_consistency, measure_shift_accuracy
from robustest.discovery.triggers import MAX_ANOMALY


@assertion(measure_accuracy)
def assert_accuracy() -> None:
    """Claim that accuracy on unchanged samples, or mean score, is at least `at_least`, or not below a baseline."""


@assertion(measure_robust_accuracy)
def assert_robust_accuracy() -> None:
    """Claim that accuracy under the worst inputs in a threat model is at least `at_least`, or not below a baseline."""


@assertion(measure_certified_accuracy)
def assert_certified_accuracy() -> None:
    """Claim that at least `at_least` of the samples are proven to hold for every input inside a threat model."""


@assertion(measure_robust_score)
def assert_robust_score() -> None:
    """Claim that the mean of the worst scores inside a threat model is at least `at_least`."""


@assertion(measure_min_perturbation)
def assert_min_perturbation() -> None:
    """Claim that at least half of the samples need a perturbation of at least `at_least` to become wrong."""


@assertion(measure_no_universal_perturbation)
def assert_no_universal_perturbation() -> None:
    """Claim that no single perturbation, learned on half of the samples, fools many of the other half."""


@assertion(measure_shift_accuracy)
def assert_shift_accuracy() -> None:
    """Claim that accuracy under a shift is at least `at_least`, falls at most `max_drop`, or not below a baseline."""


@assertion(measure_consistency)
def assert_consistency() -> None:
    """Claim that a shift changes the predicted class of few samples, or of no more than in a baseline."""


@assertion(measure_corruption_robustness)
def assert_corruption_robustness() -> None:
    """Claim that mean accuracy under common corruptions is high, falls little, or that the mCE is low."""


@assertion(measure_stable_under_perturbations)
def assert_stable_under_perturbations() -> None:
    """Claim that predictions rarely change, or change little, from frame to frame of a perturbation."""


@assertion(measure_calibrated)
def assert_calibrated() -> None:
    """Claim that confidence equals accuracy, by Brier score or by calibration error."""


@assertion(measure_selective_accuracy)
def assert_selective_accuracy() -> None:
    """Claim that accuracy is at least `at_least` on the share of samples with the highest confidence."""


@assertion(measure_ood_rejected)
def assert_ood_rejected() -> None:
    """Claim that few samples of other classes are accepted at the confidence that 95 % of the model's classes reach."""


@assertion(measure_transfer_accuracy)
def assert_transfer_accuracy() -> None:
    """Claim that accuracy on a target data set is at least `at_least`, or at most `max_drop` below that on a source."""


@assertion(measure_subpopulation_shift)
def assert_subpopulation_shift() -> None:
    """Claim that accuracy falls by at most `max_drop` from the subclasses of training to others of the same classes."""


@assertion(measure_worst_group_accuracy)
def assert_worst_group_accuracy() -> None:
    """Claim that accuracy is at least `at_least`, or not below a baseline, in every group."""


@assertion(measure_no_spurious_feature)
def assert_no_spurious_feature() -> None:
    """Claim that switching a cue, given or found by a search, changes few predictions and little recall."""


@assertion(measure_no_backdoor_trigger, max_anomaly=MAX_ANOMALY)
def assert_no_backdoor_trigger() -> None:
    """Claim that pasting a small patch reaches no class far more cheaply than the others."""


@assertion(measure_no_failure_direction, max_excess_error=MAX_EXCESS)
def assert_no_failure_direction() -> None:
    """Claim that along no linear direction a class has many more errors than similarity to other classes explains."""


@assertion(measure_sparse_head)
def assert_sparse_head() -> None:
    """Claim that a linear head on a few of the model's own features classifies nearly as well as the model."""


@assertion(measure_gradient_alignment)
def assert_gradient_alignment() -> None:
    """Claim that a model's gradients point along the directions that separate its classes.

    Advisory: without `at_least` or `min_gain` the result is recorded, and nothing is claimed. Alignment is no proof of
    robustness: smoothing gives it too, and it can be trained for.
    """


@assertion(measure_invertible_features)
def assert_invertible_features() -> None:
    """Claim that at least half of the images can be recovered from the model's features.

    Advisory: without `max_image_error` the result is recorded, and nothing is claimed. Compare only models of similar
    architecture: wide layers can be inverted whatever their features mean.
    """


@assertion(measure_class_evidence)
def assert_class_evidence() -> None:
    """Claim that image changes that drive the model to a class are evidence of that class for another model too.

    Advisory: without `min_transfer` the result is recorded, and nothing is claimed. The judge must be of another family
    and trained on other data, or it shares the model's blind spots.
    """


@assertion(measure_rate)
def assert_rate() -> None:
    """Claim that the share of right items, or mean score, is at least `at_least`, or not below a baseline."""


@assertion(measure_worst_group_rate)
def assert_worst_group_rate() -> None:
    """Claim that the rate is at least `at_least` in every group of items."""


@assertion(measure_consistent_runs)
def assert_consistent_runs() -> None:
    """Claim that two runs of one item rarely get different scores."""
