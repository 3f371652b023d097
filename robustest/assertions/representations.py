"""Claims about what robust models look like: advisory unless a threshold is set."""

from __future__ import annotations

from typing import Unpack

from robustest.assertions.gate import advise, replayable
from robustest.claims.representations.class_evidence import measure_class_evidence
from robustest.claims.representations.gradient_alignment import Reference, measure_gradient_alignment
from robustest.claims.representations.invertible_features import measure_invertible_features
from robustest.results import Result
from robustest.run.options import Options


@replayable
def assert_gradient_alignment(
    model: object,
    data: object,
    *,
    baseline: object | None = None,
    at_least: float | None = None,
    min_gain: float | None = None,
    reference: Reference = "class_means",
    min_per_class: int = 5,
    **options: Unpack[Options],
) -> Result:
    """Claim that a model's gradients point along what separates its classes.

    Advisory: without `at_least` or `min_gain` the result is recorded, and nothing is claimed. Alignment is no proof of
    robustness: smoothing gives it too, and it can be trained for. Arguments and errors are those of
    `measure_gradient_alignment`; returns the result.

    Raises:
        ClaimFailed: they point elsewhere.
        ClaimInconclusive: a claim that these samples do not settle.
    """
    __tracebackhide__ = True
    result = measure_gradient_alignment(
        model,
        data,
        baseline=baseline,
        at_least=at_least,
        min_gain=min_gain,
        reference=reference,
        min_per_class=min_per_class,
        **options,
    )
    return advise(result)


@replayable
def assert_invertible_features(
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
    """Claim that half of the images or more can be had back from the model's features.

    Advisory: without `max_image_error` the result is recorded, and nothing is claimed. Compare models of like
    architecture alone: wide layers can be inverted whatever their features mean. Arguments and errors are those of
    `measure_invertible_features`; returns the result.

    Raises:
        ClaimFailed: other images have the same features.
        ClaimInconclusive: a claim that these samples do not settle, or inversions that did not succeed.
    """
    __tracebackhide__ = True
    result = measure_invertible_features(
        model,
        data,
        max_image_error=max_image_error,
        max_rep_error=max_rep_error,
        layer=layer,
        steps=steps,
        step_size=step_size,
        **options,
    )
    return advise(result)


@replayable
def assert_class_evidence(
    model: object,
    data: object,
    judge: object,
    *,
    eps: float,
    min_transfer: float | None = None,
    steps: int = 60,
    min_driven: int = 30,
    **options: Unpack[Options],
) -> Result:
    """Claim that what drives the model to a class is evidence of that class for another model as well.

    Advisory: without `min_transfer` the result is recorded, and nothing is claimed. The judge must be of another family
    and trained on other data, or it shares the model's blind spots. Arguments and errors are those of
    `measure_class_evidence`; returns the result.

    Raises:
        ClaimFailed: the judge sees it too seldom.
        ClaimInconclusive: a claim that these samples do not settle, too few samples driven, or a judge at chance.
    """
    __tracebackhide__ = True
    result = measure_class_evidence(
        model, data, judge, eps=eps, min_transfer=min_transfer, steps=steps, min_driven=min_driven, **options
    )
    return advise(result)
