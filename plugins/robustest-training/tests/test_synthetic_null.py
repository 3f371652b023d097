"""Fresh real samples given as synthetic ones, 500 times: how often each part accuses them wrongly."""

from __future__ import annotations

from collections import Counter
from math import sqrt

import numpy as np
import pytest
import training_populations as trained

PARTS = ("accuracy gap", "label shift", "copies", "diversity factor")
TRUE = {"max_gap": 0.0, "max_label_shift": 0.0, "max_copies": 0.01, "max_diversity_factor": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_no_part_accuses_fresh_real_samples_oftener_than_alpha(alpha: float) -> None:
    """Each part at the value that is true. Parts share alpha, so that four times as much leaves each its own."""
    wrong: Counter[str] = Counter()
    random, sets = np.random.default_rng(round(100 * alpha)), 500
    for _ in range(sets):
        result = trained.synthetic_covers(random, alpha=4 * alpha, **TRUE)
        wrong.update(row["part"] for row in result.details["parts"] if row["verdict"] == "failed")
    most = sets * (alpha + 2 * sqrt(alpha * (1 - alpha) / sets))
    assert all(wrong[part] <= most for part in PARTS), wrong
