"""Digits of 8 x 8 pixels, and two ways to train a small net on them."""

import numpy as np
import pytest
import torch
from robustest_training.repair import Recipe, adversarial_training
from sklearn.datasets import load_digits
from torch import nn

from robustest import Linf

THREAT = Linf(0.1)


def net():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def train_plainly(x, y, seed):
    """A new net, trained on samples x with labels y; the seed decides its weights and the order."""
    drawn, model = torch.Generator().manual_seed(seed), net()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(15):
        for rows in torch.randperm(len(x), generator=drawn).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model


def train_robustly(x, y, seed):
    """The same on the worst inputs that the threat allows."""
    recipe = Recipe(epochs=15, learning_rate=5e-3, seed=seed)
    return adversarial_training(net(), (x, y), THREAT, steps=2, recipe=recipe).model


def bland(x, y, seed):
    """As many synthetic digits: the mean of their class, lighter or darker, with a little noise. A poor generator."""
    drawn = torch.Generator().manual_seed(seed)
    means = torch.stack([x[y == k].mean(0) for k in range(10)])
    light = 0.8 + 0.4 * torch.rand(len(y), 1, generator=drawn)
    return (light * means[y] + 0.02 * torch.randn(x.shape, generator=drawn)).clamp(0, 1), y


def _digits(which):
    x, y = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(y))[which]  # this generator draws the same in every numpy
    return torch.from_numpy(x[order]).float() / 16, torch.from_numpy(y[order])


@pytest.fixture(scope="session")
def train():
    return _digits(slice(None, 1200))


@pytest.fixture(scope="session")
def test():
    return _digits(slice(1200, None))


@pytest.fixture(scope="session")
def standard_model(train):
    return train_plainly(*train, 0)
