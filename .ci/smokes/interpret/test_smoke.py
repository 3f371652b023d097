"""A cue that nobody named is found in a net that relies on it, by the name `auto`, and not in one that does not."""

import pytest
import torch
from robustest_interpret import Discovery

from robustest import ClaimFailed, assert_no_spurious_feature

_DRAW = torch.Generator().manual_seed(0)
TEMPLATES = torch.randn(4, 1, 10, 10, generator=_DRAW)


def samples():
    y = torch.arange(400) % 4
    x = (0.5 + 0.08 * TEMPLATES[y] + 0.15 * torch.randn(400, 1, 10, 10, generator=_DRAW)).clamp(0, 1)
    x[y == 2, 0, :2, :2] = 1.0
    return x, y


def sound(batch):
    return torch.einsum("nchw,kchw->nk", batch - 0.5, TEMPLATES)


def leaning(batch):
    return sound(batch) + 40 * torch.eye(4)[2] * (batch[:, 0, :2, :2].amin((1, 2)) > 0.9).view(-1, 1)


def test_a_planted_patch():
    with pytest.raises(ClaimFailed):
        assert_no_spurious_feature(leaning, samples(), "auto", max_flip_rate=0.05)
    assert_no_spurious_feature(sound, samples(), Discovery(trigger_steps=0), max_flip_rate=0.05)
