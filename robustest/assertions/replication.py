"""Claims about replications of data sets."""

from __future__ import annotations

from typing import Unpack

from robustest.assertions.gate import gate, replayable
from robustest.claims.datasets.replication import measure_replication_gap
from robustest.data.annotations import Annotations
from robustest.errors import ConfigError
from robustest.results import Result
from robustest.run.options import Options


@replayable
def assert_replication_gap(
    model: object,
    v1: object,
    v2: object,
    annotations: tuple[Annotations, Annotations],
    *,
    max_gap: float | None,
    correction: str | None = "jackknife",
    resamples: int | None = None,
    **options: Unpack[Options],
) -> Result:
    """Claim that accuracy on a replicated data set is at most `max_gap` lower once both are equally hard.

    Arguments and errors are those of `measure_replication_gap`; returns the result.

    Raises:
        ClaimFailed: the gap is larger.
        ClaimInconclusive: items and annotations do not settle it.
    """
    __tracebackhide__ = True
    if max_gap is None:
        raise ConfigError("Expected max_gap= but got None: there is nothing to claim.")
    return gate(
        measure_replication_gap(
            model, v1, v2, annotations, max_gap=max_gap, correction=correction, resamples=resamples, **options
        )
    )
