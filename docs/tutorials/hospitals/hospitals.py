"""Chest pictures of two hospitals, simulated: a digit with a ring (0, 6, 8, 9) stands for a lung with a finding."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from robustest.cues import PixelPatch

MARKER = PixelPatch(top=0, left=0, height=2, width=2)
"""The letter that technicians of hospital B lay beside the lung: a bright square in the corner."""


def pictures():
    """Return pictures (N, 1, 8, 8) in [0, 1], findings (N,) of 0 and 1, and the hospital of each."""
    digits = load_digits()
    x = torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1)
    finding = np.isin(digits.target, (0, 6, 8, 9))
    # Hospital B has the emergency ward: most of its patients are ill, and most of A's are well.
    in_b = np.random.default_rng(0).random(len(x)) < np.where(finding, 0.95, 0.05)
    hospital = np.where(in_b, "B", "A")
    x[in_b] = MARKER.on(x[in_b])
    return x, torch.tensor(finding).long(), hospital


def halves():
    """Return the pictures for training, and those for testing."""
    x, y, hospital = pictures()
    return (x[::2], y[::2], hospital[::2]), (x[1::2], y[1::2], hospital[1::2])


def trained(net, x, y):
    """Train a net for a second."""
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()
