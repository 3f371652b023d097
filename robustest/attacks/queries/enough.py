"""How many queries of scores make a search of a ball: measured, and growing with what a sample has to be asked about.

Random search by scores leaves, on networks that gradients break, so many points of all samples more than gradients do
(`benchmarks/queries.py`): in L-inf, with 784 features, 14 with 1,000 queries, 5 with 5,000 and 2 with 10,000, which
the papers' schedules were made for. In L2 and L1, where a length has to be spent in the right places, 5,000 to 10,000
queries left 9 to 19 points more, and no number that was tried was enough. On nets of 4 to 64 features 1,000 left 2 at
most, but for 10 in L2 with 4 features: there random draws have to stand beside the search, as in the cascades.
"""

from __future__ import annotations

from robustest.threats import L0, L1, L2, Patch, Threat, Unbounded

_LEAST = 1000
_EACH = 13
"""Queries for each feature, up to"""
_MOST = 10_000
"""the budget of the papers' schedules (Andriushchenko et al., ECCV 2020; Croce et al., AAAI 2022)."""
_MEASURED = 64
"""Features up to which searches of L2 and L1 by scores kept up with gradients."""


def enough_scores(threat: Threat, features: int, least: int = _LEAST) -> int | None:
    """Fewest queries of scores of a sample that count as a search of a threat, None where no number does.

    Args:
        threat: what is searched.
        features: elements of a sample.
        least: queries that it takes however few they are.
    """
    if isinstance(threat, Unbounded):  # whatever is found is proof, and what is not says that the search is broken
        return 1
    if isinstance(threat, L2 | L1):
        return least if features <= _MEASURED else None
    return min(_MOST, max(least, _EACH * features))


def enough_steps(threat: Threat) -> int | None:
    """Fewest steps along the gradient of a sample that count as a search of a threat.

    Any number, but never where pixels or a place must be chosen: gradients of this kind hardly move those.
    """
    choosing = isinstance(threat, L0) or (isinstance(threat, Patch) and None in (threat.top, threat.left))
    return None if choosing else 1
