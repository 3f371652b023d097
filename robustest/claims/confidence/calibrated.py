"""Whether a model is right as often as its confidence says: Brier score and calibration error."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from robustest.checks import checked_whole
from robustest.claims.confidence.answers import (
    Answering,
    about,
    asked_shift,
    check_apart,
    checked_temperature,
    fitted_temperature,
    setting,
    sure_setup,
)
from robustest.facts import Captions
from robustest.kinds import Kind, Quantity
from robustest.results import Result
from robustest.rules import Rule, Terms
from robustest.rules.calibration import CalibrationErrorRule
from robustest.rules.means import MeanRule
from robustest.run.driver import observe
from robustest.run.evidence import Evidence
from robustest.run.noting import measures
from robustest.run.options import Options
from robustest.run.result_building import finish, unchanged
from robustest.run.setup import Setup
from robustest.shifts import Shift, ShiftFunction
from robustest.statistics import asked_threshold, checked_not_both
from robustest.statistics.calibration import bin_of, binned_error

_FEWEST_BINS = 10
"""With fewer, overconfidence in one half of a bin and its opposite in the other cancel too easily."""

CALIBRATED = Kind(
    name="calibrated",
    quantities=(
        Quantity(name="Brier score", comparison="<=", threshold="max_brier", trivial=2, statement="Brier score{}"),
        Quantity(
            name="calibration error", comparison="<=", threshold="max_ece", trivial=1, statement="calibration error{}"
        ),
    ),
    captions=Captions(names={"ece": "calibration error of this set"}),
)
"""Whether confidence is as high as accuracy, by Brier score or by calibration error."""


@measures(CALIBRATED)
def measure_calibrated(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction | None = None,
    *,
    severity: int | None = None,
    max_brier: float | None = None,
    max_ece: float | None = None,
    bins: int = 15,
    temperature: float = 1.0,
    fit_on: object = None,
    probabilities: bool = False,
    **options: Unpack[Options],
) -> Result:
    """The Brier score, or the calibration error of the predicted class's probability, with or without a shift.

    The Brier score (Monthly Weather Review, 1950) is the mean squared distance, over samples, between the probabilities
    and 1 for the label: 0 is best, 2 is sure and always wrong. The calibration error (Guo et al., ICML 2017) is the
    mean distance, over bins of confidence, between confidence and accuracy. As measured it is too high by chance, so
    that the estimate has the bias taken off that a bootstrap shows, and the verdict is that of an interval without such
    a bias (`robustest.statistics.calibration`), about the population whatever `scope` says.

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_robust_accuracy`; images (N, C, H, W) where there is a shift.
        shift: what is done to the samples first: a name, a `Shift`, or a function of (x, severity, key).
        severity: 1..5; None means the `Shift`'s own, or 3.
        max_brier: the Brier score claimed at most, in 0..2 and less than 2.
        max_ece: the calibration error claimed at most, in 0..1 and less than 1; not together with max_brier.
        bins: of confidence, of equal width, >= 10.
        temperature: what logits are divided by, > 0.
        fit_on: other samples, as data, on which a temperature is fitted by likelihood. None of the judged samples may
            be among them.
        probabilities: whether the model gives probabilities in place of logits.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown, or both thresholds are given.
        DataError: judged samples are among those that the temperature was fitted on; else as for
            `measure_robust_accuracy`.
        ModelError: the outputs are probabilities and that was not said, or the other way round; else as for
            `measure_robust_accuracy`.
        DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    checked_not_both(max_brier=max_brier, max_ece=max_ece)
    max_brier = asked_threshold("max_brier", max_brier, within=(0.0, 2.0), trivial=2)
    max_ece = asked_threshold("max_ece", max_ece, trivial=1)
    checked_whole("bins", bins, _FEWEST_BINS)
    temperature = checked_temperature(temperature, fit_on)
    chosen = asked_shift(shift, severity)
    setup = sure_setup(Setup.of(model, data, options), probabilities=probabilities)
    fitted = None
    if fit_on is not None:
        temperature, fitted = fitted_temperature(setup, fit_on, probabilities=probabilities)
    by_error, asked = max_ece is not None, CALIBRATED.asked("max_brier" if max_ece is None else "max_ece")
    rule: Rule = _brier_rule(max_brier, setup.terms)
    if by_error:
        rule = CalibrationErrorRule(threshold=max_ece, terms=setup.terms, bins=bins, seed=setup.settings.seed)
    look = Answering(
        examples=setup.settings.examples,
        shift=chosen,
        temperature=temperature,
        probabilities=probabilities,
        marked=fitted is not None,
    )
    plan = setup.plan(
        asked.says(about(chosen)), look, rule, identity=("answers", look.marked, chosen, temperature, probabilities)
    )
    evidence = observe(plan)
    check_apart(evidence, fitted)
    return finish(
        plan,
        evidence,
        kind=CALIBRATED,
        asked=asked,
        threshold=max_ece if by_error else max_brier,
        setting=setting(chosen),
        method=f"{bins} bins of confidence" if by_error else "squared distance of all probabilities",
        details=_details(evidence, bins, temperature),
        scope="population" if by_error else None,
        caveats=() if chosen is None else unchanged(evidence.columns["moved"], "the shift"),
        notes=() if fitted is None else (f"temperature {temperature:.3g}, fitted on {fitted.n} other samples",),
    )


def _brier_rule(max_brier: float | None, terms: Terms) -> MeanRule:
    """A claim on the Brier score, of which the column holds half: a mean of values in 0..1."""
    return MeanRule(threshold=None if max_brier is None else max_brier / 2, terms=terms, column="brier", scale=2.0)


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
