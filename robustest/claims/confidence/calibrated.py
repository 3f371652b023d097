"""Whether a model is right as often as its confidence says: Brier score and calibration error.

The Brier score (Monthly Weather Review, 1950) is the mean squared distance, over samples, between the probabilities and
1 for the label. The calibration error (Guo et al., ICML 2017) is the mean distance, over bins of confidence, between
confidence and accuracy. As measured it is too high by chance, so that the estimate has the bias taken off that a
bootstrap shows, and the verdict is that of an interval without such a bias (`robustest.decisions.calibration`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from robustest.checks import checked_whole
from robustest.claims.confidence.answers import (
    Answering,
    about,
    answers_plan,
    asked_shift,
    changed_by,
    check_apart,
    check_sure,
    checked_temperature,
    fitted_temperature,
    setting,
    sure_setup,
)
from robustest.decisions import Rule, checked_not_both, optional_threshold
from robustest.decisions.calibration import CalibrationErrorRule, bin_of, binned_error
from robustest.decisions.mean import MeanRule
from robustest.errors import ConfigError
from robustest.kinds import Kind, Quantity
from robustest.results import Captions, Result
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import Evidence
from robustest.run.finish import finish
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Setup
from robustest.run.units import ModelUnits
from robustest.shifts import Shift, ShiftFunction

_FEWEST_BINS = 10
"""With fewer, overconfidence in one half of a bin and its opposite in the other cancel too easily."""

CALIBRATED = Kind(
    name="calibrated",
    parameters=("bins", "temperature"),
    quantities=(
        Quantity.at_most("max_brier", "Brier score", "Brier score{}", trivial=2),
        Quantity.at_most("max_ece", "calibration error", "calibration error{}", trivial=1),
    ),
    further_claims=("no_worse_than",),
    captions=Captions(names={"ece": "calibration error of this set"}),
)
"""Whether confidence is as high as accuracy, by Brier score or by calibration error."""


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
    """The Brier score, or the calibration error of the predicted class's probability, with or without a shift.

    A Brier score of 0 is best, one of 2 sure and always wrong. The calibration error (Guo et al., ICML 2017) is that of
    confidence beside accuracy in bins, without the bias that chance gives it, and the verdict on it is about the
    population whatever `scope` says.

    Args:
        model, data: as for `measure_robust_accuracy`; images (N, C, H, W) where there is a shift that has a name.
        shift, severity: what is done to the samples first, as for `measure_shift_accuracy`.
        max_brier: the Brier score claimed at most, in 0..2 and less than 2.
        max_ece: the calibration error claimed at most, in 0..1 and less than 1; not together with max_brier.
        no_worse_than, tolerance: as for `measure_robust_score`, about half of the Brier score, in 0..1, which may
            rise by no more than `tolerance`. Not with max_ece, which is no mean of samples.
        bins: of confidence, of equal width, >= 10.
        temperature: what logits are divided by, > 0.
        fit_data: other samples, as data, on which a temperature is fitted by likelihood. None of the judged samples may
            be among them.
        probabilities: whether the model gives probabilities in place of logits.
        **options: see `robustest.run.plan.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown, both thresholds are given, or what is claimed cannot be
            compared.
        DataError: judged samples are among those that the temperature was fitted on.
        ModelError: the outputs are probabilities and that was not said, or the other way round.
        DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    asked = _Asked.of(max_brier, max_ece, bins)
    _check_paired(asked, no_worse_than, fit_data)
    temperature = checked_temperature(temperature, fit_data)
    chosen = asked_shift(shift, severity)
    setup = sure_setup(Setup.of(model, data, options), probabilities=probabilities)
    look, fitted = _look(setup, chosen, temperature, fit_data, probabilities=probabilities)
    plan = answers_plan(setup, asked.quantity.state(about(chosen)), look, asked.rule(setup)).against(
        no_worse_than, tolerance, has_threshold=asked.threshold is not None, scored="mean of 1 - Brier score / 2"
    )
    if isinstance(plan.units, ModelUnits):
        check_sure(plan.units.model)  # which gives what the other model can give, too
    evidence = observe(plan)
    check_apart(evidence, fitted)
    return finish(
        plan,
        evidence,
        kind=CALIBRATED,
        quantity=asked.quantity,
        threshold=asked.threshold,
        setting=setting(chosen),
        method=f"{bins} bins of confidence" if asked.by_error else "squared distance of all probabilities",
        details=_details(evidence, bins, look.temperature),
        scope="population" if asked.by_error else None,
        changed=changed_by(evidence, chosen, worst=asked.worst(evidence)),
        notes=() if fitted is None else (f"temperature {look.temperature:.3g}, fitted on {fitted.n} other samples",),
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is claimed.

    Attributes:
        quantity: the Brier score, or the calibration error.
        threshold: what it may be at most; None where nothing is claimed.
        bins: of confidence.
    """

    quantity: Quantity
    threshold: float | None
    bins: int

    @classmethod
    def of(cls, max_brier: float | None, max_ece: float | None, bins: int) -> _Asked:
        """What a call asks for.

        Raises:
            ConfigError: an argument is out of range, or both thresholds are given.
        """
        checked_not_both(max_brier=max_brier, max_ece=max_ece)
        max_brier = optional_threshold("max_brier", max_brier, within=(0.0, 2.0), trivial=2)
        max_ece = optional_threshold("max_ece", max_ece, trivial=1)
        checked_whole("bins", bins, _FEWEST_BINS)
        if max_ece is None:
            return cls(CALIBRATED.quantity_of("max_brier"), max_brier, bins)
        return cls(CALIBRATED.quantity_of("max_ece"), max_ece, bins)

    @property
    def by_error(self) -> bool:
        """Whether it is the calibration error."""
        return self.quantity.threshold == "max_ece"

    def worst(self, evidence: Evidence) -> float:
        """The value were the model sure and wrong on every sample that was changed."""
        columns = evidence.columns
        moved = columns["moved"]
        if not self.by_error:
            return float(2 * np.where(moved, 1.0, columns["brier"]).mean())
        # The error is a mean over bins of the distance of sums: a changed sample adds one n-th to it at most.
        apart = np.where(moved, 0.0, columns["confidence"] - columns["held"])
        still = binned_error(apart, bin_of(columns["confidence"], self.bins), self.bins)
        return still + float(moved.mean())

    def rule(self, setup: Setup) -> Rule:
        """What decides; of the Brier score the column holds half, so that it is a mean of values in 0..1."""
        if self.by_error:
            return CalibrationErrorRule(
                threshold=self.threshold, terms=setup.terms, bins=self.bins, seed=setup.settings.seed
            )
        half = None if self.threshold is None else self.threshold / 2
        return MeanRule(threshold=half, terms=setup.terms, column="brier", scale=2.0)


def _check_paired(asked: _Asked, no_worse_than: Baseline | None, fit_data: object) -> None:
    """Refuse a comparison that would not be one of the same figure of the same samples.

    Raises:
        ConfigError: the calibration error, which is no mean of samples, or a temperature that was fitted to one model.
    """
    if no_worse_than is None:
        return
    if asked.by_error:
        raise ConfigError(
            "Expected max_brier= with no_worse_than= but got max_ece=: a calibration error is no mean of samples that "
            "could be paired. Compare the Brier score, or leave no_worse_than out."
        )
    if fit_data is not None and not isinstance(no_worse_than, (str, os.PathLike)):
        raise ConfigError(
            "Expected temperature= with another model in no_worse_than= but got fit_data=: a temperature that is "
            "fitted to one model would be used for both. Compare the models with their temperatures inside."
        )


def _look(
    setup: Setup, shift: Shift | None, temperature: float, fit_data: object, *, probabilities: bool
) -> tuple[Answering, Evidence | None]:
    """How samples are asked, and what others showed of the temperature where it is fitted on them."""
    fitted = None
    if fit_data is not None:
        temperature, fitted = fitted_temperature(setup, fit_data, probabilities=probabilities)
    look = Answering(
        examples=setup.settings.examples,
        shift=shift,
        temperature=temperature,
        probabilities=probabilities,
        marked=fitted is not None,
    )
    return look, fitted


def _details(evidence: Evidence, bins: int, temperature: float) -> dict[str, Any]:
    """Numbers of all samples; with those of each bin that has some."""
    if not evidence.whole:
        return {"temperature": temperature}
    sure, held = evidence.columns["confidence"], evidence.columns["held"]
    place = bin_of(sure, bins)
    return {
        "accuracy": float(held.mean()),
        "mean_confidence": float(sure.mean()),
        "brier": float(2 * evidence.columns["brier"].mean()),
        "ece": binned_error(sure - held, place, bins),
        "temperature": temperature,
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
