"""What claims about trainings have in common: models seen on whole sets, and verdicts over seeds."""

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
    """What a look shows of every sample of a set, whatever it shows; nothing is pictured, and nothing decided.

    Nor is it remembered but with the training it is of: the model itself need not be told from others.

    Args:
        model: as for `measure_robust_accuracy`.
        x, y: samples (n, *S) and labels (n,).
        look: what is done with a chunk of them.
        statement: of the claim, in words.
        options: of the call.
        suppress: health checks that have nothing to say of this look.
    """
    setup = Setup.of(model, (x, y), options)
    suppressed = (*setup.settings.suppress, *suppress)
    setup = setup.but(exact=True, max_samples=None, time_budget=None, suppress=suppressed).unpictured()
    setup = replace(setup, settings=replace(setup.settings, store=None, corpus=None))
    return observe(setup.plan(statement, look, look_only_rule(setup.settings), here=True))


def look_only_rule(settings: Settings) -> ShareRule:
    """A rule that asks for every outcome and decides nothing."""
    terms = Terms(scope="set", alpha=settings.alpha, fail_alpha=settings.alpha)
    return ShareRule(threshold=None, at_least=True, terms=terms)


def decision_over_seeds(
    estimate: float, interval: tuple[float, float], most: float | None, seeds: int, terms: Terms, *, doubt: str = ""
) -> Decision:
    """Return the decision on a value of other seeds and samples, claimed to be at most so much.

    Args:
        estimate: of these seeds and samples.
        interval: by Student's t over seeds, which a few of them allow only about: no claim about a population passes.
        most: the value claimed at most; None where nothing is.
        seeds: how many there are.
        terms: what the verdict may rest on.
        doubt: why the value says nothing, which makes it inconclusive; empty where it does.
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
    instead = 'claim the robust accuracy of a model that was trained (scope="population")'
    return approximate(decision, terms, by="Student's t over seeds", units="seeds", instead=instead)


def total(tallies: Iterable[Tally]) -> Tally:
    """All together."""
    whole = Tally()
    for tally in tallies:
        whole = whole.plus(tally)
    return whole
