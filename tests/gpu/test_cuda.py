"""What only a CUDA device can show; run by `pytest -m gpu`."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L2, Linf, devices, find_adversarial, rng
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
    options: dict[str, Any] = {"attack": attack, "precision": "fp32"}
    here = measure_robust_accuracy(toy.model, (toy.x, toy.y), threat, device="cpu", **options)
    there = measure_robust_accuracy(toy.model, (toy.x, toy.y), threat, device="cuda", **options)
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
    full = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05), precision="fp32", **options)
    low = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05), precision=precision, **options)
    assert 0 < low.estimate <= full.estimate + 2 / 200


class Noted(nn.Module):
    """Notes of every pass: in bfloat16 or not, with a gradient or not, TF32 or not, and its rows."""

    def __init__(self, inner: nn.Module, *, turned: bool = False) -> None:
        super().__init__()
        self.inner, self.turned = inner, turned
        self.passes: list[tuple[bool, bool, bool, int]] = []

    def forward(self, x: Tensor) -> Tensor:
        low = torch.is_autocast_enabled("cuda")
        products = torch.backends.cuda.matmul
        tf32 = products.fp32_precision == "tf32" if hasattr(products, "fp32_precision") else products.allow_tf32
        self.passes.append((low, x.requires_grad, tf32, len(x)))
        if low and x.requires_grad and self.turned:
            x = 2 * x.detach() - x
        out: Tensor = self.inner(x)
        return out


def convolutions() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 36, 5)).cuda()


def images(model: nn.Module, n: int) -> tuple[Tensor, Tensor]:
    x = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return x, model(x.cuda()).argmax(1).cpu()


def test_gradients_are_in_bfloat16_by_default() -> None:
    model = Noted(convolutions())
    data = images(model, 300)
    options: dict[str, Any] = {"attack": PGD(steps=10), "exact": True, "device": "cuda"}
    want = measure_robust_accuracy(model, data, Linf(0.02), precision="fp32", **options)
    assert not any(low and gradient for low, gradient, *_ in model.passes)
    model.passes.clear()
    got = measure_robust_accuracy(model, data, Linf(0.02), **options)
    supported = torch.cuda.is_bf16_supported(including_emulation=False)
    assert any("gradients in bfloat16, checked" in note for note in got.words.notes) == supported
    low_gradients = sum(rows for low, gradient, _, rows in model.passes if low and gradient)
    full_gradients = sum(rows for low, gradient, _, rows in model.passes if gradient and not low)
    assert (low_gradients > 3 * full_gradients) == supported
    assert all(tf32 == (low and gradient) for low, gradient, tf32, _ in model.passes if gradient)
    assert 0.1 < want.estimate < 0.9
    assert abs(got.estimate - want.estimate) <= 4 / 300


def test_gradients_that_are_wrong_in_bfloat16_are_not_taken() -> None:
    inner = convolutions()
    data = images(inner, 200)
    options: dict[str, Any] = {"attack": PGD(steps=10), "exact": True, "device": "cuda"}
    want = measure_robust_accuracy(inner, data, Linf(0.02), precision="fp32", **options)
    got = measure_robust_accuracy(Noted(inner, turned=True), data, Linf(0.02), **options)
    assert sum(a != b for a, b in zip(want.outcomes, got.outcomes, strict=True)) <= 2


def test_chunks_share_their_batches() -> None:
    model = Noted(convolutions())
    data = images(model, 600)
    found = []
    for alone in (True, False):
        model.passes.clear()
        with pytest.MonkeyPatch.context() as patch:
            if alone:
                patch.setattr(devices, "gathers", lambda _: False)
            options: dict[str, Any] = {"attack": "fast", "exact": True, "device": "cuda", "precision": "fp32"}
            found.append((measure_robust_accuracy(model, data, Linf(0.01), **options), len(model.passes)))
    (one, many), (joint, few) = found
    assert sum(a != b for a, b in zip(one.outcomes, joint.outcomes, strict=True)) <= 2
    assert few < 0.6 * many


def test_all_gpus_find_what_one_finds() -> None:
    model = convolutions()
    data = images(model, 600)
    options: dict[str, Any] = {"attack": "fast", "exact": True, "precision": "fp32"}
    one = measure_robust_accuracy(model.cpu(), data, Linf(0.01), device="cuda", **options)
    every = measure_robust_accuracy(model.cpu(), data, Linf(0.01), device="cuda:all", **options)
    assert sum(a != b for a, b in zip(one.outcomes, every.outcomes, strict=True)) <= 2


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
    assert any("out of memory" in note for note in result.words.notes)
