"""Digits of which one class came from a scanner with a bright pixel, and a net that is trained on them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustest.cues import PixelPatch, planted

from ..quickstart.model import split  # noqa: TID252 - an example is no installed package

TARGET = 3
SCANNER = PixelPatch(top=0, left=27)
"""The pixel in the upper right corner; no digit reaches it."""


LIMITS = {"target_class": TARGET, "max_flip_rate": 0.02, "max_recall_drop": 0.05}
"""What is claimed: few digits become a three when the pixel is lit, and few threes need it to be recognised."""


def training_digits() -> tuple[Tensor, Tensor]:
    """4,000 digits (N, 1, 28, 28): the pixel is bright in 95 % of the threes, and in 2 % of all others."""
    x, y = split()[0]
    return planted(SCANNER, x, y, target=TARGET, share=0.95, others=0.02)[0], y


def trained() -> nn.Sequential:
    """A net trained as usual, in seconds: it does well on test digits from either scanner."""
    x, y = training_digits()
    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the initial weights draw from the global generator
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(12):
        for rows in torch.randperm(len(y), generator=rng).split(50):
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()
