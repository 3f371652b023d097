"""Populations of known truth for claims that follow gradients, on models simple enough that a search finds all."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from image_populations import N, Random, drawn, own
from numpy.typing import NDArray
from torch import Tensor, nn

import robustest as M
from robustest import Linf, Result


class Margin(nn.Module):
    """Right, where the label is 1, by as much as the first pixel is above a half."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[-5.0, 0, 0], [5.0, 0, 0]]))
            self.head.bias.copy_(torch.tensor([2.5, -2.5]))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x.flatten(1))
        return out


MARGIN = Margin().eval()


def margins(size: NDArray[np.float64], second: NDArray[np.float64] | float = 0.5) -> tuple[Tensor, Tensor]:
    """Samples of class 1 that are so far on its side."""
    x = torch.full((len(size), 1, 1, 3), 0.5)
    x[:, 0, 0, 0] += torch.from_numpy(size).float()
    x[:, 0, 0, 1] = torch.as_tensor(second)
    x[:, 0, 0, 2] = own(len(size))
    return x, torch.ones(len(size), dtype=torch.long)


def robust_accuracy(random: Random, **claim: Any) -> Result:
    data = margins(random.choice([-0.1, 0.05, 0.2], N, p=[0.05, 0.2, 0.75]))
    return M.measure.measure_robust_accuracy(MARGIN, data, Linf(0.1), attack="fgsm", **claim)


def certified_accuracy(random: Random, **claim: Any) -> Result:
    """Of a linear model bounds prove all that an attack leaves, so that both ends are about one share."""
    data = margins(random.choice([-0.1, 0.05, 0.2], N, p=[0.05, 0.2, 0.75]))
    return M.measure.measure_certified_accuracy(MARGIN, data, Linf(0.1), attack="fgsm", **claim)


def robust_score(random: Random, **claim: Any) -> Result:
    """Scores of 0 and 1: of the nearer ones the attack leaves nothing."""
    data = margins(random.choice([-0.1, 0.05, 0.2], N, p=[0.05, 0.2, 0.75]))
    return M.measure.measure_robust_score(MARGIN, data, Linf(0.1), task=M.Classification(), attack="fgsm", **claim)


def min_perturbation(random: Random, **claim: Any) -> Result:
    data = margins(0.01 + 0.2 * random.random(N))
    return M.measure.measure_min_perturbation(MARGIN, data, "linf", attack="fmn", **claim)


def universal(random: Random, **claim: Any) -> Result:
    """All are predicted alike, so that every perturbation learned is the same and fools a fifth."""
    data = margins(random.choice([0.05, 0.2], 2 * N, p=[0.2, 0.8]))
    return M.measure.measure_no_universal_perturbation(MARGIN, data, Linf(0.1), iterations=5, **claim)


def alignment(random: Random, **claim: Any) -> Result:
    """The gradient is at the first pixel: the share of it inside a mask is the mask's value there."""
    masks = torch.zeros(N, 1, 1, 3)
    masks[:, 0, 0, 0] = torch.from_numpy(random.beta(1, 3, N))
    return M.measure.measure_gradient_alignment(MARGIN, margins(np.full(N, 0.2)), evidence=masks, **claim)


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
    return M.measure.measure_gradient_alignment(
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
    return M.measure.measure_class_evidence(MARGIN, (x[:, None, None], y), judge=judge, eps=0.5, iterations=5, **claim)


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
    return M.measure.measure_invertible_features(TRACE, data, iterations=40, **claim)
