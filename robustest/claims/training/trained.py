"""What claims about trainings have in common: models seen on whole sets, and verdicts over seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor

from robustest.results import Verdict
from robustest.rules import ShareRule, Terms
from robustest.run.chunk_measurement import Look
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Tally
from robustest.run.options import Options
from robustest.run.setup import Setup
from robustest.settings import Settings
from robustest.statistics.fixed import beyond


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


def verdict_over_seeds(
    interval: tuple[float, float], most: float | None, seeds: int, alpha: float
) -> tuple[Verdict, str]:
    """The verdict on a value of other seeds and samples, claimed to be at most so much, and its rule."""
    if most is None:
        return Verdict.INCONCLUSIVE, "no threshold given"
    verdict = beyond(interval, most, at_least=False)
    if seeds == 1:
        return verdict, "one seed says nothing of others: give seeds=3 or more"
    return verdict, f"other seeds and samples, alpha = {alpha:g} a side"


def at_most(statement: str, threshold: float | None) -> str:
    """What is claimed, in words, with its threshold where there is one."""
    return statement if threshold is None else f"{statement} <= {threshold:g}"


def total(tallies: Iterable[Tally]) -> Tally:
    """All together."""
    whole = Tally()
    for tally in tallies:
        whole = whole.plus(tally)
    return whole
