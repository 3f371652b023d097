"""Gradients that point where the classes differ."""

# For a sample x of class y with runner-up c (the class of the next highest logit) the gradient g = d(z_y - z_c) / dx is
# compared with the difference of class means d = mean_y - mean_c: the alignment is cos(g, d). With masks it is the
# share of |g|^2 inside the mask. Gradients of robustly trained networks point along d, those of standard ones hardly
# (Tsipras et al., "Robustness May Be at Odds with Accuracy", ICLR 2019, section 3). But smoothing aligns gradients too
# (Kaur, Cohen and Lipton, 2019), as does robustness off the data manifold alone (Srinivas et al., 2023).

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack

import torch
from torch import Tensor

from robustest import Classifier, Result, Settings
from robustest.errors import ConfigError, DataError, expected
from robustest.first_party import Halves, MeanRule, SecondModel
from robustest.packs import (
    Captions,
    Chunk,
    Evaluator,
    Kind,
    Observation,
    Options,
    Quantity,
    Setup,
    assertion,
    checked_threshold,
    checked_whole,
    exhibits_of,
    finish,
    measurement,
    observe,
)

Evidences = Literal["class_means"] | Tensor

# Samples loaded together for class means.
_READ_AT_A_TIME = 512

GRADIENT_ALIGNMENT = Kind(
    name="gradient_alignment",
    varies="nothing",
    quantities=(
        Quantity.at_least("at_least", "alignment", "gradient alignment"),
        Quantity.at_least("min_gain", "gain in alignment", "gradient alignment above the reference's"),
    ),
    advises=True,
    captions=Captions(before="sample", after="gradient"),
    brief=True,
)


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
    """Measure how well the gradient that separates two classes points along the difference of their images.

    For each sample the gradient of the logit of its class less that of the runner-up is compared with the difference of
    the two classes' mean images (means of one half of the samples, gradients on the other): the cosine between them.
    With masks it is the share of the gradient's squared length inside a sample's mask (Tsipras et al., ICLR 2019,
    section 3).

    Advisory: without `at_least` or `min_gain` nothing is claimed. **Alignment is no proof of robustness or of sound
    features**: smoothing gives it too, and it can be trained for. Compare models of one architecture.

    Args:
        model, data: as for `measure_robust_accuracy`; the model must give gradients.
        reference: another model to compare the alignment with.
        at_least: the mean alignment claimed, in -1..1 (0..1 with masks).
        min_gain: the claimed difference from the reference's alignment, in -2..2 (-1..1 with masks).
        evidence: "class_means"; or masks (N, *S), or a shape that broadcasts, in 0..1: 1 where the evidence is.
        min_per_class: least number of samples of each class for a mean, >= 1.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result; the estimate is the mean alignment, or the mean gain if that is claimed. A gradient that vanishes
            counts as the worst possible one. `details["input_alignment"]` is the mean of |<x, g>| / |x||g| (Etmann et
            al., ICML 2019).

    Raises:
        ConfigError: an argument is out of range, both claims are made at once, or the reference is the model.
        DataError: a class has too few samples, or masks do not fit.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    if at_least is not None and min_gain is not None:
        raise ConfigError("Expected at_least= or min_gain= but got both: make two claims.")
    lowest = 0.0 if isinstance(evidence, Tensor) else -1.0
    if at_least is not None:
        at_least = checked_threshold("at_least", at_least, within=(lowest, 1.0), trivial=lowest)
    if min_gain is not None:
        widest = 1.0 - lowest
        min_gain = checked_threshold("min_gain", min_gain, within=(-widest, widest), trivial=-widest)
        if reference is None:
            raise ConfigError("Expected reference= with min_gain= but got none: a gain is over another model.")
    checked_whole("min_per_class", min_per_class, 1)
    setup = Setup.of(model, data, options)
    halves: Halves | None = None
    if isinstance(evidence, Tensor):
        n, masks = len(setup.samples), evidence.float()
        if masks.ndim < 2 or len(masks) != n:
            raise DataError(expected(f"masks to be (N, ...) with N = {n}", tuple(masks.shape)))
        if not bool(((masks >= 0) & (masks <= 1)).all()):
            raise DataError(expected("masks of values in 0..1", (float(masks.min()), float(masks.max()))))
        aim = GradientAim(masks=masks)
    elif evidence == "class_means":
        halves = Halves.of(setup.samples, setup.settings.seed, len(setup.samples))
        aim = GradientAim(means=_class_means(setup.model, halves, setup.settings, min_per_class), of=halves.unseen)
        setup = setup.on(halves.view)
    else:
        raise ConfigError(expected('evidence to be "class_means" or a tensor of masks', evidence))

    threshold = at_least if min_gain is None else min_gain
    quantity = GRADIENT_ALIGNMENT.quantity_of("at_least" if min_gain is None else "min_gain")
    # The rule is on a mean of at most the threshold: all signs are turned.
    rule = MeanRule(threshold=None if at_least is None else -float(at_least), terms=setup.terms, sign=-1)
    if min_gain is not None:
        # A gain is in -2..2, and the rule's values are in -1..1.
        rule = replace(rule, threshold=-min_gain / 2, scale=2.0, column="gain")
    other = (
        nullcontext()
        if reference is None
        else SecondModel.opened(reference, setup.model, setup.settings, options, "reference")
    )
    with other as second:
        look = AlignmentMeasurement(
            aim=aim, second=second, claimed=threshold, gain=min_gain is not None, settings=setup.settings
        )
        plan = setup.plan(quantity.state(), look, rule, here=True)
        found = observe(plan)
        if second is not None:
            found = second.included(found)

    columns = found.columns
    details: dict[str, Any] = {
        "alignment": -float(columns["value"].mean()),
        "input_alignment": float(columns["input"].mean()),
        "accuracy": found.share(columns["right"]),
        "vanished": int(columns["vanished"].sum()),
    }
    if aim.masks is not None:
        details["by_chance"] = float(aim.masks.double().mean())
    if "gain" in columns:
        details["reference_alignment"] = float(columns["reference"].mean())
        details["gain"] = -2 * float(columns["gain"].mean())
        details["reference_vanished"] = int(columns["reference vanished"].sum())
    notes = []
    for whose, column in (("the model", "vanished"), ("the reference", "reference vanished")):
        count = int(columns[column].sum()) if column in columns else 0
        if count:
            notes.append(f"the gradient of {whose} vanishes at {count} samples; they count as the worst they could be")
    result = finish(
        plan,
        found,
        kind=GRADIENT_ALIGNMENT,
        quantity=quantity,
        threshold=threshold,
        setting="differences of class means" if aim.masks is None else "masks",
        method="gradients of the logit of the class less the runner-up's",
        details=details,
        # Gradients that point anywhere are aligned by chance with masks, and not at all with differences.
        constant=details.get("by_chance", 0.0)
        - (0.0 if quantity.threshold == "at_least" else details["reference_alignment"]),
        notes=notes,
    )
    return result if halves is None else halves.whole(result)


@assertion(measure_gradient_alignment)
def assert_gradient_alignment() -> None:
    """Claim that a model's gradients point along the directions that separate its classes.

    Advisory: without `at_least` or `min_gain` the result is recorded, and nothing is claimed. Alignment is no proof of
    robustness: smoothing gives it too, and it can be trained for.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientAim:
    """The directions in which gradients should point: class means (K, *S), NaN where there is none, or masks (N, ...).

    `of` has the positions (n,) in the user's data of the samples of a view.
    """

    means: Tensor | None = None
    masks: Tensor | None = None
    of: Tensor | None = None

    @property
    def with_mean(self) -> Tensor | None:
        return None if self.means is None else ~self.means.flatten(1).isnan().any(1)

    def alignment(self, gradient: Tensor, chunk: Chunk, runner_up: Tensor) -> Tensor:
        """Return (n,) the alignment of gradients (n, *S); NaN where they vanish."""
        if self.masks is not None:
            masks = self.masks[chunk.ids].to(gradient).broadcast_to(gradient.shape)
            square = gradient.double().square()
            inside: Tensor = (square * masks).flatten(1).sum(1) / square.flatten(1).sum(1)
            return inside
        assert self.means is not None  # noqa: S101 - one of the two is there
        means = self.means.to(gradient.device)
        return cosine(gradient, means[chunk.y] - means[runner_up])


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return float64 cosines (n,) of rows (n, *S); NaN where one is 0."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    both: Tensor = (a * b).sum(1) / (torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1))
    return both


def _class_means(classifier: Classifier, halves: Halves, settings: Settings, least: int) -> Tensor:
    # Mean images (K, *S) float32 of the classes; NaN where there is none.
    sums: dict[int, Tensor] = {}
    counts: dict[int, int] = {}
    for ids in torch.split(halves.searched, _READ_AT_A_TIME):
        chunk = Chunk.of(halves.samples, ids, bounds=classifier.bounds, seed=settings.seed, device=torch.device("cpu"))
        for k in torch.unique(chunk.y).tolist():
            # Sums of many float32 images would lose digits.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentMeasurement:
    """The alignment of a chunk's gradients, of the model's and of the reference's."""

    aim: GradientAim
    second: SecondModel | None
    claimed: float | None
    gain: bool
    settings: Settings

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        aim, second = self.aim, self.second
        if aim.of is not None:
            chunk = replace(chunk, ids=aim.of[chunk.ids])
        logits, gradient, runner_up = gradients(evaluator, chunk, aim)
        raw = aim.alignment(gradient, chunk, runner_up)
        lowest = 0.0 if aim.masks is not None else -1.0
        # A gradient that vanishes counts as the worst possible one.
        value = raw.nan_to_num(lowest)
        columns = {
            "value": -value,
            "input": cosine(chunk.x, gradient).abs().nan_to_num(0.0),
            "vanished": raw.isnan(),
            "right": evaluator.task.holds(logits, chunk.y),
        }
        shown = value
        if second is not None:
            there = second.given(chunk, gradients=True)
            _, other_gradient, other_runner_up = gradients(second.evaluator, there, aim)
            base = aim.alignment(other_gradient, there, other_runner_up).to(value.device)
            # A reference whose gradient vanishes counts as the best possible one.
            columns |= {"reference": base.nan_to_num(1.0), "reference vanished": base.isnan()}
            columns["gain"] = -(value - base.nan_to_num(1.0)) / 2
            shown = value - base.nan_to_num(1.0) if self.gain else value
        columns["held"] = shown >= (0.0 if self.claimed is None else self.claimed)
        low, high = chunk.bounds
        # The gradient as a picture: grey where it is 0, the steepest pixel at an end of the range.
        steepest = gradient.flatten(1).abs().amax(1).clamp(min=1e-30).view(-1, *[1] * (gradient.ndim - 1))
        exhibits = exhibits_of(
            evaluator,
            chunk,
            ~columns["held"],
            clean=evaluator.task.predictions(logits),
            predicted=runner_up,
            after=(low + high) / 2 + (high - low) / 2 * gradient / steepest,
            badness=-shown,
        )
        return Observation(columns, exhibits)


def gradients(evaluator: Evaluator, chunk: Chunk, aim: GradientAim) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits (n, K), gradients (n, *S) of the class's logit less the runner-up's, and runners-up (n,)."""
    with_mean = aim.with_mean
    if with_mean is not None and not bool(with_mean[chunk.y.cpu()].all()):
        bad = int(chunk.y.cpu()[~with_mean[chunk.y.cpu()]][0])
        raise DataError(f"Expected samples of class {bad} in both halves but got them in one. Give more samples.")

    def runner_ups(logits: Tensor, y: Tensor) -> Tensor:
        # The highest logit among the other classes that have a mean.
        scores = logits.detach().scatter(1, y.unsqueeze(1), -torch.inf)
        # A class without a mean has no difference to compare with.
        if with_mean is not None:
            none = torch.ones(logits.shape[1], dtype=torch.bool)
            none[: len(with_mean)] = ~with_mean[: logits.shape[1]]
            scores = scores.masked_fill(none.to(scores.device), -torch.inf)
        return scores.argmax(1)

    def objective(logits: Tensor, part: slice) -> Tensor:
        at = torch.stack([chunk.y[part], runner_ups(logits, chunk.y[part])], 1)
        pair = logits.gather(1, at)
        return pair[:, 0] - pair[:, 1]

    logits, gradient = evaluator.gradient(chunk.x, lambda z, _: z, objective)
    return logits, gradient, runner_ups(logits, chunk.y)
