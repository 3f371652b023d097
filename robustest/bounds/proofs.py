"""Slopes that are chosen for one margin, by a few steps of ascent (Xu et al., ICLR 2021, "Fast and Complete: Enabling
Complete Verification with Massively Parallel Incomplete Verifiers", section 3.2).

Below a ReLU that is undecided any line through zero of a slope between the function's own two is sound. The least area
is a guess at the best one; the bound's own gradient is a better. Intervals of the inputs stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest.bounds.graph import Network
from robustest.bounds.linear import Ball, Bounding, cut, margin_rows
from robustest.bounds.nonlinear import Relu
from robustest.clock import check as check_clock

_STEPS = 12
_RATE = 0.5
"""Of a slope's range, how far the first step goes."""
_PAIRS = 64
"""Margins that are worked on at once."""


def tightened(bounding: Bounding, y: Tensor, classes: int, margins: Tensor, tried: Tensor) -> Tensor:
    """(B, K - 1) lower bounds of margins, at least those given.

    Every step's bound is as sound as the first, rounding allowed for; the largest is kept.

    Args:
        bounding: which has run.
        y: (B,) int64 labels.
        classes: the number of logits K.
        margins: (B, K - 1) what was found of them.
        tried: (B,) bool: samples that are worth it; of theirs, the margins that are not above zero are.
    """
    found, relus = margins.clone(), _relus(bounding)
    if not relus:
        return found
    a, _ = margin_rows(y, classes)
    for pairs in cut((tried[:, None] & (margins <= 0)).nonzero(), _PAIRS):
        sample, other = pairs.unbind(1)
        best = _ascended(bounding.pick(sample), relus, a.view(*margins.shape, classes)[sample, other])
        found[sample, other] = torch.maximum(margins[sample, other], best)
    return found


def _relus(bounding: Bounding) -> dict[int, Relu]:
    return {place: bend for place, bend in enumerate(bounding.network.nonlinear) if isinstance(bend, Relu)}


def _ascended(bounding: Bounding, relus: dict[int, Relu], a: Tensor) -> Tensor:
    """(R,) the largest of the steps' bounds of a · logits (R, K), each of one sample of its own."""
    sample, depth = torch.arange(len(a), device=a.device), len(bounding.network.segments) - 1
    slopes = {place: _start(bounding, place, bend).requires_grad_(True) for place, bend in relus.items()}
    best = torch.full((len(a),), -torch.inf, device=a.device)
    speeds = {place: torch.zeros_like(slope) for place, slope in slopes.items()}
    for step in range(_STEPS):
        check_clock()
        with torch.enable_grad():
            for place, bend in relus.items():
                low, high = bounding.intervals[place]
                bounding.lines[place] = bend.sloped(low, high, slopes[place])
            bound = bounding.lower(depth, a, sample)
            gradients = torch.autograd.grad(bound.sum(), list(slopes.values()), allow_unused=True)
        best = torch.maximum(best, torch.where(torch.isfinite(bound), bound, -torch.inf).detach())
        for (place, bend), gradient in zip(relus.items(), gradients, strict=True):
            if gradient is not None:
                rate = _RATE * (1 - step / _STEPS)
                _moved(slopes[place], gradient, speeds[place], rate).clamp_(bend.slope, 1.0)
    return best


def _moved(slope: Tensor, gradient: Tensor, speed: Tensor, rate: float) -> Tensor:
    """Slopes (R, *S) after a step, in place: each row on its own, those of small gradient not left behind."""
    largest = gradient.flatten(1).abs().amax(1).clamp(min=1e-30)
    speed.mul_(0.7).add_(gradient / largest.view(-1, *[1] * (gradient.ndim - 1)))
    return slope.data.add_(rate * speed.sign() * speed.abs().sqrt())


def _start(bounding: Bounding, place: int, bend: Relu) -> Tensor:
    """The slopes below that leave the smaller area."""
    lines = bend.lines(*bounding.intervals[place])
    return (lines.mean - lines.half).detach().clone()


# What bounds prove of a batch: linear bounds, then better slopes for those that they nearly prove.


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
