"""What bounds prove of a batch: linear bounds, then better slopes for those that they nearly prove."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest.bounds.graph import Network
from robustest.bounds.linear import Bounding
from robustest.bounds.optimised import tightened
from robustest.bounds.regions import Ball

_NEAR = 0.5
"""Of a sample's margin, how far below zero its bound may lie for better slopes to be tried. They were seen to raise it
by a tenth of the margin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was shown of B samples.

    Attributes:
        proven: (B,) bool: no input of the ball has a margin of zero or less.
        margin: (B,) a lower bound of the least margin, less the allowance for rounding; -inf where none was found.
    """

    proven: Tensor
    margin: Tensor


def prove(network: Network, ball: Ball, y: Tensor, classes: int) -> Proof:
    """Which samples no input of their ball breaks.

    Args:
        network: whose logits are judged.
        ball: what each of B inputs may become.
        y: (B,) int64 labels.
        classes: the number of logits K.
    """
    with torch.no_grad():
        bounding = Bounding(network, ball)
        if not bounding.run():
            return nothing_shown(y)
        margins = bounding.margins(y, classes)
        worst, clean = margins.amin(1), _clean(network, ball, y)
        tried = ~bounding.given_up & (worst <= 0) & (worst > -_NEAR * clean)
        margin = tightened(bounding, y, classes, margins, tried).amin(1)
    margin = torch.where(bounding.given_up | ~torch.isfinite(margin), -torch.inf, margin)
    return Proof(proven=margin > 0, margin=margin)


def nothing_shown(y: Tensor) -> Proof:
    """Of as many samples as there are labels y (B,): none is proven."""
    margin = torch.full(y.shape, -torch.inf, device=y.device)
    return Proof(proven=margin > 0, margin=margin)


def _clean(network: Network, ball: Ball, y: Tensor) -> Tensor:
    """(B,) the margins of the unchanged inputs."""
    logits = network(ball.x)
    others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return logits.gather(1, y[:, None]).squeeze(1) - others
