"""A training on a CUDA device beside one on the host; run by `pytest -m gpu`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from robustest_training.repair import Recipe, adversarial_training
from torch import nn

from robustest import Linf
from robustest.measure import measure_accuracy, measure_robust_accuracy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]
DEVICE = "cuda"


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_training_there_repairs_as_one_on_the_host(
    task: Any, make_net: Callable[..., nn.Sequential], precision: str
) -> None:
    threat, found = Linf(0.1), []
    for device, how in (("cpu", "fp32"), (DEVICE, precision)):
        recipe = Recipe(epochs=12, batch_size=32, learning_rate=0.02, device=device, precision=how)  # type: ignore[arg-type]
        repaired = adversarial_training(make_net(), task, threat, steps=3, recipe=recipe).model
        assert all(weight.device.type == "cpu" for weight in repaired.parameters()), "where the given model is"
        options: dict[str, Any] = {"exact": True, "device": "cpu"}
        clean = measure_accuracy(repaired, (task.x, task.y), **options).estimate
        robust = measure_robust_accuracy(repaired, (task.x, task.y), threat, attack="pgd", **options).estimate
        found.append((clean, robust))
    (clean, robust), (there, robust_there) = found
    assert min(clean, robust) > 0.9
    assert abs(clean - there) <= 0.05
    assert abs(robust - robust_there) <= 0.05
