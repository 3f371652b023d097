"""A suggested threshold, given as an argument, is kept under nine of ten other seeds, for every kind of claim."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from robustest import Verdict
from robustest.cli.suggest import SEEDS, moves, suggestion

sys.path.insert(0, str(Path(__file__).parent))
from kinds import KINDS

sys.path.pop(0)

SEVERAL: set[str] = set()
"""Kinds of packs whose claims ask for several numbers at once, so that nothing is suggested."""
FAST = {"shift accuracy", "accuracy drop", "consistency", "corruptions"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in FAST else [pytest.mark.slow]) for n in KINDS])
def test_what_is_suggested_is_kept_under_other_seeds(name: str) -> None:
    kind = KINDS[name]
    first, second = (kind.result(seed=seed) for seed in (0, 1))
    others = [second, *(kind.result(seed=seed) for seed in range(2, SEEDS))] if moves(first, second) else [second]
    found = suggestion(first, 0.01, others)
    assert (found.threshold is None) is (name in SEVERAL), found.why_not
    if found.threshold is None:
        assert "several limits" in found.why_not
        return
    kept = [kind.result(seed=seed, threshold=found.threshold).verdict for seed in range(100, 110)]
    assert kept.count(Verdict.PASSED) >= 9
