"""Verdicts on what annotators foresee, and on what they notice: other annotators are what a claim is about.

A claim about the set has an interval by Student's t over annotators, which is for others too, and about: where a few of
them are unlike the rest, a small sample often has none of these. A claim about the population has one by bets on the
annotators' own shares, which holds for any number of them (`robustest.packs.cluster_mean_interval`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustest.packs import (
    Decision,
    Terms,
    Verdict,
    about,
    cluster_difference_interval,
    cluster_mean_interval,
    judge_interval,
)
from robustest_people.statistics.two_way import FEWEST_ANNOTATORS, Estimate, share_interval

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Interval = tuple[float, float]

_FEW_RULE = "{} annotators: fewer than {} do not tell how much others differ"


def foreseen_interval(held: Bools, annotator: Ints, found: Estimate, terms: Terms) -> Interval:
    """Return the interval of the share of answers that hold, for other annotators and these items.

    Args:
        held, annotator: (R,) whether each answer does, and whose it is.
        found: their share, with its error.
        terms: of the claim; about the population each annotator counts alike, however many answers they gave, and the
            share of all answers is never left out.
    """
    if terms.scope == "set":
        return share_interval(held, found, terms.alpha)
    low, high = cluster_mean_interval(_by_annotator(held, annotator)[1], terms.alpha)
    return min(low, found.value), max(high, found.value)


def noticed_interval(
    kinds: tuple[Bools, Bools], held: Bools, annotator: Ints, found: Estimate, terms: Terms
) -> Interval:
    """Return the interval of the share that holds among some answers minus that among others, as `foreseen_interval`.

    Args:
        kinds: (R,) the ones, and the others.
        held, annotator, found, terms: as for `foreseen_interval`.
    """
    if terms.scope == "set":
        return found.interval(terms.alpha)
    (who, first), (whose, second) = (_by_annotator(held[rows], annotator[rows]) for rows in kinds)
    both, at, place = np.intersect1d(who, whose, return_indices=True)
    if len(both):
        # Annotators who gave answers of both kinds are compared with themselves; the others cannot be.
        low, high = (2 * end - 1 for end in cluster_mean_interval((1 + first[at] - second[place]) / 2, terms.alpha))
    else:
        low, high = cluster_difference_interval(first, second, terms.alpha)
    return min(low, found.value), max(high, found.value)


def _by_annotator(held: Bools, annotator: Ints) -> tuple[Ints, NDArray[np.float64]]:
    """(m,) annotators, and the share of the answers of each that hold."""
    who, place = np.unique(annotator, return_inverse=True)
    return who, np.bincount(place, weights=held) / np.bincount(place)


def decide_foreseen(
    interval: Interval, found: Estimate, at_least: float | None, *, idle: float, terms: Terms
) -> Decision:
    """A verdict on the share of answers that foresee what a model says.

    Args:
        interval: of their share, by `foreseen_interval`.
        found: their share.
        at_least: the share claimed at least, in 0..1; None where nothing is claimed.
        idle: the share that whoever guesses, or always gives the most frequent answer, would reach: no more than that,
            and nothing was foreseen.
        terms: what the verdict may rest on.
    """
    verdict, rule = Verdict.INCONCLUSIVE, _how(terms)
    if at_least is None:
        rule = "no threshold given"
    elif found.annotators < FEWEST_ANNOTATORS:
        rule = _FEW_RULE.format(found.annotators, FEWEST_ANNOTATORS)
    else:
        verdict = judge_interval(interval, at_least, at_least=True)
        if verdict is Verdict.PASSED and interval[0] <= idle:
            verdict = Verdict.INCONCLUSIVE
            rule = (
                f"guessing, or always giving the most frequent answer, is right in {idle:.3f}: nothing need be foreseen"
            )
    return Decision(
        verdict=verdict,
        rule=rule,
        estimate=found.value,
        interval=interval,
        at_alpha=at_least is not None,
        approximate=terms.scope == "set",
    )


def decide_noticed(
    cue: tuple[Estimate, Interval] | None,
    planted: tuple[Estimate, Interval] | None,
    at_least: float | None,
    *,
    terms: Terms,
) -> Decision:
    """A verdict on how much more often a cue is called spurious than a cue that is none.

    Args:
        cue: how much more often the cue is, and its interval by `noticed_interval`; None where the study lacks one that
            is none.
        planted: how much more often one is that is known to be spurious; None where the study lacks it or the other.
        at_least: how much more often the cue is claimed to be at least, in -1..1: more than 0 for 0; None where nothing
            is claimed.
        terms: what the verdict may rest on.
    """
    low, high = (-1.0, 1.0) if cue is None else cue[1]
    verdict, rule = Verdict.INCONCLUSIVE, _how(terms)
    if at_least is None:
        rule = "no threshold given"
    elif cue is None or planted is None:
        rule = "the study holds no null cue and planted cue: whether people could have told them apart is not known"
    elif cue[0].annotators < FEWEST_ANNOTATORS:
        rule = _FEW_RULE.format(cue[0].annotators, FEWEST_ANNOTATORS)
    elif planted[1][0] <= 0:
        rule = f"people do not notice the planted cue either ({planted[0].value:+.3f}): the study can show nothing"
    elif low > at_least:
        verdict = Verdict.PASSED
    elif high < at_least:
        verdict = Verdict.FAILED
    return Decision(
        verdict=verdict,
        rule=rule,
        estimate=None if cue is None else cue[0].value,
        interval=(low, high),
        at_alpha=at_least is not None,
        approximate=terms.scope == "set",
    )


def _how(terms: Terms) -> str:
    return f"by annotator, {about(terms.alpha) if terms.scope == 'set' else f'alpha = {terms.alpha:g} a side'}"
