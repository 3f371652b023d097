"""Every kind of claim, walked through what a verdict must not cover silently.

A threshold that any model keeps; a single sample; a class or group too small to judge; a threshold that is the
measured value; claims about the set and about the population. What was not judged is neither green nor silent.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import robustest
from robustest import PixelPatch, Result
from robustest.data.breeds import BreedsSplit

CLASSES, SIDE, N = 4, 6, 200
_draw = torch.Generator().manual_seed(0)
TEMPLATES = torch.randn(CLASSES, 1, SIDE, SIDE, generator=_draw)
Y = torch.arange(N) % CLASSES
X = (0.5 + 0.1 * TEMPLATES[Y] + 0.25 * torch.randn(N, 1, SIDE, SIDE, generator=_draw)).clamp(0, 1)
CUE = PixelPatch(top=0, left=0, height=3, width=3)
Data = tuple[Tensor, Tensor]


class Net(nn.Module):
    """Compares with a template for each class: right for most, and for no class always."""

    def __init__(self, templates: Tensor = TEMPLATES) -> None:
        super().__init__()
        self.head = nn.Linear(SIDE * SIDE, CLASSES, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(templates.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head((x - 0.5).flatten(1))
        return out


MODEL = Net().eval()
OTHER = Net(TEMPLATES + 0.5 * torch.randn(CLASSES, 1, SIDE, SIDE, generator=_draw)).eval()


def first(n: int) -> Data:
    return X[:n], Y[:n]


def inverted(x: Tensor, severity: int, key: Tensor) -> Tensor:
    """Half of the image is lost."""
    return torch.cat([x[..., : SIDE // 2], torch.full_like(x[..., SIDE // 2 :], 0.5)], -1)


def _groups(data: Data, **options: Any) -> Result:
    return robustest.measure_worst_group_accuracy(MODEL, data, data[1], **options)


def _transfer(data: Data, **options: Any) -> Result:
    return robustest.measure_transfer_accuracy(MODEL, data, (inverted(data[0], 1, data[1]), data[1]), **options)


SPLIT = BreedsSplit(
    superclasses=("all", "none", "others", "rest"),
    source=((0,), (1,), (), ()),
    target=((2,), (3,), (), ()),
    names=(),
)
