"""SciPy's distributions and functions that rules use; SciPy is imported at the first call.

`scipy.stats` takes 0.6 s of the processor, `scipy.special` 0.1 s. Rules are imported wherever a claim is named, by
commands and reports too, and few of these decide anything. The most frequent verdicts, on shares and falls, need the
incomplete beta function alone: with I_p(a, b) for it and X ~ Binomial(n, p),

    P(X > k) = I_p(k + 1, n - k)        the q-quantile of Beta(a, b) = the inverse of I(a, b) at q
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import numpy as np


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

brentq: Final = Later("optimize.brentq")


def binomial_tail(k: int, n: int, p: float) -> float:
    """Return P(X > k) for X ~ Binomial(n, p), -1 <= k."""
    return 1.0 if k < 0 else 0.0 if k >= n else float(betainc(k + 1, n - k, p))


def binomial_quantile(q: float, n: int, p: float) -> int:
    """Return the smallest k with P(X <= k) >= q for X ~ Binomial(n, p)."""
    k = np.arange(n)
    return int((betaincc(k + 1, n - k, p) < q).sum())


def hypergeometric_cdf(k: int, total: int, events: int, drawn: int) -> float:
    """Return P(X <= k) for the number X of events among those drawn, without replacement, of `total` of which `events`
    are events.
    """
    i = np.arange(max(0, drawn - (total - events)), min(k, events, drawn) + 1)

    def log_choose(a: Any, b: Any) -> Any:
        return gammaln(a + 1) - gammaln(b + 1) - gammaln(a - b + 1)

    ways = log_choose(events, i) + log_choose(total - events, drawn - i) - log_choose(total, drawn)
    return min(1.0, float(np.exp(ways).sum()))
