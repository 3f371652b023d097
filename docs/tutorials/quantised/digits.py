"""A small net that reads digits, and copies of it with weights of three bits."""

import copy

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def halves():
    """Return digits (N, 1, 8, 8) in [0, 1] and their labels, for training and for testing."""
    digits = load_digits()
    x, y = torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1), torch.tensor(digits.target)
    return (x[::2], y[::2]), (x[1::2], y[1::2])


def trained():
    """Return a net of 32-bit floats, each batch norm folded into the convolution before it, as exporters do."""
    torch.manual_seed(2)
    (x, y), _ = halves()
    first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, stride=2, padding=1)
    norms, last = (nn.BatchNorm2d(16), nn.BatchNorm2d(16)), nn.Linear(256, 10)
    net = nn.Sequential(first, norms[0], nn.ReLU(), second, norms[1], nn.ReLU(), nn.Flatten(), last)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    net.eval()
    first, second = fuse_conv_bn_eval(first, norms[0]), fuse_conv_bn_eval(second, norms[1])
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), last).eval()


def quantised(net, scale_of):
    """Return a copy of the net whose weights are whole numbers from -3 to 3, times a scale."""
    small = copy.deepcopy(net)
    with torch.no_grad():
        for layer in small:
            if hasattr(layer, "weight"):
                scale = scale_of(layer.weight) / 3
                layer.weight.copy_((layer.weight / scale).round() * scale)
    return small
