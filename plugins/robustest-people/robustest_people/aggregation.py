"""Aggregation of the answers of several annotators to one label per item, and whom and what to ask next.

Both models of annotators are fitted by expectation maximisation: the E step gives P(true class) of each item by Bayes'
rule, the M step the annotators' parameters from these probabilities. With answer l_ij of annotator j about item i:

    Dawid and Skene (1979)       P(l_ij = a | z_i = c) = rates[j, a, c]
    GLAD (Whitehill et al. 2009) P(l_ij = z_i) = 1 / (1 + exp(-alpha_j beta_i)), beta_i = exp(b_i),
                                 each of the K - 1 other classes equally often;  alpha_j ~ N(1, 1), b_i ~ N(1, 1)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from math import log

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import expit, softmax
from scipy.stats import beta as beta_distribution

from robustest.errors import ConfigError, DataError, expected, unknown
from robustest_people.responses import FEWEST_CHECKS, NONE, Responses

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

METHODS = ("majority", "dawid-skene", "glad", "checks")
_MODELS = ("dawid-skene", "glad")

# Probabilities nearer than this are tied: a label must not depend on rounding.
_SAME = 1e-9
# Beliefs are rounded to this many decimals. Where a symmetric solution is a saddle point, EM would double a rounding
# error each round until one of two annotators who always differ is believed.
_DECIMALS = 12
# Most rounds of EM, and the mean change of a probability at which it has converged.
_ROUNDS, _CHANGE = 100, 1e-5
# The pooled error rates count as this many answers of each annotator about each class.
_OTHERS = 0.1
# The prior of log-ease has deviation 1, so that no optimum is near these bounds; they keep line searches finite.
_LOG_EASE = (-9.0, 11.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """An item to ask about next.

    Attributes:
        item: position in the data set.
        uncertainty: entropy of the item's discounted probabilities over that of a uniform distribution, 0..1.
        annotators: names of those who should be asked, the best first; empty if nobody is left.
    """

    item: int
    uncertainty: float
    annotators: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """A fitted model of annotators.

    Attributes:
        posterior: (N, K) float64, probabilities of the true class; uniform for an item without answers.
        accuracy: (A,) float64, probability that the annotator's answer is right, averaged over the answered items.
        ability: (A,) float64, GLAD's alpha: 0 if half of the answers are right, negative if fewer are
            (guesses among three classes or more); None for "dawid-skene".
        ease: (N,) float64 > 0, GLAD's beta; None for "dawid-skene".
        rounds: rounds of EM.
        converged: True if probabilities moved by at most 1e-5 on average in the last round.
    """

    posterior: Floats
    accuracy: Floats
    ability: Floats | None = None
    ease: Floats | None = None
    rounds: int
    converged: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Consensus:
    """The aggregated label of each item.

    Attributes:
        labels: (N,) int64, the leading class; -1 for a tie, or if nobody selected any.
        tied: (N,) bool, two or more classes lead.
        shares: (N, K) float64, selections per opportunity; NaN without an opportunity.
        answers: (N,) int64, counted answers about the item.
        method: the method of aggregation.
        responses: the answers.
        fit: the model of the annotators; None for "majority" and "checks".
    """

    labels: Ints
    tied: Bools
    shares: Floats
    answers: Ints
    method: str
    responses: Responses = field(repr=False)
    fit: Fit | None = field(default=None, repr=False)

    @property
    def model(self) -> Fit:
        """Return `fit`. Raises ConfigError if the method has no model of annotators."""
        if self.fit is None:
            raise ConfigError(
                f"Expected labels by a model of annotators, but got method={self.method!r}. Aggregate with "
                '"dawid-skene" or "glad".'
            )
        return self.fit

    @property
    def posterior(self) -> Floats:
        """Return (N, K) probabilities of the true class, as in `Fit`."""
        return self.model.posterior

    def ask_next(self, k: int, *, annotators: int = 3) -> tuple[Question, ...]:
        """Return the k items that are the least certain, and for each the annotators who are most surely right.

        Items are ranked by the entropy of (n p + 1 / K) / (n + 1), p being the item's probabilities and n its number of
        answers: a uniform distribution counts as 1 answer, so that no item is certain by few. Of two equal ones that
        with fewer answers leads, then the earlier one.

        Annotators are ranked by the lower end of the 95 % interval of their accuracy, which is wide for those with few
        answers. Who has answered the item, failed the attention checks, or is worse than chance (the interval ends
        below 1 / K) is not named.

        Args:
            k: most items, >= 1.
            annotators: most annotators of an item, >= 1.

        Raises:
            ConfigError: an argument is out of range, or the method has no model of annotators.
        """
        for name, value in (("k", k), ("annotators", annotators)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ConfigError(expected(f"{name} to be a whole number >= 1", value))
        uncertainty = self._uncertainty()
        first = np.lexsort((np.arange(len(uncertainty)), self.answers, -np.round(uncertainty, 9)))[:k]
        ranked = self._ranked_annotators()
        says = self.responses
        answered: dict[int, set[int]] = {item: set() for item in first.tolist()}
        asked = np.isin(says.item, first)
        for item, annotator in zip(says.item[asked].tolist(), says.annotator[asked].tolist(), strict=True):
            answered[item].add(annotator)
        questions = []
        for item, whose in answered.items():
            who = islice((says.annotators[a] for a in ranked if a not in whose), annotators)
            questions.append(Question(item=item, uncertainty=float(uncertainty[item]), annotators=tuple(who)))
        return tuple(questions)

    def _uncertainty(self) -> Floats:
        answers, classes = self.answers[:, None], self.posterior.shape[1]
        discounted = (answers * self.posterior + 1 / classes) / (answers + 1)
        uncertainty: Floats = -(discounted * np.log(discounted)).sum(1) / log(classes)
        return uncertainty

    def _ranked_annotators(self) -> list[int]:
        says, accuracy = self.responses, self.model.accuracy
        compared = np.bincount(says.annotator[self.answers[says.item] > 1], minlength=len(accuracy))
        low, high = share_interval(accuracy * compared, compared)
        dropped = np.isin(says.annotators, says.inattentive)
        useful = np.flatnonzero((high >= 1 / len(says.classes)) & ~dropped)
        ranked: list[int] = useful[np.argsort(-np.round(low[useful], 9), kind="stable")].tolist()
        return ranked


def aggregate(responses: Responses, method: str = "majority", *, checks_at_least: float = 0.7) -> Consensus:
    """Return one label per item, from the answers of people alone.

    Args:
        method: "majority", the class selected most often; "dawid-skene", the most probable class by annotators' error
            rates (Dawid and Skene, Applied Statistics 1979); "glad", the most probable class by the ability of
            annotators and the ease of items (Whitehill et al., NeurIPS 2009), for few answers per annotator; or
            "checks", the majority of annotators who passed attention checks, the only method that detects annotators
            who copy.
        checks_at_least: for "checks", the share of at least 5 checks that an annotator must have passed, in 0..1.

    Raises:
        ConfigError: the method is unknown, or checks_at_least out of range.
        DataError: an annotator is unknown; nobody answered 5 checks; or, for a model of annotators, answers are about
            one label at a time, there is one class, or no item has answers of two annotators.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    fit = _fit(responses, method) if method in _MODELS else None
    rows = _attentive(responses, checks_at_least) if method == "checks" else None
    selected, shown = responses.counts(rows)
    shares = np.full(selected.shape, np.nan)
    np.divide(selected, shown, out=shares, where=shown > 0)
    answers = np.bincount(responses.item if rows is None else responses.item[rows], minlength=responses.size)
    # The uniform posterior of an item without answers is ignorance, not a tie.
    score = np.where(np.isnan(shares), 0.0, shares) if fit is None else fit.posterior * (answers > 0)[:, None]
    most = score.max(1, keepdims=True)
    leading = score >= most - _SAME
    any_selected = most[:, 0] > 0
    tied = (leading.sum(1) > 1) & any_selected
    labels = np.where(any_selected & ~tied, score.argmax(1), NONE)
    return Consensus(
        labels=labels, tied=tied, shares=shares, answers=answers, method=method, responses=responses, fit=fit
    )


def _fit(responses: Responses, method: str) -> Fit:
    if not responses.chosen:
        raise DataError(
            f'Expected annotators who chose one of the classes, for "{method}", but they were asked about one at a '
            'time. Take "majority" or "checks".'
        )
    if len(responses.classes) < 2:
        raise DataError(f'Expected two classes or more, for "{method}", but got {len(responses.classes)}.')
    who = responses.known_annotators("their errors")
    if not (np.bincount(responses.item, minlength=1) > 1).any():
        raise DataError(
            f'Expected items with answers of two annotators, for "{method}", but no item has more than one answer: '
            "nothing shows who errs. Collect a second answer of some items."
        )
    model = dawid_skene if method == "dawid-skene" else glad
    return model(
        responses.item,
        who,
        responses.answer,
        items=responses.size,
        annotators=len(responses.annotators),
        classes=len(responses.classes),
    )


def dawid_skene(item: Ints, annotator: Ints, answer: Ints, *, items: int, annotators: int, classes: int) -> Fit:
    """Fit the error rates of each annotator (Dawid and Skene, Applied Statistics 1979).

    Args:
        item, annotator, answer: (R,) int64, one row per answer; an annotator answers an item once.
        items, annotators, classes: numbers of each.
    """
    answered, compared, votes = _votes(item, answer, items, classes)
    # An item with one answer, whatever its annotator's errors, shows nothing about them. From the start below, EM would
    # take each such answer for a right one. Both steps are products with a sparse matrix, (annotator, answer) by item.
    rows, shape = annotator * classes + answer, (annotators * classes, items)
    given = csr_array((np.ones(len(item)), (rows, item)), shape=shape)
    telling = csr_array((compared[item].astype(np.float64), (rows, item)), shape=shape)
    # EM converges to a local maximum; Dawid and Skene start from the majority's shares.
    belief = votes / np.maximum(votes.sum(1, keepdims=True), 1)
    tiny = np.finfo(np.float64).tiny
    done, converged = 0, False
    while done < _ROUNDS and not converged:
        done, before = done + 1, belief
        # M step: error rates of each annotator, P(answer | class), and class frequencies. Who answered few items of a
        # class is taken for as good as the others: unsmoothed, one lucky answer makes an annotator infallible.
        confusion = (telling @ belief).reshape(annotators, classes, classes)  # annotator, answer, class
        pooled = confusion.sum(0) / np.maximum(confusion.sum((0, 1)), tiny)
        rates = (confusion + _OTHERS * pooled) / (confusion.sum(1, keepdims=True) + _OTHERS)
        frequent = belief[answered].mean(0)
        # E step: Bayes' rule, in logarithms, as products over many answers underflow. The floor keeps an answer that
        # nobody gave about a class before from excluding it.
        score = given.T @ np.log(np.maximum(rates, 1e-10)).reshape(-1, classes) + np.log(np.maximum(frequent, tiny))
        belief = np.round(softmax(score, axis=1), _DECIMALS) * answered[:, None]
        converged = bool(np.abs(belief - before).sum() <= _CHANGE * answered.sum())
    right = np.diagonal(rates, axis1=1, axis2=2)  # annotator, class
    return Fit(
        posterior=np.where(answered[:, None], belief, 1 / classes),
        accuracy=right @ frequent,
        rounds=done,
        converged=converged,
    )


def glad(item: Ints, annotator: Ints, answer: Ints, *, items: int, annotators: int, classes: int) -> Fit:
    """Fit the ability of each annotator and the ease of each item (Whitehill et al., NeurIPS 2009).

    Args: as for `dawid_skene`.
    """
    answered, compared, _ = _votes(item, answer, items, classes)
    # At any solution an item with one answer moves nothing: its posterior is P(right), so that p - sigma below is 0.
    telling = compared[item]
    i, j, a = item[telling], annotator[telling], answer[telling]
    ability, log_ease = np.ones(annotators), np.ones(items)
    posterior = np.full((items, classes), 1 / classes)
    cell = item * classes + answer
    done, converged = 0, False

    def lost(parameters: Floats, right: Floats) -> tuple[float, Floats]:
        """Return minus the expected log posterior and its gradient."""
        alpha, b = parameters[:annotators], parameters[annotators:]
        beta = np.exp(b)
        x = alpha[j] * beta[i]
        # p log sigma(x) + (1 - p) log sigma(-x) = p x - log(1 + exp(x))
        value = (right * x - np.logaddexp(0, x)).sum() - ((alpha - 1) ** 2).sum() / 2 - ((b - 1) ** 2).sum() / 2
        slope = right - expit(x)
        by_alpha = np.bincount(j, slope * beta[i], minlength=annotators) - (alpha - 1)
        by_b = np.bincount(i, slope * x, minlength=items) - (b - 1)
        return -value, -np.concatenate([by_alpha, by_b])

    while done < _ROUNDS:
        done, before = done + 1, posterior
        # E step: against all other classes, an answer adds log sigma(x) - log(sigma(-x) / (K - 1)) to its class.
        weight = ability[annotator] * np.exp(log_ease)[item] + log(classes - 1)
        score = np.bincount(cell, weight, minlength=items * classes).reshape(items, classes)
        posterior = np.round(softmax(score, axis=1), _DECIMALS)
        if converged := bool(np.abs(posterior - before).sum() <= _CHANGE * answered.sum()):
            break
        # M step. No closed form: maximised from the last round's values.
        found = minimize(
            lost,
            np.concatenate([ability, log_ease]),
            args=(posterior[i, a],),
            jac=True,
            method="L-BFGS-B",
            bounds=[(None, None)] * annotators + [_LOG_EASE] * items,
            options={"maxiter": 25},
        ).x
        ability, log_ease = found[:annotators], found[annotators:]
    ease = np.exp(log_ease)
    return Fit(
        posterior=posterior,
        accuracy=expit(ability[:, None] * ease[answered]).mean(1),
        ability=ability,
        ease=ease,
        rounds=done,
        converged=converged,
    )


def _votes(item: Ints, answer: Ints, items: int, classes: int) -> tuple[Bools, Bools, Ints]:
    """Return (N,) items with an answer, (N,) items with two or more, and (N, K) counts of answers."""
    votes = np.bincount(item * classes + answer, minlength=items * classes).reshape(items, classes)
    return votes.sum(1) > 0, votes.sum(1) > 1, votes


def share_interval(events: NDArray[np.generic], n: NDArray[np.generic]) -> tuple[Floats, Floats]:
    """Return the ends of about 95 % intervals of shares, by Clopper and Pearson; 0..1 for n = 0.

    Args:
        events: (A,) sums of n values in 0..1. Values between vary less than 0 and 1 with the same mean do, so that the
            interval of a whole number of events is the wider one.
        n: (A,) numbers of values, >= 0.
    """
    k, n = np.minimum(np.asarray(events, np.float64), n), np.asarray(n, np.float64)
    low, high = np.zeros(len(n)), np.ones(len(n))
    above, below = k > 0, k < n
    low[above] = beta_distribution.ppf(0.025, k[above], n[above] - k[above] + 1)
    high[below] = beta_distribution.ppf(0.975, k[below] + 1, n[below] - k[below])
    return low, high


def _attentive(responses: Responses, at_least: float) -> Bools:
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
    rows: Bools = (enough & (responses.passed >= at_least * responses.checks - 1e-9))[who]
    return rows
