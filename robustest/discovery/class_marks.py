"""Classes that a small classifier recognises by whole images, each image scored by a classifier fitted without it.

For features phi(x) of a family (`image_features`) and each class k:
1. A scorer s_k is fitted: ridge regression of membership m in k on the features cut into bins, w = (C'C + r I)^-1 C'(m
   - mean m) with C the centred bin indicators; or a matched filter on the pixels.
2. In five folds, each fold is scored by a scorer fitted on the four others.
3. The gap of k is the share of its images with s_k >= t, less the largest such share of another class, at the best
   limit t. A large gap means that whole images of k differ from all other classes.
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
"""Maps features (N, D), or images for a matched filter, to scores (N, K)."""

_FOLDS = 5

# Quantiles at which features are cut into bins: finer at the ends, where marks lie.
_CUTS = torch.tensor([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98], dtype=torch.float64)

_RIDGE = 3.0

# Quantiles of a class's own scores that are tried as limits: a part of its images may have the mark.
_LIMITS = torch.linspace(0.02, 0.85, 42, dtype=torch.float64)


@dataclass(frozen=True, slots=True)
class ClassMark:
    """The mark of a class by scores.

    `own` is the share of its images that score `limit` or more, `rest` the largest such share of another class.
    """

    label: int
    gap: float
    own: float
    rest: float
    limit: float


def membership(y: Tensor, labels: Sequence[int]) -> Tensor:
    """Return (N, K) float64: 1 where a sample is of a class."""
    return torch.stack([(y == label).double() for label in labels], 1)


def cross_fitted_scores(
    features: Tensor, y: Tensor, labels: Sequence[int], fit: Callable[[Tensor, Tensor], Scorer], *, seed: int
) -> Tensor:
    """Return the scores (N, K) of every sample by a scorer fitted without it.

    Args:
        fit: maps features (n, ...) and membership (n, K) to a scorer.
        seed: draws the folds.
    """
    member = membership(y, labels)
    fold = rng.permutation(seed, len(y)).to(y.device) % _FOLDS
    scores = torch.zeros(len(y), len(labels), dtype=torch.float64, device=y.device)
    for k in range(_FOLDS):
        out = fold == k
        scores[out] = fit(features[~out], member[~out])(features[out])
    return scores


def find_marks(scores: Tensor, y: Tensor, labels: Sequence[int]) -> list[ClassMark]:
    """Return each class's mark, at the limit of its scores (N, K) with the largest gap."""
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


def binned_ridge(features: Tensor, member: Tensor, *, most: int) -> Scorer:
    """Fit ridge regressions of membership (N, K) on features (N, D) cut into bins.

    Args:
        most: features used per class, those in which it differs most.
    """
    # The features whose means differ most between each class and all samples, in standard errors.
    centred = features - features.mean(0)
    spread = centred.std(0).clamp(min=1e-12)
    size = member.sum(0).clamp(min=1).view(-1, 1)
    apart = (member.T @ centred).abs() / size / spread * size.sqrt()
    columns = torch.unique(apart.topk(min(most, features.shape[1]), dim=1).indices)

    # Bins let a linear model see that a feature is unusual at either end, or in the middle.
    cuts = torch.quantile(features[:, columns], _CUTS.to(features.device), dim=0).T.contiguous()
    width = len(_CUTS) + 1
    first = width * torch.arange(len(columns), device=features.device)

    def bins(rows: Tensor) -> Tensor:
        return torch.searchsorted(cuts, rows[:, columns].T.contiguous()).T + first

    code = torch.zeros(len(features), width * len(columns), dtype=torch.float64, device=features.device)
    code.scatter_(1, bins(features), 1.0)
    centre = code.mean(0)
    code = code - centre
    gram = code.T @ code
    gram.diagonal().add_(_RIDGE)
    weight = torch.linalg.solve(gram, code.T @ (member - member.mean(0)))
    offset = centre @ weight
    # In a row's indicators one bin of each column is 1 and all others are 0: its score is a sum of a few weights.
    return lambda rows: F.embedding_bag(bins(rows), weight, mode="sum") - offset


def matched_filter(images: Tensor, member: Tensor) -> Scorer:
    """Fit whitened filters, one per class, for patterns added to images (N, C, H, W) at a fixed place."""
    # Natural images have most of their power in low frequencies. A pattern too faint for any single image stands out in
    # the mean of a class once all frequencies have the same weight.
    amplitude = centred_spectrum(images).abs().mean(0).clamp(min=1e-6)

    def white(x: Tensor) -> Tensor:
        flat: Tensor = torch.fft.irfft2(centred_spectrum(x) / amplitude, s=x.shape[2:]).flatten(1)
        return flat

    rows, weights = white(images), member.to(images.dtype)
    size = weights.sum(0).clamp(min=1).view(-1, 1)
    mean = weights.T @ rows / size
    rest = (1 - weights).T @ rows / (len(rows) - size).clamp(min=1)
    # Soft thresholding by a standard error: pixels outside of the pattern would add noise to the filter.
    apart = mean - rest
    noise = rows.std(0) / size.sqrt()
    filters = apart.sign() * (apart.abs() - noise).clamp(min=0)
    filters = filters / filters.norm(dim=1, keepdim=True).clamp(min=1e-9)
    centre = rows.mean(0)
    return lambda x: ((white(x) - centre) @ filters.T).double()
