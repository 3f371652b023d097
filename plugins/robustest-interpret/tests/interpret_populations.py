"""Populations of known truth for the claims of this pack, on models simple enough that a search finds all."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gradient_populations import MARGIN, Margin, margins
from image_populations import N, Random, drawn, own
from robustest_interpret import measure_class_evidence, measure_gradient_alignment, measure_invertible_features
from torch import Tensor, nn

from robustest import Result


def alignment(random: Random, **claim: Any) -> Result:
    """The gradient is at the first pixel: the share of it inside a mask is the mask's value there."""
    masks = torch.zeros(N, 1, 1, 3)
    masks[:, 0, 0, 0] = torch.from_numpy(random.beta(1, 3, N))
    return measure_gradient_alignment(MARGIN, margins(np.full(N, 0.2)), evidence=masks, **claim)


class Elsewhere(Margin):
    """As `Margin`, whose gradient is at the second pixel."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x.flip(-1).roll(-1, -1).flatten(1))
        return out


ELSEWHERE = Elsewhere().eval()


def gain_in_alignment(random: Random, **claim: Any) -> Result:
    masks = torch.zeros(N, 1, 1, 3)
    for pixel, share in enumerate((0.5, 0.2)):
        masks[:, 0, 0, pixel] = torch.from_numpy(random.beta(5 * share, 5 * (1 - share), N))
    return measure_gradient_alignment(
        MARGIN, margins(np.full(N, 0.2), 0.7), reference=ELSEWHERE, evidence=masks, **claim
    )


def judge(x: Tensor) -> Tensor:
    """Sees what `MARGIN` sees where the last pixel is lit, and the class of old where it is not."""
    return torch.where(x[:, 0, 0, 2:] > 0.5, MARGIN(x), MARGIN(x.roll(-1, -1))) ** 3


def class_evidence(random: Random, **claim: Any) -> Result:
    """Every sample is driven to the other class, and the judge agrees on seven of ten."""
    y = torch.arange(N) % 2
    lit = torch.from_numpy(0.8 * drawn(random, 0.7)).float() + 0.2 * own(N)
    x = torch.stack([0.3 + 0.4 * y, 0.3 + 0.4 * y, lit], 1)
    return measure_class_evidence(MARGIN, (x[:, None, None], y), judge=judge, eps=0.5, iterations=5, **claim)


class Trace(nn.Module):
    """As `Margin`, by features without the second pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(x.flatten(1)[:, ::2])
        return out


TRACE = Trace().eval()


def invertible_features(random: Random, **claim: Any) -> Result:
    """The second pixel leaves no trace in the features: it comes back grey, which it is in half of the images."""
    data = margins(np.full(N, 0.2), torch.from_numpy(0.5 + 0.4 * drawn(random, 0.5)).float())
    return measure_invertible_features(TRACE, data, iterations=40, **claim)
