"""Images recovered from a model's features."""

# From grey with a little noise, normalised gradient steps minimise |R(x') - R(x)|, the distance of the features R of an
# input x' from those of a sample x. In standard networks inputs that look like nothing share features with any sample
# (Engstrom et al., "Adversarial Robustness as a Prior for Learned Representations", 2019, section 4).

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from robustest import Result, Verdict, rng
from robustest.packs import (
    Captions,
    Changed,
    Chunk,
    Decision,
    Evaluator,
    Evidence,
    Features,
    Kind,
    Observation,
    Options,
    Pairing,
    Quantity,
    Setup,
    ShareRule,
    assertion,
    checked_real,
    checked_whole,
    clopper_pearson,
    exhibits_of,
    finish,
    measurement,
    observe,
)
from robustest_interpret.heads import require

_HALF = 0.5


INVERTIBLE_FEATURES = Kind(
    name="invertible_features",
    varies="inputs",
    quantities=(
        Quantity.at_least("max_image_error", "images that come back", "images that come back from their features"),
    ),
    advises=True,
    limits=("max_representation_error",),
    captions=Captions(before="sample", after="same features"),
    brief=True,
)


@measurement(INVERTIBLE_FEATURES)
def measure_invertible_features(
    model: object,
    data: object,
    *,
    max_image_error: float | None = None,
    max_representation_error: float = 0.02,
    layer: str | None = None,
    iterations: int = 500,
    step_size: float | None = None,
    **options: Unpack[Options],
) -> Result:
    """Measure how near an image with the same features comes to the original.

    From grey, gradient steps lead to an input whose features, the inputs of the model's last linear layer, are those of
    a sample (Engstrom et al., 2019, section 4): |R(x') - R(x)| / |R(x)| at most `max_representation_error`. The claim
    holds if at least half of the samples come back with an image error |x' - x| / |x| of at most `max_image_error`.

    Advisory: without `max_image_error` nothing is claimed. **Compare models of one architecture only.** A layer with as
    many features as the input has elements can be inverted for any weights; a narrow one for none.

    Args:
        model: a torch module, or a `Classifier` of one, whose logits are a linear layer's outputs.
        data: as for `measure_robust_accuracy`; every sample takes `iterations` passes.
        max_image_error: of half of the samples claimed at most, > 0.
        max_representation_error: beyond it an inversion shows nothing, > 0.
        layer: name of the linear layer; None finds it.
        iterations: gradient steps, >= 1.
        step_size: Euclidean length of the first step, in input units; it falls to 0. None lets the steps span the
            bounds.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result; the estimate is the share of samples that came back. It is inconclusive, not failed, where too few
            inversions succeed.

    Raises:
        ConfigError: an argument is out of range, or the logits are no linear layer's outputs.
        DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    for name, value in (
        ("max_image_error", max_image_error),
        ("max_representation_error", max_representation_error),
        ("step_size", step_size),
    ):
        if value is not None:
            checked_real(name, value)
            require(value > 0, f"{name} > 0", value)
    checked_whole("iterations", iterations, 1)
    setup = Setup.of(model, data, options)
    require(setup.model.module is not None, "a torch module, whose layers can be seen", setup.model.call)
    look = InversionMeasurement(
        layer=layer,
        iterations=iterations,
        step_size=step_size,
        max_image_error=max_image_error,
        max_representation_error=max_representation_error,
    )
    threshold = None if max_image_error is None else _HALF
    plan = setup.plan(
        INVERTIBLE_FEATURES.quantities[0].state(),
        look,
        ShareRule(threshold=threshold, at_least=True, terms=setup.terms),
        identity=("inversion", max_image_error, max_representation_error, layer, iterations, step_size),
        here=True,  # a program that was exported for workers has no layers to be seen
    )
    evidence = observe(plan)
    columns = evidence.columns
    features, elements = (int(columns[name][0]) for name in ("features", "elements"))
    wide = [f"{features} features for {elements} elements: such a layer can be inverted whatever its features mean"]
    return finish(
        plan,
        evidence,
        decision=_decided(evidence, max_image_error or 0.0, max_representation_error, plan.settings.alpha),
        kind=INVERTIBLE_FEATURES,
        threshold=threshold,
        setting=f"{features} features of images of {elements} elements",
        method=f"{iterations} gradient steps from grey",
        details={
            "max_image_error": max_image_error,
            "max_representation_error": max_representation_error,
            "image_error": float(np.median(columns["image"])),
            "rep_error": float(np.median(columns["rep"])),
            "start_error": float(np.median(columns["start"])),
            "inverted": int(columns["reached"].sum()),
        },
        bounds="below",
        # An image that is as near to grey as is claimed comes back without a step.
        changed=[Changed(by="the start from grey", moved=columns["start"] > (max_image_error or 0.0))],
        pairing=Pairing(
            under=f"max_image_error={max_image_error}, max_representation_error={max_representation_error}"
        ),
        notes=wide if features >= elements else [],
    )


@assertion(measure_invertible_features)
def assert_invertible_features() -> None:
    """Claim that at least half of the images can be recovered from the model's features.

    Advisory: without `max_image_error` the result is recorded, and nothing is claimed. Compare only models of similar
    architecture: wide layers can be inverted whatever their features mean.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class InversionMeasurement:
    """Images with the features of a chunk's samples, and their errors."""

    layer: str | None
    iterations: int
    step_size: float | None
    max_image_error: float | None
    max_representation_error: float

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        features = Features.of(evaluator, chunk.x, layer=self.layer)
        aim, start = features(chunk.x), grey(chunk.key, chunk.x.shape[1:], chunk.bounds)
        how: dict[str, Any] = {"steps": self.iterations, "step_size": self.step_size}
        made, rep = features.inverted(start, aim, bounds=chunk.bounds, **how)
        original = chunk.x.flatten(1)
        image = _apart(made.flatten(1), original)
        near = (
            torch.ones_like(image, dtype=torch.bool) if self.max_image_error is None else image <= self.max_image_error
        )
        # An inversion that does not reach the features shows nothing about them: the sample counts as possible, and not
        # as a counterexample.
        reached = rep <= self.max_representation_error
        before, after = (evaluator.task.predictions(evaluator.logits(x)) for x in (chunk.x, made))
        exhibits = exhibits_of(
            evaluator,
            chunk,
            ~(near & reached),
            clean=before,
            predicted=after,
            after=made,
            badness=image * reached,
            size=image,
        )
        columns = {
            "held": near & reached,
            "possible": near | ~reached,
            "reached": reached,
            "image": image,
            "rep": rep,
            "start": _apart(start.flatten(1), original),
            "features": torch.full_like(chunk.y, aim.shape[1]),
            "elements": torch.full_like(chunk.y, original.shape[1]),
        }
        return Observation(columns, exhibits)


# Standard deviation of the noise on grey, in widths of the bounds (1/20 in the paper).
_NOISE = 0.05


def grey(key: Tensor, shape: Sequence[int], bounds: tuple[float, float]) -> Tensor:
    """Return (N, *shape) starts: the middle of the bounds with a little noise."""
    low, high = bounds
    noise = rng.normal(rng.fold(key, "grey"), shape)
    return ((low + high) / 2 + _NOISE * (high - low) * noise).clamp(low, high)


def _apart(x: Tensor, original: Tensor) -> Tensor:
    """Return (N,) Euclidean distances of rows (N, D) from others, relative to their length."""
    length = torch.linalg.vector_norm(original, dim=1).clamp(min=torch.finfo(original.dtype).tiny ** 0.5)
    apart: Tensor = torch.linalg.vector_norm(x - original, dim=1) / length
    return apart


def _decided(evidence: Evidence, max_image_error: float, max_representation_error: float, alpha: float) -> Decision:
    # A failure counts only if it would be one for every outcome of the inversions that did not succeed. A pass counts
    # only if it could have failed: on images that grey, at which inversions begin, is not near enough to.
    decision, possible = evidence.decision, int(evidence.columns["possible"].sum())
    held, near = evidence.columns["held"], evidence.columns["start"] <= max_image_error
    if decision.verdict is Verdict.PASSED and 2 * int((held & ~near).sum()) < max(1, int((~near).sum())):
        rule = (
            f"nothing could have failed it: plain grey is within {max_image_error:g} of all {evidence.n} images; claim "
            "a smaller max_image_error"
            if near.all()
            else f"plain grey is within {max_image_error:g} of {int(near.sum())} of {evidence.n} images, which nothing "
            f"could have failed; of the others {int((held & ~near).sum())} of {int((~near).sum())} come back: claim a "
            "smaller max_image_error"
        )
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
    if decision.verdict is not Verdict.FAILED:
        return decision
    # If all of them had succeeded, could half of the samples have come back?
    highest = possible / evidence.n if evidence.whole else clopper_pearson(possible, evidence.n, alpha)[1]
    if highest < _HALF:
        return decision
    lost = int((~evidence.columns["reached"]).sum())
    within = f"within {max_representation_error:g} of the features"
    rule = f"{lost} of {evidence.n} inversions did not come {within}: give more iterations"
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
