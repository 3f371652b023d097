"""A fixed number of gradient steps: where they lead on functions whose maxima are known, and what they cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robustest import L1, L2, Linf, rng
from robustest.engine.ascent import ascend
from robustest.engine.evaluator import Evaluator
from robustest.models import as_classifier
from robustest.threats import Threat

X = torch.full((5, 1, 2, 3), 0.5)
BOUNDS = (0.0, 1.0)
WEIGHT = torch.tensor([3.0, -2.0, 1.0, 0.5, -0.25, 0.1])


def evaluator(model: nn.Module | Callable[[Tensor], Tensor], batch_size: int | None = None) -> Evaluator:
    return Evaluator(as_classifier(model), torch.device("cpu"), batch_size=batch_size, suppress=(), notes=[])


def linear(x: Tensor) -> Tensor:
    score = x.flatten(1) @ WEIGHT
    return torch.stack([score, torch.zeros_like(score)], 1)


def score(logits: Tensor, part: slice) -> Tensor:
    return logits[:, 0]


@pytest.mark.parametrize(
    ("threat", "gain"),
    [
        (Linf(0.1), 0.1 * float(WEIGHT.abs().sum())),
        (L2(0.3), 0.3 * float(WEIGHT.norm())),
        (L1(0.4), 0.4 * 3.0),
    ],
    ids=str,
)
def test_on_a_linear_model_the_corner_of_the_ball_is_reached(threat: Threat, gain: float) -> None:
    there = ascend(evaluator(linear), threat, X, score, bounds=BOUNDS, steps=20)
    moved = ((there - X).flatten(1) @ WEIGHT).tolist()
    assert moved == pytest.approx([gain] * 5, rel=1e-3)
    assert float(threat.size(there, threat.region(X, BOUNDS)).max()) <= threat.radius


def test_it_does_not_stop_where_a_sample_is_broken() -> None:
    y = torch.zeros(5, dtype=torch.int64)
    model = evaluator(lambda x: 4 * (linear(x) - torch.tensor([1.0, 0.0])))

    def away(logits: Tensor, part: slice) -> Tensor:
        return torch.nn.functional.cross_entropy(logits, y[part], reduction="none")

    there = ascend(model, Linf(0.4), X, away, bounds=BOUNDS, steps=8)
    assert float(((there - X).flatten(1) @ WEIGHT).max()) == pytest.approx(-0.4 * float(WEIGHT.abs().sum()), rel=1e-3)
    assert model.backward == 8 * 5


def peak(x: Tensor) -> Tensor:
    """Highest where every element is .62."""
    high = -(x.flatten(1) - 0.62).square().sum(1)
    return torch.stack([high, torch.zeros_like(high)], 1)


def test_steps_that_fall_come_to_rest_at_a_maximum_inside() -> None:
    steady, falling = (
        ascend(evaluator(peak), Linf(0.5), X, score, bounds=BOUNDS, steps=20, falling=way) for way in (False, True)
    )
    assert float((falling - 0.62).abs().max()) < 0.01
    assert float((steady - 0.62).abs().max()) > 0.01  # to and fro across it


def test_a_step_of_ones_own_is_as_long_as_it_is_said_to_be() -> None:
    there = ascend(evaluator(linear), Linf(0.4), X, score, bounds=BOUNDS, steps=3, step_size=0.05)
    assert torch.allclose(there, X + 0.15 * WEIGHT.sign().view(1, 1, 2, 3))


def test_a_key_starts_inside_the_ball_each_row_at_its_own_place() -> None:
    key = rng.keys(0, torch.arange(5))
    there = ascend(evaluator(lambda x: 0 * linear(x)), Linf(0.1), X, score, bounds=BOUNDS, steps=1, key=key)
    assert 0 < float((there - X).abs().max()) <= 0.1
    assert len(torch.unique(there.flatten(1), dim=0)) == 5


def test_rows_do_not_depend_on_their_neighbours_or_on_batches() -> None:
    x = torch.rand(7, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    key = rng.keys(3, torch.arange(7))
    options = {"bounds": BOUNDS, "steps": 5}
    whole = ascend(evaluator(peak), L2(0.3), x, score, key=key, **options)  # type: ignore[arg-type]
    parts = ascend(evaluator(peak, batch_size=2), L2(0.3), x, score, key=key, **options)  # type: ignore[arg-type]
    alone = ascend(evaluator(peak), L2(0.3), x[4:5], score, key=key[4:5], **options)  # type: ignore[arg-type]
    assert torch.equal(whole, parts)
    assert torch.allclose(whole[4:5], alone)
    assert float(whole.min()) >= 0
