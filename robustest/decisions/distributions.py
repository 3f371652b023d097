"""SciPy's distributions and functions that rules use; SciPy is imported at the first call.

Processor seconds of an import in an AMD EPYC's process that has NumPy, by `time.process_time`: `scipy.special` 0.14,
`scipy.optimize` 0.14 more, `scipy.stats` 0.28 more than both. Rules are imported wherever a claim is named, by commands
and reports too, and few of these decide anything. A claim that decides has loaded torch, 1.0 s, and may load what it
needs: a root is SciPy's.

Two things are written here, and held to `scipy.stats` over a grid of sizes by their tests. The tail of a binomial
decides each verdict on a fall, and is the incomplete beta function, which is in `scipy.special`: with I_p(a, b) for it
and X ~ Binomial(n, p), P(X > k) = I_p(k + 1, n - k). The binomial's quantile and the hypergeometric distribution are
all that `robustest suggest` and `scan` need: a sum of logarithms instead of the 0.56 s of `scipy.stats`.
"""

from __future__ import annotations

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

brentq: Final = Later("optimize.brentq")

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


def binomial_tail(k: int, n: int, p: float) -> float:
    """Return P(X > k) for X ~ Binomial(n, p), -1 <= k."""
    return 1.0 if k < 0 else 0.0 if k >= n else float(betainc(k + 1, n - k, p))


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
