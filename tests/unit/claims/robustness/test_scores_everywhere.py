"""A sample's worst score is the same to the bit for every batch size, and in workers as here.

The models add row by row (`Linear` in conftest.py): a matrix product may add in another order for another batch size,
and would then be what these tests are about.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustest import Factory, Linf, MultiLabel, Regression, Segmentation
from robustest.attacks import APGD, Cascade, Square, Stage
from robustest.claims.robustness import robust_score
from robustest.context import Context, over, running
from robustest.measure import measure_robust_score
from robustest.run.evidence import Evidence
from robustest.run.plan import Plan
from robustest.settings import Settings
from robustest.tasks import Task

sys.path.insert(0, str(Path(__file__).parents[3]))
import shapes

N = 80  # more than one chunk
ATTACK = Cascade(name="short", stages=(Stage(searcher=APGD(steps=6), rounds=2), Stage(searcher=Square(queries=12))))


def masks(linear: Callable[[Tensor, Tensor], nn.Module]) -> tuple[object, Tensor, Tensor, Task]:
    x, y = shapes.drawn(N, seed=20)
    x, y = x[:, :, ::4, ::4].contiguous(), y[:, ::4, ::4].contiguous()
    return Factory("shapes:ByPixel"), x, y, Segmentation(shapes.CLASSES)


def labels(linear: Callable[[Tensor, Tensor], nn.Module]) -> tuple[object, Tensor, Tensor, Task]:
    generator = torch.Generator().manual_seed(21)
    weight = torch.randn(5, 12, generator=generator)
    model, x = linear(weight, -weight.sum(1) / 2), torch.rand(N, 12, generator=generator)
    return model, x, (model(x) > 0).long(), MultiLabel(score_by="hamming")


def numbers(linear: Callable[[Tensor, Tensor], nn.Module]) -> tuple[object, Tensor, Tensor, Task]:
    generator = torch.Generator().manual_seed(22)
    weight = torch.randn(2, 12, generator=generator)
    model, x = linear(weight, -weight.sum(1) / 2), torch.rand(N, 12, generator=generator)
    return model, x, model(x).detach() + 0.1 * torch.randn(N, 2, generator=generator), Regression(0.1, scale=2.0)


@pytest.fixture(scope="module", autouse=True)
def _no_worker_is_left() -> Iterator[None]:
    yield
    over()


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Callable[..., NDArray[np.float64]]:
    """(N,) each sample's worst score, which no result carries: taken where the claim reads its evidence."""
    seen: list[Evidence] = []
    observe = robust_score.observe

    def listened(plan: Plan) -> Evidence:
        seen.append(observe(plan))
        return seen[-1]

    monkeypatch.setattr(robust_score, "observe", listened)

    def measured(model: object, x: Tensor, y: Tensor, task: Task, **settings: Any) -> NDArray[np.float64]:
        with running(Context(settings=Settings(exact=True, **settings), test="t")):
            result = measure_robust_score(model, (x, y), Linf(0.05), task=task, attack=ATTACK)
        found: NDArray[np.float64] = seen.pop().columns["score"]
        assert result.estimate == pytest.approx(found.mean(), abs=1e-12)
        assert found.mean() < result.details["clean_score"]
        return found

    return measured


@pytest.mark.parametrize(
    "case", [pytest.param(masks, marks=pytest.mark.slow), labels, numbers], ids=lambda case: case.__name__
)
def test_scores_do_not_depend_on_the_batch_size_or_on_workers(
    case: Callable[..., Any], linear: Callable[[Tensor, Tensor], nn.Module], scores: Callable[..., NDArray[np.float64]]
) -> None:
    told = case(linear)
    whole = scores(*told)
    assert len(np.unique(whole)) > 3
    for settings in ({"batch_size": 7}, {"batch_size": 32}, *([{"workers": 1, "batch_size": 16}] * (case is masks))):
        assert (scores(*told, **settings) == whole).all(), settings
