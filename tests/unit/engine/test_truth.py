"""Whether promises of gradients are asked where they may be masked: in a part of many outputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import Linf, Segmentation, Verdict, rng
from robustest.engine.gradient_checks import windowed
from robustest.measure import measure_robust_accuracy


class Half(nn.Module):
    """Two classes for each pixel, where the gradient of some lines is cut."""

    def __init__(self, kept: int) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, x: Tensor) -> Tensor:
        lead = 20 * (x[:, 0] - 0.5)
        lead = torch.cat([lead[:, : self.kept], lead[:, self.kept :].detach()], 1)
        return torch.stack([-lead, lead], 1)


@pytest.mark.parametrize(("kept", "speaks"), [(8, False), (4, True), (2, True)])
def test_gradients_that_are_masked_for_a_part_of_a_mask_are_noticed(kept: int, speaks: bool) -> None:
    x = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    how: dict[str, Any] = {"task": Segmentation(2, floor=0.85), "attack": "pgd", "at_least": 0.2, "exact": True}
    result = measure_robust_accuracy(Half(kept).eval(), (x, (x[:, 0] > 0.5).long()), Linf(0.1), **how)
    assert any(note.startswith("gradient_misleads") for note in result.words.notes) is speaks
    assert (result.verdict is Verdict.INCONCLUSIVE) is speaks


def test_a_window_holds_half_of_each_side_and_never_nothing() -> None:
    weights, key = torch.ones(64, 3, 8, 6), rng.keys(0, torch.arange(64))
    kept = windowed(weights, key)
    assert kept.flatten(1).sum(1).tolist() == [3 * 4 * 3] * 64
    assert len({tuple(row.flatten().tolist()) for row in kept}) > 10, "each sample has a place of its own"
    assert windowed(torch.ones(64, 7), key).sum(1).tolist() == [4] * 64
    lone = torch.zeros(64, 3, 8, 6)
    lone[:, 0, 0, 0] = 1
    assert torch.equal(windowed(lone, key), lone)
