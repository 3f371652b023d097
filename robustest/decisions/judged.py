"""Rates that a judge's verdicts only estimate: bounds of the true rate, which carry the judge's errors."""

# A judge accepts an item (J = 1) or not; people labelled some items as right (Y = 1) or wrong. The true rate is
# theta = P(Y = 1), and two ways lead to it.
#
# Labels on items drawn at random from those of the claim (prediction-powered inference: Angelopoulos et al., Science
# 2023). Nothing is assumed of the judge. Each labelled item, with its part of the others, is one draw:
#
#     V_g = Y_g + l_g (mean of J in the group - J_g)    in -l_g .. 1 + l_g    has the mean    theta
#
# for any weight l_g in 0..1 that the groups before it determine. So bets on the mean of V bound theta (see `bets`), for
# any numbers, of graded scores too. With the regression of Y on J in the groups before, V has the spread of the best
# weight (PPI++: Angelopoulos, Duchi and Zrnic 2023): a good judge narrows the bounds, a useless one leaves those of the
# labels. Where nearly all labels are alike bets on V are weak: a part of alpha goes to the exact bounds of the labels.
#
# Labels on other items, or on items that somebody chose (Rogan and Gladen, American Journal of Epidemiology 1978). With
# q = P(J = 1), the sensitivity s = P(J = 1 | Y = 1) and the specificity c = P(J = 0 | Y = 0),
#
#     q = theta s + (1 - theta) (1 - c),    so that    theta = (q + c - 1) / (s + c - 1).
#
# Assumed is that the judge errs on right and on wrong items of the claim as often as on the labelled ones; the share of
# right items may be another. The counts behind q, s and c are independent binomials X_i. A null hypothesis is a point p
# of their shares with a given theta. With U uniform between P(X < x) and P(X <= x), Z = Phi^-1(U) is standard normal
# under p, and so is any sum w_1 Z_1 + w_2 Z_2 + w_3 Z_3 with w' w = 1. Without the randomisation,
#
#     T(p) = sum w_i E[Z_i | X_i],    E[Z | X = x] = (phi(z_0) - phi(z_1)) / P(X = x),
#
# with z_0 = Phi^-1(P(X < x)) and z_1 = Phi^-1(P(X <= x)), is its conditional expectation, which is smaller in convex
# order (Jensen), and so
#
#     P(T >= t) <= inf over r < t of E[(N(0, 1) - r)^+] / (t - r).
#
# With t that makes this alpha, p is refuted if T >= t: the error is at most alpha for any numbers. With weights in
# proportion to the derivative of theta times the standard error of each share T is about (estimate - theta) / (standard
# error), whatever the two nuisance shares are, so that little is lost by the worst of them. All three are searched
# within their exact intervals at 1 - gamma, and alpha is reduced by gamma (Berger and Boos, JASA 1994). theta is
# refuted if every p with that theta is. A judge that may be no better than chance, s + c <= 1, refutes none.
#
# Where items are drawn in clusters, bounds of each share by cluster, alpha divided between them, bound theta.

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.bets import fall_interval
from robustest.decisions.clusters import cluster_interval
from robustest.decisions.distributions import betainc, betaincc, gammaln, hypergeometric_cdf, ndtri, root_of, xlogy
from robustest.decisions.rule import Interval, generator
from robustest.decisions.share import clopper_pearson

Floats = NDArray[np.float64]
Ends = tuple[float, float]

# Part of alpha for the exact bounds of the labels alone.
_ALONE = 0.2
# The weight of the judge before any label, as if so many items had shown it.
_PRIOR = 10.0
# gamma, as a part of alpha.
_SET_ASIDE = 0.1
# Values of each nuisance share that are tried, those around the worst of them, and rounds of these.
_TRIED, _AROUND, _ROUNDS = 13, 7, 2
# Reserve of T for values between those that are tried.
_RESERVE = 0.002
# Halvings of the range of theta, and further values beyond its end that must be refuted too.
_HALVINGS, _BEYOND = 16, 5
_SMALLEST = 1e-290
_LOG_ROOT_2_PI = math.log(2 * math.pi) / 2
# Part of alpha for the further bound that shows a judge to be better than chance, of bounds of each share.
_BETTER = 0.05


@dataclass(frozen=True, slots=True)
class Count:
    """Events among independent draws."""

    events: int
    n: int

    @classmethod
    def of(cls, events: NDArray[np.bool_]) -> Count:
        """Return the count of events (n,)."""
        return cls(int(events.sum()), len(events))

    @property
    def share(self) -> float:
        """The share of events; NaN without draws."""
        return self.events / self.n if self.n else math.nan

    def interval(self, alpha: float) -> Interval:
        """Return the exact interval of the share, alpha on each side; 0..1 without draws."""
        return clopper_pearson(self.events, self.n, alpha) if self.n else (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A judge's verdicts on labelled items.

    Attributes:
        accepted_right, accepted_wrong: items labelled as right, and as wrong, of which the judge accepted `events`.
    """

    accepted_right: Count
    accepted_wrong: Count

    @classmethod
    def of(cls, judge: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Verdicts:
        """Return the verdicts of a judge (n,) on items with a label (n,)."""
        return cls(
            Count(int((judge & truth).sum()), int(truth.sum())), Count(int((judge & ~truth).sum()), int((~truth).sum()))
        )

    @property
    def rejected_wrong(self) -> Count:
        return Count(self.accepted_wrong.n - self.accepted_wrong.events, self.accepted_wrong.n)

    @property
    def rejected_right(self) -> Count:
        return Count(self.accepted_right.n - self.accepted_right.events, self.accepted_right.n)

    def by_chance(self) -> float:
        """Return the chance that verdicts without regard to the labels fit them as well (Fisher's exact test)."""
        n = self.accepted_right.n + self.accepted_wrong.n
        rejected = self.rejected_right.events + self.rejected_wrong.events
        return hypergeometric_cdf(self.rejected_right.events, n, self.accepted_right.n, rejected)


def powered_interval(
    judge: Floats, truth: Floats, alpha: float, *, seed: int, beside: float | None = None
) -> tuple[float, Interval]:
    """Return estimate and bounds of the mean truth of items, of which labels were drawn at random.

    Args:
        judge: (n,) scores of the judge in 0..1.
        truth: (n,) labels in 0..1, NaN without one; one or more are there.
        alpha: the largest probability that the mean lies beyond one given end.
        seed: of the order in which items are dealt.
        beside: a mean that the interval excludes exactly if its own bet has won; None for none.
    """
    random, labelled = generator(seed), ~np.isnan(truth)
    own, rest = random.permutation(np.flatnonzero(labelled)), random.permutation(np.flatnonzero(~labelled))
    groups = len(own)
    place = np.arange(len(rest)) % groups
    size = 1 + np.bincount(place, minlength=groups)
    mean = (judge[own] + np.bincount(place, weights=judge[rest], minlength=groups)) / size
    apart, label = mean - judge[own], truth[own]
    value = label + _weights(apart, label) * apart
    reach = 1 - 1 / int(size.max())  # values lie in -reach .. 1 + reach
    scale = 1 + 2 * reach
    nothing = 0.5 if beside is None else beside
    # 1 - 2 v of values v in 0..1, as for scores
    level = (1 - _ALONE) * alpha
    ends = fall_interval(1 - 2 * (value + reach) / scale, level, 1 - 2 * (nothing + reach) / scale)
    low, high = ((1 - end) / 2 * scale - reach for end in ends[::-1])
    if bool(np.isin(label, (0.0, 1.0)).all()):
        alone = Count.of(label == 1).interval(_ALONE * alpha)
    else:
        alone = _mean_interval(label, _ALONE * alpha)
    low, high = max(low, alone[0], 0.0), min(high, alone[1], 1.0)
    # All of the judge's scores count in the estimate, with the weight of all labels.
    weight = _regression(apart, label)
    estimate = float(label.mean() + weight * (judge.mean() - judge[own].mean()))
    return min(max(estimate, low), high), (low, high)


def _weights(apart: Floats, label: Floats) -> Floats:
    """Return the weight of the judge in each group (g,), from the groups before it."""
    before = np.arange(len(label))
    first, second, both, squares = (
        np.concatenate([[0.0], np.cumsum(one)[:-1]]) for one in (apart, label, apart * label, apart**2)
    )
    n = np.maximum(before, 1)
    spread = squares - first**2 / n
    shared = both - first * second / n
    # As if `_PRIOR` groups of the largest spread of yes-or-no verdicts had shown a weight of 1.
    prior = 0.25 * _PRIOR
    found: Floats = np.clip((prior - shared) / (prior + spread), 0.0, 1.0)
    return found


def _regression(apart: Floats, label: Floats) -> float:
    spread = float(((apart - apart.mean()) ** 2).sum())
    shared = float(((apart - apart.mean()) * (label - label.mean())).sum())
    return 0.0 if spread <= 0 else min(max(-shared / spread, 0.0), 1.0)


def _mean_interval(values: Floats, alpha: float) -> Interval:
    """Return bounds of the mean of values (n,) in 0..1, in an order that does not depend on them."""
    low, high = ((1 - end) / 2 for end in fall_interval(1 - 2 * values, alpha, 0.0)[::-1])
    return low, high


def powered_interval_by_cluster(
    judge: Floats, truth: Floats, clusters: NDArray[np.int64], alpha: float
) -> tuple[float, Interval]:
    """Return estimate and bounds of the mean truth of items in clusters, of which labels were drawn at random.

    Args:
        judge, truth: as for `powered_interval`.
        clusters: (n,) numbers of the items' clusters.
    """
    labelled = ~np.isnan(truth)
    error = truth[labelled] - judge[labelled]
    scores = cluster_interval(judge, clusters, 0.0, 1.0, alpha / 2)
    # Of the labelled items clusters have the sizes that are left of them.
    errors = cluster_interval(error, clusters[labelled], -1.0, 1.0, alpha / 2)
    low, high = scores[0] + errors[0], scores[1] + errors[1]
    estimate = float(judge.mean() + error.mean())
    return min(max(estimate, 0.0), 1.0), (min(max(low, 0.0), 1.0), min(max(high, 0.0), 1.0))


def rogan_gladen(accepted: Count, verdicts: Verdicts) -> float | None:
    """Return the estimate of the true rate, in 0..1; None if the judge is no better than chance on the labels."""
    better = verdicts.accepted_right.share - verdicts.accepted_wrong.share
    if not better > 0:
        return None
    return min(max((accepted.share - verdicts.accepted_wrong.share) / better, 0.0), 1.0)


@lru_cache(maxsize=1 << 12)
def rogan_gladen_interval(accepted: Count, verdicts: Verdicts, alpha: float) -> Interval:
    """Return bounds on the true rate from independent counts, alpha on each side.

    Args:
        accepted: items of the claim that the judge accepted; none of them is labelled.
        verdicts: on the labelled items.

    Returns:
        0..1 if no rate explains the counts: the judge errs otherwise on the items of the claim.
    """
    middle = rogan_gladen(accepted, verdicts)
    too_small, too_large = (
        partial(rogan_gladen_refuted, accepted, verdicts, alpha=alpha, above=above) for above in (True, False)
    )
    if middle is None or too_small(1.0) or too_large(0.0):
        return 0.0, 1.0
    return _end(0.0, middle, too_small), _end(1.0, middle, too_large)


def rogan_gladen_refuted(accepted: Count, verdicts: Verdicts, theta: float, *, alpha: float, above: bool) -> bool:
    """Return True if the counts refute that the true rate is theta: it is larger (`above`), or smaller.

    Args:
        accepted, verdicts: as for `rogan_gladen_interval`.
    """
    ends, limit = _scores(accepted, verdicts, theta, alpha), critical_score((1 - _SET_ASIDE) * alpha) + _RESERVE
    return ends[0] >= limit if above else ends[1] <= -limit


@lru_cache(maxsize=1 << 14)
def _scores(accepted: Count, verdicts: Verdicts, theta: float, alpha: float) -> Ends:
    """Return the smallest and the largest T of the points with a true rate of theta."""
    right, wrong = verdicts.accepted_right, verdicts.rejected_wrong
    (q_low, q_high), (s_low, s_high), (c_low, c_high) = _boxes((accepted, right, wrong), alpha)

    # q = theta s + (1 - theta) (1 - c) lies between these, and for each q so does theta s between the next two.
    least = max(q_low, theta * s_low + (1 - theta) * (1 - c_high))
    largest = min(q_high, theta * s_high + (1 - theta) * (1 - c_low))

    def score(first: Floats, second: Floats) -> Floats:
        q = least + first * (largest - least)
        low = np.maximum(theta * s_low, q - (1 - theta) * (1 - c_low))
        high = np.minimum(theta * s_high, q - (1 - theta) * (1 - c_high))
        part = low + second * np.maximum(high - low, 0.0)
        # Where theta is 0 or 1 one of the two plays no part: its weight is 0.
        s = np.clip(part / theta, s_low, s_high) if theta > 0 else np.full_like(part, right.share)
        c = np.clip(1 - (q - part) / (1 - theta), c_low, c_high) if theta < 1 else np.full_like(part, wrong.share)
        side = np.where(s + c >= 1, 1.0, -1.0)
        return _score(((accepted, q, side), (right, s, -theta * side), (wrong, c, (1 - theta) * side)))

    if least <= largest:
        return _extremes(score)
    # No share is within its own interval: theta is too small for so many accepted items, or too large.
    side = math.inf if q_low > largest else -math.inf
    return side, side


def _boxes(counts: tuple[Count, ...], alpha: float) -> list[Interval]:
    """Return the exact intervals of three shares that miss one of them with a probability of at most gamma."""
    return [one.interval(_SET_ASIDE * alpha / 6) for one in counts]


def _score(shares: tuple[tuple[Count, Floats, Floats], ...]) -> Floats:
    """Return T at points of the null hypothesis.

    Args:
        shares: each with its count, its values, and the derivative of theta at them.
    """
    total, squares = np.zeros(1), np.zeros(1)
    for count, share, slope in shares:
        if not count.n:
            continue  # nothing is known of it: its worst value decides
        # Any weight is valid; a share of 0 or 1 has a standard error too.
        weight = slope * np.sqrt((share * (1 - share) + 0.25 / count.n) / count.n)
        total = total + weight * _normal_score(count, np.clip(share, 0.0, 1.0))
        squares = squares + weight**2
    found: Floats = total / np.sqrt(np.maximum(squares, _SMALLEST))
    return found


def _normal_score(count: Count, share: Floats) -> Floats:
    """Return E[Z | X = x] where X is the number of events."""
    x, n = count.events, count.n
    # Of both tails, so that the smaller one keeps its digits.
    below = betaincc(x, n - x + 1, share) if x else np.zeros_like(share)  # P(X < x)
    up_to = betaincc(x + 1, n - x, share) if x < n else np.ones_like(share)
    from_on = betainc(x, n - x + 1, share) if x else np.ones_like(share)  # P(X >= x)
    above = betainc(x + 1, n - x, share) if x < n else np.zeros_like(share)
    upper = from_on < 0.5
    first, second = np.where(upper, from_on, below), np.where(upper, above, up_to)
    z = np.where(upper, -1.0, 1.0) * np.stack([_quantile(first), _quantile(second)])
    log_mass = gammaln(n + 1.0) - gammaln(x + 1.0) - gammaln(n - x + 1.0) + xlogy(x, share) + xlogy(n - x, 1 - share)
    density = np.exp(-(z**2) / 2 - _LOG_ROOT_2_PI)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = (density[0] - density[1]) / np.exp(log_mass)
    # A conditional mean lies between the ends of its condition, which also holds where no digits are left.
    found: Floats = np.clip(np.where(np.isfinite(score), score, z[0]), np.minimum(*z), np.maximum(*z))
    return found


def _quantile(chance: Floats) -> Floats:
    found: Floats = ndtri(np.clip(chance, _SMALLEST, 1 - 1e-16))
    return found


def _extremes(score: Callable[[Floats, Floats], Floats]) -> Ends:
    """Return the smallest and the largest T over two nuisance shares, each as a part of its range."""
    at = np.linspace(0.0, 1.0, _TRIED)
    every = score(at[:, None], at[None, :])
    ends = []
    for sign in (1.0, -1.0):
        values = sign * every
        best = float(values.min())
        where = [at[place] for place in np.unravel_index(int(values.argmin()), values.shape)]
        reach = 1.0 / (_TRIED - 1)
        for _ in range(_ROUNDS):
            around = [np.clip(one + reach * np.linspace(-1.0, 1.0, _AROUND), 0.0, 1.0) for one in where]
            values = sign * score(around[0][:, None], around[1][None, :])
            place = np.unravel_index(int(values.argmin()), values.shape)
            if values[place] < best:
                best, where = float(values[place]), [one[at_] for one, at_ in zip(around, place, strict=True)]
            reach *= 2.0 / (_AROUND - 1)
        ends.append(sign * best)
    return ends[0], ends[1]


def _end(start: float, middle: float, refuted: Callable[[float], bool]) -> float:
    """Return the end of the rates that are not refuted, on the side of `start`."""
    if not refuted(start):
        return start
    out, inside = start, middle
    for _ in range(_HALVINGS):
        half = (out + inside) / 2
        out, inside = (half, inside) if refuted(half) else (out, half)
    # A rate that stays, beyond one that is refuted, is not left out.
    stays = [one for one in np.linspace(start, out, _BEYOND + 1)[:-1].tolist() if not refuted(one)]
    return stays[0] if stays else out


@lru_cache(maxsize=64)
def critical_score(alpha: float) -> float:
    """Return the t that a variable below N(0, 1) in convex order reaches with a probability of at most alpha."""

    def bound(t: float) -> float:
        r = np.linspace(min(t - 6.0, 0.0), t - 1e-3, 2000)
        density, tail = np.exp(-(r**2) / 2 - _LOG_ROOT_2_PI), _tail(r)
        return float(((density - r * tail) / (t - r)).min())

    return root_of(lambda t: math.log(bound(t) / alpha), 0.1, 30.0, within=1e-12)


def _tail(z: Floats) -> Floats:
    return np.array([math.erfc(one / math.sqrt(2)) / 2 for one in z.tolist()])


def corner_interval(bounds: Callable[[str, float], Interval], alpha: float) -> Interval:
    """Return Rogan and Gladen's bounds on the true rate from bounds of each share (Bonferroni).

    Counts may depend on each other.

    Args:
        bounds: maps "accepted", "accepted_right" or "rejected_wrong", and a level a side, to bounds of that share.
    """
    # The rate rises with q and c and falls with s, wherever the judge is better than chance.
    level = (1 - _BETTER) * alpha / 3
    q, s, c = (bounds(name, level) for name in ("accepted", "accepted_right", "rejected_wrong"))
    least = bounds("accepted_right", _BETTER * alpha)[0]
    low, high = 0.0, 1.0
    if least + c[0] > 1:
        low = min(max((q[0] + c[0] - 1) / max(s[1] + c[0] - 1, _SMALLEST), 0.0), 1.0)
    # For the upper end s has its lower bound, and c its upper one.
    least = bounds("rejected_wrong", _BETTER * alpha)[0]
    if s[0] + least > 1:
        high = min(max((q[1] + c[1] - 1) / max(s[0] + c[1] - 1, _SMALLEST), 0.0), 1.0)
    return low, high


def share_by_cluster(held: NDArray[Any], clusters: NDArray[np.int64], alpha: float) -> Interval:
    """Return bounds of a share of units in clusters; 0..1 without units."""
    return cluster_interval(held, clusters, 0.0, 1.0, alpha) if len(held) else (0.0, 1.0)
