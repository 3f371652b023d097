"""Drawn shapes with their masks, and a small network that finds them: the segmentation that tests measure."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 3
SIDE = 32


def drawn(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (n, 3, SIDE, SIDE) of a square and a disc on a noisy ground, and masks (n, SIDE, SIDE): ground is 0."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    middle, reach = uniform(n, 2, 2, low=6, high=SIDE - 6), uniform(n, 2, low=4, high=8)
    away = [(row - middle[:, k, 0, None, None]).abs() for k in range(2)]
    aside = [(column - middle[:, k, 1, None, None]).abs() for k in range(2)]
    square = torch.maximum(away[0], aside[0]) <= reach[:, 0, None, None]
    disc = away[1] ** 2 + aside[1] ** 2 <= reach[:, 1, None, None] ** 2
    mask = torch.zeros(n, SIDE, SIDE, dtype=torch.int64)
    mask[square], mask[disc] = 1, 2
    colours = torch.tensor([[0.45, 0.5, 0.55], [0.62, 0.45, 0.45], [0.45, 0.62, 0.5]])
    shade = colours[mask].movedim(-1, 1) + uniform(n, 3, 1, 1, low=-0.05, high=0.05)
    return (shade + 0.08 * torch.randn(shade.shape, generator=generator)).clamp(0, 1), mask


def network(seed: int = 0) -> nn.Module:
    """(N, 3, H, W) -> logits (N, CLASSES, H, W), untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 12, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(12, 12, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.Conv2d(12, CLASSES, 3, padding=1),
        ).eval()


def trained(steps: int = 150, seed: int = 0) -> nn.Module:
    """The network after some steps on drawn shapes, a few seconds."""
    model = network(seed)
    x, y = drawn(256, seed=1000 + seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(x), (16,), generator=generator)
        loss = F.cross_entropy(model(x[rows]), y[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.requires_grad_(False)


class ByPixel(nn.Module):
    """(N, 3, H, W) -> logits (N, CLASSES, H, W): each pixel's colour against a colour of each class.

    It adds row by row: a convolution may add in another order for another batch size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.colours = nn.Parameter(torch.tensor([[0.45, 0.5, 0.55], [0.62, 0.45, 0.45], [0.45, 0.62, 0.5]]))

    def forward(self, x: Tensor) -> Tensor:
        away = x.unsqueeze(1) - self.colours[:, :, None, None]
        return -20 * (away * away).sum(2)
