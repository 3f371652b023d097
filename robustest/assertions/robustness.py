"""Claims about adversarial robustness."""

from __future__ import annotations

from typing import Unpack

from robustest.assertions.gate import gate, replayable
from robustest.attacks import Cascade, Searcher
from robustest.claims.robustness.min_perturbation import Norm, measure_min_perturbation
from robustest.claims.robustness.robust_accuracy import measure_robust_accuracy
from robustest.claims.robustness.universal import measure_universal_perturbation
from robustest.errors import ConfigError
from robustest.results import Result
from robustest.run.comparison import Baseline
from robustest.run.options import Options
from robustest.threats import L2, Linf, Threat


@replayable
def assert_min_perturbation(
    model: object,
    data: object,
    norm: Norm,
    *,
    median_at_least: float | None,
    attack: str | Searcher | Cascade | None = None,
    **options: Unpack[Options],
) -> Result:
    """Claim that half of the samples or more need a perturbation of at least `median_at_least` to become wrong.

    Arguments and errors are those of `measure_min_perturbation`; returns the result.

    Raises:
        ClaimFailed: smaller perturbations were found.
        ClaimInconclusive: a population claim that these samples do not settle.
    """
    __tracebackhide__ = True
    if median_at_least is None:
        raise ConfigError("Expected median_at_least= but got None: there is nothing to claim.")
    return gate(measure_min_perturbation(model, data, norm, median_at_least=median_at_least, attack=attack, **options))


@replayable
def assert_no_universal_perturbation(
    model: object,
    data: object,
    threat: Linf | L2,
    *,
    max_fooled: float,
    steps: int = 200,
    **options: Unpack[Options],
) -> Result:
    """Claim that no one perturbation, learned on half of the samples, fools more than `max_fooled` of the other half.

    Arguments and errors are those of `measure_universal_perturbation`; returns the result.

    Raises:
        ClaimFailed: a perturbation fools more.
        ClaimInconclusive: a population claim that these samples do not settle.
    """
    __tracebackhide__ = True
    return gate(measure_universal_perturbation(model, data, threat, max_fooled=max_fooled, steps=steps, **options))


@replayable
def assert_robust_accuracy(
    model: object,
    data: object,
    threat: Threat,
    *,
    at_least: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    attack: str | Searcher | Cascade | None = None,
    **options: Unpack[Options],
) -> Result:
    """Claim that accuracy under the worst inputs inside a threat model is at least `at_least`, or no worse than it was.

    Arguments and errors are those of `measure_robust_accuracy`; returns the result.

    Raises:
        ClaimFailed: the attack brought accuracy below the threshold.
        ClaimInconclusive: a population claim that these samples do not settle.
    """
    __tracebackhide__ = True
    if at_least is None and no_worse_than is None:
        raise ConfigError("Expected at_least= or no_worse_than= but got neither: there is nothing to claim.")
    return gate(
        measure_robust_accuracy(
            model,
            data,
            threat,
            at_least=at_least,
            no_worse_than=no_worse_than,
            tolerance=tolerance,
            attack=attack,
            **options,
        )
    )
