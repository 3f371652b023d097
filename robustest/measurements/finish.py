"""From evidence and a decision to a result, with the pictures of what spoke against the claim."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustest.measurements.driver import Evidence
from robustest.reports.pictures import save_exhibit
from robustest.results import Counterexample, Result, Verdict
from robustest.settings import Settings
from robustest.verdicts import Decision


def result_of(
    evidence: Evidence,
    decision: Decision,
    settings: Settings,
    *,
    claim: str,
    statement: str,
    quantity: str,
    threshold: float | None,
    comparison: str,
    setting: str,
    method: str,
    details: Mapping[str, Any],
) -> Result:
    """The result of a measurement; where the claim did not pass, its worst samples are pictured.

    See `robustest.results.Result` for the meaning of each argument.
    """
    shown = []
    for rank, exhibit in enumerate(evidence.exhibits, 1):
        image = None
        if settings.pictures is not None and decision.verdict is not Verdict.PASSED:
            name = f"{claim}-{rank}-sample{exhibit.index}"
            path = save_exhibit(settings.pictures, name, exhibit.before, exhibit.after, evidence.bounds)
            image = None if path is None else _shown(path)
        shown.append(
            Counterexample(
                index=exhibit.index,
                label=exhibit.label,
                clean=exhibit.clean,
                predicted=exhibit.predicted,
                size=exhibit.size,
                image=image,
            )
        )
    return Result(
        claim=claim,
        statement=statement,
        verdict=decision.verdict,
        rule=decision.rule,
        quantity=quantity,
        estimate=decision.estimate,
        interval=decision.interval,
        threshold=threshold,
        comparison=comparison,
        n_used=evidence.n,
        n_total=evidence.n,
        outcomes=evidence.outcomes,
        cost=evidence.cost,
        seed=settings.seed,
        setting=setting,
        method=method,
        counterexamples=tuple(shown),
        notes=evidence.notes,
        details=details,
    )


def _shown(path: str) -> str:
    """The path as a person would type it from here."""
    here = Path(path)
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else path
