"""What a user writes: each assertion measures, records the result for the reports, and raises unless it passed.

Each is made of its measurement by `asserted`, and has its arguments; the claim alone is said here. `kinds` lists the
kinds of all of them, and of packs.
"""

from robustest.assertions.asserted import asserted as asserted
from robustest.assertions.asserted import kinds as kinds
from robustest.claims.confidence.calibrated import measure_calibrated
from robustest.claims.confidence.out_of_distribution import measure_ood_rejected
from robustest.claims.confidence.selective import measure_selective_accuracy
from robustest.claims.cues.backdoor_trigger import measure_no_backdoor_trigger
from robustest.claims.cues.failure_direction import MAX_EXCESS, measure_no_failure_direction
from robustest.claims.cues.spurious_feature import measure_no_spurious_feature
from robustest.claims.datasets.accuracy import measure_accuracy
from robustest.claims.datasets.data_sets import measure_transfer_accuracy
from robustest.claims.datasets.replication import measure_replication_gap
from robustest.claims.datasets.subpopulation import measure_subpopulation_shift
from robustest.claims.datasets.worst_group import measure_worst_group_accuracy
from robustest.claims.labels.cue_noticed import measure_cue_noticed
from robustest.claims.labels.label_agreement import measure_label_agreement
from robustest.claims.labels.label_quality import measure_label_quality
from robustest.claims.labels.multilabel_accuracy import measure_multilabel_accuracy
from robustest.claims.labels.selection_gap import measure_selection_gap
from robustest.claims.labels.simulatable import measure_simulatable
from robustest.claims.representations.class_evidence import measure_class_evidence
from robustest.claims.representations.gradient_alignment import measure_gradient_alignment
from robustest.claims.representations.invertible_features import measure_invertible_features
from robustest.claims.representations.sparse_head import measure_sparse_head
from robustest.claims.robustness.certified_accuracy import measure_certified_accuracy
from robustest.claims.robustness.min_perturbation import measure_min_perturbation
from robustest.claims.robustness.robust_accuracy import measure_robust_accuracy
from robustest.claims.robustness.robust_score import measure_robust_score
from robustest.claims.robustness.universal import measure_no_universal_perturbation
from robustest.claims.shifts.consistency import measure_consistency
from robustest.claims.shifts.corruptions import measure_corruption_robustness
from robustest.claims.shifts.perturbations import measure_stable_under_perturbations
from robustest.claims.shifts.shift_accuracy import measure_shift_accuracy
from robustest.claims.training.landscape import measure_smooth_landscape
from robustest.claims.training.nonrobust_reliance import measure_nonrobust_reliance
from robustest.claims.training.robust_generalization import measure_robust_generalization
from robustest.claims.training.synthetic.synthetic_covers import measure_synthetic_covers
from robustest.discovery.triggers import MAX_ANOMALY


@asserted(measure_accuracy)
def assert_accuracy() -> None:
    """Claim that accuracy on samples as they are, or the mean of their scores, is at least `at_least`, or as it was.

    Raises:
        ClaimFailed: fewer are right, or more are lost than chance explains.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@asserted(measure_robust_accuracy)
def assert_robust_accuracy() -> None:
    """Claim that accuracy under the worst inputs inside a threat model is at least `at_least`, or no worse than it was.

    Raises:
        ClaimFailed: the attack brought accuracy below the threshold.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@asserted(measure_certified_accuracy)
def assert_certified_accuracy() -> None:
    """Claim that at least `at_least` of the samples are proven to hold for every input inside a threat model.

    Raises:
        ClaimFailed: more samples are wrong or broken than the threshold allows.
        ClaimInconclusive: neither bounds nor the attack settle it.
    """


@asserted(measure_robust_score)
def assert_robust_score() -> None:
    """Claim that the mean of the worst scores inside a threat model is at least `at_least`.

    Raises:
        ClaimFailed: the attack brought the mean below the threshold.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@asserted(measure_min_perturbation)
def assert_min_perturbation() -> None:
    """Claim that half of the samples or more need a perturbation of at least `at_least` to become wrong.

    Raises:
        ClaimFailed: smaller perturbations were found.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@asserted(measure_no_universal_perturbation)
def assert_no_universal_perturbation() -> None:
    """Claim that no one perturbation, learned on half of the samples, fools many of the other half.

    Raises:
        ClaimFailed: a perturbation fools more.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@asserted(measure_shift_accuracy)
def assert_shift_accuracy() -> None:
    """Claim that accuracy under a shift is at least `at_least`, falls by `max_drop` at most, or is as it was.

    Raises:
        ClaimFailed: the claim does not hold.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@asserted(measure_consistency)
def assert_consistency() -> None:
    """Claim that a shift changes the predicted class of few samples, or of no more than it did.

    Raises:
        ClaimFailed: it changes more.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@asserted(measure_corruption_robustness)
def assert_corruption_robustness() -> None:
    """Claim that mean accuracy under common corruptions is high, falls little, or that the mCE is low.

    Raises:
        ClaimFailed: the claim does not hold.
        ClaimInconclusive: the samples do not settle it.
    """


@asserted(measure_stable_under_perturbations)
def assert_stable_under_perturbations() -> None:
    """Claim that predictions change seldom, or little, from frame to frame of a perturbation.

    Raises:
        ClaimFailed: they change more.
        ClaimInconclusive: a population claim that these sequences do not settle.
    """


@asserted(measure_calibrated)
def assert_calibrated() -> None:
    """Claim that a model is right as often as its confidence says, by Brier score or by calibration error.

    Raises:
        ClaimFailed: the score is worse.
        ClaimInconclusive: the samples do not settle it.
    """


@asserted(measure_selective_accuracy)
def assert_selective_accuracy() -> None:
    """Claim that accuracy is at least `at_least` on the share of samples that a model is surest of.

    Raises:
        ClaimFailed: it is lower.
        ClaimInconclusive: a population claim that these samples do not settle, or samples that tie at the edge.
    """


@asserted(measure_ood_rejected)
def assert_ood_rejected() -> None:
    """Claim that few samples of none of a model's classes pass for its own where 95 % of its own do.

    Raises:
        ClaimFailed: more pass.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@asserted(measure_transfer_accuracy)
def assert_transfer_accuracy() -> None:
    """Claim that accuracy on a target data set is at least `at_least`, or at most `max_drop` below that on a source.

    Raises:
        ClaimFailed: the claim does not hold.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@asserted(measure_replication_gap)
def assert_replication_gap() -> None:
    """Claim that accuracy on a replicated data set is at most `max_gap` lower once both are equally hard.

    Raises:
        ClaimFailed: the gap is larger.
        ClaimInconclusive: items and annotations do not settle it.
    """


@asserted(measure_subpopulation_shift)
def assert_subpopulation_shift() -> None:
    """Claim that accuracy falls by at most `max_drop` from the subclasses trained on to others of the same classes.

    Raises:
        ClaimFailed: it falls by more.
        ClaimInconclusive: a population claim that these samples do not settle.
    """


@asserted(measure_worst_group_accuracy)
def assert_worst_group_accuracy() -> None:
    """Claim that accuracy is at least `at_least`, or as it was, in every group, however small.

    Raises:
        ClaimFailed: a group's accuracy is lower, or was higher.
        ClaimInconclusive: a population claim that these samples do not settle, or a group that lost samples and is too
            small to tell that from chance.
    """


@asserted(measure_no_spurious_feature)
def assert_no_spurious_feature() -> None:
    """Claim that switching a cue, any of several, or any that a search finds, moves few predictions and little recall.

    Raises:
        ClaimFailed: the cue moves more than claimed.
        ClaimInconclusive: a population claim that these samples do not settle; a null cue that moves predictions;
            a control that does not fail, or in which the search does not find what was planted.
    """


@asserted(measure_no_backdoor_trigger, max_anomaly=MAX_ANOMALY)
def assert_no_backdoor_trigger() -> None:
    """Claim that no class can be reached far more cheaply than the others by pasting a small patch.

    Raises:
        ClaimFailed: a patch, far smaller than other classes need, sends most unseen samples to its class.
        ClaimInconclusive: a class is suspected, but its patch does not work on unseen samples.
    """


@asserted(measure_no_failure_direction, max_excess_error=MAX_EXCESS)
def assert_no_failure_direction() -> None:
    """Claim that along no linear direction a class has many more errors than the looks of its samples foresee.

    Raises:
        ClaimFailed: along one there are more, and more than chance has.
        ClaimInconclusive: a class has errors, but too few of them, or of hits, to be judged; or chance may be why.
    """


@asserted(measure_sparse_head)
def assert_sparse_head() -> None:
    """Claim that a linear head on a few of the model's own features classifies nearly as well as the model.

    Raises:
        ClaimFailed: a class needs more features, or more accuracy is lost.
        ClaimInconclusive: the samples do not settle it, or heads cannot be fitted well to so few.
    """


@asserted(measure_gradient_alignment)
def assert_gradient_alignment() -> None:
    """Claim that a model's gradients point along what separates its classes.

    Advisory: without `at_least` or `min_gain` the result is recorded, and nothing is claimed. Alignment is no proof of
    robustness: smoothing gives it too, and it can be trained for.

    Raises:
        ClaimFailed: they point elsewhere.
        ClaimInconclusive: a claim that these samples do not settle.
    """


@asserted(measure_invertible_features)
def assert_invertible_features() -> None:
    """Claim that half of the images or more can be recovered from the model's features.

    Advisory: without `max_image_error` the result is recorded, and nothing is claimed. Compare models of like
    architecture alone: wide layers can be inverted whatever their features mean.

    Raises:
        ClaimFailed: other images have the same features.
        ClaimInconclusive: a claim that these samples do not settle, or inversions that did not succeed.
    """


@asserted(measure_class_evidence)
def assert_class_evidence() -> None:
    """Claim that what drives the model to a class is evidence of that class for another model as well.

    Advisory: without `min_transfer` the result is recorded, and nothing is claimed. The judge must be of another family
    and trained on other data, or it shares the model's blind spots.

    Raises:
        ClaimFailed: the judge sees it too seldom.
        ClaimInconclusive: a claim that these samples do not settle, too few samples driven, or a judge at chance.
    """


@asserted(measure_label_agreement)
def assert_label_agreement() -> None:
    """Claim that the model says what those who looked at the samples select for them.

    Raises:
        ClaimFailed: it says it too seldom, or makes too many errors that nobody supports.
        ClaimInconclusive: samples and answers do not settle it.
    """


@asserted(measure_selection_gap, at_most=0.05)
def assert_selection_gap() -> None:
    """Claim that annotators select prediction and label equally often, to within a margin, where the two differ.

    Raises:
        ClaimFailed: they prefer one of them by more.
        ClaimInconclusive: images and annotators do not settle it.
    """


@asserted(measure_label_quality, max_error_rate=0.02)
def assert_label_quality() -> None:
    """Claim that at most so many labels of a data set are wrong, by a uniform sample that people looked at.

    Raises:
        ClaimFailed: more are wrong.
        ClaimInconclusive: too few were looked at to settle it.
    """


@asserted(measure_simulatable, at_least=0.5)
def assert_simulatable() -> None:
    """Claim that people foresee what the model says.

    Raises:
        ClaimFailed: they foresee less.
        ClaimInconclusive: the answers do not settle it, or nothing need be foreseen to give them.
    """


@asserted(measure_cue_noticed, at_least=0.0)
def assert_cue_noticed() -> None:
    """Claim that people call a cue spurious more often than a cue that is none.

    Raises:
        ClaimFailed: they do not, by as much.
        ClaimInconclusive: the answers do not settle it, or people do not notice a planted cue either.
    """


@asserted(measure_multilabel_accuracy)
def assert_multilabel_accuracy() -> None:
    """Claim that the model says what samples show, of samples that may show several objects.

    Raises:
        ClaimFailed: it says it too seldom.
        ClaimInconclusive: a population claim that these samples do not settle, or samples of which any answer is right.
    """


@asserted(measure_smooth_landscape)
def assert_smooth_landscape() -> None:
    """Claim that a net's loss ranges less along its training than a reference's, on relative steps.

    Advisory: without `max_ratio` the result is recorded, and nothing is claimed. A smooth landscape is no proof that a
    net trains faster, or better: a net that learns nothing has one.

    Raises:
        ClaimFailed: it ranges more.
        ClaimInconclusive: a few runs do not settle it, or one of the nets has not learned.
    """


@asserted(measure_synthetic_covers)
def assert_synthetic_covers() -> None:
    """Claim that a synthetic set stands in for real data: what is learned from it, its labels, and that it copies none.

    Raises:
        ClaimFailed: one part does not hold.
        ClaimInconclusive: the samples do not settle a part, or nothing can be learned from the real ones either.
    """


@asserted(measure_robust_generalization)
def assert_robust_generalization() -> None:
    """Claim that robust accuracy on test samples is at most `max_gap` less than on the samples that were trained on.

    Raises:
        ClaimFailed: more is lost.
        ClaimInconclusive: seeds and samples do not settle it, or the training reaches less than `min_train_accuracy`.
    """


@asserted(measure_nonrobust_reliance)
def assert_nonrobust_reliance() -> None:
    """Claim that at most `max_transfer` of test samples are recognised from features that a threat moves alone.

    Raises:
        ClaimFailed: more are: the model's classes can be learned from features that nobody sees.
        ClaimInconclusive: seeds and samples do not settle it, few samples could be moved, or a control does not behave.
    """
