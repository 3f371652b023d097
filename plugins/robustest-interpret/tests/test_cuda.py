"""A claim of this pack on a CUDA device beside the host; run by `pytest -m gpu`."""

from __future__ import annotations

import pytest
import torch
from robustest_interpret import measure_gradient_alignment
from torch import nn

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]
DEVICE = "cuda"


def test_gradients_point_there_where_they_point_on_the_host() -> None:
    torch.manual_seed(0)
    y = torch.arange(240) % 3
    x = 0.2 * torch.rand(240, 1, 4, 4)
    x[torch.arange(240), 0, 0, y] += 0.7
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3)).eval()
    here, there = (measure_gradient_alignment(model, (x, y), device=device) for device in ("cpu", DEVICE))
    assert there.estimate == pytest.approx(here.estimate, abs=1e-4)
    assert there.details["alignment"] == pytest.approx(here.details["alignment"], abs=1e-4)
