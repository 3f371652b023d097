"""Training diagnostics of policy gradients (Ilyas et al., ICLR 2020). They are values, without a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from robustest.errors import ConfigError, DataError, expected
from robustest.packs import checked_whole, interval_in_words

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GradientConcentration:
    """Agreement of independent gradient estimates (section 2.1).

    Attributes:
        samples: numbers of samples per estimate, rising.
        cosines: mean pairwise cosine of the estimates, for each number.
        noise: K0 of cos = K / (K + K0), the samples at which the cosine is one half; None if the interval is open.
        interval: interval of K0; infinite above if the cosine may be 0.
        told: K0 in words; "below the smallest K" if estimates agree at every number.
    """

    samples: tuple[int, ...]
    cosines: tuple[float, ...]
    noise: float | None
    interval: tuple[float, float]
    told: str


def measure_gradient_concentration(
    sample_gradient: Callable[[int, int], ArrayLike],
    samples: Sequence[int] = (100, 400, 1600),
    *,
    repeats: int = 8,
    alpha: float = 0.01,
) -> GradientConcentration:
    """Return the mean pairwise cosine of independent gradient estimates, and K0 of cos = K / (K + K0).

    With K samples E <g, g'> = |G|^2 and E |g|^2 = |G|^2 + S / K, so that K0 = S / |G|^2. The interval is a jackknife
    over estimates, as samples inside one may depend on each other.

    Args:
        sample_gradient: `sample_gradient(k, seed)` returns a flat gradient (P,) estimated from k samples.
        samples: numbers of samples, >= 1.
        repeats: estimates for each number, >= 3.
        alpha: error on each side of the interval, in (0, 0.5).

    Raises:
        ConfigError: an argument is out of range.
        DataError: a gradient is not finite, is zero, or changes its length.
    """
    checked_whole("repeats", repeats, 3)
    counts = sorted(set(samples))
    if not counts:
        raise ConfigError(expected("one number of samples or more", samples))
    for k in counts:
        checked_whole("samples", k, 1)
    inner, outer, cosines = [], [], []
    for place, k in enumerate(counts):
        # Seeds do not overlap between numbers of samples: their estimates stay independent.
        rows = _gradients(sample_gradient, k, range(place * repeats, (place + 1) * repeats))
        gram = rows @ rows.T
        size = np.sqrt(np.diag(gram))
        off = ~np.eye(repeats, dtype=bool)
        cosines.append(float((gram / np.outer(size, size))[off].mean()))
        inner.append(gram)
        outer.append(k)
    noise, low, high = _fitted(inner, outer, alpha)
    if high <= counts[0]:
        told = "below the smallest K"
    else:
        told = f"{noise:.3g} {interval_in_words(low, high, digits=0)}" if noise is not None else f"above {low:.3g}"
    return GradientConcentration(tuple(counts), tuple(cosines), noise, (low, high), told)


def _gradients(sample_gradient: Callable[[int, int], ArrayLike], k: int, seeds: range) -> Floats:
    rows = [np.asarray(sample_gradient(k, seed), dtype=np.float64).ravel() for seed in seeds]
    if len({len(row) for row in rows}) != 1:
        raise DataError(expected("gradients of one length", sorted({len(row) for row in rows})))
    table = np.stack(rows)
    if not np.isfinite(table).all():
        raise DataError(expected("finite gradients", table[~np.isfinite(table)]))
    if (np.abs(table).max(1) == 0).any():
        raise DataError("Expected gradients other than 0 but one is 0 everywhere: it has no direction.")
    return table


def _fitted(grams: list[Floats], counts: list[int], alpha: float) -> tuple[float | None, float, float]:
    # Fieller (1954): the ratio S / |G|^2 has no mean, so a test of |G|^2 K0 = S is inverted over K0 instead.
    r = len(grams[0])
    parts = np.array([_moments(gram, k, np.arange(r)) for gram, k in zip(grams, counts, strict=True)])
    # Weights by number of samples: larger ones estimate both moments with less variance.
    weight = np.array(counts, dtype=float) / sum(counts)
    signal, spread = float(weight @ parts[:, 0]), float(weight @ parts[:, 1])
    # Jackknife of both: each estimate left out of its own number of samples.
    cov, df = np.zeros((2, 2)), 0
    for gram, k, w in zip(grams, counts, weight, strict=True):
        left = np.array([_moments(gram, k, np.delete(np.arange(r), out)) for out in range(r)])
        gap = left - left.mean(0)
        cov += w**2 * (r - 1) / r * gap.T @ gap
        df += r - 1
    t = float(student.ppf(1 - alpha, max(2, round(df / len(grams)))))
    # (spread - K0 signal)^2 <= t^2 var(spread - K0 signal), a quadratic in K0.
    a = signal**2 - t**2 * cov[0, 0]
    b = -2 * (signal * spread - t**2 * cov[0, 1])
    c = spread**2 - t**2 * cov[1, 1]
    root = b * b - 4 * a * c
    # The accepted set is unbounded where |G|^2 may be 0.
    if signal <= 0 or a <= 0 or root < 0:
        lowest = max(0.0, -c / b if a <= 0 and b < 0 and c > 0 else 0.0) if signal > 0 else 0.0
        return None, lowest, np.inf
    low, high = (-b - root**0.5) / (2 * a), (-b + root**0.5) / (2 * a)
    return max(0.0, spread / signal), max(0.0, low), max(0.0, high)


def _moments(gram: Floats, k: int, rows: NDArray[np.int64]) -> tuple[float, float]:
    """Return unbiased estimates of |G|^2 and S."""
    part = gram[np.ix_(rows, rows)]
    n = len(rows)
    across = float((part.sum() - np.trace(part)) / (n * (n - 1)))
    return across, k * (float(np.trace(part)) / n - across)


@dataclass(frozen=True)
class ValueQuality:
    """Agreement of values with returns (section 2.2).

    Attributes:
        explained: share of the variance of returns that values explain; may be negative.
        relative_error: mean |value - return| over mean |return|.
        n: number of states.
    """

    explained: float
    relative_error: float
    n: int


def measure_value_quality(values: ArrayLike, returns: ArrayLike) -> ValueQuality:
    """Return the agreement of a value function with returns.

    Args:
        values, returns: (n,) of the same states, n >= 2.

    Raises:
        DataError: lengths differ, a number is not finite, or all returns are equal.
    """
    v, r = (np.asarray(one, dtype=np.float64).ravel() for one in (values, returns))
    if len(v) != len(r) or len(v) < 2:
        raise DataError(expected("as many values as returns, two or more", (len(v), len(r))))
    if not (np.isfinite(v).all() and np.isfinite(r).all()):
        raise DataError("Expected finite values and returns but some are not.")
    if r.var() == 0:
        raise DataError("Expected returns that differ but all are alike: there is nothing to explain.")
    return ValueQuality(float(1 - (r - v).var() / r.var()), float(np.abs(r - v).mean() / np.abs(r).mean()), len(v))


@dataclass(frozen=True)
class Surrogate:
    """The surrogate and the return along a line (section 2.3).

    Attributes:
        steps: multiples of the update.
        along, along_return: surrogate and return along the update.
        random, random_return: means along random directions of the same length.
    """

    steps: tuple[float, ...]
    along: tuple[float, ...]
    along_return: tuple[float, ...]
    random: tuple[float, ...]
    random_return: tuple[float, ...]


def measure_surrogate(
    surrogate: Callable[[Floats], float],
    returns: Callable[[Floats], float],
    parameters: ArrayLike,
    update: ArrayLike,
    *,
    steps: Sequence[float] = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0),
    directions: int = 3,
    seed: int = 0,
) -> Surrogate:
    """Return the surrogate that training climbs beside the return that it stands for.

    Args:
        surrogate, returns: functions of flat parameters (P,).
        parameters, update: (P,) the parameters, and the step that training took from them.
        steps: multiples of the update.
        directions: random directions, >= 1.

    Raises:
        ConfigError: directions < 1.
        DataError: the update is zero, or of another length.
    """
    checked_whole("directions", directions, 1)
    start, way = (np.asarray(one, dtype=np.float64).ravel() for one in (parameters, update))
    length = float(np.linalg.norm(way)) if len(way) == len(start) else 0.0
    if not length:
        raise DataError(expected("an update (P,) other than 0, as long as the parameters", way.shape))
    draws = np.random.default_rng(seed).standard_normal((directions, len(start)))
    ways = draws / np.linalg.norm(draws, axis=1, keepdims=True) * length

    def line(f: Callable[[Floats], float], directions: Floats) -> tuple[float, ...]:
        return tuple(float(np.mean([f(start + step * one) for one in directions])) for step in steps)

    return Surrogate(
        tuple(map(float, steps)),
        line(surrogate, way[None]),
        line(returns, way[None]),
        line(surrogate, ways),
        line(returns, ways),
    )
