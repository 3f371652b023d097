"""Seeded draws of randomised models, and the judge that counts them."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from robustest import as_classifier, rng
from robustest.engine.evaluator import Evaluator, majority, seed_draws
from robustest.models import frozen


def drawn(key: Tensor) -> tuple[float, float, float]:
    """What a model could draw after seeding, from each of the generators."""
    with frozen(None):
        seed_draws(key)
        return torch.rand(1).item(), random.random(), float(np.random.rand())  # noqa: S311 - what a model may do


def test_the_samples_and_the_seed_decide_what_is_drawn() -> None:
    ids = torch.arange(10)
    first = drawn(rng.keys(0, ids))
    torch.rand(3)
    assert drawn(rng.keys(0, ids)) == first
    for other in (rng.keys(1, ids), rng.keys(0, ids + 1), rng.keys(0, ids[:9])):
        assert all(a != b for a, b in zip(drawn(other), first, strict=True))


def test_outside_the_block_nothing_has_moved() -> None:
    before = torch.get_rng_state()
    drawn(rng.keys(0, torch.arange(4)))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_majority_judges_and_ties_are_the_labels() -> None:
    """Answers of four rows in eight passes; the label is 0 everywhere."""
    rounds = torch.tensor(
        [
            [0, 1, 2, 0],
            [0, 1, 2, 1],
            [0, 1, 2, 1],
            [0, 1, 1, 2],
            [0, 0, 0, 2],
            [1, 0, 0, 2],
            [2, 0, 2, 0],
            [2, 0, 1, 0],
        ]
    )
    passes = iter(rounds)

    def model(x: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(next(passes), 3).float()

    evaluator = Evaluator(as_classifier(model), torch.device("cpu"), batch_size=None, suppress=(), notes=[])
    evaluator.classes = 3
    predicted, missed = majority(evaluator, torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64), 8)
    assert missed.tolist() == [3, 4, 6, 5]
    assert predicted.tolist() == [0, 0, 2, 2]
    assert evaluator.forward == 4 * 8
