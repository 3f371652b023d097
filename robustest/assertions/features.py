"""Claims about features a model should not use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Unpack

from robustest.assertions.gate import gate
from robustest.errors import ConfigError
from robustest.features import Cue, Plant
from robustest.measurements import measure_spurious_feature
from robustest.measurements.options import Options
from robustest.results import Result


def assert_no_spurious_feature(
    model: object,
    data: object,
    cue: Cue | Sequence[Cue],
    *,
    max_flip: float | None = None,
    max_recall_drop: float | None = None,
    target: int | None = None,
    control: object | None = None,
    train_fn: Callable[[Plant], object] | None = None,
    **options: Unpack[Options],
) -> Result:
    """Claim that switching a cue, or any of several, on and off moves few predictions and little recall.

    Arguments and errors are those of `measure_spurious_feature`; returns the result.

    Raises:
        ClaimFailed: the cue moves more than claimed.
        ClaimInconclusive: a population claim that these samples do not settle; a null cue that moves predictions;
            a control that does not fail.
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
