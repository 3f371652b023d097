"""Signs that a sample was chosen: exact p-values, an honest sample is hardly ever refused, and a choice is found."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from robustest_people.study_answers import LEVEL, uniformity

N, NUMBER = 12, 5


def test_a_choice_is_called_one_as_seldom_as_was_said() -> None:
    """Of all samples of a small set at most a share of p is called chosen at p, but for the simulated test."""
    label = np.repeat([0, 1, 2], 4)
    found = [
        uniformity(np.array(ids), N, label=label, marks={"marked": np.array([0, 1, 5])}, seed=0).p
        for ids in combinations(range(N), NUMBER)
    ]
    assert len(found) == comb(N, NUMBER)
    for p in sorted(set(found)):
        assert np.mean(np.array(found) <= p) <= p * 1.05
    assert min(found) > LEVEL  # of so few items no sample is surely chosen


@pytest.mark.parametrize(("total", "drawn", "classes"), [(60, 20, 3), (500, 100, 10)])
def test_honest_samples_are_hardly_ever_refused(total: int, drawn: int, classes: int) -> None:
    random, draws = np.random.default_rng(total), 100
    label = np.sort(random.integers(0, classes, total))
    p = np.array(
        [
            uniformity(random.choice(total, drawn, replace=False), total, label=label, marks={}, seed=seed).p
            for seed in range(draws)
        ]
    )
    assert (p <= LEVEL).sum() == 0
    assert (p <= 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)


def test_blocks_of_neighbours_have_the_hypergeometric_distribution() -> None:
    """Counted over all samples of a small set."""
    blocks = [sum(1 for at in ids if at - 1 not in ids) for ids in (set(one) for one in combinations(range(N), NUMBER))]
    for b in range(1, NUMBER + 1):
        assert blocks.count(b) == comb(NUMBER - 1, b - 1) * comb(N - NUMBER + 1, b)
    alike = np.zeros(400, dtype=np.int64)
    few = uniformity(np.arange(180, 220), 400, label=alike, marks={}, seed=0)
    assert (few.what, few.seen, few.chosen) == ("blocks of neighbours", 1, True)
    whole = 4 * np.arange(400) + np.random.default_rng(0).integers(0, 4, 400)  # one of each four, at any place of it
    assert (
        uniformity(whole, 1600, label=np.zeros(1600, dtype=np.int64), marks={}, seed=0).what == "blocks of neighbours"
    )


def test_what_is_found_is_told_with_its_figures() -> None:
    found = uniformity(
        np.random.default_rng(0).choice(np.arange(500, 10_000), 1000, replace=False),
        10_000,
        label=np.zeros(10_000, dtype=np.int64),
        marks={"suspects": np.arange(500)},
        seed=0,
    )
    assert found.chosen
    assert str(found).startswith("suspects: 0, where 50 are expected of a uniform sample, p = ")
    assert str(found).endswith(f"(corrected for {found.tests} tests)")
    assert found.p == pytest.approx(2 * 2 * (found.tests - 1) * np.prod(1 - 1000 / (10_000 - np.arange(500))), rel=1e-6)
