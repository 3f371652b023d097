"""Selection frequencies as a mixture of beta distributions, and accuracy as a smooth function of them.

Engstrom et al. (ICML 2020, section 5 and appendix):

1. Selections of an item with true frequency s are binomial, so counts over items are beta-binomial mixtures. The
   mixture of s is fitted by maximum likelihood.
2. P(correct | s) is a cubic spline, fitted to the number of correct items of each count.
3. The adjusted accuracy is the mean of the replication's spline over the original's mixture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.optimize import lsq_linear, minimize
from scipy.special import betainc, betaln, digamma, gammaln, log_softmax, softmax
from scipy.stats import binom, hypergeom

# As in the paper: beta distributions of a mixture, starting points of its fit, and inner knots of the spline.
COMPONENTS, STARTS, KNOTS = 3, 5, (0.5, 0.7, 0.9)

_GRID = np.linspace(0, 1, 1001)
_MIDDLE = (_GRID[1:] + _GRID[:-1]) / 2
# Bounds of the log shapes: beyond them a component is a point mass, and the likelihood flat.
_SHAPES = (np.log(0.05), np.log(2000.0))
_KNOT_VECTOR = np.concatenate([np.zeros(4), KNOTS, np.ones(4)])
_BASIS: Floats = BSpline.design_matrix(_MIDDLE, _KNOT_VECTOR, 3).toarray()


@dataclass(frozen=True, slots=True)
class BetaMixture:
    """A mixture of beta distributions on [0, 1]."""

    a: Floats  # a, b: (J,) shapes
    b: Floats
    weight: Floats  # (J,) of sum 1
    loss: float  # minus the mean log-likelihood of the counts

    def masses(self) -> Floats:
        """Return (1000,) exact probabilities of the cells of an even grid."""
        below = betainc(self.a[:, None], self.b[:, None], _GRID)
        masses: Floats = self.weight @ np.diff(below, axis=1)
        return masses


def fit_mixture(selected: Ints, shown: Ints, count: Ints, starts: list[Floats]) -> tuple[BetaMixture, Floats]:
    """Return the maximum-likelihood mixture, and its parameters.

    Args:
        selected, shown, count: (c,); `count` items were selected by `selected` of the `shown` annotators.
    """
    keep = count > 0
    cells = _gathered(selected[keep], shown[keep], count[keep])
    # The likelihood is climbed directly: EM, the authors' method, reaches the same maximum more slowly. The
    # likelihood has several local maxima, so the best result of all starts counts.
    ends = [minimize(_loss, start, args=cells, jac=True, method="L-BFGS-B", bounds=_bounds(start)) for start in starts]
    best = min(ends, key=lambda end: float(end.fun))
    a, b, logits = np.split(best.x, 3)
    return BetaMixture(np.exp(a), np.exp(b), softmax(logits), float(best.fun)), best.x


def random_starts(random: np.random.Generator) -> list[Floats]:
    """Return starting points: shapes drawn from 2..9, equal weights."""
    shapes = np.log(random.integers(2, 10, size=(STARTS, 2 * COMPONENTS)))
    return [np.concatenate([row, np.zeros(COMPONENTS)]) for row in shapes]


def fit_spline(mixture: BetaMixture, right: Floats, n: int) -> Floats:
    """Return (1000,) P(correct | s) at the middles of the grid's cells, in [0, 1].

    Args:
        right: (n + 1,) shares of all items with 0..n selections that are classified correctly.
    """
    joint = binom.pmf(np.arange(n + 1)[:, None], n, _MIDDLE) * mixture.masses()
    # B-splines are a partition of unity, so coefficients in [0, 1] keep the whole spline in [0, 1].
    coefficients = lsq_linear(joint @ _BASIS, right, bounds=(0, 1), method="bvls").x
    given: Floats = _BASIS @ coefficients
    return given


def accuracy_by_mixture(
    v1: Cells, v2: Cells, points: tuple[Ints, Ints], draws: tuple[Ints, Ints], n: int, *, random: np.random.Generator
) -> tuple[float, Floats]:
    """Return the adjusted accuracy (step 3 of the module's text), and (b,) the same of resamples.

    Args:
        points: counts of the cells of `v1` and `v2`, (1, c1) and (1, c2).
        draws: resampled counts, (b, c1) and (b, c2).
        n: annotators that the spline is fitted to.
    """
    thinned = v2.thinned(n)

    def accuracy(w1: Ints, w2: Ints, starts: list[list[Floats]]) -> tuple[float, list[list[Floats]]]:
        first, again_1 = fit_mixture(v1.selected, v1.shown, w1, starts[0])
        second, again_2 = fit_mixture(v2.selected, v2.shown, w2, starts[1])
        given = fit_spline(second, (w2 * v2.correct) @ thinned / w2.sum(), n)
        return float(given @ first.masses()), [[again_1], [again_2]]

    point, found = accuracy(points[0][0], points[1][0], [random_starts(random), random_starts(random)])
    # Resamples start from the estimate's parameters: their maximum is near, and random starts would cost five times as
    # much.
    return point, np.array([accuracy(w1, w2, found)[0] for w1, w2 in zip(*draws, strict=True)])


def _gathered(selected: Ints, shown: Ints, count: Ints) -> tuple[Floats, Floats, Floats]:
    rows, where = np.unique(np.stack([selected, shown], 1), axis=0, return_inverse=True)
    weight = np.bincount(where.ravel(), weights=count)
    return rows[:, 0].astype(float), rows[:, 1].astype(float), weight / weight.sum()


def _bounds(start: Floats) -> list[tuple[float, float]]:
    return [_SHAPES] * (2 * len(start) // 3) + [(-20.0, 20.0)] * (len(start) // 3)


def _loss(parameters: Floats, k: Floats, n: Floats, weight: Floats) -> tuple[float, Floats]:
    # Minus the mean log-likelihood, and its gradient in log a, log b and the logits.
    log_a, log_b, logits = np.split(parameters, 3)
    a, b = np.exp(log_a)[:, None], np.exp(log_b)[:, None]
    choose = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    logs = log_softmax(logits)[:, None] + choose + betaln(k + a, n - k + b) - betaln(a, b)
    # Log-sum-exp over the components.
    top = logs.max(0)
    each = np.exp(logs - top)
    total = each.sum(0)
    member = each / total * weight  # (J, c)
    shared = digamma(a + b) - digamma(n + a + b)
    by_a = (member * (digamma(k + a) - digamma(a) + shared)).sum(1) * a[:, 0]
    by_b = (member * (digamma(n - k + b) - digamma(b) + shared)).sum(1) * b[:, 0]
    by_logits = member.sum(1) - softmax(logits)
    return -float(weight @ (top + np.log(total))), -np.concatenate([by_a, by_b, by_logits])


# Cells: items with equal counts of annotators and an equal outcome are one row. A bootstrap draw of items is then one
# multinomial draw of row counts.


Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cells:
    """Counts of items with equal annotations and an equal outcome."""

    selected: Ints  # selected, shown: (c,) annotators who selected such items, and who were shown them
    shown: Ints
    correct: Ints  # (c,) 1 if the model is right on them, else 0
    count: Ints  # (c,) number of items

    @classmethod
    def of(cls, selected: Ints, shown: Ints, correct: NDArray[np.bool_]) -> Cells:
        rows, count = np.unique(np.stack([selected, shown, correct.astype(np.int64)], 1), axis=0, return_counts=True)
        return cls(rows[:, 0], rows[:, 1], rows[:, 2], count)

    @property
    def size(self) -> int:
        return int(self.count.sum())

    def thinned(self, n: int) -> Floats:
        """Return (c, n + 1) probabilities that 0..n of n annotators, drawn from those of an item, selected it."""
        chances: Floats = hypergeom.pmf(np.arange(n + 1), self.shown[:, None], self.selected[:, None], n)
        return chances

    def resampled(self, resamples: int, random: np.random.Generator) -> Ints:
        return random.multinomial(self.size, self.count / self.size, size=resamples)
