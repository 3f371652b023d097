"""Claims about other data sets, and about kinds of a class that were not there in training."""

from __future__ import annotations

from typing import Unpack

from robustest.assertions.gate import gate, replayable
from robustest.claims.datasets.data_sets import measure_transfer_accuracy
from robustest.claims.datasets.subpopulation import measure_subpopulation_shift
from robustest.data.breeds import BreedsSplit
from robustest.errors import ConfigError
from robustest.results import Result
from robustest.run.options import Options


@replayable
def assert_subpopulation_shift(
    model: object,
    data: object,
    split: BreedsSplit,
    *,
    max_drop: float | None,
    train: object = None,
    oracle: object = None,
    resamples: int = 2000,
    **options: Unpack[Options],
) -> Result:
    """Claim that accuracy falls by at most `max_drop` from the subclasses trained on to others of the same classes.

    Arguments and errors are those of `measure_subpopulation_shift`; returns the result.

    Raises:
        ClaimFailed: it falls by more.
        ClaimInconclusive: a population claim that these samples do not settle.
    """
    __tracebackhide__ = True
    if max_drop is None:
        raise ConfigError("Expected max_drop= but got None: there is nothing to claim.")
    return gate(
        measure_subpopulation_shift(
            model, data, split, max_drop=max_drop, train=train, oracle=oracle, resamples=resamples, **options
        )
    )


@replayable
def assert_transfer_accuracy(
    model: object,
    source: object,
    target: object,
    *,
    at_least: float | None = None,
    max_drop: float | None = None,
    **options: Unpack[Options],
) -> Result:
    """Claim that accuracy on a target data set is at least `at_least`, or at most `max_drop` below that on a source.

    Arguments and errors are those of `measure_transfer_accuracy`; returns the result.

    Raises:
        ClaimFailed: the claim does not hold.
        ClaimInconclusive: a population claim that these samples do not settle.
    """
    __tracebackhide__ = True
    if at_least is None and max_drop is None:
        raise ConfigError("Expected at_least= or max_drop= but got neither: there is nothing to claim.")
    return gate(measure_transfer_accuracy(model, source, target, at_least=at_least, max_drop=max_drop, **options))
