"""Synthetic digits of known faults beside fresh real ones: MNIST at 7 x 7, 1,500 samples."""

from __future__ import annotations

from types import ModuleType

import generators as made
import pytest
import torch
from robustest_training import measure_synthetic_covers
from robustest_training.synthetic_sets import Logistic

from robustest import Result, Verdict


def measured(synthetic: made.Labelled, held: made.Digits, splits: int = 8) -> Result:
    return measure_synthetic_covers(held.train, synthetic, test_data=held.test, max_gap=0.05, splits=splits)


def agreement(synthetic: made.Labelled, held: made.Digits) -> float:
    """How often a learner of the real digits says what a synthetic set is labelled with."""
    predict = Logistic().train(*held.train, made.K, torch.zeros(1, dtype=torch.int64))
    return float((predict(synthetic[0]) == synthetic[1]).float().mean())


def test_bland_digits_are_told_from_fresh_ones_and_copies_from_both(shared_networks: ModuleType) -> None:
    """The quick part of what follows."""
    held = made.digits(shared_networks, 0)
    fresh, bland, copied = (
        measured(one, held, splits=2)
        for one in (held.fresh, made.gaussians(held.train, 1, 0), made.jittered(held.train, 0))
    )
    assert fresh.details["diversity_factor"] <= 1.6
    assert bland.details["diversity_factor"] >= 3
    assert max(fresh.details["copies"], bland.details["copies"]) <= 0.02
    assert copied.details["copies"] >= 0.9
    assert copied.verdict is Verdict.FAILED


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits_of_every_fault(shared_networks: ModuleType, seed: int) -> None:
    held = made.digits(shared_networks, seed, tested=10_000)
    ranks = [made.gaussians(held.train, rank, seed) for rank in (1, 2, 5)]
    bland = [measured(one, held) for one in ranks]
    factors = [one.details["diversity_factor"] for one in bland]
    assert factors[0] > factors[1] > factors[2]
    assert factors[0] >= 3
    assert agreement(ranks[0], held) >= 0.99
    fresh = measured(held.fresh, held)
    assert fresh.verdict is Verdict.PASSED
    assert fresh.details["diversity_factor"] <= 1.6
    generated = measured(made.autoencoder(held.train, seed), held)
    assert generated.verdict is Verdict.FAILED
    assert generated.interval[0] > 0.05, "by the gap"
    copied, third = (
        measured(made.jittered(held.train, seed), held),
        measured(made.partly_copied(held.train, held.fresh, 0.3, seed), held),
    )
    dropped = measured(made.without(held.fresh, 3, 7), held)
    assert dropped.details["label_shift"] >= 0.14
    assert max(one.details["label_shift"] for one in (*bland, fresh, generated, copied, third)) <= 0.05
    assert copied.details["copies"] >= 0.9
    assert 0.25 <= third.details["copies"] <= 0.37
    assert fresh.details["copies"] <= 0.02
    assert max(one.details["copies"] for one in (*bland, generated)) <= 0.01
