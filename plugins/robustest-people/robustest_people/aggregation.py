"""Aggregation of the answers of several annotators to one label per item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from robustest.errors import ConfigError, DataError, expected, unknown
from robustest_people.responses import FEWEST_CHECKS, NONE, Responses

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

METHODS = ("majority", "dawid-skene", "checks")

# Probabilities nearer than this are tied: a label must not depend on rounding.
_SAME = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Consensus:
    """The aggregated label of each item.

    Attributes:
        labels: (N,) int64, the leading class; -1 for a tie, or if nobody selected any.
        tied: (N,) bool, two or more classes lead.
        shares: (N, K) float64, probabilities for "dawid-skene", else selections per opportunity; NaN without any.
        answers: (N,) int64, counted answers about the item.
        method: the method of aggregation.
    """

    labels: Ints
    tied: NDArray[np.bool_]
    shares: Floats
    answers: Ints
    method: str


def aggregate(responses: Responses, method: str = "majority", *, checks_at_least: float = 0.7) -> Consensus:
    """Return one label per item, from the answers of people alone.

    Args:
        method: "majority", the class selected most often; "dawid-skene", the most probable class by annotators' error
            rates (Dawid and Skene, Applied Statistics 1979); or "checks", the majority of annotators who passed
            attention checks, the only method that detects annotators who copy.
        checks_at_least: for "checks", the share of at least 5 checks that an annotator must have passed, in 0..1.

    Raises:
        ConfigError: the method is unknown, or checks_at_least out of range.
        DataError: an annotator is unknown, nobody answered 5 checks, or answers are about one label at a time
            ("dawid-skene").
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if method == "dawid-skene":
        return _by_dawid_skene(responses)
    rows = None
    if method == "checks":
        rows = _attentive(responses, checks_at_least)
    selected, shown = responses.counts(rows)
    shares = np.full(selected.shape, np.nan)
    np.divide(selected, shown, out=shares, where=shown > 0)
    items = responses.item if rows is None else responses.item[rows]
    return _consensus_of(shares, np.bincount(items, minlength=responses.size), method)


def dawid_skene(
    item: Ints, annotator: Ints, answer: Ints, *, items: int, annotators: int, classes: int, rounds: int = 100
) -> Floats:
    """Return probabilities (items, classes) of the true class; NaN for an item without answers (Dawid and Skene, 1979).

    Args:
        item, annotator, answer: (R,) int64, one row per answer.
        items, annotators, classes: numbers of each.
        rounds: most rounds; fewer if probabilities move by at most 1e-5 on average.
    """
    # EM. Both steps are products with a sparse matrix of (annotator, answer) by item. It adds up entries, so an unknown
    # annotator may answer an item twice.
    given = csr_array(
        (np.ones(len(item)), (annotator * classes + answer, item)), shape=(annotators * classes, items)
    )  # adds up where an annotator is unknown and answers twice
    votes = np.bincount(item * classes + answer, minlength=items * classes).reshape(items, classes)
    answered = votes.sum(1) > 0
    # EM converges to a local maximum; Dawid and Skene start from the majority's shares.
    belief = votes / np.maximum(votes.sum(1, keepdims=True), 1)
    tiny = np.finfo(np.float64).tiny
    for _ in range(rounds):
        before = belief
        # M step: error rates of each annotator, P(answer | class), and class frequencies.
        confusion = (given @ belief).reshape(annotators, classes, classes)  # annotator, answer, class
        rates = confusion / np.maximum(confusion.sum(1, keepdims=True), tiny)
        frequent = belief[answered].mean(0)
        # E step: Bayes' rule, in logarithms, as products over many answers underflow. The floor keeps one answer that
        # an annotator never gave before from excluding a class.
        score = given.T @ np.log(np.maximum(rates, 1e-10)).reshape(-1, classes) + np.log(np.maximum(frequent, tiny))
        belief = np.exp(score - score.max(1, keepdims=True))
        belief = np.where(answered[:, None], belief / belief.sum(1, keepdims=True), 0.0)
        if np.abs(belief - before).sum() <= 1e-5 * answered.sum():
            break
    return np.where(answered[:, None], belief, np.nan)


def _by_dawid_skene(responses: Responses) -> Consensus:
    if not responses.chosen:
        raise DataError(
            'Expected annotators who chose one of the classes, for "dawid-skene", but they were asked about one at a '
            'time. Take "majority" or "checks".'
        )
    belief = dawid_skene(
        responses.item,
        responses.known_annotators("their errors"),
        responses.answer,
        items=responses.size,
        annotators=len(responses.annotators),
        classes=len(responses.classes),
    )
    return _consensus_of(belief, np.bincount(responses.item, minlength=responses.size), "dawid-skene")


def _attentive(responses: Responses, at_least: float) -> NDArray[np.bool_]:
    if isinstance(at_least, bool) or not isinstance(at_least, int | float) or not 0 <= at_least <= 1:
        raise ConfigError(expected("checks_at_least in 0..1", at_least))
    who = responses.known_annotators("attention checks")
    enough = responses.checks >= FEWEST_CHECKS
    if not enough.any():
        raise DataError(
            f"Expected annotators who saw {FEWEST_CHECKS} attention checks or more but nobody did. Give check=, or "
            'take "majority".'
        )
    # 1e-9: the product must not exceed a whole number by rounding.
    rows: NDArray[np.bool_] = (enough & (responses.passed >= at_least * responses.checks - 1e-9))[who]
    return rows


def _consensus_of(shares: Floats, answers: Ints, method: str) -> Consensus:
    known = np.where(np.isnan(shares), -1.0, shares)
    most = known.max(1, keepdims=True)
    leading = known >= most - _SAME
    any_selected = most[:, 0] > 0
    tied = (leading.sum(1) > 1) & any_selected
    labels = np.where(any_selected & ~tied, known.argmax(1), NONE)
    return Consensus(labels=labels, tied=tied, shares=shares, answers=answers, method=method)
