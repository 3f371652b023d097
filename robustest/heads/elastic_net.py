"""Elastic-net multinomial logistic regression at one penalty: accelerated proximal steps, stopped by a duality gap.

The objective is mean cross-entropy + lam * (l1_ratio * sum |W| + (1 - l1_ratio) / 2 * sum W^2), the bias free. Steps
are those of FISTA (Beck and Teboulle, SIAM J. Imaging Sciences 2009) with a step length that follows the curvature met,
and momentum dropped whenever it points uphill (O'Donoghue and Candes, Found. Comput. Math. 2015). Cross-entropy's
curvature falls as samples are fitted, so this takes far longer steps than a global bound allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.clock import check as check_clock

_GROW, _SHRINK = 1.5, 0.95
"""The curvature estimate after a step that was too long, and after one that was not."""

_STEEPEST = 1e8
"""Where the estimate stops growing: rounding, and no longer curvature, is what a shorter step would cure."""

_CHECK_EVERY = 10
"""Steps between two looks at the duality gap, which costs about as much as a step."""


class Design:
    """Standardised features, product by product; where `batch` is given they are streamed and never held on the device.

    Args:
        features: (N, D) floats, on any device, memory-mapped too.
        mean, scale: (D,) what standardises them, on `device`.
        device, dtype: where and in which floating type products are computed.
        batch: rows moved to the device at a time; None holds all of them there.
        columns: (M,) int64 features that take part; None for all.
    """

    def __init__(
        self,
        features: Tensor,
        mean: Tensor,
        scale: Tensor,
        *,
        device: torch.device,
        dtype: torch.dtype,
        batch: int | None = None,
        columns: Tensor | None = None,
    ) -> None:
        self.features, self.mean, self.scale = features, mean, scale
        self.device, self.dtype, self.batch, self.columns = device, dtype, batch, columns
        self._held: Tensor | None = None
        if batch is None:
            self._held = self._standardised(features)

    def __len__(self) -> int:
        return len(self.features)

    def restricted(self, columns: Tensor) -> Design:
        """The same rows with these features (M,) alone."""
        part = Design.__new__(Design)
        part.__dict__.update(self.__dict__)
        part.columns = columns
        part._held = None if self._held is None else self._held[:, columns]
        return part

    def scores(self, weight: Tensor) -> Tensor:
        """(K, N) of weights (K, M)."""
        return torch.cat([weight @ part.T for part in self._parts()], 1)

    def pulled(self, residual: Tensor) -> Tensor:
        """(K, M): residuals (K, N) times features, over N."""
        total, start = torch.zeros((), device=self.device, dtype=self.dtype), 0
        for part in self._parts():
            total = total + residual[:, start : start + len(part)] @ part
            start += len(part)
        return total / len(self)

    def _parts(self) -> Iterator[Tensor]:
        if self._held is not None:
            yield self._held
            return
        for rows in torch.split(self.features, self.batch or len(self)):
            part = self._standardised(rows)
            yield part if self.columns is None else part[:, self.columns]

    def _standardised(self, rows: Tensor) -> Tensor:
        return (rows.to(self.device, self.dtype) - self.mean) / self.scale


@dataclass(frozen=True, slots=True)
class ElasticNetFit:
    """A solution at one penalty.

    Attributes:
        weight, bias: (K, M) and (K,).
        objective: its value, in nats.
        gap: how far the objective can be above the smallest, as a share of itself; certified by duality.
        curvature: the last estimate, a start for the next penalty.
        steps: step lengths tried.
    """

    weight: Tensor
    bias: Tensor
    objective: float
    gap: float
    curvature: float
    steps: int


class ElasticNetObjective:
    """One penalty's objective on a design.

    Args:
        design: N rows, M features.
        labels: (N,) int64 on the design's device.
        lam, l1_ratio: strength > 0 and share of the absolute values in (0, 1).
        classes: K.
    """

    def __init__(self, design: Design, labels: Tensor, *, lam: float, l1_ratio: float, classes: int) -> None:
        self.design, self.labels = design, labels
        self.hot = F.one_hot(labels, classes).T.to(design.dtype)
        self.l1, self.l2 = lam * l1_ratio, lam * (1 - l1_ratio)

    def entropy(self, logits: Tensor) -> float:
        """Mean cross-entropy of logits (K, N), in nats; summed in float64."""
        picked = logits.gather(0, self.labels.view(1, -1)).squeeze(0)
        return float((torch.logsumexp(logits, 0) - picked).double().mean())

    def penalty(self, weight: Tensor) -> float:
        wide = weight.double()
        return float(self.l1 * wide.abs().sum() + 0.5 * self.l2 * wide.square().sum())

    def residual(self, logits: Tensor) -> Tensor:
        """(K, N): the derivative of each sample's cross-entropy by its logits."""
        return torch.softmax(logits, 0) - self.hot

    def shrunk(self, weight: Tensor, step: float) -> Tensor:
        """The proximal map of the penalty."""
        size = (weight.abs() - step * self.l1).clamp_(min=0)
        return size * weight.sign() / (1 + step * self.l2)

    def settled(self, scores: Tensor, bias: Tensor) -> Tensor:
        """The bias after two of Newton's steps with the weights held, cheap beside a product with the features."""
        for _ in range(2):
            chance = torch.softmax(scores + bias[:, None], 0).double()
            slope = (chance - self.hot.double()).mean(1)
            # Adding a constant to every bias changes nothing: that direction gets a curvature of its own.
            bend = torch.diag(chance.mean(1)) - chance @ chance.T / chance.shape[1]
            bend += torch.eye(len(bias), dtype=bend.dtype, device=bend.device) * 1e-9 + 1.0
            bias = (bias.double() - torch.linalg.solve(bend, slope)).to(bias.dtype)
        return bias

    def gap(self, logits: Tensor, bias: Tensor, pulled: Tensor, objective: float) -> float:
        """A bound on how far `objective` is above the smallest one, as a share of it.

        Fenchel's dual at the residuals, once as they are and once scaled until no weight's pull exceeds the
        absolute values' penalty; the better bound counts. It holds for biases within 1 of these, since a free
        bias has no dual value unless residuals sum to exactly 0.

        Args:
            logits, bias: (K, N), (K,) at the solution.
            pulled: (K, M) the gradient of the cross-entropy by the weights there.
            objective: its value there.
        """
        chance, best = torch.softmax(logits, 0).double(), -math.inf
        largest = float(pulled.abs().max()) if pulled.numel() else 0.0
        wide, hot = pulled.double(), self.hot.double()
        lean = (chance - hot).mean(1)
        free = float((lean * bias.double()).sum() - lean.abs().sum())
        for scale in {1.0, min(1.0, self.l1 / max(largest, 1e-300))}:
            point = scale * chance + (1 - scale) * hot
            spared = (scale * wide.abs() - self.l1).clamp_(min=0).square().sum() / (2 * self.l2)
            best = max(best, float(torch.special.entr(point).sum(0).mean() - spared) + scale * free)
        return (objective - best) / max(objective, 1e-300)


def solve(
    problem: ElasticNetObjective, weight: Tensor, bias: Tensor, *, tolerance: float, curvature: float, max_steps: int
) -> ElasticNetFit:
    """The minimiser, from a warm start.

    Args:
        problem: what to minimise.
        weight, bias: (K, M), (K,) where to start.
        tolerance: the relative duality gap to reach, > 0.
        curvature: a first estimate, > 0.
        max_steps: step lengths to try, about; the gap then tells how far they led.
    """
    walk = _Fista(problem, weight, bias, curvature)
    fit = walk.fit()
    while fit.gap > tolerance and walk.steps < max_steps:
        for _ in range(_CHECK_EVERY):
            walk.step()
        fit = walk.fit()
    return fit


def divergence(chance: Tensor, change: Tensor) -> float:
    """How much the mean cross-entropy bends upwards from its tangent, when logits change.

    It is the mean of KL(before || after), written so that small changes do not drown in rounding as a
    difference of two cross-entropies would.

    Args:
        chance: (K, N) probabilities before.
        change: (K, N) added to the logits.
    """
    centred = change - (chance * change).sum(0)
    return float(torch.log1p((chance * (torch.expm1(centred) - centred)).sum(0)).double().mean())


class _Fista:
    """Accelerated proximal steps. Scores are linear in the weights, so those of a momentum point cost no product."""

    def __init__(self, problem: ElasticNetObjective, weight: Tensor, bias: Tensor, curvature: float) -> None:
        self.problem, self.curvature, self.steps, self.momentum = problem, curvature, 0, 1.0
        self.weight, self.bias, self.scores = weight, bias, problem.design.scores(weight)
        self.before = (self.weight, self.bias, self.scores)

    def step(self) -> None:
        check_clock()
        problem, ahead = self.problem, (1 + math.sqrt(1 + 4 * self.momentum**2)) / 2
        beta = (self.momentum - 1) / ahead
        here = (self.weight, self.bias, self.scores)
        weight, bias, scores = (now + beta * (now - old) for now, old in zip(here, self.before, strict=True))
        chance = torch.softmax(scores + bias[:, None], 0)
        residual = chance - problem.hot
        by_weight, by_bias = problem.design.pulled(residual), residual.mean(1)
        while True:
            self.steps += 1
            length = 1 / self.curvature
            new_weight = problem.shrunk(weight - length * by_weight, length)
            new_bias = bias - length * by_bias
            new_scores = problem.design.scores(new_weight)
            moved, shifted = new_weight - weight, new_bias - bias
            bent = divergence(chance, new_scores - scores + shifted[:, None])
            reach = float(moved.double().square().sum() + shifted.double().square().sum())
            if bent <= self.curvature / 2 * reach or self.curvature > _STEEPEST:
                break
            self.curvature *= _GROW
        uphill = -(moved * (new_weight - self.weight)).sum() - (shifted * (new_bias - self.bias)).sum()
        self.momentum = 1.0 if float(uphill) > 0 else ahead
        self.before = here
        self.weight, self.bias, self.scores = new_weight, new_bias, new_scores
        self.curvature *= _SHRINK

    def fit(self) -> ElasticNetFit:
        """The weights reached, the bias that suits them best, and how good both are."""
        problem, bias = self.problem, self.problem.settled(self.scores, self.bias)
        logits = self.scores + bias[:, None]
        if not problem.entropy(logits) <= problem.entropy(self.scores + self.bias[:, None]):
            bias, logits = self.bias, self.scores + self.bias[:, None]
        objective = problem.entropy(logits) + problem.penalty(self.weight)
        gap = problem.gap(logits, bias, problem.design.pulled(problem.residual(logits)), objective)
        return ElasticNetFit(self.weight, bias, objective, gap, self.curvature, self.steps)
