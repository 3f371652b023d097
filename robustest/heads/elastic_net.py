"""Elastic-net multinomial logistic regression at one penalty.

Minimise over weights W (K, M) and a free bias b (K,), for standardised features x_i and labels y_i of N rows,
    F(W, b) = f(W, b) + g(W),    f = mean_i cross-entropy(W x_i + b, y_i),
    g = lam * (l1_ratio * sum |W| + (1 - l1_ratio) / 2 * sum W^2),
by FISTA (Beck and Teboulle, SIAM J. Imaging Sciences 2009): a gradient step of length 1 / L on f from a momentum point,
then the proximal map of g. Momentum is dropped whenever it points uphill (O'Donoghue and Candes, Found. Comput. Math.
2015). A relative duality gap ends the iteration.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.clock import check as check_clock

# Factors of the curvature estimate after a step that was too long, and after one that was not.
_GROW, _SHRINK = 1.5, 0.95

# The estimate stops growing here: a bound that still fails is a matter of rounding, and no longer of curvature.
_LARGEST_CURVATURE = 1e8

# Steps between two duality gaps, each of which costs about as much as a step.
_CHECK_EVERY = 10


class Design:
    """Standardised features for products with weights; with `batch` they are streamed and never held on the device.

    Args:
        features: (N, D) floats, on any device, memory-mapped too.
        mean, scale: (D,) of the features, on `device`.
        batch: rows moved to the device at a time; None holds all there.
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
        part = Design.__new__(Design)
        part.__dict__.update(self.__dict__)
        part.columns = columns
        part._held = None if self._held is None else self._held[:, columns]
        return part

    def scores(self, weight: Tensor) -> Tensor:
        """Return the scores (K, N) of weights (K, M)."""
        return torch.cat([weight @ part.T for part in self._parts()], 1)

    def weight_gradient(self, residual: Tensor) -> Tensor:
        """Return the gradient (K, M) of f by the weights, from residuals (K, N)."""
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
    """A solution at one penalty: weight (K, M) and bias (K,).

    Attributes:
        objective: F, in nats.
        gap: a certified bound on the objective minus the smallest one, as a share of the objective.
        curvature: a start for the next penalty.
    """

    weight: Tensor
    bias: Tensor
    objective: float
    gap: float
    curvature: float
    steps: int


class ElasticNetObjective:
    """The objective F of one penalty on a design, with labels (N,) int64 of K classes on its device."""

    def __init__(self, design: Design, labels: Tensor, *, lam: float, l1_ratio: float, classes: int) -> None:
        self.design, self.labels = design, labels
        self.hot = F.one_hot(labels, classes).T.to(design.dtype)
        self.l1, self.l2 = lam * l1_ratio, lam * (1 - l1_ratio)

    def cross_entropy(self, logits: Tensor) -> float:
        """Return f at logits (K, N), in nats."""
        picked = logits.gather(0, self.labels.view(1, -1)).squeeze(0)
        return float((torch.logsumexp(logits, 0) - picked).double().mean())

    def penalty(self, weight: Tensor) -> float:
        wide = weight.double()
        return float(self.l1 * wide.abs().sum() + 0.5 * self.l2 * wide.square().sum())

    def residual(self, logits: Tensor) -> Tensor:
        """Return the derivative (K, N) of each sample's cross-entropy by its logits."""
        return torch.softmax(logits, 0) - self.hot

    def proximal(self, weight: Tensor, step: float) -> Tensor:
        """Return the proximal map of g: soft thresholding, then shrinkage."""
        size = (weight.abs() - step * self.l1).clamp_(min=0)
        return size * weight.sign() / (1 + step * self.l2)

    def refit_bias(self, scores: Tensor, bias: Tensor) -> Tensor:
        """Return the bias after two Newton steps with the weights fixed."""
        # Much cheaper than a product with the features.
        for _ in range(2):
            chance = torch.softmax(scores + bias[:, None], 0).double()
            slope = (chance - self.hot.double()).mean(1)
            # A constant added to every bias changes nothing, so that the Hessian is singular in that direction: adding
            # the matrix of ones gives it a curvature.
            bend = torch.diag(chance.mean(1)) - chance @ chance.T / chance.shape[1]
            bend += torch.eye(len(bias), dtype=bend.dtype, device=bend.device) * 1e-9 + 1.0
            bias = (bias.double() - torch.linalg.solve(bend, slope)).to(bias.dtype)
        return bias

    def gap(self, logits: Tensor, bias: Tensor, gradient: Tensor, objective: float) -> float:
        """Return a bound on the distance of `objective` from the smallest one, as a share of it."""
        # Fenchel's dual of F at a point P (K, N), a distribution over classes for each row, is
        #     mean_i entropy(P_i) - sum (|grad| - l1)_+^2 / (2 l2),    grad = (P - hot) X / N.
        # It is evaluated at the softmax of the logits, and at the point between softmax and labels where no gradient
        # exceeds l1 any more. Either is a lower bound; the better one counts.
        chance, best = torch.softmax(logits, 0).double(), -math.inf
        largest = float(gradient.abs().max()) if gradient.numel() else 0.0
        wide, hot = gradient.double(), self.hot.double()
        # A free bias has no finite dual value unless residuals sum to exactly 0. So the bound is for all biases within
        # 1 of this one.
        lean = (chance - hot).mean(1)
        free = float((lean * bias.double()).sum() - lean.abs().sum())
        for scale in {1.0, min(1.0, self.l1 / max(largest, 1e-300))}:
            point = scale * chance + (1 - scale) * hot
            excess = (scale * wide.abs() - self.l1).clamp_(min=0).square().sum() / (2 * self.l2)
            best = max(best, float(torch.special.entr(point).sum(0).mean() - excess) + scale * free)
        return (objective - best) / max(objective, 1e-300)


def solve(
    objective: ElasticNetObjective,
    weight: Tensor,
    bias: Tensor,
    *,
    tolerance: float,
    curvature: float,
    max_steps: int,
) -> ElasticNetFit:
    """Return the minimiser, from a warm start.

    Args:
        weight, bias: (K, M), (K,) start.
        tolerance: the relative duality gap to reach, > 0.
        curvature: a first estimate, > 0.
    """
    iteration = _Fista(objective, weight, bias, curvature)
    fit = iteration.fit()
    while fit.gap > tolerance and iteration.steps < max_steps:
        for _ in range(_CHECK_EVERY):
            iteration.step()
        fit = iteration.fit()
    return fit


def divergence(chance: Tensor, change: Tensor) -> float:
    """Return the rise of the mean cross-entropy above its tangent when logits change.

    Args:
        chance: (K, N) probabilities before.
        change: (K, N) of the logits.
    """
    # The mean of KL(before || after), written so that small changes do not vanish in rounding, as they would in a
    # difference of two cross-entropies.
    centred = change - (chance * change).sum(0)
    return float(torch.log1p((chance * (torch.expm1(centred) - centred)).sum(0)).double().mean())


class _Fista:
    def __init__(self, objective: ElasticNetObjective, weight: Tensor, bias: Tensor, curvature: float) -> None:
        self.objective, self.curvature, self.steps, self.momentum = objective, curvature, 0, 1.0
        # Scores are linear in the weights: a momentum point's scores cost no product.
        self.weight, self.bias, self.scores = weight, bias, objective.design.scores(weight)
        self.before = (self.weight, self.bias, self.scores)

    def step(self) -> None:
        check_clock()
        objective, ahead = self.objective, (1 + math.sqrt(1 + 4 * self.momentum**2)) / 2
        beta = (self.momentum - 1) / ahead
        here = (self.weight, self.bias, self.scores)
        weight, bias, scores = (now + beta * (now - old) for now, old in zip(here, self.before, strict=True))
        chance = torch.softmax(scores + bias[:, None], 0)
        residual = chance - objective.hot
        by_weight, by_bias = objective.design.weight_gradient(residual), residual.mean(1)
        while True:
            self.steps += 1
            length = 1 / self.curvature
            new_weight = objective.proximal(weight - length * by_weight, length)
            new_bias = bias - length * by_bias
            new_scores = objective.design.scores(new_weight)
            moved, shifted = new_weight - weight, new_bias - bias
            # Accept the step if f is under its quadratic bound, f(new) - tangent <= L / 2 |new - old|^2.
            rise = divergence(chance, new_scores - scores + shifted[:, None])
            reach = float(moved.double().square().sum() + shifted.double().square().sum())
            if rise <= self.curvature / 2 * reach or self.curvature > _LARGEST_CURVATURE:
                break
            self.curvature *= _GROW
        # Restart where the generalised gradient, old - new, has a positive product with the last move.
        uphill = -(moved * (new_weight - self.weight)).sum() - (shifted * (new_bias - self.bias)).sum()
        self.momentum = 1.0 if float(uphill) > 0 else ahead
        self.before = here
        self.weight, self.bias, self.scores = new_weight, new_bias, new_scores
        # The curvature of cross-entropy falls as samples are fitted. A global bound would allow far shorter steps.
        self.curvature *= _SHRINK

    def fit(self) -> ElasticNetFit:
        objective, bias = self.objective, self.objective.refit_bias(self.scores, self.bias)
        logits = self.scores + bias[:, None]
        # Newton's steps may overshoot far from the optimum (and give NaN): then the bias reached stays.
        if not objective.cross_entropy(logits) <= objective.cross_entropy(self.scores + self.bias[:, None]):
            bias, logits = self.bias, self.scores + self.bias[:, None]
        value = objective.cross_entropy(logits) + objective.penalty(self.weight)
        gradient = objective.design.weight_gradient(objective.residual(logits))
        gap = objective.gap(logits, bias, gradient, value)
        return ElasticNetFit(self.weight, bias, value, gap, self.curvature, self.steps)
