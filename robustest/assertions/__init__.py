"""What a user writes: each assertion measures, records the result for the reports, and raises unless it passed.

Each is made of its measurement by `asserted`, and has its arguments; the claim alone is said here. `kinds` lists the
kinds of all of them, and of packs.
"""

from robustest.assertions.assertion import assertion as assertion
from robustest.assertions.assertion import kinds as kinds
from robustest.claims.confidence import measure_calibrated, measure_ood_rejected, measure_selective_accuracy
from robustest.claims.cues.backdoor_trigger import measure_no_backdoor_trigger
from robustest.claims.cues.failure_direction import MAX_EXCESS, measure_no_failure_direction
from robustest.claims.cues.spurious_feature import measure_no_spurious_feature
from robustest.claims.datasets.accuracy import measure_accuracy, measure_transfer_accuracy, measure_worst_group_accuracy
from robustest.claims.datasets.subpopulation import measure_subpopulation_shift
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
from robustest.claims.training.landscape import measure_smooth_landscape
from robustest.claims.training.nonrobust_reliance import measure_nonrobust_reliance
from robustest.claims.training.robust_generalization import measure_robust_generalization
from robustest.claims.training.synthetic.synthetic_covers import measure_synthetic_covers
from robustest.discovery.triggers import MAX_ANOMALY


@assertion(measure_accuracy)
def assert_accuracy() -> None:
    """Claim that accuracy on samples as they are, or the mean of their scores, is at least `at_least`, or as it was.

    Raises:
        ClaimFailed: fewer are right, or more are lost than chance explains.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@assertion(measure_robust_accuracy)
def assert_robust_accuracy() -> None:
    """Claim that accuracy under the worst inputs inside a threat model is at least `at_least`, or no worse than it was.

    Raises:
        ClaimFailed: the attack brought accuracy below the threshold.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@assertion(measure_certified_accuracy)
def assert_certified_accuracy() -> None:
    """Claim that at least `at_least` of the samples are proven to hold for every input inside a threat model.

    Raises:
        ClaimFailed: more samples are wrong or broken than the threshold allows.
        ClaimInconclusive: neither bounds nor the attack settle it.
    """


@assertion(measure_robust_score)
def assert_robust_score() -> None:
    """Claim that the mean of the worst scores inside a threat model is at least `at_least`.

    Raises:
        ClaimFailed: the attack brought the mean below the threshold.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@assertion(measure_min_perturbation)
def assert_min_perturbation() -> None:
    """Claim that half of the samples or more need a perturbation of at least `at_least` to become wrong.

    Raises:
        ClaimFailed: smaller perturbations were found.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@assertion(measure_no_universal_perturbation)
def assert_no_universal_perturbation() -> None:
    """Claim that no one perturbation, learned on half of the samples, fools many of the other half.

    Raises:
        ClaimFailed: a perturbation fools more.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@assertion(measure_shift_accuracy)
def assert_shift_accuracy() -> None:
    """Claim that accuracy under a shift is at least `at_least`, falls by `max_drop` at most, or is as it was.

    Raises:
        ClaimFailed: the claim does not hold.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@assertion(measure_consistency)
def assert_consistency() -> None:
    """Claim that a shift changes the predicted class of few samples, or of no more than it did.

    Raises:
        ClaimFailed: it changes more.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@assertion(measure_corruption_robustness)
def assert_corruption_robustness() -> None:
    """Claim that mean accuracy under common corruptions is high, falls little, or that the mCE is low.

    Raises:
        ClaimFailed: the claim does not hold.
        ClaimInconclusive: the samples do not settle it.
    """


@assertion(measure_stable_under_perturbations)
def assert_stable_under_perturbations() -> None:
    """Claim that predictions change seldom, or little, from frame to frame of a perturbation.

    Raises:
        ClaimFailed: they change more.
        ClaimInconclusive: a population claim that these sequences do not settle.
    """


@assertion(measure_calibrated)
def assert_calibrated() -> None:
    """Claim that a model is right as often as its confidence says, by Brier score or by calibration error.

    Raises:
        ClaimFailed: the score is worse.
        ClaimInconclusive: the samples do not settle it.
    """


@assertion(measure_selective_accuracy)
def assert_selective_accuracy() -> None:
    """Claim that accuracy is at least `at_least` on the share of samples that a model is surest of.

    Raises:
        ClaimFailed: it is lower.
        ClaimInconclusive: a population claim that these samples do not settle, or samples that tie at the edge.
    """


@assertion(measure_ood_rejected)
def assert_ood_rejected() -> None:
    """Claim that few samples of none of a model's classes pass for its own where 95 % of its own do.

    Raises:
        ClaimFailed: more pass.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@assertion(measure_transfer_accuracy)
def assert_transfer_accuracy() -> None:
    """Claim that accuracy on a target data set is at least `at_least`, or at most `max_drop` below that on a source.

    Raises:
        ClaimFailed: the claim does not hold.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@assertion(measure_subpopulation_shift)
def assert_subpopulation_shift() -> None:
    """Claim that accuracy falls by at most `max_drop` from the subclasses trained on to others of the same classes.

    Raises:
        ClaimFailed: it falls by more.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@assertion(measure_worst_group_accuracy)
def assert_worst_group_accuracy() -> None:
    """Claim that accuracy is at least `at_least`, or as it was, in every group, however small.

    Raises:
        ClaimFailed: a group's accuracy is lower, or was higher.
        ClaimInconclusive: a population claim that these samples do not settle, or a group that lost samples and is too
            small to tell that from chance.
    """


@assertion(measure_no_spurious_feature)
def assert_no_spurious_feature() -> None:
    """Claim that switching a cue, any of several, or any that a search finds, moves few predictions and little recall.

    Raises:
        ClaimFailed: the cue moves more than claimed.
        ClaimInconclusive: a population claim that these samples do not settle; a null cue that moves predictions;
            a control that does not fail, or in which the search does not find what was planted.
    """


@assertion(measure_no_backdoor_trigger, max_anomaly=MAX_ANOMALY)
def assert_no_backdoor_trigger() -> None:
    """Claim that no class can be reached far more cheaply than the others by pasting a small patch.

    Raises:
        ClaimFailed: a patch, far smaller than other classes need, sends most unseen samples to its class.
        ClaimInconclusive: a class is suspected, but its patch does not work on unseen samples.
    """


@assertion(measure_no_failure_direction, max_excess_error=MAX_EXCESS)
def assert_no_failure_direction() -> None:
    """Claim that along no linear direction a class has many more errors than the looks of its samples foresee.

    Raises:
        ClaimFailed: along one there are more, and more than chance has.
        ClaimInconclusive: a class has errors, but too few of them, or of hits, to be judged; or chance may be why.
    """


@assertion(measure_sparse_head)
def assert_sparse_head() -> None:
    """Claim that a linear head on a few of the model's own features classifies nearly as well as the model.

    Raises:
        ClaimFailed: a class needs more features, or more accuracy is lost.
        ClaimInconclusive: the samples do not settle it, or heads cannot be fitted well to so few.
    """


@assertion(measure_gradient_alignment)
def assert_gradient_alignment() -> None:
    """Claim that a model's gradients point along what separates its classes.

    Advisory: without `at_least` or `min_gain` the result is recorded, and nothing is claimed. Alignment is no proof of
    robustness: smoothing gives it too, and it can be trained for.

    Raises:
        ClaimFailed: they point elsewhere.
        ClaimInconclusive: a claim that these samples do not settle.
    """


@assertion(measure_invertible_features)
def assert_invertible_features() -> None:
    """Claim that half of the images or more can be recovered from the model's features.

    Advisory: without `max_image_error` the result is recorded, and nothing is claimed. Compare models of like
    architecture alone: wide layers can be inverted whatever their features mean.

    Raises:
        ClaimFailed: other images have the same features.
        ClaimInconclusive: a claim that these samples do not settle, or inversions that did not succeed.
    """


@assertion(measure_class_evidence)
def assert_class_evidence() -> None:
    """Claim that what drives the model to a class is evidence of that class for another model as well.

    Advisory: without `min_transfer` the result is recorded, and nothing is claimed. The judge must be of another family
    and trained on other data, or it shares the model's blind spots.

    Raises:
        ClaimFailed: the judge sees it too seldom.
        ClaimInconclusive: a claim that these samples do not settle, too few samples driven, or a judge at chance.
    """


@assertion(measure_smooth_landscape)
def assert_smooth_landscape() -> None:
    """Claim that a net's loss ranges less along its training than a reference's, on relative steps.

    Advisory: without `max_ratio` the result is recorded, and nothing is claimed. A smooth landscape is no proof that a
    net trains faster, or better: a net that learns nothing has one.

    Raises:
        ClaimFailed: it ranges more.
        ClaimInconclusive: a few runs do not settle it, or one of the nets has not learned.
    """


@assertion(measure_synthetic_covers)
def assert_synthetic_covers() -> None:
    """Claim that a synthetic set stands in for real data: what is learned from it, its labels, and that it copies none.

    Raises:
        ClaimFailed: one part does not hold.
        ClaimInconclusive: the samples do not settle a part, or nothing can be learned from the real ones either.
    """


@assertion(measure_robust_generalization)
def assert_robust_generalization() -> None:
    """Claim that robust accuracy on test samples is at most `max_gap` less than on the samples that were trained on.

    Raises:
        ClaimFailed: more is lost.
        ClaimInconclusive: seeds and samples do not settle it, or the training reaches less than `min_train_accuracy`.
    """


@assertion(measure_nonrobust_reliance)
def assert_nonrobust_reliance() -> None:
    """Claim that at most `max_transfer` of test samples are recognised from features that a threat moves alone.

    Raises:
        ClaimFailed: more are: the model's classes can be learned from features that nobody sees.
        ClaimInconclusive: seeds and samples do not settle it, few samples could be moved, or a control does not behave.
    """
