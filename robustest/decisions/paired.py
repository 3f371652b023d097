"""The exact interval of a fall between two yes-or-no outcomes of the same samples."""

# Of n samples b held before and not now (lost), c hold now and did not before (gained). With the shares p10 and p01 of
# the population (b, c) is trinomial, and the fall is d = p10 - p01; the share that changes, p10 + p01, is a nuisance.
#
# 1. Order the outcomes: with q the most likely p01 under a fall of d, let t(b, c; d) be the mean of
#        the score statistic (Tango, Stat. in Medicine 1998) (b - c - n d) / sqrt(n (2 q + d (1 - d))),
#        the signed root of the likelihood ratio             sign(b - c - n d) sqrt(2 log(L(b/n, c/n) / L(q + d, q))).
#    Let u solve t(b, c; u) = -z_alpha: an approximate upper limit of the fall. Outcomes with no larger limit than the
#    observed one are R = {(i, j): t(i, j; u) <= t(b, c; u)}; with each outcome R holds those of fewer losses, and of
#    more gains, so that R = {(i, j): j >= border(i)} with a border that never falls.
# 2. The upper end is the largest d at which R is not improbable (Buehler, JASA 1957; Lloyd and Moldovan, Statistics in
#    Medicine 2007 and 2008). The share that changes, w = p10 + p01, is maximised over (Hsueh, Liu and Chen, Biometrics
#    2001), within its exact interval W at 1 - gamma (Berger and Boos, JASA 1994):
#        U = sup {d: gamma + max over w in W of P(R; (w + d) / 2, (w - d) / 2) > alpha}.
#    The error is at most alpha for any n: W misses w with probability gamma, and else R has at most alpha - gamma. For
#    a given w, P falls as d rises, because R loses by every gain that becomes a loss: each w has one root, and U is the
#    largest.
# 3. The lower end is minus the upper end with losses and gains exchanged.
#
# P(R) is a sum over i of the binomial chance of i losses times the conditional binomial chance of border(i) gains or
# more, restricted to the losses that have all but a negligible part of the mass, which is added.
#
# Any order is valid; the mean gives the shortest intervals. The score alone has a heavy upper tail where few samples
# change, and the root a heavy lower one: such a nuisance then is the worst for all outcomes. Without W the worst one is
# often that of nearly all samples changing, which costs up to a third of the power (`benchmarks/no_worse.py`).

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.distributions import bdtrc, gammaln, ndtri, root_of, xlogy
from robustest.decisions.rule import Interval
from robustest.decisions.share import clopper_pearson

Numbers = NDArray[np.float64]

# gamma, as a part of alpha.
_SET_ASIDE = 0.001
# Parts of alpha: the mass that the sums leave out; and a reserve that is added to every chance, for that mass and for
# the rest of the way to the top of a peak.
_LEFT_OUT, _RESERVE = 1e-6, 1e-5
# Slack of the order, which is computed in floating point.
_TIE = 1e-9
# Steps of the grid of shares in standard deviations of a count, up to this many; beyond, in proportion.
_STEP, _EVEN, _GROWTH = 0.25, 8.0, 1.06
# Peaks of the grid that could be the largest after refinement, relative to the largest; rounds of refinement.
_COULD, _ROUNDS = 0.85, 9
# The root of the fall, and how closely the worst nuisance must reach alpha there.
_ROOT, _REACHED = 1e-12, 1e-7


@lru_cache(maxsize=1 << 14)  # groups, parts and simulations repeat their counts
def paired_interval(lost: int, gained: int, n: int, alpha: float) -> Interval:
    """Return exact bounds on the share lost minus the share gained, in -1..1, alpha on each side.

    Args:
        lost: pairs that held before and do not now.
        gained: pairs that hold now and did not before; lost + gained <= n.
        n: pairs; none of them show nothing.
        alpha: the largest probability that the true difference lies beyond one given end, in (0, .5).
    """
    if not n:
        return -1.0, 1.0
    return -_upper(gained, lost, n, alpha), _upper(lost, gained, n, alpha)


def fall_is_within(lost: int, gained: int, n: int, fall: float, alpha: float) -> bool:
    """Return True if the upper end of `paired_interval` is at most `fall`, in a fraction of its time.

    Args:
        lost, gained, n, alpha: as for `paired_interval`, n >= 1.
        fall: in -1..1. The lower end lies above it if the fall with losses and gains exchanged is within its negative.
    """
    if (lost - gained) / n > fall:
        return False
    # The largest chance falls as the fall rises (2. above): U is at most a fall at which it is alpha or less.
    bound = (1 - _SET_ASIDE) * alpha * (1 + _REACHED)
    if lost == n:
        return False
    region = _Region.of(lost, gained, n, alpha)
    # Most often the grid alone tells: its largest chance is too large, or too small for any peak to be.
    largest = region.worst(fall, rounds=0)[1]
    return largest <= bound and (largest < _COULD * bound or region.worst(fall)[1] <= bound)


def fall_seems_within(lost: NDArray[Any], gained: NDArray[Any], n: int, fall: float, alpha: float) -> NDArray[np.bool_]:
    """Return bool: the approximate upper limits are at most `fall`; lost and gained broadcast, see `fall_is_within`."""
    seems = _statistic(lost, gained, n, fall) <= float(ndtri(alpha))
    return np.asarray(seems & ((lost - gained) / n <= fall))


def pairs_needed(lost: int, gained: int, n: int, fall: float, alpha: float) -> int | None:
    """Return about how many pairs of the same rates put the interval beside a fall; None if no number of them does.

    Args:
        lost, gained, n, alpha: as for `paired_interval`.
        fall: in -1..1.
    """
    # At fixed rates the statistic grows with the root of the number of pairs.
    statistic = abs(float(_statistic(np.array(lost), np.array(gained), n, fall)))
    if statistic < _TIE:
        return None
    needed = n * min((float(ndtri(alpha)) / statistic) ** 2, 1e12)
    if (lost - gained) / n < fall and fall > 0:
        needed = max(needed, math.log(alpha) / math.log1p(-min(fall, 0.999)))  # if no pair changes
    return max(n + 1, math.ceil(needed))


@lru_cache(maxsize=1 << 14)
def _upper(lost: int, gained: int, n: int, alpha: float) -> float:
    if lost == n:
        return 1.0
    region, estimate = _Region.of(lost, gained, n, alpha), (lost - gained) / n
    d, bound = region.limit, (1 - _SET_ASIDE) * alpha * (1 + _REACHED)
    changing, chance = region.worst(d)
    if chance < bound:  # the approximate limit lies above U
        d = estimate
        changing, chance = region.worst(d)
    # Each round finds the worst share that changes at d, and moves d to where its chance is alpha.
    for _ in range(50):
        if chance <= bound:
            break
        d = region.raised(d, changing)
        changing, chance = region.worst(d)
    return min(1.0, max(estimate, d + _ROOT))


class _Region:
    """The outcomes whose approximate upper limit is no larger than that of the observed one.

    Attributes:
        limit: the approximate upper limit.
    """

    def __init__(
        self, border: NDArray[np.int64], limit: float, n: int, alpha: float, changing: tuple[float, float]
    ) -> None:
        self.limit, self._border, self._n, self._alpha, self._changing = limit, border, n, alpha, changing
        self._log_factorials = gammaln(np.arange(n + 1) + 1.0)

    @classmethod
    def of(cls, lost: int, gained: int, n: int, alpha: float) -> _Region:
        z = float(-ndtri(alpha))

        def above(d: float) -> float:
            return float(_statistic(np.array(lost), np.array(gained), n, d)) + z

        low, high = max((lost - gained) / n, -1 + _TIE), 1 - _TIE
        limit = low if above(low) <= 0 else high if above(high) >= 0 else root_of(above, low, high, within=1e-13)
        observed = float(_statistic(np.array(lost), np.array(gained), n, limit)) + _TIE
        losses = np.arange(n + 1)
        # Bisection for the fewest gains at which each number of losses is in the region; more than there are: none.
        fewest, most = np.zeros(n + 1, dtype=np.int64), n - losses + 1
        while (open_ := fewest < most).any():
            middle = (fewest + most) // 2
            inside = _statistic(losses, np.minimum(middle, n - losses), n, limit) <= observed
            inside &= middle <= n - losses
            most, fewest = np.where(open_ & inside, middle, most), np.where(open_ & ~inside, middle + 1, fewest)
        # Rounding must not spoil the two properties that the proof needs: the observed outcome is inside, and the
        # border never falls.
        border = np.maximum.accumulate(fewest)
        border[: lost + 1] = np.minimum(border[: lost + 1], gained)
        changing = clopper_pearson(lost + gained, n, _SET_ASIDE * alpha / 2)
        return cls(border, limit, n, (1 - _SET_ASIDE) * alpha, changing)

    def worst(self, d: float, rounds: int = _ROUNDS) -> tuple[float, float]:
        """Return the share that changes with the largest chance of the region at a fall d, and that chance.

        Args:
            rounds: of the refinement of the grid's peaks.
        """
        low, high = max(abs(d), self._changing[0]), self._changing[1]
        if low >= high:  # no share in W admits a larger fall
            return high, 0.0
        grid = _grid(low, high, self._n)
        chance = self.chance(d, grid)
        best = int(chance.argmax())
        found, largest = float(grid[best]), float(chance[best])
        # Refine every peak that could be the largest one, by parabolas through it and its neighbours.
        inner = np.concatenate([[-1.0], chance, [-1.0]])
        peak = np.flatnonzero((chance >= inner[:-2]) & (chance >= inner[2:]) & (chance >= _COULD * largest))
        peak = np.unique(np.clip(peak, 1, len(grid) - 2))
        x = np.stack([grid[peak - 1], grid[peak], grid[peak + 1]])
        y = np.stack([chance[peak - 1], chance[peak], chance[peak + 1]])
        for number in range(rounds):
            # Every third time by halves: a parabola may creep along one side of a peak.
            vertex = _vertex(x, y) if number % 3 else _half(x)
            values = self.chance(d, vertex)
            top = int(values.argmax())
            if values[top] > largest:
                found, largest = float(vertex[top]), float(values[top])
            x, y = _three_around(x, y, vertex, values)
        return found, largest

    def raised(self, d: float, changing: float) -> float:
        """Return a larger fall at which the chance of the region still is alpha, for one share that changes, or nearby.

        Args:
            d: a fall at which its chance is larger than alpha.
        """
        gained, most = (changing - d) / 2, self._changing[1]
        # Either the share that changes stays, up to where all of it is lost, or the share that is gained.
        ends = self._root(d, changing, lambda _: changing), self._root(d, most - 2 * gained, lambda x: 2 * gained + x)
        return max(ends)

    def _root(self, d: float, most: float, changing: Callable[[float], float]) -> float:
        """Return the fall in d..most at which the chance of the region is alpha; `most` if it is larger there."""

        def beyond(fall: float) -> float:
            return math.log(max(float(self.chance(fall, np.array([changing(fall)]))[0]), 1e-300) / self._alpha)

        step, low, high = 2.0 / self._n, d, d
        while high < most:
            low, high, step = high, min(most, high + step), 2 * step
            if beyond(high) < 0:
                return max(d, root_of(beyond, low, high, within=_ROOT)) if beyond(low) > 0 else low
        return max(d, high)

    def chance(self, d: float, changing: Numbers) -> Numbers:
        """Return (m,) chances of the region at a fall d and m shares that change, each at least |d|."""
        n, share, nuisance = self._n, np.clip((changing + d) / 2, 0.0, 1.0), np.maximum((changing - d) / 2, 0.0)
        # Bernstein's inequality bounds the mass beyond `reach` on each side.
        log = -math.log(self._alpha * _LEFT_OUT / 2)
        reach = log / 3 + np.sqrt((log / 3) ** 2 + 2 * log * n * share * (1 - share))
        first = np.maximum(0, np.floor(n * share - reach)).astype(np.int64)
        last = np.minimum(n, np.ceil(n * share + reach)).astype(np.int64)
        # All windows of losses in one row, as their lengths differ.
        length = last - first + 1
        start = np.cumsum(length) - length
        of = np.repeat(np.arange(len(share)), length)
        i = np.arange(len(of)) - start[of] + first[of]
        logs, p = self._log_factorials, share[of]
        mass = np.exp(logs[n] - logs[i] - logs[n - i] + xlogy(i, p) + xlogy(n - i, 1 - p))
        left = np.where(share < 1, nuisance / np.maximum(1 - share, 1e-300), 0.0)[of]
        fewest = self._border[i]
        tail = bdtrc((np.minimum(fewest, n - i + 1) - 1).astype(np.float64), n - i, np.minimum(left, 1.0))
        # bdtrc is not defined where more is asked than there is.
        tail = np.where(fewest > n - i, 0.0, np.where(fewest <= 0, 1.0, tail))
        found: Numbers = np.add.reduceat(mass * tail, start) + self._alpha * _RESERVE
        return found


def _grid(low: float, high: float, n: int) -> Numbers:
    """Return shares in low..high: the chance of a region changes little between two of them."""
    # A count is told from another by its standard deviation: even steps of the roots of expected counts, from the low
    # end, where all that changes changes alike, and from the high end, where every sample changes.
    largest = math.sqrt(n * (high - low))
    more = max(0, math.ceil(math.log(max(largest / _EVEN, 1.0)) / math.log(_GROWTH)))
    roots = np.concatenate([np.arange(0.0, min(largest, _EVEN), _STEP), _EVEN * _GROWTH ** np.arange(more)])
    steps = roots[roots < largest] ** 2 / n
    grid: Numbers = np.unique(np.concatenate([low + steps, high - steps]))
    return grid


def _vertex(x: Numbers, y: Numbers) -> Numbers:
    """Return (m,) vertices of parabolas through three points each, between the outer two; arguments are (3, m)."""
    left, right = (x[1] - x[0]) * (y[1] - y[2]), (x[1] - x[2]) * (y[1] - y[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = x[1] - ((x[1] - x[0]) * left - (x[1] - x[2]) * right) / (2 * (left - right))
    inside = (vertex > x[0]) & (vertex < x[2]) & (vertex != x[1])
    # Three points may lie on a line, and a vertex on the middle one.
    found: Numbers = np.where(inside, vertex, _half(x))
    return found


def _half(x: Numbers) -> Numbers:
    """Return the middle of the wider side of three points each, rising along the first axis of (3, m)."""
    found: Numbers = np.where(x[1] - x[0] > x[2] - x[1], (x[0] + x[1]) / 2, (x[1] + x[2]) / 2)
    return found


def _three_around(x: Numbers, y: Numbers, more: Numbers, value: Numbers) -> tuple[Numbers, Numbers]:
    """Return the largest of four points and its neighbours, of m triples with a point more each."""
    x, y = np.vstack([x, more]), np.vstack([y, value])
    order = np.argsort(x, axis=0)
    x, y = np.take_along_axis(x, order, 0), np.take_along_axis(y, order, 0)
    middle = np.clip(y.argmax(axis=0), 1, 2)
    three = np.stack([middle - 1, middle, middle + 1])
    return np.take_along_axis(x, three, 0), np.take_along_axis(y, three, 0)


def _statistic(lost: NDArray[Any], gained: NDArray[Any], n: int, d: float) -> Numbers:
    """Return t(b, c; d), which is the smaller, the more a fall below d explains the outcome; arguments broadcast."""
    b, c = lost.astype(np.float64), gained.astype(np.float64)
    # The most likely p01 solves 2 n q^2 + B q + C = 0.
    linear, constant = -b - c + (2 * n - b + c) * d, -c * d * (1 - d)
    root = np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):  # of two forms the one without cancellation is taken
        q = np.where(linear > 0, -2 * constant / (linear + root), (root - linear) / (4 * n))
    q = np.clip(q, max(0.0, -d), (1 - d) / 2)
    rest, beyond = n - b - c, b - c - n * d
    ratio = xlogy(b, b / n) + xlogy(c, c / n) + xlogy(rest, rest / n)
    ratio -= xlogy(b, np.maximum(q + d, 0.0)) + xlogy(c, q) + xlogy(rest, np.maximum(1 - d - 2 * q, 0.0))
    score = beyond / np.sqrt(np.maximum(n * (2 * q + d * (1 - d)), 1e-12))
    found: Numbers = (score + np.sign(beyond) * np.sqrt(np.maximum(2 * ratio, 0.0))) / 2
    return found
