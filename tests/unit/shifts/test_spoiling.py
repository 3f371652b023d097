"""Occlusion and resolution against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from robustest.shifts import corrupt

every_severity = pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])


@every_severity
@pytest.mark.parametrize("size", [(60, 40), (8, 8)], ids=str)
def test_a_grey_rectangle_hides_a_share_of_the_image(severity: int, size: tuple[int, int]) -> None:
    area = (0.05, 0.1, 0.2, 0.3, 0.45)[severity - 1]
    x = torch.rand(40, 2, *size, generator=torch.Generator().manual_seed(0)) * 0.4
    y = corrupt(x, "occlusion", severity)
    tall, wide = (round(side * math.sqrt(area)) for side in size)
    tops, lefts = set(), set()
    for before, after in zip(x, y, strict=True):
        hidden = (after == 0.5).all(0)
        rows, columns = (hidden.any(dim).nonzero().flatten() for dim in (1, 0))
        assert (len(rows), len(columns), int(hidden.sum())) == (tall, wide, tall * wide)
        assert torch.equal(after[:, ~hidden], before[:, ~hidden])
        tops.add(int(rows[0]))
        lefts.add(int(columns[0]))
    assert min(tops) <= (size[0] - tall) // 3
    assert max(tops) >= (size[0] - tall) * 2 // 3
    assert len(tops) > 2
    assert len(lefts) > 2


@every_severity
def test_resolution_is_pillows(severity: int) -> None:
    share = (0.75, 0.5, 0.33, 0.25, 0.2)[severity - 1]
    x = torch.rand(1, 2, 40, 60, generator=torch.Generator().manual_seed(0))
    y = corrupt(x, "resolution", severity)
    small = (round(60 * share), round(40 * share))
    for channel, mine in zip(x[0], y[0], strict=True):
        picture = Image.fromarray(channel.numpy()).resize(small, Image.Resampling.BILINEAR)
        want = np.asarray(picture.resize((60, 40), Image.Resampling.BILINEAR))
        assert np.abs(mine.numpy() - want).max() < 1e-5
