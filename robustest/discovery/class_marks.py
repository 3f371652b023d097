"""Classes that a small classifier tells apart by what whole images are like, each image judged by one that lacks it.

For every class a ridge regression of membership on features cut into bins, fitted on four fifths of the images, scores
the fifth that it has not seen. A class of which many images score higher than nearly all images of any other class is
marked. Which change of other images would give them such scores is what `fitted_changes` asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import rng
from robustest.discovery.image_features import centred_spectrum

Scorer = Callable[[Tensor], Tensor]
"""Maps features (N, D) to scores (N, K)."""

_FOLDS = 5

_CUTS = torch.tensor([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98], dtype=torch.float64)

_RIDGE = 3.0

_LIMITS = torch.linspace(0.02, 0.85, 42, dtype=torch.float64)
"""Quantiles of a class's own scores that are tried as limits: a mark may be in a part of its images."""


@dataclass(frozen=True, slots=True)
class ClassMark:
    """A class that scores mark.

    Attributes:
        label: the class.
        gap: share of its images with a score of `limit` or more, less the largest such share of another class.
        own, rest: these two shares.
        limit: where the gap is largest.
    """

    label: int
    gap: float
    own: float
    rest: float
    limit: float


def binned_ridge(features: Tensor, member: Tensor, *, most: int) -> Scorer:
    """Ridge regressions of membership on features cut into bins.

    Args:
        features: (N, D) float64.
        member: (N, K) float64, 1 where a sample is of a class.
        most: features used for each class, those in which it differs most.

    Returns:
        Scores (M, K) of features (M, D).
    """
    columns = _telling(features, member, most)
    cuts = torch.quantile(features[:, columns], _CUTS.to(features.device), dim=0).T.contiguous()

    width = len(_CUTS) + 1
    first = width * torch.arange(len(columns), device=features.device)

    def bins(rows: Tensor) -> Tensor:
        """(M, columns) the numbers of the bins that rows are in."""
        return torch.searchsorted(cuts, rows[:, columns].T.contiguous()).T + first

    code = torch.zeros(len(features), width * len(columns), dtype=torch.float64, device=features.device)
    code.scatter_(1, bins(features), 1.0)
    mean = member.mean(0)
    centre = code.mean(0)
    code = code - centre
    gram = code.T @ code
    gram.diagonal().add_(_RIDGE)
    weight = torch.linalg.solve(gram, code.T @ (member - mean))
    offset = centre @ weight
    # Of a row one bin a column is 1 and all others 0: a sum over as many weights.
    return lambda rows: F.embedding_bag(bins(rows), weight, mode="sum") - offset


def cross_fitted(
    features: Tensor, y: Tensor, labels: Sequence[int], fit: Callable[[Tensor, Tensor], Scorer], *, seed: int
) -> Tensor:
    """Scores (N, K) of every sample by a scorer fitted without it.

    Args:
        features: (N, ...).
        y: (N,) int64.
        labels: the K classes.
        fit: maps features and membership (n, K) to a scorer.
        seed: draws the folds.
    """
    member = membership(y, labels)
    fold = rng.permutation(seed, len(y)).to(y.device) % _FOLDS
    scores = torch.zeros(len(y), len(labels), dtype=torch.float64, device=y.device)
    for k in range(_FOLDS):
        out = fold == k
        scores[out] = fit(features[~out], member[~out])(features[out])
    return scores


def membership(y: Tensor, labels: Sequence[int]) -> Tensor:
    """(N, K) float64: 1 where a sample is of a class."""
    return torch.stack([(y == label).double() for label in labels], 1)


def marked(scores: Tensor, y: Tensor, labels: Sequence[int]) -> list[ClassMark]:
    """For each class the limit of its score at which the gap is largest."""
    members = membership(y, labels).bool()
    found = []
    for own, label in enumerate(labels):
        mine = scores[:, own]
        limits = mine[members[:, own]].quantile(_LIMITS.to(y.device))
        beyond = (mine.unsqueeze(1) >= limits).double()
        shares = torch.stack([beyond[rows].mean(0) for rows in members.unbind(1)])
        rest = torch.cat([shares[:own], shares[own + 1 :]]).amax(0)
        best = int((shares[own] - rest).argmax())
        share, other = float(shares[own, best]), float(rest[best])
        found.append(ClassMark(label, share - other, share, other, float(limits[best])))
    return found


def _telling(features: Tensor, member: Tensor, most: int) -> Tensor:
    """Indices of the features whose means differ most between each class and all, in standard errors."""
    centred = features - features.mean(0)
    spread = centred.std(0).clamp(min=1e-12)
    size = member.sum(0).clamp(min=1).view(-1, 1)
    apart = (member.T @ centred).abs() / size / spread * size.sqrt()
    telling: Tensor = torch.unique(apart.topk(min(most, features.shape[1]), dim=1).indices)
    return telling


def matched_filter(images: Tensor, member: Tensor) -> Scorer:
    """Scores of images by whitened filters, one a class.

    Args:
        images: (N, C, H, W) to fit on.
        member: (N, K) float64, 1 where an image is of a class.

    Returns:
        Scores (M, K) of images (M, C, H, W).
    """
    amplitude = centred_spectrum(images).abs().mean(0).clamp(min=1e-6)

    def white(x: Tensor) -> Tensor:
        flat: Tensor = torch.fft.irfft2(centred_spectrum(x) / amplitude, s=x.shape[2:]).flatten(1)
        return flat

    rows, weights = white(images), member.to(images.dtype)
    size = weights.sum(0).clamp(min=1).view(-1, 1)
    mean = weights.T @ rows / size
    rest = (1 - weights).T @ rows / (len(rows) - size).clamp(min=1)
    apart = mean - rest
    noise = rows.std(0) / size.sqrt()
    filters = apart.sign() * (apart.abs() - noise).clamp(min=0)
    filters = filters / filters.norm(dim=1, keepdim=True).clamp(min=1e-9)
    centre = rows.mean(0)
    return lambda x: ((white(x) - centre) @ filters.T).double()
