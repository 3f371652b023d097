"""SciPy's distributions and functions that rules use; SciPy is imported at the first call.

`scipy.stats` takes 0.6 s of the processor, `scipy.special` 0.1 s. Rules are imported wherever a claim is named, by
commands and reports too, and few of these decide anything. The most frequent verdicts, on shares and falls, need the
incomplete beta function alone: with I_p(a, b) for it and X ~ Binomial(n, p),

    P(X > k) = I_p(k + 1, n - k)        the q-quantile of Beta(a, b) = the inverse of I(a, b) at q
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from math import lgamma, log, log1p
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray


class Later:
    """A function or distribution of SciPy by its name, e.g. "stats.beta"."""

    __slots__ = ("_held", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._held: Any = None

    def _load(self) -> Any:
        if self._held is None:
            module, _, name = self._path.partition(".")
            self._held = getattr(import_module(f"scipy.{module}"), name)
        return self._held

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._load()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)


beta: Final = Later("stats.beta")
binom: Final = Later("stats.binom")
hypergeom: Final = Later("stats.hypergeom")
norm: Final = Later("stats.norm")
student: Final = Later("stats.t")

bdtr: Final = Later("special.bdtr")
bdtrc: Final = Later("special.bdtrc")
betainc: Final = Later("special.betainc")
betaincc: Final = Later("special.betaincc")
betaincinv: Final = Later("special.betaincinv")
gammaln: Final = Later("special.gammaln")
ndtr: Final = Later("special.ndtr")
ndtri: Final = Later("special.ndtri")
ndtri_exp: Final = Later("special.ndtri_exp")
student_quantile: Final = Later("special.stdtrit")
xlogy: Final = Later("special.xlogy")


def root_of(f: Callable[[float], float], low: float, high: float, *, within: float) -> float:
    """Return a root of a continuous function between two ends at which it has different signs, by Brent's method.

    R. P. Brent, Algorithms for Minimization Without Derivatives, 1973, chapter 4, step by step as SciPy has it
    (whose import takes a third of a second of the processor, more than a verdict): each step is the secant's, or the
    inverse parabola's, where that is short enough, and half of the bracket elsewhere.

    Args:
        within: how far the root may be from the returned number.

    Raises:
        ValueError: both ends have the same sign.
    """
    before, now = low, high
    f_before, f_now = f(before), f(now)
    if f_before == 0:
        return before
    if f_now == 0:
        return now
    if (f_before < 0) is (f_now < 0):
        raise ValueError(f"Expected different signs at {low} and {high} but got {f_before} and {f_now}.")
    other, f_other, last, step = 0.0, 0.0, 0.0, 0.0
    for _ in range(100):
        if f_before != 0 and (f_before < 0) is not (f_now < 0):
            other, f_other = before, f_before
            last = step = now - before
        if abs(f_other) < abs(f_now):
            before, now, other = now, other, now
            f_before, f_now, f_other = f_now, f_other, f_now
        least = (within + 4 * sys.float_info.epsilon * abs(now)) / 2
        half = (other - now) / 2
        if f_now == 0 or abs(half) < least:
            return now
        tried = math.inf
        if abs(last) > least and abs(f_now) < abs(f_before):
            if before == other:
                tried = -f_now * (now - before) / (f_now - f_before)
            else:
                slope, slope_other = (f_before - f_now) / (before - now), (f_other - f_now) / (other - now)
                curve = slope_other * slope * (f_other - f_before)
                tried = -f_now * (f_other * slope_other - f_before * slope) / curve if curve else math.inf
        short = 2 * abs(tried) < min(abs(last), 3 * abs(half) - least)
        last, step = (step, tried) if short else (half, half)
        before, f_before = now, f_now
        now += step if abs(step) > least else math.copysign(least, half)
        f_now = f(now)
    return now


def binomial_tail(k: int, n: int, p: float) -> float:
    """Return P(X > k) for X ~ Binomial(n, p), -1 <= k."""
    return 1.0 if k < 0 else 0.0 if k >= n else float(betainc(k + 1, n - k, p))


# Commands that choose thresholds need these two alone: they do without SciPy.


@lru_cache(maxsize=4)
def _log_factorials(n: int) -> NDArray[np.float64]:
    """Return the logarithms of 0!, 1!, ..., n!."""
    return np.fromiter(map(lgamma, range(1, n + 2)), np.float64, n + 1)


def binomial_quantile(q: float, n: int, p: float) -> int:
    """Return the smallest k with P(X <= k) >= q for X ~ Binomial(n, p), 0 < q < 1."""
    if not 0 < p < 1:
        return n if p >= 1 else 0
    k, table = np.arange(n), _log_factorials(n)
    logs = table[n] - table[k] - table[n - k] + k * log(p) + (n - k) * log1p(-p)
    # A sum that is equal to q may lie a rounding below it.
    return int((np.exp(logs).cumsum() < q - 1e-12).sum())


def hypergeometric_cdf(k: int, total: int, events: int, drawn: int) -> float:
    """Return P(X <= k) for the number X of events among those drawn, without replacement, of `total` of which `events`
    are events.
    """
    i, table = np.arange(max(0, drawn - (total - events)), min(k, events, drawn) + 1), _log_factorials(total)

    def log_choose(a: Any, b: Any) -> Any:
        return table[a] - table[b] - table[a - b]

    ways = log_choose(events, i) + log_choose(total - events, drawn - i) - log_choose(total, drawn)
    return min(1.0, float(np.exp(ways).sum()))
