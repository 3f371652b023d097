"""Populations of known truth for claims that follow gradients, on models simple enough that a search finds all."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from image_populations import N, Random, own
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
