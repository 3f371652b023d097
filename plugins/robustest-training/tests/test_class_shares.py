"""Class shares of two sets: how far apart they are, and by chance."""

from __future__ import annotations

import numpy as np
import pytest
from robustest_training.synthetic_rule import Variation, chance_variation, total_variation


def test_total_variation_by_hand() -> None:
    assert total_variation(np.array([5, 5, 0]), np.array([10, 0, 10])) == pytest.approx(0.5)
    assert total_variation(np.array([3, 3]), np.array([50, 50])) == 0


def test_chance_is_what_sets_of_one_population_differ_by() -> None:
    random, shares = np.random.default_rng(0), np.array([0.5, 0.3, 0.15, 0.05])
    pairs = [(random.multinomial(300, shares), random.multinomial(900, shares)) for _ in range(2000)]
    seen = np.mean([total_variation(*pair) for pair in pairs])
    assert np.mean([chance_variation(*pair) for pair in pairs]) == pytest.approx(seen, rel=0.03)


@pytest.mark.parametrize(("n", "m", "classes"), [(120, 120, 3), (1500, 400, 10)])
def test_sets_of_one_population_are_told_apart_as_seldom_as_alpha(
    n: int, m: int, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustest_training.synthetic_rule._DRAWS", 1000)
    random = np.random.default_rng(1)
    shares = random.dirichlet(np.full(classes, 3.0))
    found = [Variation.of(random.multinomial(n, shares), random.multinomial(m, shares), seed=s) for s in range(300)]
    assert sum(one.interval(0.05)[0] > 0 for one in found) <= 300 * 0.05 + 2 * (300 * 0.05 * 0.95) ** 0.5
    assert sum(one.interval(0.3)[0] > 0 for one in found) > 30, "and it is no idle bound"


def test_a_shift_lies_in_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustest_training.synthetic_rule._DRAWS", 1000)
    random, first, second = np.random.default_rng(2), np.array([0.6, 0.3, 0.1]), np.array([0.3, 0.3, 0.4])
    ends = [
        Variation.of(random.multinomial(500, first), random.multinomial(500, second), seed=s).interval(0.05)
        for s in range(200)
    ]
    assert sum(low > 0.3 for low, _ in ends) <= 16
    assert sum(high < 0.3 for _, high in ends) <= 16
    assert max(high for _, high in ends) < 0.5
