"""What only a CUDA device can show; run by `pytest -m gpu`."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L2, Linf, find_adversarial, rng
from robustest.attacks import PGD
from robustest.measure import measure_robust_accuracy, measure_shift_accuracy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]


def test_draws_are_those_of_the_cpu() -> None:
    ids = torch.arange(50)
    here = rng.bits(rng.keys(3, ids), (17,))
    there = rng.bits(rng.keys(3, ids.cuda()), (17,))
    assert torch.equal(here, there.cpu())


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)])
@pytest.mark.parametrize("attack", ["pgd", "fast", "standard"])
def test_outcomes_are_those_of_the_cpu(toys: Any, threat: Any, attack: str) -> None:
    toy = toys(200)
    here = measure_robust_accuracy(toy.model, (toy.x, toy.y), threat, attack=attack, device="cpu")
    there = measure_robust_accuracy(toy.model, (toy.x, toy.y), threat, attack=attack, device="cuda")
    apart = sum(a != b for a, b in zip(here.outcomes, there.outcomes, strict=True))
    assert apart <= 2  # a sample on the border may fall either way in another kernel's rounding


def test_samples_of_few_features_too(toys: Any) -> None:
    toy = toys(60, shape=(8,))
    here, there = (
        measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.1), attack="standard", device=device)
        for device in ("cpu", "cuda")
    )
    assert sum(a != b for a, b in zip(here.outcomes, there.outcomes, strict=True)) <= 2


@pytest.mark.parametrize("precision", ["bf16", "auto"])
def test_gradients_in_bfloat16_make_no_model_look_safer(toys: Any, precision: str) -> None:
    toy = toys(200, shape=(3, 8, 8))
    options: dict[str, Any] = {"attack": PGD(steps=20), "device": "cuda"}
    full = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05), **options)
    low = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05), precision=precision, **options)
    assert 0 < low.estimate <= full.estimate + 2 / 200


def test_batches_shrink_to_a_few_sizes(toys: Any, watched: Any) -> None:
    toy = toys(64)
    model = watched(toy.model).cuda()  # a model that has to be moved would be copied, and its copy watched
    attack = PGD(steps=40, step_size=0.01, random_start=False)
    found = find_adversarial(model, toy.x, toy.y, Linf(0.4), attack=attack, device="cuda", batch_size=64)
    assert found.broken.all()  # else the judge, who looks at the broken ones alone, adds a size
    assert set(model.calls) <= {64, 32, 16, 8, 4, 2, 1}
    assert len(set(model.calls)) >= 4


def test_the_model_stays_where_it_was(toys: Any) -> None:
    toy = toys(20)
    before = copy.deepcopy(toy.model.state_dict())
    found = find_adversarial(toy.model, toy.x, toy.y, Linf(0.1), attack="pgd", device="cuda")
    assert found.x.device.type == "cpu"
    assert all(p.device.type == "cpu" for p in toy.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in toy.model.state_dict().items())


def test_shifts_run_there_too(toys: Any) -> None:
    toy = toys(40, shape=(3, 8, 8))
    here = measure_shift_accuracy(toy.model, (toy.x, toy.y), "gaussian_noise", device="cpu")
    there = measure_shift_accuracy(toy.model, (toy.x, toy.y), "gaussian_noise", device="cuda")
    assert abs(here.estimate - there.estimate) <= 0.05


def test_real_memory_that_runs_out_halves_the_batch() -> None:
    class Hungry(nn.Module):
        """Needs a third of the device for every 16 samples."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            share = torch.cuda.get_device_properties(0).total_memory // 3 // 16
            block = torch.empty(len(x) * share, dtype=torch.uint8, device=x.device)
            mean = x.flatten(1).mean(1) * self.weight + 0 * block[0]
            return torch.stack([0.5 - mean, mean - 0.5], 1)

    x, y = torch.full((128, 1, 4, 4), 0.9), torch.ones(128, dtype=torch.int64)
    result = measure_robust_accuracy(Hungry(), (x, y), Linf(0.1), attack="fgsm", device="cuda", batch_size=128)
    assert result.estimate == 1
    assert any("out of memory" in note for note in result.notes)
