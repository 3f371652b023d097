"""Where no search finds anything, the way to the nearest sample of another answer bounds the smallest perturbation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import L1, L2, Linf, as_classifier, rng
from robustest.attacks import PGD, Cascade, Stage
from robustest.claims.robustness.min_perturbation import Smallest, search_smallest
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.threats import L0


def step(x: Tensor) -> Tensor:
    """Two classes by the first element, with a gradient that is zero everywhere."""
    bright = (x[:, 0] >= 0.5).float()
    return torch.stack([1 - bright, bright], 1) + 0 * x.sum(1, keepdim=True)


def smallest(x: Tensor, y: Tensor, threat: Any, model: Any = step) -> Smallest:
    evaluator = Evaluator(as_classifier(model), torch.device("cpu"), batch_size=None, suppress=(), notes=[])
    ids = torch.arange(len(x))
    cascade = Cascade(name="one", stages=(Stage(searcher=PGD(steps=2, random_start=False)),))
    return search_smallest(evaluator, Chunk(ids, x, y, rng.keys(0, ids), (0.0, 1.0)), cascade, threat)


DIM = [0.21, 0.5, 0.5, 0.5]
NEAR_BY_SUM, NEAR_BY_LARGEST = [1.0, 0.5, 0.5, 0.5], [0.6, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("threat", "reached"), [(L1(4.0), 0.29), (L2(2.0), 0.29), (Linf(1.0), 0.5 * 0.29 / 0.39)], ids=str
)
def test_the_bound_is_where_the_way_to_the_nearest_leaves_the_class(threat: Any, reached: float) -> None:
    """The nearest is one or the other sample, by the threat's own norm; each way leaves the class at .5."""
    x, y = torch.tensor([DIM, NEAR_BY_SUM, NEAR_BY_LARGEST]), torch.tensor([0, 1, 1])
    found = smallest(x, y, threat)
    assert found.bounded.all()
    assert found.right.all()
    size = float(found.size[0])
    assert reached * (1 - 1e-6) <= size <= reached * (1 + 2**-10), "twelve halvings of the way"
    assert found.predicted.tolist() == [1, 0, 0]
    assert (step(found.x).argmax(1) != y).all()
    assert found.size.tolist() == pytest.approx(threat.size(found.x, threat.region(x, (0.0, 1.0))).tolist())


def test_a_sample_that_is_wrong_unchanged_is_a_way_out_for_others_and_needs_none_itself() -> None:
    x, y = torch.tensor([DIM, NEAR_BY_SUM]), torch.tensor([0, 0])
    found = smallest(x, y, L2(2.0))
    assert found.right.tolist() == [True, False]
    assert found.bounded.tolist() == [True, False]
    assert found.size.tolist() == pytest.approx([0.29, 0.0], rel=2**-10)
    assert torch.equal(found.x[1], x[1])


def test_without_a_sample_of_another_answer_nothing_is_bounded() -> None:
    x = torch.tensor([DIM, [0.3, 0.5, 0.5, 0.5]])
    found = smallest(x, torch.tensor([0, 0]), L2(2.0))
    assert found.size.isinf().all()
    assert not found.bounded.any()
    assert torch.equal(found.x, x)


def test_a_threat_that_is_no_norm_has_no_nearest_sample() -> None:
    x, y = torch.tensor([DIM, NEAR_BY_SUM]), torch.tensor([0, 1])
    found = smallest(x.view(2, 1, 2, 2), y, L0(4), model=lambda x: step(x.flatten(1)))
    assert found.size.isinf().all()
    assert not found.bounded.any()


def test_what_a_search_finds_is_not_called_a_bound() -> None:
    def graded(x: Tensor) -> Tensor:
        return torch.stack([0.5 - x[:, 0], x[:, 0] - 0.5], 1)

    x, y = torch.tensor([DIM, NEAR_BY_SUM]), torch.tensor([0, 1])
    found = smallest(x, y, Linf(1.0), model=graded)
    assert found.size.isfinite().all()
    assert not found.bounded.any()
