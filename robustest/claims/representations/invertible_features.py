"""Whether an image can be had back from a model's features (Engstrom et al., 2019)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Unpack

import numpy as np
import torch

from robustest.checks import checked_real, checked_whole
from robustest.data import as_samples
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.features import reader
from robustest.engine.objectives import relative_distance
from robustest.engine.visualise import grey, inverted
from robustest.errors import ConfigError, expected
from robustest.facts import Captions
from robustest.kinds import Kind, Quantity, no_lines
from robustest.models.last_layer import last_layer
from robustest.results import Pairing, Result, Verdict
from robustest.rules import ShareRule
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Observed, exhibits_of
from robustest.run.noting import measures
from robustest.run.options import Options, apply, terms_of
from robustest.run.result_building import result_of
from robustest.statistics import Decision, clopper_pearson

_HALF = 0.5


INVERTIBLE_FEATURES = Kind(
    name="invertible_features",
    quantities=(
        Quantity(
            name="images that come back",
            comparison=">=",
            threshold="max_image_error",
            statement="images that come back from their features",
        ),
    ),
    advises=True,
    captions=Captions(before="sample", after="same features"),
    lines=no_lines,
)
"""How many images come back from their features."""


@measures(INVERTIBLE_FEATURES)
def measure_invertible_features(
    model: object,
    data: object,
    *,
    max_image_error: float | None = None,
    max_rep_error: float = 0.02,
    layer: str | None = None,
    steps: int = 500,
    step_size: float | None = None,
    **options: Unpack[Options],
) -> Result:
    """How near an image comes to the original that is made to have the same features.

    From grey with a little noise, normalised gradient steps lead to an input whose features, the inputs of the model's
    last linear layer, are those of a sample: |R(x') - R(x)| / |R(x)| at most `max_rep_error`. The image error is
    |x' - x| / |x|. Where features are those that people see, x' looks like x; in standard networks inputs that look
    like nothing share features with any sample (Engstrom et al., "Adversarial Robustness as a Prior for Learned
    Representations", 2019, section 4). The claim holds where half of the samples or more come back with an image error
    of at most `max_image_error`: where the median does.

    Advisory: without `max_image_error` nothing is claimed. **Only models of like architecture compare.** A layer with
    as many features as the input has elements can be inverted whatever they mean, untrained too; a narrow one cannot,
    however sound.

    Args:
        model: a torch module, or a `Classifier` of one, whose logits are a linear layer's outputs.
        data: as for `measure_robust_accuracy`; every sample takes `steps` passes, so give few, or `max_samples`.
        max_image_error: of half of the samples claimed at most, > 0.
        max_rep_error: beyond which an inversion did not succeed and shows nothing, > 0.
        layer: name of the linear layer; None finds it.
        steps: gradient steps, >= 1.
        step_size: Euclidean length of the first, in input units; it falls to 0. None lets the steps span the bounds.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result; the estimate is the share of samples that came back. It is inconclusive, instead of failed, where
        too few inversions succeed to tell. `details` has the median errors.

    Raises:
        ConfigError: an argument is out of range or unknown, or the logits are no linear layer's outputs.
        DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    for name, value in (
        ("max_image_error", max_image_error),
        ("max_rep_error", max_rep_error),
        ("step_size", step_size),
    ):
        if value is not None:
            checked_real(name, value)
            if value <= 0:
                raise ConfigError(expected(f"{name} > 0", value))
    checked_whole("steps", steps, 1)
    classifier, settings = apply(model, options)
    if classifier.module is None:
        raise ConfigError(expected("a torch module, whose layers can be seen", classifier.call))
    statement = INVERTIBLE_FEATURES.quantities[0].says()
    limits: dict[str, Any] = {"max_image_error": max_image_error, "max_rep_error": max_rep_error}
    how: dict[str, Any] = {"layer": layer, "steps": steps, "step_size": step_size}
    evidence = observe(
        statement,
        classifier,
        as_samples(data),
        settings,
        partial(_inverted, **limits, **how, examples=settings.examples),
        rule=ShareRule(threshold=None if max_image_error is None else _HALF, at_least=True, terms=terms_of(settings)),
        identity=("inversion", *limits.values(), *how.values()),
        here=True,  # a program that was exported for workers has no layers to be seen
    )
    if max_image_error is not None:
        statement = f"{statement}, error <= {max_image_error:g}, share >= 0.5"
    columns = evidence.columns
    features, elements = int(columns["features"][0]), int(columns["elements"][0])
    result = result_of(
        evidence,
        _decided(evidence, max_image_error or 0.0, max_rep_error, settings.alpha),
        settings,
        kind=INVERTIBLE_FEATURES,
        statement=statement,
        threshold=None if max_image_error is None else _HALF,
        setting=f"{features} features of images of {elements} elements",
        method=f"{steps} gradient steps from grey",
        details={
            "max_image_error": max_image_error,
            "max_rep_error": max_rep_error,
            "image_error": float(np.median(columns["image"])),
            "rep_error": float(np.median(columns["rep"])),
            "start_error": float(np.median(columns["start"])),
            "inverted": int(columns["reached"].sum()),
        },
        bounds="below",
        pairing=Pairing(under=f"max_image_error={max_image_error}, max_rep_error={max_rep_error}"),
    )
    wide = [f"{features} features for {elements} elements: such a layer can be inverted whatever its features mean"]
    return replace(result, notes=(*result.notes, *(wide if features >= elements else [])))


def _inverted(
    evaluator: Evaluator,
    chunk: Chunk,
    *,
    layer: str | None,
    steps: int,
    step_size: float | None,
    max_image_error: float | None,
    max_rep_error: float,
    examples: int,
) -> Observed:
    """Images made to have the features of a chunk's, and how near both come."""
    read = reader(evaluator, last_layer(evaluator.model, chunk.x[:1], layer))
    aim, start = read.logits(chunk.x), grey(chunk.key, chunk.x.shape[1:], chunk.bounds)
    made = inverted(read, start, aim, bounds=chunk.bounds, steps=steps, step_size=step_size)
    rep, original = relative_distance(read.logits(made), aim), chunk.x.flatten(1)
    image = relative_distance(made.flatten(1), original)
    read.settle()
    evaluator.forward += read.forward
    evaluator.backward += read.backward
    near = torch.ones_like(image, dtype=torch.bool) if max_image_error is None else image <= max_image_error
    reached = rep <= max_rep_error
    before, after = evaluator.logits(chunk.x).argmax(1), evaluator.logits(made).argmax(1)
    exhibits = exhibits_of(
        chunk,
        ~(near & reached),
        clean=before,
        predicted=after,
        before=chunk.x,
        after=made,
        badness=image * reached,
        size=image,
        most=examples,
    )
    columns = {
        "held": near & reached,
        "possible": near | ~reached,
        "reached": reached,
        "image": image,
        "rep": rep,
        "start": relative_distance(start.flatten(1), original),
        "features": torch.full_like(chunk.y, aim.shape[1]),
        "elements": torch.full_like(chunk.y, original.shape[1]),
    }
    return Observed({name: column.cpu().numpy() for name, column in columns.items()}, exhibits)


def _decided(evidence: Evidence, max_image_error: float, max_rep_error: float, alpha: float) -> Decision:
    """A failure counts only where it would be one whatever became of inversions that did not succeed, and a pass only
    where it could have failed: where grey, which they begin at, is not near enough itself.
    """
    decision, possible = evidence.decision, int(evidence.columns["possible"].sum())
    if decision.verdict is Verdict.PASSED and float(np.median(evidence.columns["start"])) <= max_image_error:
        rule = f"nothing could have failed it: plain grey is within {max_image_error:g} of half of the images"
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
    if decision.verdict is not Verdict.FAILED:
        return decision
    highest = possible / evidence.n if evidence.whole else clopper_pearson(possible, evidence.n, alpha)[1]
    if highest < _HALF:
        return decision
    lost = int((~evidence.columns["reached"]).sum())
    rule = f"{lost} of {evidence.n} inversions did not come within {max_rep_error:g} of the features: give more steps"
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
