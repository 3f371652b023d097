"""Whether a model's gradients point where its classes differ.

Gradients of robustly trained networks do, those of standard ones hardly (Tsipras, Santurkar, Engstrom, Turner and
Madry, "Robustness May Be at Odds with Accuracy", ICLR 2019, section 3). But smoothing aligns them too (Kaur, Cohen and
Lipton, 2019), alignment is explained by robustness off the data manifold alone (Srinivas et al., 2023), and it can be
trained for.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack

import numpy as np
from torch import Tensor

from robustest.checks import checked_whole
from robustest.claims.representations.gradient_aims import Aim, cosine, gradients
from robustest.engine.chunks import Chunk, check_forward
from robustest.engine.evaluator import Evaluator
from robustest.engine.health_checks.truth import probe_gradient
from robustest.errors import ConfigError, expected
from robustest.kinds import Kind, Quantity, no_lines
from robustest.results import Captions, Result
from robustest.rules import MeanRule, Terms
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Observation, exhibits_of
from robustest.run.finish import finish
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Plan, Setup
from robustest.run.split_search import Halves, beside, with_second
from robustest.settings import Settings
from robustest.statistics import checked_threshold

Evidences = Literal["class_means"] | Tensor


GRADIENT_ALIGNMENT = Kind(
    name="gradient_alignment",
    quantities=(
        Quantity.at_least("at_least", "alignment", "gradient alignment"),
        Quantity.at_least("min_gain", "gain in alignment", "gradient alignment above the reference's"),
    ),
    advises=True,
    captions=Captions(before="sample", after="gradient"),
    lines=no_lines,
)
"""How far gradients point along what separates the classes."""


@measurement(GRADIENT_ALIGNMENT)
def measure_gradient_alignment(
    model: object,
    data: object,
    *,
    reference: object | None = None,
    at_least: float | None = None,
    min_gain: float | None = None,
    evidence: Evidences = "class_means",
    min_per_class: int = 5,
    **options: Unpack[Options],
) -> Result:
    """How well the gradient that separates two classes points along what separates their images.

    For each sample the gradient, by the input, of the logit of its class less that of the runner-up is compared with
    the difference of the two classes' mean images (means of one half of the samples, gradients on the other): the
    cosine between them, in -1..1. With masks it is the share of the gradient's squared length that lies inside a
    sample's mask, in 0..1 (Tsipras et al., ICLR 2019, section 3).

    Advisory: without `at_least` or `min_gain` nothing is claimed. **Alignment is no proof of robustness or of sound
    features.** Smoothing gives it too, and it can be trained for. Compare models of one architecture, and gate on
    robust accuracy.

    Args:
        model: as for `measure_robust_accuracy`; it must give gradients.
        data: as for `measure_robust_accuracy`.
        reference: another model, on the same samples, whose alignment is the lower bar.
        at_least: the mean alignment claimed, in -1..1 (0..1 with masks), and more than the least there is.
        min_gain: how much higher than the reference's it is claimed to be, in -2..2 (-1..1 with masks); needs it.
        evidence: "class_means", or masks (N, *S), or what broadcasts to a sample's shape, of values in 0..1, in the
            data's order: where the evidence is.
        min_per_class: samples of each class that a mean is taken over, at least, >= 1.
        **options: see `robustest.run.plan.Options`.

    Returns:
        The result; the estimate is the mean alignment, or the mean gain where that is claimed. A gradient that
        vanishes counts as the worst that it could be. `details["input_alignment"]` is the mean of |<x, g>| / |x||g|
        (Etmann et al., ICML 2019).

    Raises:
        ConfigError: an argument is out of range or unknown, both claims are made at once, or the reference is the
            model.
        DataError: a class has too few samples, or masks do not fit; else as for `measure_robust_accuracy`.
        ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    at_least, min_gain = _checked(at_least, min_gain, reference, masks=isinstance(evidence, Tensor))
    checked_whole("min_per_class", min_per_class, 1)
    setup = Setup.of(model, data, options)
    aim, halves = _aimed(evidence, setup, min_per_class)
    judged = setup if halves is None else setup.on(halves.view)
    claim = _Claim(at_least=at_least, min_gain=min_gain)
    other = nullcontext() if reference is None else beside(reference, setup.model, setup.settings, options, "reference")
    with other as second:
        plan, seen = _observed(judged, aim, second, claim)
    result = _result(plan, seen, aim, claim)
    return result if halves is None else halves.whole(result)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """The claim: an alignment, or a gain over the reference's; None for the one that is not claimed."""

    at_least: float | None
    min_gain: float | None

    @property
    def threshold(self) -> float | None:
        """The one that is claimed."""
        return self.at_least if self.min_gain is None else self.min_gain

    @property
    def asked(self) -> Quantity:
        """What it is a claim on."""
        return GRADIENT_ALIGNMENT.quantity_of("at_least" if self.min_gain is None else "min_gain")

    def rule(self, terms: Terms) -> MeanRule:
        """What decides: on a mean at most the threshold, so that signs are turned."""
        rule = MeanRule(threshold=None, terms=terms, sign=-1)
        if self.at_least is not None:
            return replace(rule, threshold=-float(self.at_least))
        if self.min_gain is None:
            return rule
        return replace(rule, threshold=-self.min_gain / 2, scale=2.0, column="gain")


def _aimed(evidence: object, setup: Setup, min_per_class: int) -> tuple[Aim, Halves | None]:
    """Where gradients should point, and the halves that means are of; None where masks are given.

    Raises:
        ConfigError: the evidence is neither.
        DataError: a class has too few samples, or masks do not fit.
    """
    samples = setup.samples
    if isinstance(evidence, Tensor):
        return Aim.at_masks(evidence, len(samples)), None
    if evidence != "class_means":
        raise ConfigError(expected('evidence to be "class_means" or a tensor of masks', evidence))
    halves = Halves.of(samples, setup.settings.seed, len(samples))
    return Aim.at_means(setup.model, halves, setup.settings, min_per_class), halves


def _observed(setup: Setup, aim: Aim, second: Evaluator | None, claim: _Claim) -> tuple[Plan, Evidence]:
    """Return the plan, and the evidence of the model, with columns of the reference where there is one."""
    look = Aligning(
        aim=aim,
        second=second,
        claimed=claim.threshold,
        gain=claim.min_gain is not None,
        settings=setup.settings,
    )
    plan = setup.plan(claim.asked.state(), look, claim.rule(setup.terms), here=True)
    evidence = observe(plan)
    return plan, evidence if second is None else with_second(evidence, second, setup.settings)


def _result(plan: Plan, evidence: Evidence, aim: Aim, claim: _Claim) -> Result:
    return finish(
        plan,
        evidence,
        kind=GRADIENT_ALIGNMENT,
        quantity=claim.asked,
        threshold=claim.threshold,
        setting="differences of class means" if aim.masks is None else "masks",
        method="gradients of the logit of the class less the runner-up's",
        details=_details(evidence, aim),
        notes=_notes(evidence),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligning:
    """The alignment of a chunk's gradients, of the model's and of the reference's.

    Attributes:
        aim: where they should point.
        second: the reference; None where there is none.
        claimed: the alignment, or gain, claimed at least.
        gain: whether it is the gain over the reference that is claimed.
        settings: samples shown, and health checks that are switched off.
    """

    aim: Aim
    second: Evaluator | None
    claimed: float | None
    gain: bool
    settings: Settings

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        """What became of a chunk."""
        aim, second = self.aim, self.second
        if aim.of is not None:
            chunk = replace(chunk, ids=aim.of[chunk.ids])
        logits, gradient, runner_up = gradients(evaluator, chunk, aim)
        raw = aim.alignment(gradient, chunk, runner_up)
        lowest = 0.0 if aim.masks is not None else -1.0
        value = raw.nan_to_num(lowest)
        columns = {
            "value": -value,
            "input": cosine(chunk.x, gradient).abs().nan_to_num(0.0),
            "vanished": raw.isnan(),
            "right": evaluator.task.holds(logits, chunk.y),
        }
        shown = value
        if second is not None:
            base = self._reference(second, chunk).to(value.device)
            columns |= {"reference": base.nan_to_num(1.0), "reference vanished": base.isnan()}
            columns["gain"] = -(value - base.nan_to_num(1.0)) / 2
            shown = value - base.nan_to_num(1.0) if self.gain else value
        columns["held"] = shown >= (0.0 if self.claimed is None else self.claimed)
        low, high = chunk.bounds
        steepest = gradient.flatten(1).abs().amax(1).clamp(min=1e-30).view(-1, *[1] * (gradient.ndim - 1))
        exhibits = exhibits_of(
            chunk,
            ~columns["held"],
            clean=evaluator.task.predictions(logits),
            predicted=runner_up,
            before=chunk.x,
            after=(low + high) / 2 + (high - low) / 2 * gradient / steepest,
            badness=-shown,
            size=None,
            most=self.settings.examples,
        )
        return Observation({name: column.cpu().numpy() for name, column in columns.items()}, exhibits)

    def _reference(self, second: Evaluator, chunk: Chunk) -> Tensor:
        """(n,) the alignment of the reference's gradients; NaN where they vanish."""
        there = replace(chunk, x=chunk.x.to(second.device), y=chunk.y.to(second.device))
        if not second.classes:
            check_forward(second, there, self.settings.suppress)
            second.check_labels(there.y)
        _, theirs, other = gradients(second, there, self.aim)
        if not second.probed:
            probe_gradient(second, there, searched=False)
        return self.aim.alignment(theirs, there, other)


def _checked(
    at_least: float | None, min_gain: float | None, reference: object, *, masks: bool
) -> tuple[float | None, float | None]:
    """The thresholds as numbers; alignment is in -1..1, with masks in 0..1."""
    if at_least is not None and min_gain is not None:
        raise ConfigError("Expected at_least= or min_gain= but got both: make two claims.")
    lowest = 0.0 if masks else -1.0
    if at_least is not None:
        at_least = checked_threshold("at_least", at_least, within=(lowest, 1.0), trivial=lowest)
    if min_gain is not None:
        widest = 1.0 - lowest
        min_gain = checked_threshold("min_gain", min_gain, within=(-widest, widest), trivial=-widest)
        if reference is None:
            raise ConfigError("Expected reference= with min_gain= but got none: a gain is over another model.")
    return at_least, min_gain


def _details(evidence: Evidence, aim: Aim) -> dict[str, Any]:
    columns = evidence.columns
    details: dict[str, Any] = {
        "alignment": -_mean(columns["value"]),
        "input_alignment": _mean(columns["input"]),
        "accuracy": evidence.share(columns["right"]),
        "vanished": int(columns["vanished"].sum()),
    }
    if aim.masks is not None:
        details["by_chance"] = float(aim.masks.double().mean())
    if "gain" in columns:
        details |= {"reference_alignment": _mean(columns["reference"]), "gain": -2 * _mean(columns["gain"])}
        details["reference_vanished"] = int(columns["reference vanished"].sum())
    return details


def _mean(column: np.ndarray[Any, Any]) -> float:
    return float(column.mean())


def _notes(evidence: Evidence) -> list[str]:
    notes = []
    for whose, column in (("the model", "vanished"), ("the reference", "reference vanished")):
        count = int(evidence.columns[column].sum()) if column in evidence.columns else 0
        if count:
            notes.append(f"the gradient of {whose} vanishes at {count} samples; they count as the worst they could be")
    return notes
