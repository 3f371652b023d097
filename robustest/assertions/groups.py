"""Claims about groups of samples, and about predictions that should stay the same."""

from __future__ import annotations

from typing import Unpack

from robustest.assertions.gate import gate, replayable
from robustest.claims.datasets.worst_group import measure_worst_group_accuracy
from robustest.claims.shifts.consistency import measure_consistency
from robustest.errors import ConfigError
from robustest.results import Result
from robustest.run.comparison import Baseline
from robustest.run.options import Options
from robustest.shifts import Shift, ShiftFunction


@replayable
def assert_worst_group_accuracy(
    model: object,
    data: object,
    groups: object,
    *,
    at_least: float | None = None,
    min_group: int = 30,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    **options: Unpack[Options],
) -> Result:
    """Claim that accuracy is at least `at_least`, or as it was, in every group, however small.

    Arguments and errors are those of `measure_worst_group_accuracy`; returns the result.

    Raises:
        ClaimFailed: a group's accuracy is lower, or was higher.
        ClaimInconclusive: a population claim that these samples do not settle, or a group that lost samples and is too
            small to tell that from chance.
    """
    __tracebackhide__ = True
    if at_least is None and no_worse_than is None:
        raise ConfigError("Expected at_least= or no_worse_than= but got neither: there is nothing to claim.")
    return gate(
        measure_worst_group_accuracy(
            model,
            data,
            groups,
            at_least=at_least,
            min_group=min_group,
            no_worse_than=no_worse_than,
            tolerance=tolerance,
            **options,
        )
    )


@replayable
def assert_consistent(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction,
    *,
    severity: int | None = None,
    max_flip: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    **options: Unpack[Options],
) -> Result:
    """Claim that a shift changes the predicted class of at most `max_flip` of the samples, or of no more than it did.

    Arguments and errors are those of `measure_consistency`; returns the result.

    Raises:
        ClaimFailed: it changes more.
        ClaimInconclusive: a population claim that these samples do not settle.
    """
    __tracebackhide__ = True
    if max_flip is None and no_worse_than is None:
        raise ConfigError("Expected max_flip= or no_worse_than= but got neither: there is nothing to claim.")
    return gate(
        measure_consistency(
            model,
            data,
            shift,
            severity=severity,
            max_flip=max_flip,
            no_worse_than=no_worse_than,
            tolerance=tolerance,
            **options,
        )
    )
