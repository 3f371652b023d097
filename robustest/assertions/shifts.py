"""Claims about distribution shifts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from robustest.assertions.gate import gate, replayable
from robustest.claims.shifts.corruptions import SEVERITIES, measure_corruption_robustness
from robustest.claims.shifts.shift_accuracy import measure_shift_accuracy
from robustest.errors import ConfigError
from robustest.results import Result
from robustest.rules.corruption_error import Errors
from robustest.run.comparison import Baseline
from robustest.run.options import Options
from robustest.shifts import Shift, ShiftFunction

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


@replayable
def assert_corruption_robustness(
    model: object,
    data: object,
    *,
    corruptions: str | Sequence[str] = "common",
    severities: Sequence[int] = SEVERITIES,
    min_accuracy: float | None = None,
    max_drop: float | None = None,
    max_mce: float | None = None,
    baseline: Errors | str | os.PathLike[str] | None = None,
    **options: Unpack[Options],
) -> Result:
    """Claim that mean accuracy under common corruptions is high, falls little, or that the mCE is low.

    Arguments and errors are those of `measure_corruption_robustness`; returns the result.

    Raises:
        ClaimFailed: the claim does not hold.
        ClaimInconclusive: the samples do not settle it.
    """
    __tracebackhide__ = True
    if min_accuracy is None and max_drop is None and max_mce is None:
        raise ConfigError("Expected min_accuracy=, max_drop= or max_mce= but got none: there is nothing to claim.")
    return gate(
        measure_corruption_robustness(
            model,
            data,
            corruptions=corruptions,
            severities=severities,
            min_accuracy=min_accuracy,
            max_drop=max_drop,
            max_mce=max_mce,
            baseline=baseline,
            **options,
        )
    )


@replayable
def assert_robust_to(
    model: object,
    data: object,
    strategy: SearchStrategy[Any],
    *,
    at_least: float | None,
    max_examples: int | None = None,
    **options: Unpack[Options],
) -> Result:
    """Claim that accuracy is at least `at_least` under every change that a hypothesis strategy draws.

    Hypothesis searches for a change that breaks the claim, and shrinks it to the mildest. A pass is a search without
    a counterexample, not a proof. Arguments and errors are those of `measure_robust_to`; returns the result.

    Raises:
        ClaimFailed: a change breaks the claim.
        ClaimInconclusive: the search ended early, or what breaks the samples searched on does not break all.
    """
    __tracebackhide__ = True
    if at_least is None:
        raise ConfigError("Expected at_least= but got None: there is nothing to claim.")
    from robustest.claims.strategies.robust_to import measure_robust_to  # hypothesis is for this claim alone

    return gate(measure_robust_to(model, data, strategy, at_least=at_least, max_examples=max_examples, **options))


@replayable
def assert_shift_accuracy(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction,
    *,
    severity: int | None = None,
    at_least: float | None = None,
    max_drop: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    **options: Unpack[Options],
) -> Result:
    """Claim that accuracy under a shift is at least `at_least`, falls by `max_drop` at most, or is as it was.

    Arguments and errors are those of `measure_shift_accuracy`; returns the result.

    Raises:
        ClaimFailed: the claim does not hold.
        ClaimInconclusive: a population claim that these samples do not settle.
    """
    __tracebackhide__ = True
    if at_least is None and max_drop is None and no_worse_than is None:
        raise ConfigError("Expected at_least=, max_drop= or no_worse_than= but got none: there is nothing to claim.")
    return gate(
        measure_shift_accuracy(
            model,
            data,
            shift,
            severity=severity,
            at_least=at_least,
            max_drop=max_drop,
            no_worse_than=no_worse_than,
            tolerance=tolerance,
            **options,
        )
    )
