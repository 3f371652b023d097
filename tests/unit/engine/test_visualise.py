"""Inputs made for a feature, and for the features of another input."""

from __future__ import annotations

import torch
from torch import Tensor

from robustest import rng
from robustest.engine.ascent import everywhere, inverted, maximised
from robustest.engine.evaluator import Evaluator
from robustest.models import as_classifier

BOUNDS = (-1.0, 3.0)
KEY = rng.keys(0, torch.arange(40))


def evaluator() -> Evaluator:
    """Features are the four sums over columns, of images (N, 1, 3, 4)."""

    def columns(x: Tensor) -> Tensor:
        return x.sum((1, 2))

    model = as_classifier(columns, bounds=BOUNDS)
    return Evaluator(model, torch.device("cpu"), batch_size=16, suppress=(), notes=[])


def grey() -> Tensor:
    """Return the middle of the bounds with a little noise."""
    return 1.0 + 0.2 * rng.normal(KEY, (1, 3, 4))


def test_a_feature_is_driven_to_the_bounds_and_what_it_does_not_read_stays() -> None:
    start, index = grey(), torch.arange(40) % 4
    made = maximised(evaluator(), start, index, bounds=BOUNDS, steps=30)
    at = torch.nn.functional.one_hot(index, 4).bool().view(40, 1, 1, 4).expand(40, 1, 3, 4)
    assert torch.allclose(made[at], torch.tensor(3.0))
    assert torch.allclose(made[~at], start[~at])


def test_an_inversion_has_the_features_and_keeps_the_rest_of_where_it_began() -> None:
    x = torch.empty(40, 1, 3, 4).uniform_(-0.8, 2.8, generator=torch.Generator().manual_seed(1))
    start = grey()
    made = inverted(evaluator(), start, x.sum((1, 2)), bounds=BOUNDS, steps=200)
    assert float((made.sum((1, 2)) - x.sum((1, 2))).abs().max()) < 0.1
    within = made - made.mean(2, keepdim=True)  # a column's sum says nothing of how it is spread
    assert torch.allclose(within, start - start.mean(2, keepdim=True), atol=0.05)
    assert float((made - x).abs().mean()) > 0.3


def test_the_ball_holds_everything_inside_the_bounds() -> None:
    low, high = torch.full((1, 1, 3, 4), -1.0), torch.full((1, 1, 3, 4), 3.0)
    assert everywhere(low, BOUNDS).eps >= float((high - low).norm())
