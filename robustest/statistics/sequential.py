"""Verdicts on a share as early as they are certain enough: samples drawn without replacement from a finite set.

The claim is about a set of N samples of which K hold, looked at in a random order. A mixture of likelihood
ratios against the nearest false value of K is a non-negative supermartingale of mean at most 1 while the claim
is false, so that it ever reaches 1 / alpha with probability at most alpha (Ville, 1939; for sampling without
replacement see Waudby-Smith and Ramdas, NeurIPS 2020). It may be looked at after every sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from robustest.results import Verdict

OFFSETS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.14, 0.2, 0.3)
"""Alternatives of the mixture: how far beyond the threshold the true share may lie."""

Counts = int | NDArray[np.int64]
Logs = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Settled:
    """Where a stream of outcomes settles a claim.

    Attributes:
        verdict: passed or failed.
        after: outcomes read, 0..N.
        certain: whether no outcome of the rest could change it; else it holds at alpha.
        alpha: the error allowed on its side.
    """

    verdict: Verdict
    after: int
    certain: bool
    alpha: float


def settle(held: NDArray[np.bool_], n: int, need: int, *, pass_alpha: float, fail_alpha: float) -> Settled | None:
    """The first point at which outcomes in seeded random order settle "at least `need` of n hold".

    Args:
        held: (t,) outcomes in the order drawn, t <= n.
        n: size of the set.
        need: fewest that must hold, 0..n.
        pass_alpha, fail_alpha: chance allowed for a pass, and for a failure, that is wrong.

    Returns:
        None where t outcomes do not settle it.
    """
    if need <= 0:  # nothing can speak against it
        return Settled(Verdict.PASSED, 0, certain=True, alpha=pass_alpha)
    right = np.cumsum(held, dtype=np.int64)
    wrong = np.arange(1, len(held) + 1, dtype=np.int64) - right
    sure = (right >= need) | (wrong > n - need)
    passes = (right >= need) | (evidence(right, wrong, n, need - 1, above=True) >= -np.log(pass_alpha))
    fails = (wrong > n - need) | (evidence(right, wrong, n, need, above=False) >= -np.log(fail_alpha))
    return first_settled(passes, fails, pass_alpha=pass_alpha, fail_alpha=fail_alpha, sure=(sure, sure))


def first_settled(
    passes: NDArray[np.bool_],
    fails: NDArray[np.bool_],
    *,
    pass_alpha: float,
    fail_alpha: float,
    sure: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None,
) -> Settled | None:
    """The first point at which a stream passes or fails; where it does both at once, it passes.

    Args:
        passes, fails: (t,) whether the outcomes read by then settle it so.
        pass_alpha, fail_alpha: chance allowed for a pass, and for a failure, that is wrong.
        sure: (t,) whether no outcome of the rest could change a pass, and whether none could change a failure; None
            where neither is ever certain.

    Returns:
        None where none of them settles it.
    """
    either = passes | fails
    if not either.any():
        return None
    at = int(either.argmax())
    passed = bool(passes[at])
    certain = sure is not None and bool(sure[0 if passed else 1][at])
    if passed:
        return Settled(Verdict.PASSED, at + 1, certain=certain, alpha=pass_alpha)
    return Settled(Verdict.FAILED, at + 1, certain=certain, alpha=fail_alpha)


def evidence(right: Counts, wrong: Counts, n: int, null: Counts, *, above: bool) -> Logs:
    """Log of the mixture against K = `null`, for larger K or for smaller; arguments broadcast.

    Args:
        right, wrong: outcomes so far that held and that did not.
        n: size of the set.
        null: how many hold if the null hypothesis is true; it speaks as well against all K beyond, on its side.
        above: whether the alternatives are larger, or smaller.
    """
    ratios = []
    for offset in OFFSETS:
        step = max(1, round(offset * n))
        other = np.minimum(n, np.add(null, step)) if above else np.maximum(0, np.subtract(null, step))
        ratios.append(_log_likelihood(right, wrong, n, other))
    logs = np.logaddexp.reduce(np.stack(ratios), axis=0) - np.log(len(OFFSETS))
    base = _log_likelihood(right, wrong, n, null)
    impossible = np.isneginf(base)
    with np.errstate(invalid="ignore"):
        return np.where(impossible, np.where(np.isneginf(logs), -np.inf, np.inf), logs - base)


def interval(right: int, wrong: int, n: int, alpha: float) -> tuple[float, float]:
    """Shares of the whole set that the same tests do not rule out, valid at any stopping point.

    The lower end is the first K that no smaller null is ruled out beyond; so a claim that has passed has its
    threshold at or below the lower end, and a claim that has failed has it above the upper one.

    Args:
        right, wrong: outcomes read.
        n: size of the set.
        alpha: error allowed on each side.
    """
    k = np.arange(n + 1)
    limit = -np.log(alpha)
    small = (k < right) | (evidence(right, wrong, n, k, above=True) >= limit)
    large = (k > n - wrong) | (evidence(right, wrong, n, k, above=False) >= limit)
    low = int(k[small][-1]) + 1 if small.any() else 0
    high = int(k[large][0]) - 1 if large.any() else n
    return low / n, high / n


def _log_likelihood(right: Counts, wrong: Counts, n: int, k: Counts) -> Logs:
    """Log of the chance of such an ordered draw from n samples of which k hold, up to a constant."""
    good, bad = np.asarray(k), np.subtract(n, k)
    possible = (right <= good) & (wrong <= bad)
    left_good, left_bad = np.maximum(good - right, 0), np.maximum(bad - wrong, 0)
    logs = _log_factorials(n)
    return np.where(possible, logs[good] - logs[left_good] + logs[bad] - logs[left_bad], -np.inf)


@lru_cache(maxsize=8)
def _log_factorials(n: int) -> Logs:
    """(n + 1,) ln k! of k in 0..n: every look needs a dozen times as many of them as there are outcomes."""
    table: Logs = gammaln(np.arange(n + 1) + 1.0)
    table.flags.writeable = False
    return table
