"""Grey with a little noise, from which inputs are made."""

from __future__ import annotations

import torch
from robustest_interpret.invertible_features import grey

from robustest import rng

BOUNDS = (-1.0, 3.0)
KEY = rng.keys(0, torch.arange(40))


def test_grey_is_the_middle_with_a_little_noise() -> None:
    start = grey(KEY, (1, 3, 4), BOUNDS)
    assert abs(float(start.mean()) - 1.0) < 0.05
    assert 0.15 < float(start.std()) < 0.25  # a twentieth of the width of the bounds
    assert float(start.min()) >= -1
    assert torch.equal(start[7:8], grey(KEY[7:8], (1, 3, 4), BOUNDS))
    assert len(torch.unique(start.flatten(1), dim=0)) == 40
