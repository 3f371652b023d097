"""Shared parts of claims about trainings: observation of whole sets, and verdicts over seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor

from robustest.packs import (
    Decision,
    Evidence,
    Look,
    Options,
    Settings,
    Setup,
    ShareRule,
    Tally,
    Terms,
    Verdict,
    about,
    approximate,
    judge_interval,
    observe,
)


def seen_whole(
    model: object,
    x: Tensor,
    y: Tensor,
    look: Look,
    *,
    statement: str,
    options: Options,
    suppress: tuple[str, ...] = (),
) -> Evidence:
    """Observe every sample of a set: no early stop, no pictures, no cache entry."""
    setup = Setup.of(model, (x, y), options)
    suppressed = (*setup.settings.suppress, *suppress)
    setup = setup.but(exact=True, max_samples=None, time_budget=None, suppress=suppressed).unpictured()
    # The outcomes are cached with the training that they belong to.
    setup = replace(setup, settings=replace(setup.settings, store=None, corpus=None))
    return observe(setup.plan(statement, look, look_only_rule(setup.settings), here=True))


def look_only_rule(settings: Settings) -> ShareRule:
    """Return a rule that needs every outcome and decides nothing."""
    terms = Terms(scope="set", alpha=settings.alpha, fail_alpha=settings.alpha)
    return ShareRule(threshold=None, at_least=True, terms=terms)


def decision_over_seeds(
    estimate: float, interval: tuple[float, float], most: float | None, seeds: int, terms: Terms, *, doubt: str = ""
) -> Decision:
    """Return the decision on a value over seeds and samples that is claimed to be at most `most`.

    Args:
        interval: by Student's t over seeds.
        doubt: reason why the value means nothing, hence inconclusive, or "".
    """
    verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
    if most is not None:
        verdict = judge_interval(interval, most, at_least=False)
        rule = f"other seeds and samples, {about(terms.alpha)}"
    if most is not None and seeds == 1:
        rule = "one seed says nothing of others: give seeds=3 or more"
    if doubt:
        verdict, rule = Verdict.INCONCLUSIVE, doubt
    decision = Decision(verdict=verdict, rule=rule, estimate=estimate, interval=interval, at_alpha=most is not None)
    # Student's t over a few seeds is approximate: no claim about a population passes.
    instead = 'claim the robust accuracy of a model that was trained (scope="population")'
    return approximate(decision, terms, by="Student's t over seeds", units="seeds", instead=instead)


def total(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of the tallies."""
    whole = Tally()
    for tally in tallies:
        whole = whole.plus(tally)
    return whole
