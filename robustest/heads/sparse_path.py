"""What a sparse head and a path of them are, and what can be read off them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest.errors import ConfigError, DataError, expected
from robustest.tasks import CLASSIFICATION


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparseHead:
    """A linear classifier on standardised features.

    Attributes:
        weight: (K, D), mostly zeros; logits a standard deviation of the feature.
        bias: (K,).
        mean, scale: (D,) what standardises the features.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor

    @property
    def counts(self) -> Tensor:
        """(K,) int64: features with a weight, by class."""
        return (self.weight != 0).sum(1)

    def standardised(self, features: Tensor) -> Tensor:
        """(N, D) of raw features (N, D)."""
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise DataError(expected(f"features (N, {len(self.mean)})", tuple(features.shape)))
        return (features.to(self.weight.device, self.weight.dtype) - self.mean) / self.scale

    def logits(self, features: Tensor) -> Tensor:
        """(N, K) of raw features (N, D)."""
        return self.standardised(features) @ self.weight.T + self.bias

    def top(self, class_index: int, limit: int | None = None) -> tuple[tuple[int, float], ...]:
        """The features of a class with their signed weights, the largest in size first.

        Raises:
            ConfigError: there is no such class.
        """
        if type(class_index) is not int or not 0 <= class_index < len(self.bias):
            raise ConfigError(expected(f"class_index to be a class in 0..{len(self.bias) - 1}", class_index))
        row = self.weight[class_index]
        order = row.abs().argsort(descending=True, stable=True)[: int((row != 0).sum())]
        return tuple((int(j), float(row[j])) for j in order[:limit])

    def fidelity(self, features: Tensor, predictions: Tensor) -> float:
        """Share of rows where the head says what the deployed model says: predictions (N,) int64."""
        return float(CLASSIFICATION.holds(self.logits(features), predictions.to(self.weight.device)).double().mean())

    def contributions(self, on: Tensor, off: Tensor) -> Tensor:
        """(K, D): each feature's mean push on each class's logit when a cue is switched on.

        Their sum over features is the logit shift of the class (notes on Wong et al.: the shift separates nets
        that rely on a cue from nets that do not; the largest weights alone do not).

        Args:
            on, off: (N, D) raw features of the same inputs with the cue and without.
        """
        change = (self.standardised(on) - self.standardised(off)).mean(0)
        return self.weight * change


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparsePath:
    """Heads from the sparsest to the densest.

    Attributes:
        lambdas: L penalties, falling.
        weights: L sparse COO tensors (K, D).
        biases: (L, K).
        mean, scale: (D,) what standardises the features; from the training rows alone.
        objectives: L values, in nats.
        gaps: L relative duality gaps; at most the tolerance where the fit converged.
        accuracies: L accuracies on the validation rows, in 0..1; None where there are none.
        l1_ratio: share of absolute values in the penalty.
        n_train, n_validation: rows.
    """

    lambdas: tuple[float, ...]
    weights: tuple[Tensor, ...]
    biases: Tensor
    mean: Tensor
    scale: Tensor
    objectives: tuple[float, ...]
    gaps: tuple[float, ...]
    accuracies: tuple[float, ...] | None
    l1_ratio: float
    n_train: int
    n_validation: int

    def __len__(self) -> int:
        return len(self.lambdas)

    @property
    def nonzeros(self) -> tuple[int, ...]:
        """Weights that are not 0, along the path."""
        return tuple(weight.values().numel() for weight in self.weights)

    def head(self, index: int) -> SparseHead:
        """The head at one penalty."""
        weight = self.weights[index].to_dense()
        return SparseHead(weight=weight, bias=self.biases[index], mean=self.mean, scale=self.scale)

    def select(self, *, slack: float = 0.05, reference: float | None = None) -> int:
        """Index of the sparsest head whose validation accuracy is within `slack` of the densest one's.

        Wong et al. (section 2.2) give up 5 points of accuracy for what a person can read.

        Args:
            slack: in 0..1.
            reference: the accuracy to be near to, in 0..1, that of the deployed model on the same rows, say; None means
                the densest head's. Where no head is near, the most accurate one is taken, the sparsest of equals.

        Raises:
            ConfigError: slack or reference is not in 0..1, or there were no validation rows to choose by.
        """
        if isinstance(slack, bool) or not isinstance(slack, (int, float)) or not 0 <= slack <= 1:
            raise ConfigError(expected("slack in 0..1", slack))
        if self.accuracies is None:
            raise ConfigError("Expected validation rows to choose a head by but the path was fitted without any.")
        if reference is not None and not 0 <= reference <= 1:
            raise ConfigError(expected("reference in 0..1", reference))
        scores, sizes = self.accuracies, self.nonzeros
        least = min((scores[-1] if reference is None else reference) - slack, max(scores))
        enough = [i for i in range(len(self)) if scores[i] >= least - 1e-12]
        return min(enough, key=lambda i: (sizes[i], -scores[i]))

    def selected(self, *, slack: float = 0.05) -> SparseHead:
        """The head that `select` picks."""
        return self.head(self.select(slack=slack))


def compact(weight: Tensor) -> Tensor:
    """A weight (K, D) as a sparse COO tensor on the CPU."""
    sparse: Tensor = weight.detach().cpu().to_sparse().coalesce()
    return sparse


def stacked(biases: list[Tensor]) -> Tensor:
    """Biases (K,) as (L, K) on the CPU."""
    return torch.stack([bias.detach().cpu() for bias in biases])
