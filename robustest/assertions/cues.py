"""Claims about features a model should not use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Unpack

from robustest.assertions.gate import gate, replayable
from robustest.claims.cues.backdoor_trigger import measure_backdoor_trigger
from robustest.claims.cues.failure_direction import Embedding, measure_failure_direction
from robustest.claims.cues.spurious_feature import measure_spurious_feature
from robustest.claims.representations.sparse_head import measure_sparse_head
from robustest.cues import Cue, Plant
from robustest.discovery import Discovery
from robustest.discovery.triggers import MAX_ANOMALY
from robustest.errors import ConfigError
from robustest.results import Result
from robustest.run.options import Options


@replayable
def assert_no_spurious_feature(
    model: object,
    data: object,
    cue: Cue | Sequence[Cue] | Discovery | Literal["auto"],
    *,
    max_flip: float | None = None,
    max_recall_drop: float | None = None,
    target: int | None = None,
    control: object | None = None,
    train_fn: Callable[[Plant], object] | None = None,
    **options: Unpack[Options],
) -> Result:
    """Claim that switching a cue, any of several, or any that a search finds, moves few predictions and little recall.

    Arguments and errors are those of `measure_spurious_feature`; returns the result.

    Raises:
        ClaimFailed: the cue moves more than claimed.
        ClaimInconclusive: a population claim that these samples do not settle; a null cue that moves predictions;
            a control that does not fail, or in which the search does not find what was planted.
    """
    __tracebackhide__ = True
    if max_flip is None and max_recall_drop is None:
        raise ConfigError("Expected max_flip= or max_recall_drop= but got neither: there is nothing to claim.")
    result = measure_spurious_feature(
        model,
        data,
        cue,
        max_flip=max_flip,
        max_recall_drop=max_recall_drop,
        target=target,
        control=control,
        train_fn=train_fn,
        **options,
    )
    return gate(result)


@replayable
def assert_no_backdoor_trigger(
    model: object,
    data: object,
    *,
    max_anomaly: float = MAX_ANOMALY,
    labels: Sequence[int] | None = None,
    success: float = 0.85,
    sizes: Sequence[int] | None = None,
    steps: int = 200,
    search_samples: int = 1000,
    **options: Unpack[Options],
) -> Result:
    """Claim that no class can be reached far more cheaply than the others by pasting a small patch.

    Arguments and errors are those of `measure_backdoor_trigger`; returns the result.

    Raises:
        ClaimFailed: a patch, far smaller than other classes need, sends most unseen samples to its class.
        ClaimInconclusive: a class is suspected, but its patch does not work on unseen samples.
    """
    __tracebackhide__ = True
    result = measure_backdoor_trigger(
        model,
        data,
        max_anomaly=max_anomaly,
        labels=labels,
        success=success,
        sizes=sizes,
        steps=steps,
        search_samples=search_samples,
        **options,
    )
    return gate(result)


@replayable
def assert_no_failure_direction(
    model: object,
    data: object,
    *,
    max_cv: float = 0.95,
    embedding: Embedding | None = None,
    components: int = 64,
    permutations: int = 200,
    min_errors: int = 10,
    **options: Unpack[Options],
) -> Result:
    """Claim that no linear direction tells a class's errors from its hits.

    Arguments and errors are those of `measure_failure_direction`; returns the result.

    Raises:
        ClaimFailed: one tells them apart, and better than chance does.
        ClaimInconclusive: a class has errors, but too few of them, or of hits, to be judged; or chance may be why.
    """
    __tracebackhide__ = True
    result = measure_failure_direction(
        model,
        data,
        max_cv=max_cv,
        embedding=embedding,
        components=components,
        permutations=permutations,
        min_errors=min_errors,
        **options,
    )
    return gate(result)


@replayable
def assert_sparse_head(
    model: object,
    data: object,
    *,
    max_features_per_class: int,
    max_drop: float,
    slack: float | None = None,
    layer: str | None = None,
    l1_ratio: float = 0.99,
    n_lambdas: int = 100,
    subsamples: int = 20,
    fit_samples: int = 10_000,
    min_per_class: int = 10,
    **options: Unpack[Options],
) -> Result:
    """Claim that a linear head on a few of the model's own features classifies nearly as well as the model.

    Arguments and errors are those of `measure_sparse_head`; returns the result.

    Raises:
        ClaimFailed: a class needs more features, or more accuracy is lost.
        ClaimInconclusive: the samples do not settle it, or heads cannot be fitted well to so few.
    """
    __tracebackhide__ = True
    result = measure_sparse_head(
        model,
        data,
        max_features_per_class=max_features_per_class,
        max_drop=max_drop,
        slack=slack,
        layer=layer,
        l1_ratio=l1_ratio,
        n_lambdas=n_lambdas,
        subsamples=subsamples,
        fit_samples=fit_samples,
        min_per_class=min_per_class,
        **options,
    )
    return gate(result)
