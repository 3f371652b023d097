"""Claims about adversarial robustness."""

from __future__ import annotations

from typing import Unpack

from robustest.assertions.gate import gate
from robustest.attacks import Cascade, Searcher
from robustest.measurements import measure_robust_accuracy
from robustest.measurements.options import Options
from robustest.results import Result
from robustest.threats import Threat


def assert_robust_accuracy(
    model: object,
    data: object,
    threat: Threat,
    *,
    at_least: float,
    attack: str | Searcher | Cascade | None = None,
    **options: Unpack[Options],
) -> Result:
    """Claim that accuracy stays at least `at_least` under the worst inputs inside a threat model.

    Arguments and errors are those of `measure_robust_accuracy`; returns the result.

    Raises:
        ClaimFailed: the attack brought accuracy below the threshold.
        ClaimInconclusive: a population claim that these samples do not settle.
    """
    __tracebackhide__ = True
    return gate(measure_robust_accuracy(model, data, threat, at_least=at_least, attack=attack, **options))
