"""Claims on confidence: calibration, accuracy with abstention, and rejection of samples of no class."""

# Each sample has an outcome, the probability p of the predicted class, and three scores (`Answering`).
#
# - Brier score (Monthly Weather Review, 1950): mean squared distance between the probabilities and 1 for the label.
# - Calibration error (Guo et al., ICML 2017): mean distance, over bins of p, between p and accuracy, without the bias
#   of chance (`robustest.decisions.confidence`).
# - Selective accuracy (Geifman and El-Yaniv, NeurIPS 2017) and the false positive rate at 95 % true positives
#   (Hendrycks and Gimpel, ICLR 2017; Liang et al., ICLR 2018): the interval allows for the error of the score's
#   quantile.

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, ClassVar, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from robustest import decisions
from robustest.checks import checked_whole
from robustest.columns import ANSWER
from robustest.data import Samples, as_samples
from robustest.decisions.confidence import (
    TPR,
    CalibrationErrorRule,
    SelectiveRule,
    bin_of,
    binned_error,
    decide_accepted,
)
from robustest.decisions.mean import MeanRule
from robustest.engine.answer_checks import check_beside
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError, DataError, ModelError, expected, unknown
from robustest.kinds import Kind, Quantity
from robustest.models import Classifier, Needs
from robustest.models.classifier import confident
from robustest.results import Captions, Result, Verdict
from robustest.run.comparison import Baseline
from robustest.run.copies import without_copies
from robustest.run.driver import observe
from robustest.run.evidence import CLASS, Evidence, Observation, exhibits_of
from robustest.run.finish import few, finish
from robustest.run.grounds import Changed, shortfall
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options
from robustest.run.plan import Plan, Setup
from robustest.run.units import ModelUnits
from robustest.shifts import Shift, ShiftedInputs, ShiftFunction, requested_shift

# Range of a fitted temperature.
_TEMPERATURES = (0.02, 50.0)

# Scores that are high for samples of known classes: the largest probability (Hendrycks and Gimpel, ICLR 2017), the
# largest logit (Hendrycks et al., ICML 2022), the log of the summed exponentials (Liu et al., NeurIPS 2020).
SCORES = ("msp", "max_logit", "energy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """Predictions of a chunk with their confidence; the most confident errors may be shown.

    Attributes:
        temperature: divisor of the logits.
        probabilities: True if the model outputs probabilities in place of logits.
        marked: add a hash of each sample, to find the sample in other data.
        whole: add log probabilities and labels.
        beside: samples (M, *S) evaluated in one batch with others, to detect models that score by the batch.
    """

    whole_inputs: ClassVar[bool] = True

    shift: Shift | None = None
    temperature: float = 1.0
    probabilities: bool = False
    marked: bool = False
    whole: bool = False
    beside: Tensor | None = None

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        if self.shift is None:
            # Without a shift nothing moves, and nothing is cut off.
            never = torch.zeros(len(chunk.x), dtype=torch.bool, device=chunk.x.device)
            changed = ShiftedInputs(chunk.x, never, never)
        else:
            changed = self.shift.shifted(chunk.x, chunk.key, chunk.bounds, chunk.coding, chunk.sample_rate)
        after = changed.x
        task, logits = evaluator.task, evaluator.logits(after)
        if self.beside is not None and self.beside.shape[1:] == after.shape[1:]:
            check_beside(evaluator, after, logits, self.beside.to(after))
        # float64: with a confidence near 1 the other probabilities vanish in float32.
        logs = self._logs(logits)
        held, predicted = task.holds(logits, chunk.y), task.predictions(logits)
        sure = logs.exp().amax(1)
        # Log odds of the predicted class, log p - log(1 - p), with 1 - p summed from the other classes: computed from
        # p it would cancel to 0.
        others = logs.scatter(1, predicted.unsqueeze(1), -torch.inf).logsumexp(1)
        columns: dict[str, Any] = {
            "held": held,
            "confidence": sure,
            "msp": logs.gather(1, predicted.unsqueeze(1)).squeeze(1) - others,  # its log odds, which do not saturate
            "max_logit": logits.amax(1).double(),
            "energy": logits.double().logsumexp(1),
            # Halved to a value in 0..1, as bounds for means need it.
            "brier": (logs.exp() - F.one_hot(chunk.y, logs.shape[1])).square().sum(1) / 2,
            "moved": changed.moved,
            "cut": changed.cut,
        }
        if changed.size is not None:
            columns["size that arrives"] = changed.size
        columns["score"] = 1 - columns["brier"]  # as a baseline compares it: more is better
        exhibits = exhibits_of(
            evaluator,
            chunk,
            ~held,
            clean=predicted,
            predicted=predicted,
            after=after,
            badness=columns["msp"],
            size=None if self.shift is None else self.shift.level,
        )
        if self.marked:
            columns["mark"] = marks(chunk.x)
        if self.whole:
            columns |= {"logs": logs, "label": chunk.y}
        return Observation(columns, exhibits)

    def _logs(self, logits: Tensor) -> Tensor:
        """Return (n, K) float64 log probabilities; ModelError if outputs and `probabilities` disagree."""
        given = logits.double()
        # Every row in 0..1 with sum 1: such outputs are taken for probabilities.
        like = bool(((given >= 0) & (given <= 1)).all()) and bool(((given.sum(1) - 1).abs() < 1e-3).all())
        if like and not self.probabilities:
            raise ModelError(
                "Expected logits but the outputs are probabilities: their softmax would be flat. Say "
                "probabilities=True."
            )
        if self.probabilities and not like:
            raise ModelError("Expected probabilities that sum to 1 but the outputs are none. Leave probabilities= out.")
        # A probability of 0 must not become -inf: log odds would be infinite.
        logs = given.clamp(min=1e-300).log() if self.probabilities else given
        # Temperature scaling: softmax(z / T). For probabilities z = log p, up to a constant that the softmax removes.
        return torch.log_softmax(logs / self.temperature, 1)


def marks(x: Tensor) -> NDArray[np.uint64]:
    """Return (n,) hashes of the samples."""
    rows = x.cpu().contiguous().numpy()
    return np.array([int.from_bytes(sha256(row.tobytes()).digest()[:8], "big") for row in rows], dtype=np.uint64)


def optional_shift(shift: str | Shift | ShiftFunction | None, severity: int | None) -> Shift | None:
    """Return the shift of a call, or None; ConfigError for a severity without a shift."""
    if shift is None and severity is not None:
        raise ConfigError(f"Expected shift= with severity={severity} but got none.")
    return None if shift is None else requested_shift(shift, severity)


def check_confidence(model: Classifier) -> None:
    """Raise ConfigError for a model that outputs labels alone."""
    if model.gives is Needs.LABELS:
        raise ConfigError("Expected scores to tell confidence by but the model gives labels alone.")


def confidence_setup(setup: Setup, *, probabilities: bool) -> Setup:
    """Return the setup of a claim on confidence; ConfigError for a model with labels alone."""
    check_confidence(setup.model)
    # Scores of an estimator lead searches; its confidence is what `predict_proba` says.
    before = setup.classifier_of
    of_others = None if before is None else lambda one: confident(before(one))
    setup = replace(setup, model=confident(setup.model), classifier_of=of_others)
    if not probabilities:
        return setup
    # Declared probabilities are no finding of the health check.
    return setup.but(suppress=(*setup.settings.suppress, "softmax_outputs"))


def fitted_temperature(setup: Setup, fit_data: object, *, probabilities: bool) -> tuple[float, Evidence]:
    """Return the temperature of maximal likelihood on fit_data (Guo et al., 2017), and its evidence."""
    # The fit sees every sample of fit_data, at temperature 1.
    look = Answering(probabilities=probabilities, marked=True, whole=True)
    rule = decisions.ShareRule(threshold=None, at_least=True, terms=setup.alone)
    unseen = setup.on(as_samples(fit_data)).unpictured().but(examples=0)
    evidence = observe(unseen.plan("a temperature, fitted", look, rule))
    logs, label = torch.from_numpy(evidence.columns["logs"]), torch.from_numpy(evidence.columns["label"])

    # Over log T: the loss is smooth and the range symmetric around T = 1.
    def loss(log_temperature: float) -> float:
        return float(F.nll_loss(torch.log_softmax(logs / np.exp(log_temperature), 1), label))

    found = minimize_scalar(loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded")
    return float(np.exp(found.x)), evidence


def checked_temperature(temperature: object, fit_data: object) -> float:
    """Return the temperature as a float, > 0; ConfigError with fit_data."""
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 < temperature < np.inf:
        raise ConfigError(expected("temperature to be a number > 0", temperature))
    if fit_data is not None and temperature != 1:
        raise ConfigError("Expected temperature= or fit_data= but got both: the one would replace the other.")
    return float(temperature)


def check_apart(evidence: Evidence, fitted: Evidence | None) -> None:
    """Raise DataError if samples of the temperature's fit are evaluated."""
    if fitted is None:
        return
    shared = int(np.isin(evidence.columns["mark"], fitted.columns["mark"]).sum())
    if shared:
        raise DataError(
            f"Expected fit_data= without evaluated samples but it has {shared} of the {evidence.n} evaluated ones: the "
            "calibration would look better than it is. Fit the temperature on other samples."
        )


def answers_plan(setup: Setup, statement: str, look: Answering, rule: decisions.Rule) -> Plan:
    """Return the plan of a claim on confidence."""
    # One identity: all these claims share stored predictions.
    kept = ("answers", look.marked, look.shift, look.temperature, look.probabilities)
    return setup.plan(statement, look, rule, identity=kept if look.beside is None else (*kept, look.beside))


def changed_by(evidence: Evidence, shift: Shift | None, *, worst: float) -> list[Changed]:
    """Return the samples that the shift changed; `worst` as in `Changed`."""
    if shift is None:
        return []
    moved, cut = evidence.columns["moved"], evidence.columns["cut"]
    return [Changed(by=f"the shift {shift}", moved=moved, cut=cut, worst=worst)]


def answers_of(columns: Mapping[str, NDArray[Any]], score: str = "msp") -> NDArray[Any]:
    """Return (n,) numbers, equal for samples that the model gave one answer with the same score.

    A model that says one class of every sample, and is not equally sure of each, does not ignore its input.
    """
    pairs = np.stack([columns[ANSWER], columns[score]])
    return np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)


def shift_words(shift: Shift | None) -> str:
    """Return a shift in the words of a claim."""
    return "" if shift is None else f" under {shift}"


def shift_setting(shift: Shift | None) -> str:
    """Return a shift as results name it."""
    return "samples as they are" if shift is None else str(shift)


# In wider bins, overconfidence in one half of a bin cancels underconfidence in the other.
_FEWEST_BINS = 10

CALIBRATED = Kind(
    name="calibrated",
    varies="nothing",
    parameters=("bins", "temperature"),
    quantities=(
        Quantity.at_most("max_brier", "Brier score", "Brier score{}", trivial=2),
        Quantity.at_most("max_ece", "calibration error", "calibration error{}", trivial=1),
    ),
    further_claims=("no_worse_than",),
    captions=Captions(names={"ece": "calibration error of this set"}),
)


@measurement(CALIBRATED)
def measure_calibrated(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction | None = None,
    *,
    severity: int | None = None,
    max_brier: float | None = None,
    max_ece: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    bins: int = 15,
    temperature: float = 1.0,
    fit_data: object = None,
    probabilities: bool = False,
    **options: Unpack[Options],
) -> Result:
    """Measure the Brier score, or the calibration error of the predicted class's probability.

    The Brier score is 0 at best, and 2 for a model that is certain and always wrong. A verdict on the calibration error
    is about the population for either `scope`.

    Args:
        model, data: as for `measure_robust_accuracy`; images (N, C, H, W) for a shift by name.
        shift, severity: applied first, as for `measure_shift_accuracy`.
        max_brier: largest Brier score claimed, in [0, 2).
        max_ece: largest calibration error claimed, in [0, 1); not together with max_brier.
        no_worse_than, tolerance: as for `measure_robust_score`, about half of the Brier score. Not with max_ece, which
            is not a mean over samples.
        bins: number of bins of confidence, of equal width, >= 10.
        temperature: divisor of the logits, > 0.
        fit_data: samples for the fit of a temperature, none of them in `data`.
        probabilities: True if the model outputs probabilities in place of logits.
        **options: see `robustest.run.options.Options`.

    Raises:
        DataError: evaluated samples are in fit_data.
        ModelError: undeclared probabilities, or the reverse.
        ConfigError, DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    claim = _CalibrationClaim.of(max_brier, max_ece, bins)
    _check_paired(claim, no_worse_than, fit_data)
    temperature = checked_temperature(temperature, fit_data)
    chosen = optional_shift(shift, severity)
    setup = confidence_setup(Setup.of(model, data, options), probabilities=probabilities)
    fitted = None
    if fit_data is not None:
        temperature, fitted = fitted_temperature(setup, fit_data, probabilities=probabilities)
    look = Answering(shift=chosen, temperature=temperature, probabilities=probabilities, marked=fitted is not None)
    plan = answers_plan(setup, claim.quantity.state(shift_words(chosen)), look, claim.rule(setup)).against(
        no_worse_than, tolerance, has_threshold=claim.threshold is not None, scored="mean of 1 - Brier score / 2"
    )
    if isinstance(plan.units, ModelUnits):
        check_confidence(plan.units.model)  # the other model needs confidences too
    evidence = observe(plan)
    check_apart(evidence, fitted)
    details: dict[str, Any] = {"temperature": look.temperature}
    # Figures of some samples are not figures of the set.
    if evidence.whole:
        sure, held = evidence.columns["confidence"], evidence.columns["held"]
        place = bin_of(sure, bins)
        details = {
            "accuracy": float(held.mean()),
            "mean_confidence": float(sure.mean()),
            "brier": float(2 * evidence.columns["brier"].mean()),
            "ece": binned_error(sure - held, place, bins),
            "temperature": look.temperature,
            "bins": [
                {
                    "from": at / bins,
                    "to": (at + 1) / bins,
                    "n": int((place == at).sum()),
                    "confidence": float(sure[place == at].mean()),
                    "accuracy": float(held[place == at].mean()),
                }
                for at in np.unique(place).tolist()
            ],
        }
    return finish(
        plan,
        evidence,
        kind=CALIBRATED,
        quantity=claim.quantity,
        threshold=claim.threshold,
        setting=shift_setting(chosen),
        method=f"{bins} bins of confidence" if claim.by_error else "squared distance of all probabilities",
        details=details,
        scope="population" if claim.by_error else None,
        changed=changed_by(evidence, chosen, worst=claim.worst(evidence)),
        caveats=shortfall(chosen, evidence),
        constant=None if claim.by_error else _brier_of_shares(evidence.labels(setup.samples)),
        answers=_answers_to(evidence, claim),
        notes=() if fitted is None else (f"temperature {look.temperature:.3g}, fitted on {fitted.n} other samples",),
    )


def _answers_to(evidence: Evidence, claim: _CalibrationClaim) -> NDArray[Any]:
    """Return (n,) numbers of answers; all equal if one answer for every sample would be calibrated as well."""
    if len(np.unique(evidence.columns[CLASS])) == 1:  # whoever is sure of the one class has no error
        return np.zeros(evidence.n)
    return evidence.columns[ANSWER] if claim.by_error else answers_of(evidence.columns)


def _brier_of_shares(labels: NDArray[Any] | None) -> float | None:
    """Return the Brier score of a model that answers every sample with the shares of the classes; None if not known."""
    if labels is None:
        return None
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(1 - (shares**2).sum())


@assertion(measure_calibrated)
def assert_calibrated() -> None:
    """Claim that confidence equals accuracy, by Brier score or by calibration error."""


@dataclass(frozen=True, slots=True)
class _CalibrationClaim:
    quantity: Quantity
    threshold: float | None
    bins: int

    @classmethod
    def of(cls, max_brier: float | None, max_ece: float | None, bins: int) -> _CalibrationClaim:
        decisions.checked_not_both(max_brier=max_brier, max_ece=max_ece)
        max_brier = decisions.checked_threshold("max_brier", max_brier, within=(0.0, 2.0), trivial=2, optional=True)
        max_ece = decisions.checked_threshold("max_ece", max_ece, trivial=1, optional=True)
        checked_whole("bins", bins, _FEWEST_BINS)
        if max_ece is None:
            return cls(CALIBRATED.quantity_of("max_brier"), max_brier, bins)
        return cls(CALIBRATED.quantity_of("max_ece"), max_ece, bins)

    @property
    def by_error(self) -> bool:
        return self.quantity.threshold == "max_ece"

    def worst(self, evidence: Evidence) -> float:
        columns = evidence.columns
        moved = columns["moved"]
        # For a model that is certain and wrong on every changed sample.
        if not self.by_error:
            return float(2 * np.where(moved, 1.0, columns["brier"]).mean())
        # The error is a sum over bins of |sum of residuals| / n: a changed sample adds 1 / n at most.
        apart = np.where(moved, 0.0, columns["confidence"] - columns["held"])
        still = binned_error(apart, bin_of(columns["confidence"], self.bins), self.bins)
        return still + float(moved.mean())

    def rule(self, setup: Setup) -> decisions.Rule:
        if self.by_error:
            return CalibrationErrorRule(
                threshold=self.threshold, terms=setup.terms, bins=self.bins, seed=setup.settings.seed
            )
        # The column "brier" holds half of the score, a value in 0..1 as means need it.
        half = None if self.threshold is None else self.threshold / 2
        return MeanRule(threshold=half, terms=setup.terms, column="brier", scale=2.0)


def _check_paired(claim: _CalibrationClaim, no_worse_than: Baseline | None, fit_data: object) -> None:
    if no_worse_than is None:
        return
    # A baseline must pair one figure of the same samples.
    if claim.by_error:
        raise ConfigError(
            "Expected max_brier= with no_worse_than= but got max_ece=: a calibration error is no mean of samples that "
            "could be paired. Compare the Brier score, or leave no_worse_than out."
        )
    if fit_data is not None and not isinstance(no_worse_than, (str, os.PathLike)):
        raise ConfigError(
            "Expected temperature= with another model in no_worse_than= but got fit_data=: a temperature that is "
            "fitted to one model would be used for both. Compare the models with their temperatures inside."
        )


SELECTIVE_ACCURACY = Kind(
    name="selective_accuracy",
    varies="nothing",
    parameters=("coverage",),
    axis="coverage",
    quantities=(
        Quantity.at_least(
            "at_least",
            "selective accuracy",
            "accuracy on the {:g} of samples that the model is surest of{}",
            constant=True,
        ),
    ),
)


@measurement(SELECTIVE_ACCURACY)
def measure_selective_accuracy(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction | None = None,
    *,
    coverage: float,
    at_least: float | None = None,
    severity: int | None = None,
    probabilities: bool = False,
    **options: Unpack[Options],
) -> Result:
    """Measure the accuracy on the share of samples with the highest confidence (Geifman and El-Yaniv, NeurIPS 2017).

    Args:
        model: as for `measure_robust_accuracy`.
        data, shift, severity, probabilities: as for `measure_calibrated`.
        coverage: share of samples that is answered, in (0, 1].
        at_least: accuracy claimed on them, in (0, 1].
        **options: see `robustest.run.options.Options`.
    """
    coverage = decisions.checked_threshold("coverage", coverage, trivial=0)
    at_least = decisions.checked_threshold("at_least", at_least, trivial=0, optional=True)
    chosen = optional_shift(shift, severity)
    setup = confidence_setup(Setup.of(model, data, options), probabilities=probabilities)
    plan = answers_plan(
        setup,
        SELECTIVE_ACCURACY.quantities[0].state(coverage, shift_words(chosen)),
        Answering(shift=chosen, probabilities=probabilities),
        SelectiveRule(threshold=at_least, coverage=coverage, terms=setup.terms),
    )
    evidence = observe(plan)
    columns, answered = evidence.columns, decisions.count_at_least(coverage, evidence.n)
    # A model that is certain and wrong on every changed sample answers these first.
    worst = max(0.0, 1 - int(columns["moved"].sum()) / answered)
    details: dict[str, Any] = {"coverage": coverage}
    if evidence.whole:
        held, order = columns["held"], np.argsort(-columns["msp"], kind="stable")
        details |= {
            "answered": answered,
            "confidence_from": float(columns["confidence"][order[answered - 1]]),
            "accuracy": float(held.mean()),
            "by_coverage": [
                {
                    "coverage": share / 10,
                    "accuracy": float(held[order[: decisions.count_at_least(share / 10, evidence.n)]].mean()),
                }
                for share in range(1, 11)
            ],
        }
    return finish(
        plan,
        evidence,
        kind=SELECTIVE_ACCURACY,
        threshold=at_least,
        setting=shift_setting(chosen),
        method=f"the surest {coverage:g} answered",
        details=details,
        changed=changed_by(evidence, chosen, worst=worst),
        answers=answers_of(columns),
        caveats=shortfall(chosen, evidence),
    )


@assertion(measure_selective_accuracy)
def assert_selective_accuracy() -> None:
    """Claim that accuracy is at least `at_least` on the share of samples with the highest confidence."""


# Number of inside samples that are evaluated together with the first outside samples.
_BESIDE = 16

OOD_REJECTED = Kind(
    name="ood_rejected",
    varies="sets",
    quantities=(
        Quantity.at_most(
            "max_fpr",
            "false positive rate",
            "other data accepted where 95 % of the model's own are, by {}",
            trivial=1,
            counts=("accepted", "outside_n"),
        ),
    ),
)


@measurement(OOD_REJECTED)
def measure_ood_rejected(
    model: object,
    data: object,
    outside: object,
    *,
    max_fpr: float | None = None,
    score: str = "msp",
    probabilities: bool = False,
    **options: Unpack[Options],
) -> Result:
    """Measure the share of outside samples accepted at the score that 95 % of the inside ones reach.

    (Hendrycks and Gimpel, ICLR 2017; FPR at 95 % TPR as Liang et al., ICLR 2018.) All samples are evaluated. An outside
    sample's outcome is True if it is rejected.

    Args:
        model: as for `measure_robust_accuracy`.
        data: inside samples, of the model's classes; as for `measure_robust_accuracy`.
        outside: samples of other classes, like data or as a tensor (N, *S); labels are ignored.
        max_fpr: largest share of accepted outside samples claimed, in [0, 1).
        score: "msp", the largest probability; "max_logit"; or "energy", the log of the logits' summed exponentials.
        probabilities: as for `measure_calibrated`.
        **options: see `robustest.run.options.Options`.
    """
    most = decisions.checked_threshold("max_fpr", max_fpr, trivial=1, optional=True)
    if score not in SCORES:
        raise unknown("score", score, SCORES)
    setup = confidence_setup(Setup.of(model, data, options), probabilities=probabilities)
    look = Answering(probabilities=probabilities)
    rule = decisions.ShareRule(threshold=None, at_least=True, terms=setup.alone)
    statement = OOD_REJECTED.quantities[0].state(score)
    # Nothing is claimed about the inside samples: no pictures, and a rule without a threshold.
    own = observe(answers_plan(setup.unpictured(), statement, look, rule))
    # Each batch has samples of one kind: a model that scores by the batch shows it only if kinds are mixed.
    beside = setup.samples.take(torch.arange(min(_BESIDE, len(setup.samples))))[0]
    plan = answers_plan(setup.on(_unlabelled(outside)), statement, replace(look, beside=beside), rule)
    other = observe(plan)
    scores_inside, scores_outside = own.columns[score], other.columns[score]
    decision, edge = decide_accepted(scores_inside, scores_outside, most, setup.terms)
    if decision.verdict is Verdict.PASSED and setup.terms.scope != "set":
        once, _ = decide_accepted(own.once.columns[score], other.once.columns[score], most, setup.terms)
        if once.verdict is not Verdict.PASSED:
            decision = without_copies(decision, own.copies, other.copies)
    if not (own.whole and other.whole):
        # No verdict: the score that 95 % reach is that of all samples.
        rule_in_part = f"budget: not all samples looked at; {decision.rule}"
        decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule_in_part, estimate=None)
    accepted = scores_outside >= edge
    # AUROC as the Mann-Whitney statistic; ties count half.
    ordered = np.sort(scores_outside)
    below = np.searchsorted(ordered, scores_inside, "left") + np.searchsorted(ordered, scores_inside, "right")
    return finish(
        plan,
        replace(
            other.including(own),
            # An outside sample holds if it is rejected; both sets have been paid for.
            columns={**other.columns, "held": ~accepted},
            exhibits=[one for one in other.exhibits if accepted[np.searchsorted(other.ids, one.index)]],
        ),
        decision=decision,
        kind=OOD_REJECTED,
        threshold=most,
        setting=f"{own.n} samples inside, {other.n} outside",
        method=f"{score}, accepted from {edge:.4g}",
        details={
            "accepted": int(accepted.sum()),
            "outside_n": other.n,
            "inside_n": own.n,
            "inside_accepted": float((scores_inside >= edge).mean()),
            "score_from": edge,
            "auroc": float(below.mean() / (2 * len(scores_outside))),
            "tpr": TPR,
        },
        caveats=few(own.n, " inside"),
        changed=[Changed.brought("the outside set", own, other)],
        answers=answers_of(own.columns, score),
        # A score at random accepts as many outside as inside.
        constant=TPR,
    )


@assertion(measure_ood_rejected)
def assert_ood_rejected() -> None:
    """Claim that few samples of other classes are accepted at the confidence that 95 % of the model's classes reach."""


def _unlabelled(outside: object) -> Samples:
    if isinstance(outside, (Tensor, np.ndarray)):
        outside = outside, torch.zeros(len(outside), dtype=torch.int64)
    samples = as_samples(outside)

    def take(ids: Tensor) -> tuple[Tensor, Tensor]:
        x, y = samples.take(ids)
        # The model has no class for these samples.
        return x, torch.zeros_like(y)

    return Samples(take, len(samples), coding=samples.coding, sample_rate=samples.sample_rate)
