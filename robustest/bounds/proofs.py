"""Proofs for a batch: backward linear bounds, then better slopes for samples that they nearly prove."""

# Below an undecided ReLU any line a x with a between the function's two slopes is sound. The smaller area is a guess at
# the best a; a few steps of ascent on the bound itself choose it for one margin (Xu et al., ICLR 2021, "Fast and
# Complete: Enabling Complete Verification with Massively Parallel Incomplete Verifiers", section 3.2). Intervals stay.

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest.bounds.graph import Network
from robustest.bounds.linear import Ball, Bounding, cut, margin_rows
from robustest.bounds.nonlinear import Relu
from robustest.clock import check as check_clock

_STEPS = 12
# Length of the first step, as a share of a slope's range.
_RATE = 0.5
# Margins per pass.
_PAIRS = 64


def tightened(bounding: Bounding, y: Tensor, classes: int, margins: Tensor, tried: Tensor) -> Tensor:
    """Return (B, K - 1) lower bounds of margins, at least those given.

    Args:
        bounding: one that has run.
        y: (B,) int64 labels.
        margins: (B, K - 1) the bounds so far.
        tried: (B,) bool: samples whose margins that are not above zero are tried.
    """
    found = margins.clone()
    relus = {place: bend for place, bend in enumerate(bounding.network.nonlinear) if isinstance(bend, Relu)}
    if not relus:
        return found
    a, _ = margin_rows(y, classes)
    for pairs in cut((tried[:, None] & (margins <= 0)).nonzero(), _PAIRS):
        sample, other = pairs.unbind(1)
        best = _ascended(bounding.pick(sample), relus, a.view(*margins.shape, classes)[sample, other])
        found[sample, other] = torch.maximum(margins[sample, other], best)
    return found


def _ascended(bounding: Bounding, relus: dict[int, Relu], a: Tensor) -> Tensor:
    """Return (R,) the largest of the steps' bounds of a · logits (R, K), for a sample each."""
    sample, depth = torch.arange(len(a), device=a.device), len(bounding.network.segments) - 1
    slopes = {}
    for place, bend in relus.items():  # begin with the slopes that leave the smaller area
        lines = bend.lines(*bounding.intervals[place])
        slopes[place] = (lines.mean - lines.half).detach().clone().requires_grad_(True)
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
        # The bound need not rise with every step. Each one is sound, so that the largest holds; NaN and inf are
        # dropped.
        best = torch.maximum(best, torch.where(torch.isfinite(bound), bound, -torch.inf).detach())
        for (place, bend), gradient in zip(relus.items(), gradients, strict=True):
            if gradient is not None:
                rate, speed = _RATE * (1 - step / _STEPS), speeds[place]
                # Rows are scaled, so that small gradients count as well.
                largest = gradient.flatten(1).abs().amax(1).clamp(min=1e-30)
                speed.mul_(0.7).add_(gradient / largest.view(-1, *[1] * (gradient.ndim - 1)))
                # The root of the momentum evens out the elements' sizes: more slopes move in a few steps.
                slopes[place].data.add_(rate * speed.sign() * speed.abs().sqrt()).clamp_(bend.slope, 1.0)
    return best


# Better slopes are tried where the bound lies at most this share of the margin below zero. They raised it by a tenth of
# the margin.
_NEAR = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Proofs of B samples.

    Attributes:
        proven: (B,) bool: no input of the ball has a margin of zero or less.
        margin: (B,) a lower bound of the least margin, minus the allowance for rounding; -inf where none was found.
    """

    proven: Tensor
    margin: Tensor


def prove(network: Network, ball: Ball, y: Tensor, classes: int) -> Proof:
    """Prove samples whose balls hold no input with another label.

    Args:
        y: (B,) int64 labels.
        classes: the number of logits K.
    """
    with torch.no_grad():
        bounding = Bounding(network, ball)
        if not bounding.run():
            return nothing_shown(y)
        margins = bounding.margins(y, classes)
        worst, logits = margins.amin(1), network(ball.x)
        clean = logits.gather(1, y[:, None]).squeeze(1) - logits.scatter(1, y[:, None], -torch.inf).amax(1)
        tried = ~bounding.given_up & (worst <= 0) & (worst > -_NEAR * clean)
        margin = tightened(bounding, y, classes, margins, tried).amin(1)
    # NaN compares as not greater, but a bound of inf would prove: both mean that nothing is known.
    margin = torch.where(bounding.given_up | ~torch.isfinite(margin), -torch.inf, margin)
    return Proof(proven=margin > 0, margin=margin)


def nothing_shown(y: Tensor) -> Proof:
    """Return a proof of no sample, for labels y (B,)."""
    margin = torch.full(y.shape, -torch.inf, device=y.device)
    return Proof(proven=margin > 0, margin=margin)
