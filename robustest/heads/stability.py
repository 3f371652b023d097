"""Which features of a sparse head are there for a reason: how often each is chosen from half the data.

Meinshausen and Buhlmann, "Stability Selection" (JRSS B 2010): features that a penalised fit picks from nearly every
subsample are no accident of one. Of features that say the same, though, each subsample may pick another.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest import rng
from robustest.checks import checked_real, checked_whole
from robustest.errors import ConfigError, expected
from robustest.heads.feature_rows import checked_rows
from robustest.heads.sparse_head import fit_sparse_head

_FAR, _WAYPOINTS = 100.0, 10
"""The way to a penalty begins this many times above it, in so many steps; where no feature is left, they are free."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stability:
    """How often features are chosen.

    Attributes:
        positive, negative: (K, D) float32 shares of subsamples, in 0..1, where the weight is above and below 0.
        subsamples: how many were drawn.
    """

    positive: Tensor
    negative: Tensor
    subsamples: int

    def kept(self, class_index: int, *, at_least: float = 0.8) -> tuple[tuple[int, float], ...]:
        """Features of a class chosen with one sign in a share of the subsamples, with that share, signed; most first.

        Args:
            class_index: the class.
            at_least: the share, in 0..1.
        """
        checked_real("at_least", at_least, 0.0, 1.0)
        rise, fall = self.positive[class_index], self.negative[class_index]
        share = torch.where(rise >= fall, rise, -fall)
        order = share.abs().argsort(descending=True, stable=True)
        return tuple((int(j), float(share[j])) for j in order if abs(float(share[j])) >= max(at_least, 1e-9))


def sparse_stability(
    features: Tensor,
    labels: Tensor,
    lam: float,
    *,
    l1_ratio: float = 0.99,
    subsamples: int = 20,
    share: float = 0.5,
    tolerance: float = 1e-3,
    device: torch.device | str | None = None,
    seed: int = 0,
) -> Stability:
    """Fit the head at one penalty on many subsamples, and count what is chosen.

    Args:
        features: (N, D) floats, finite.
        labels: (N,) int64 in 0..K-1; a share of every class must leave a row.
        lam: the penalty, > 0: that of the head that was selected.
        l1_ratio, tolerance, device: as for `fit_sparse_head`.
        subsamples: how many, >= 1.
        share: rows of each class in a subsample, in (0, 1).
        seed: draws them.

    Raises:
        ConfigError: an argument is out of range.
        DataError: as for `fit_sparse_head`.
    """
    checked_real("lam", lam, 1e-300)
    checked_whole("subsamples", subsamples, 1)
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise ConfigError(expected("share in (0, 1)", share))
    k = checked_rows(features, labels)
    way = [lam * _FAR ** (1 - i / _WAYPOINTS) for i in range(1, _WAYPOINTS + 1)]  # warm starts, as on a path
    positive = torch.zeros(k, features.shape[1])
    negative = torch.zeros_like(positive)
    for number in range(subsamples):
        rows = subsample(labels, share, seed, number).to(features.device)
        part, targets = features[rows], labels.to(features.device)[rows]
        path = fit_sparse_head(
            part,
            targets,
            lambdas=way,
            l1_ratio=l1_ratio,
            classes=k,
            tolerance=tolerance,
            device=device,
            validation_share=0.0,
        )
        weight = path.weights[-1].to_dense()
        positive += weight > 0
        negative += weight < 0
    return Stability(positive=positive / subsamples, negative=negative / subsamples, subsamples=subsamples)


def subsample(labels: Tensor, share: float, seed: int, number: int) -> Tensor:
    """Rows (M,) int64, rising: a share of each class, rounded, one at least."""
    draw = rng.uniform(
        rng.fold(rng.fold(rng.keys(seed, torch.arange(len(labels))), "subsample"), number), (1,)
    ).flatten()
    order, chosen = draw.argsort(stable=True), []
    shuffled = labels.cpu()[order]
    for k in torch.unique(shuffled).tolist():
        members = order[shuffled == k]
        chosen.append(members[: max(1, round(share * len(members)))])
    return torch.cat(chosen).sort().values
