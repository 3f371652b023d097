"""Models whose gradients mislead, and what they hide: ways to put a mask around a net."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

_DRAWN = torch.Generator().manual_seed(0)
SKIP = 0.05 * torch.randn(784, 10, generator=_DRAWN)
BRIGHT = torch.randn(10, generator=_DRAWN)
PLACES = torch.randn(512, 1, 28, 28, generator=_DRAWN)


class Around(nn.Module):
    """A net inside a function of net and input."""

    def __init__(self, net: nn.Module, way: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.way = net, way

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self.net, x)


def linear(x: Tensor) -> Tensor:
    """A small linear path around everything."""
    return x.flatten(1) @ SKIP


def levels(x: Tensor, count: int) -> Tensor:
    """The input on so many levels, with a gradient of zero."""
    return torch.round(x * (count - 1)) / (count - 1)


def bright(x: Tensor) -> Tensor:
    """A path for the brightness alone."""
    return x.flatten(1).mean(1, keepdim=True) * BRIGHT


def flipped(x: Tensor) -> Tensor:
    """The identity with a gradient of the wrong sign."""
    return 2 * x.detach() - x


def turned(net: nn.Module, x: Tensor) -> Tensor:
    """The net's answers, with the gradient that it has at the mirrored input."""
    other: Tensor = net(x.flip(-1))
    answer: Tensor = net(x).detach() + other - other.detach()
    return answer


def by_mode(net: nn.Module, x: Tensor) -> Tensor:
    """Another answer where somebody asks for gradients."""
    out: Tensor = net(1 - x if x.requires_grad else x)
    return out


MASKED: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "detached, brightness": lambda net, x: net(x).detach() + bright(x),
    "16 levels, linear": lambda net, x: net(levels(x, 16)) + 4 * linear(x),
    "9 levels, small linear": lambda net, x: net(levels(x, 9)) + linear(x),
    "rounded logits, sine": lambda net, x: torch.round(net(x)) + 0.001 * torch.sin(net(x)),
    "detached, small linear": lambda net, x: net(x).detach() + linear(x),
    "grey levels, linear": lambda net, x: net(levels(x, 256)) + linear(x),
    "logits in steps of four": lambda net, x: 4 * torch.round(net(x) / 4) + 0.001 * torch.sin(net(x)),
    "wrong sign": lambda net, x: net(flipped(x)),
    "gradient of the mirror image": turned,
    "other answers with gradients": by_mode,
    "8 levels": lambda net, x: net(levels(x, 8)),
    "grey levels": lambda net, x: net(levels(x, 256)),
}
"""Undefended nets that gradients find robust; each still breaks on what breaks the bare net."""
