"""Whether a model's gradients point where its classes differ.

Gradients of robustly trained networks do, those of standard ones hardly (Tsipras, Santurkar, Engstrom, Turner and
Madry, "Robustness May Be at Odds with Accuracy", ICLR 2019, section 3). But smoothing aligns them too (Kaur, Cohen and
Lipton, 2019), alignment is explained by robustness off the data manifold alone (Srinivas et al., 2023), and it can be
trained for.

Where gradients should point: along differences of class means, or inside masks; and the gradients themselves.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack

import numpy as np
import torch
from torch import Tensor

from robustest.checks import checked_whole
from robustest.decisions import MeanRule, Terms, checked_threshold
from robustest.engine.answer_checks import check_forward
from robustest.engine.chunks import Chunk, load
from robustest.engine.evaluator import Evaluator
from robustest.engine.gradient_checks import probe_gradient
from robustest.errors import ConfigError, DataError, expected
from robustest.kinds import Kind, Quantity, no_lines
from robustest.models import Classifier
from robustest.results import Captions, Result
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Observation, exhibits_of
from robustest.run.finish import finish
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Plan, Setup
from robustest.run.split_search import Halves, beside, with_second
from robustest.settings import Settings

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


def _aimed(evidence: object, setup: Setup, min_per_class: int) -> tuple[GradientAim, Halves | None]:
    """Where gradients should point, and the halves that means are of; None where masks are given.

    Raises:
        ConfigError: the evidence is neither.
        DataError: a class has too few samples, or masks do not fit.
    """
    samples = setup.samples
    if isinstance(evidence, Tensor):
        return GradientAim.at_masks(evidence, len(samples)), None
    if evidence != "class_means":
        raise ConfigError(expected('evidence to be "class_means" or a tensor of masks', evidence))
    halves = Halves.of(samples, setup.settings.seed, len(samples))
    return GradientAim.at_means(setup.model, halves, setup.settings, min_per_class), halves


def _observed(setup: Setup, aim: GradientAim, second: Evaluator | None, claim: _Claim) -> tuple[Plan, Evidence]:
    """Return the plan, and the evidence of the model, with columns of the reference where there is one."""
    look = AlignmentMeasurement(
        aim=aim,
        second=second,
        claimed=claim.threshold,
        gain=claim.min_gain is not None,
        settings=setup.settings,
    )
    plan = setup.plan(claim.asked.state(), look, claim.rule(setup.terms), here=True)
    evidence = observe(plan)
    return plan, evidence if second is None else with_second(evidence, second, setup.settings)


def _result(plan: Plan, evidence: Evidence, aim: GradientAim, claim: _Claim) -> Result:
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
class AlignmentMeasurement:
    """The alignment of a chunk's gradients, of the model's and of the reference's.

    Attributes:
        aim: where they should point.
        second: the reference; None where there is none.
        claimed: the alignment, or gain, claimed at least.
        gain: whether it is the gain over the reference that is claimed.
        settings: samples shown, and health checks that are switched off.
    """

    aim: GradientAim
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


def _details(evidence: Evidence, aim: GradientAim) -> dict[str, Any]:
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


_READ = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientAim:
    """Where gradients should point.

    Attributes:
        means: (K, *S) mean images, NaN where a class has none; None with masks.
        masks: (N, ...) values in 0..1; None with means.
        of: (n,) positions in the user's data of the samples of a view; None where it is no view.
    """

    means: Tensor | None = None
    masks: Tensor | None = None
    of: Tensor | None = None

    @classmethod
    def at_masks(cls, masks: Tensor, n: int) -> GradientAim:
        """Where masks of n samples say.

        Raises:
            DataError: they do not fit.
        """
        return cls(masks=_checked_masks(masks, n))

    @classmethod
    def at_means(cls, classifier: Classifier, halves: Halves, settings: Settings, least: int) -> GradientAim:
        """Along the differences of class means of one half of the samples, for gradients of the other half.

        Raises:
            DataError: a class has too few samples.
        """
        return cls(means=_class_means(classifier, halves, settings, least), of=halves.unseen)

    @property
    def known(self) -> Tensor | None:
        """(K,) bool: the classes that have a mean."""
        return None if self.means is None else ~self.means.flatten(1).isnan().any(1)

    def alignment(self, gradient: Tensor, chunk: Chunk, runner_up: Tensor) -> Tensor:
        """(n,) how well gradients (n, *S) point there; NaN where they vanish."""
        if self.masks is not None:
            masks = self.masks[chunk.ids].to(gradient).broadcast_to(gradient.shape)
            square = gradient.double().square()
            inside: Tensor = (square * masks).flatten(1).sum(1) / square.flatten(1).sum(1)
            return inside
        assert self.means is not None  # noqa: S101 - one of the two is there
        means = self.means.to(gradient.device)
        return cosine(gradient, means[chunk.y] - means[runner_up])


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """(n,) float64 cosines of rows (n, *S); NaN where one is 0."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    both: Tensor = (a * b).sum(1) / (torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1))
    return both


def gradients(evaluator: Evaluator, chunk: Chunk, aim: GradientAim) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (n, K), the gradient (n, *S) of a class's logit less the runner-up's, and the runner-up (n,).

    Raises:
        DataError: a class has no mean.
    """
    known = aim.known
    if known is not None and not bool(known[chunk.y.cpu()].all()):
        bad = int(chunk.y.cpu()[~known[chunk.y.cpu()]][0])
        raise DataError(f"Expected samples of class {bad} in both halves but got them in one. Give more samples.")

    def objective(logits: Tensor, part: slice) -> Tensor:
        at = torch.stack([chunk.y[part], _runner_up(logits, chunk.y[part], known)], 1)
        pair = logits.gather(1, at)
        return pair[:, 0] - pair[:, 1]

    logits, gradient = evaluator.gradient(chunk.x, lambda z, _: z, objective)
    return logits, gradient, _runner_up(logits, chunk.y, known)


def _runner_up(logits: Tensor, y: Tensor, known: Tensor | None) -> Tensor:
    """(n,) the class of the highest logit among others, of those that have a mean."""
    scores = logits.detach().scatter(1, y.unsqueeze(1), -torch.inf)
    if known is not None:
        none = torch.ones(logits.shape[1], dtype=torch.bool)
        none[: len(known)] = ~known[: logits.shape[1]]
        scores = scores.masked_fill(none.to(scores.device), -torch.inf)
    return scores.argmax(1)


def _class_means(classifier: Classifier, halves: Halves, settings: Settings, least: int) -> Tensor:
    """(K, *S) float32 means of the images of each class up to the largest label; NaN where there is none.

    Raises:
        DataError: a class has some samples, but fewer than `least`, or there is one class alone.
    """
    sums: dict[int, Tensor] = {}
    counts: dict[int, int] = {}
    for ids in torch.split(halves.searched, _READ):
        chunk = load(halves.samples, ids, bounds=classifier.bounds, seed=settings.seed, device=torch.device("cpu"))
        for k in torch.unique(chunk.y).tolist():
            rows = chunk.x[chunk.y == k].double()
            sums[k] = sums.get(k, torch.zeros(())) + rows.sum(0)
            counts[k] = counts.get(k, 0) + len(rows)
    few = sorted(k for k, count in counts.items() if count < least)
    if few or len(counts) < 2 or min(counts) < 0:
        got = f"{counts[few[0]]} of class {few[0]}" if few else f"classes {sorted(counts)}"
        raise DataError(
            f"Expected {least} samples or more of each of two classes or more, to take means of, but got {got}. Give "
            "more samples, or masks."
        )
    shape = next(iter(sums.values())).shape
    means = torch.full((max(counts) + 1, *shape), torch.nan)
    for k, total in sums.items():
        means[k] = (total / counts[k]).float()
    return means


def _checked_masks(masks: Tensor, n: int) -> Tensor:
    if masks.ndim < 2 or len(masks) != n:
        raise DataError(expected(f"masks to be (N, ...) with N = {n}", tuple(masks.shape)))
    masks = masks.float()
    if not bool(((masks >= 0) & (masks <= 1)).all()):
        raise DataError(expected("masks of values in 0..1", (float(masks.min()), float(masks.max()))))
    return masks
