"""Verdicts on what annotators foresee, and on what they notice: other annotators are what a claim is about."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustest.results import Verdict
from robustest.rules.rule import Terms
from robustest.statistics.fixed import Decision, beyond
from robustest.statistics.resampling.two_way import FEWEST_ANNOTATORS, Estimate, share_interval

_FEW_RULE = "{} annotators: fewer than {} do not tell how much others differ"


def decide_foreseen(
    held: NDArray[np.bool_], found: Estimate, at_least: float | None, *, idle: float, terms: Terms
) -> Decision:
    """A verdict on the share of answers that foresee what a model says.

    Args:
        held: (R,) whether each answer does.
        found: their share, with its error.
        at_least: the share claimed at least, in 0..1; None where nothing is claimed.
        idle: the share that whoever guesses, or always gives the most frequent answer, would reach: no more than that,
            and nothing was foreseen.
        terms: what the verdict may rest on.
    """
    interval = share_interval(held, found, terms.alpha)
    verdict, rule = Verdict.INCONCLUSIVE, f"by annotator, alpha = {terms.alpha:g} a side"
    if at_least is None:
        rule = "no threshold given"
    elif found.annotators < FEWEST_ANNOTATORS:
        rule = _FEW_RULE.format(found.annotators, FEWEST_ANNOTATORS)
    else:
        verdict = beyond(interval, at_least, at_least=True)
        if verdict is Verdict.PASSED and interval[0] <= idle:
            verdict = Verdict.INCONCLUSIVE
            rule = (
                f"guessing, or always giving the most frequent answer, is right in {idle:.3f}: nothing need be foreseen"
            )
    return Decision(verdict=verdict, rule=rule, estimate=found.value, interval=interval, at_alpha=at_least is not None)


def decide_noticed(cue: Estimate | None, planted: Estimate | None, at_least: float | None, *, terms: Terms) -> Decision:
    """A verdict on how much more often a cue is called spurious than a cue that is none.

    Args:
        cue: how much more often the cue is, with its error; None where the study lacks one that is none.
        planted: how much more often one is that is known to be spurious; None where the study lacks it or the other.
        at_least: how much more often the cue is claimed to be at least, in -1..1: more than 0 for 0; None where nothing
            is claimed.
        terms: what the verdict may rest on.
    """
    low, high = (-1.0, 1.0) if cue is None else cue.interval(terms.alpha)
    verdict, rule = Verdict.INCONCLUSIVE, f"by annotator, alpha = {terms.alpha:g} a side"
    if at_least is None:
        rule = "no threshold given"
    elif cue is None or planted is None:
        rule = "the study holds no null cue and planted cue: whether people could have told them apart is not known"
    elif cue.annotators < FEWEST_ANNOTATORS:
        rule = _FEW_RULE.format(cue.annotators, FEWEST_ANNOTATORS)
    elif planted.interval(terms.alpha)[0] <= 0:
        rule = f"people do not notice the planted cue either ({planted.value:+.3f}): the study can show nothing"
    elif low > at_least:
        verdict = Verdict.PASSED
    elif high < at_least:
        verdict = Verdict.FAILED
    return Decision(
        verdict=verdict,
        rule=rule,
        estimate=None if cue is None else cue.value,
        interval=(low, high),
        at_alpha=at_least is not None,
    )
