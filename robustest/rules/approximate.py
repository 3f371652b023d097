"""Verdicts by resampling or by a studentised mean: about alpha, and never a pass of a population.

A bootstrap, a jackknife and Student's t take the spread of a sample for that of the population. Where a loss sits in a
few rare items, annotators or trainings, a sample often holds none of them: it shows next to no spread, and a false
claim passes far more often than alpha (`benchmarks/rare_strata.py`). More draws of the bootstrap change nothing. So
such a rule says "about", and its pass is of the units that were looked at, as `scope="set"` asks; where the claim is
about the population, a pass becomes inconclusive. A failure may stand: it is no green number.
"""

from __future__ import annotations

from dataclasses import replace

from robustest.results import Verdict
from robustest.rules.rule import Terms
from robustest.statistics.fixed import Decision


def about(alpha: float) -> str:
    """Return the words for an error that an approximate rule only aims at."""
    return f"about alpha = {alpha:g} a side"


def approximate(decision: Decision, terms: Terms, *, by: str, units: str, instead: str = "") -> Decision:
    """Return the decision of an approximate rule, marked as such, with a pass of a population made inconclusive.

    Args:
        decision: as the approximate interval has it.
        terms: of the claim.
        by: the approximate method, in words.
        units: the units that vary, in words.
        instead: a claim that can be made of the population, in words; empty where there is none.
    """
    decision = replace(decision, approximate=True)
    if terms.scope == "set" or decision.verdict is not Verdict.PASSED:
        return decision
    remedy = f'claim it of these {units} (scope="set")'
    rule = (
        f"not shown of the population: {by} holds only {about(terms.alpha)}, for many {units} and none that are rare; "
        f"{f'{instead}, or ' if instead else ''}{remedy}"
    )
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
