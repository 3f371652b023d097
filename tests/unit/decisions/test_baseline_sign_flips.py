"""The sign-flip test of paired changes, beside all flips counted one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from robustest.decisions import mcnemar
from robustest.decisions.baseline import sign_flip


@pytest.mark.parametrize("change", [[3, 1, -2, 0, 5], [1, 1, 1, 1], [-4, -1], [0, 0], [2, 2, -2, 7, 1, 1, -3]], ids=str)
def test_it_is_the_share_of_flips_that_sum_to_as_much(change: list[int]) -> None:
    sums = [int(np.dot(signs, np.abs(change))) for signs in product((1, -1), repeat=len(change))]
    assert sign_flip(np.array(change)) == pytest.approx(np.mean([total >= sum(change) for total in sums]))


def test_of_ones_it_is_mcnemars() -> None:
    for lost, gained in ((9, 2), (40, 40), (3, 11), (0, 0)):
        change = np.array([1] * lost + [-1] * gained + [0] * 5)
        assert sign_flip(change) == pytest.approx(mcnemar(lost, gained))


def test_of_very_many_it_is_normal() -> None:
    random = np.random.default_rng(0)
    change = random.integers(-75, 76, 20_000)
    assert 0 < sign_flip(change) < 1
    assert sign_flip(np.abs(change)) < 1e-10
