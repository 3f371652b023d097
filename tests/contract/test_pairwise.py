"""The thinned tables keep every pair of values."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from pairwise import covering, pairs, thinned

sys.path.pop(0)


CASES = [case for case in itertools.product("abcdef", range(5), ("x", "y", "z")) if case[:2] != ("a", 0)]


def test_every_pair_is_kept_and_most_cases_are_not() -> None:
    kept = [CASES[at] for at in covering(CASES)]
    assert set().union(*map(pairs, kept)) == set().union(*map(pairs, CASES))
    assert len(kept) < len(CASES) / 2


def test_no_case_is_lost() -> None:
    params = thinned(CASES, [str(case) for case in CASES])
    assert [one.values for one in params] == CASES
    assert sum(not one.marks for one in params) == len(covering(CASES))
