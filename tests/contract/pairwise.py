"""Tables of tests thinned to pairs: every two values that occur together still do, in the tests of every day.

Faults mostly take one value or two to show (Kuhn, Wallace and Gallo, IEEE TSE 2004), while a table of three columns
grows with the third power. Cases that bring no new pair are marked slow: `tox -e slow` runs the whole table.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest


def pairs(case: Sequence[Any]) -> set[Any]:
    """The pairs of a case, each value with its column; values are told apart by their text."""
    return set(itertools.combinations([(at, str(value)) for at, value in enumerate(case)], 2))


def covering(cases: Sequence[Sequence[Any]]) -> list[int]:
    """Return positions of cases, ascending, in which every pair of values occurs that occurs in any case.

    Greedy: first cases of which all pairs are new, then those with one known pair, and so on. The order in which they
    are taken is drawn, as neighbours in a table share most of their values.
    """
    order = np.random.default_rng(0).permutation(len(cases)).tolist()
    own = [pairs(case) for case in cases]
    covered: set[Any] = set()
    chosen = []
    for least in range(max(map(len, own), default=0), 0, -1):
        for at in order:
            if len(own[at] - covered) >= least:
                chosen.append(at)
                covered |= own[at]
    return sorted(chosen)


def thinned(cases: Sequence[Sequence[Any]], ids: Sequence[str]) -> list[Any]:
    """Return all cases as pytest takes them, those marked slow that bring no new pair."""
    kept = set(covering(cases))
    slow = pytest.mark.slow
    return [
        pytest.param(*case, id=name, marks=() if at in kept else slow)
        for at, (case, name) in enumerate(zip(cases, ids, strict=True))
    ]
