"""Sparse linear heads on a model's features: a whole path from no feature to many.

Wong, Santurkar and Madry, "Leveraging Sparse Linear Layers for Debuggable Deep Networks" (ICML 2021), section 2:
the elastic net of Zou and Hastie (2005) on standardised features of a frozen network. Each fit starts from the one
before, on the features that the strong rule (Tibshirani et al., JRSS B 2012) lets through; the bound that stops it
counts all of them. A head explains; it is not the deployed model, and which of several correlated features it keeps is
chance. So hold what it shows against an intervention on the model itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.errors import ConfigError, DataError, expected
from robustest.heads.elastic_net import Design, Fit, Problem, solve
from robustest.heads.feature_rows import checked_rows, held_out, standardisation
from robustest.heads.sparse_path import SparsePath, compact, stacked

Rows = tuple[Tensor, Tensor]
"""Features (N, D) and labels (N,)."""


def fit_sparse_head(
    features: Tensor,
    labels: Tensor,
    *,
    validation: Rows | None = None,
    validation_share: float = 0.1,
    l1_ratio: float = 0.99,
    n_lambdas: int = 100,
    lambda_ratio: float = 1e-3,
    lambdas: Sequence[float] | None = None,
    classes: int | None = None,
    tolerance: float = 1e-4,
    max_steps: int = 5000,
    batch: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> SparsePath:
    """Elastic-net multinomial logistic regression along a path of penalties, from the sparsest head to the densest.

    At each penalty lam it minimises mean cross-entropy + lam * (l1_ratio * sum |W| + (1 - l1_ratio) / 2 * sum W^2) with
    a free bias, on features standardised by mean and standard deviation of the training rows.

    Args:
        features: (N, D) floats, finite. They stay where they are (memory-mapped, say) if `batch` is given.
        labels: (N,) int64 in 0..K-1, every class present.
        validation: rows that choose the head; None holds out `validation_share` of the rows given.
        validation_share: of each class, in [0, 1); 0 holds out none, and leaves nothing to choose a head by.
        l1_ratio: share of absolute values in the penalty, in (0, 1).
        n_lambdas: penalties on the path, >= 2, evenly spaced in the logarithm.
        lambda_ratio: the last penalty over the first, in (0, 1). The first is the smallest that leaves no feature.
        lambdas: penalties of your own, falling, > 0, instead of the two above.
        classes: K; None takes the largest label + 1.
        tolerance: relative duality gap at which a fit ends, > 0: no other weights have an objective lower by more.
        max_steps: steps at one penalty at most; the path's `gaps` tell how far each fit came.
        batch: rows brought to the device at a time; None holds all there.
        device: where to compute; None means where the features are.
        dtype: float32 or float64.
        seed: draws the rows held out.
        progress: called with penalties done, and penalties in all.

    Raises:
        ConfigError: an argument is out of range.
        DataError: features or labels have a wrong shape or type, hold NaN or infinity, or a class has no rows.
    """
    _check_shares(l1_ratio=l1_ratio, lambda_ratio=lambda_ratio, validation_share=validation_share)
    _check_counts(n_lambdas=(n_lambdas, 2), max_steps=(max_steps, 1), batch=(1 if batch is None else batch, 1))
    _check_solver(tolerance, dtype)
    k = checked_rows(features, labels, classes)
    train, held = _parted((features, labels), validation, k, share=validation_share, seed=seed)
    place = torch.device(device) if device is not None else features.device
    mean, scale = standardisation(train[0], place, dtype)
    design = Design(train[0], mean, scale, device=place, dtype=dtype, batch=batch)
    walk = _Path(design, train[1].to(place), l1_ratio=l1_ratio, classes=k, tolerance=tolerance, max_steps=max_steps)
    grid = _lambda_grid(lambdas) if lambdas is not None else walk.grid(n_lambdas, lambda_ratio)
    return _sparse_path(walk, grid, walk.along(grid, progress), held)


class _Path:
    """Warm starts down a path of penalties, on the features that matter so far."""

    def __init__(
        self, design: Design, labels: Tensor, *, l1_ratio: float, classes: int, tolerance: float, max_steps: int
    ) -> None:
        self.design, self.labels, self.l1_ratio, self.classes = design, labels, l1_ratio, classes
        self.tolerance, self.max_steps, self.curvature = tolerance, max_steps, 0.01
        hot = F.one_hot(labels, classes).T.to(design.dtype)
        self.bias = hot.mean(1).log()
        self.weight = hot.new_zeros(classes, len(design.mean))
        self.pulled = design.pulled(hot.mean(1, keepdim=True) - hot)
        self.last = max(float(self.pulled.abs().max()) / l1_ratio, 1e-12)
        self.kept = torch.zeros(len(design.mean), dtype=torch.bool, device=design.device)
        self.part = design.restricted(self.kept.nonzero().squeeze(1))

    def grid(self, n: int, ratio: float) -> list[float]:
        """Penalties, n of them, from the smallest that leaves no feature down to `ratio` times it."""
        return [self.last * ratio ** (i / (n - 1)) for i in range(n)]

    def along(self, grid: Sequence[float], progress: Callable[[int, int], None] | None) -> list[Fit]:
        """The solutions at falling penalties."""
        fits = []
        for lam in grid:
            fits.append(self.down_to(lam))
            if progress is not None:
                progress(len(fits), len(grid))
        return fits

    def down_to(self, lam: float) -> Fit:
        """The solution at the next penalty."""
        self._admit(self.l1_ratio * (2 * lam - self.last))
        whole = Problem(self.design, self.labels, lam=lam, l1_ratio=self.l1_ratio, classes=self.classes)
        while True:
            fit = self._solved(lam)
            logits = self.part.scores(fit.weight) + fit.bias[:, None]
            self.pulled = self.design.pulled(whole.residual(logits))
            gap = whole.gap(logits, fit.bias, self.pulled, fit.objective)
            if gap <= self.tolerance or not self._admit(self.l1_ratio * lam):
                break
        self.last = lam
        return Fit(self.weight.clone(), fit.bias, fit.objective, gap, fit.curvature, fit.steps)

    def _solved(self, lam: float) -> Fit:
        columns = self.kept.nonzero().squeeze(1)
        problem = Problem(self.part, self.labels, lam=lam, l1_ratio=self.l1_ratio, classes=self.classes)
        start = (self.weight[:, columns], self.bias)
        fit = solve(problem, *start, tolerance=self.tolerance, curvature=self.curvature, max_steps=self.max_steps)
        self.weight[:, columns] = fit.weight
        self.bias, self.curvature = fit.bias, fit.curvature
        return fit

    def _admit(self, threshold: float) -> bool:
        """Let in the features that pull harder than a threshold; whether any was new."""
        kept = self.kept | (self.pulled.abs().amax(0) > threshold)
        if bool((kept == self.kept).all()):
            return False
        self.kept = kept
        self.part = self.design.restricted(kept.nonzero().squeeze(1))
        return True


def _sparse_path(walk: _Path, grid: Sequence[float], fits: Sequence[Fit], held: Rows | None) -> SparsePath:
    """The fits at the penalties of a grid, with their accuracies on rows that were held out."""
    design = walk.design
    return SparsePath(
        lambdas=tuple(grid),
        weights=tuple(compact(fit.weight) for fit in fits),
        biases=stacked([fit.bias for fit in fits]),
        mean=design.mean.cpu(),
        scale=design.scale.cpu(),
        objectives=tuple(fit.objective for fit in fits),
        gaps=tuple(fit.gap for fit in fits),
        accuracies=None if held is None else _accuracies(design, held, fits),
        l1_ratio=walk.l1_ratio,
        n_train=len(walk.labels),
        n_validation=0 if held is None else len(held[1]),
    )


def _parted(rows: Rows, validation: Rows | None, classes: int, *, share: float, seed: int) -> tuple[Rows, Rows | None]:
    """Rows to train on, and those that choose the head, given or held out."""
    return _split(rows, share, seed) if validation is None else _given_validation(rows, validation, classes)


def _given_validation(rows: Rows, validation: Rows, classes: int) -> tuple[Rows, Rows]:
    checked_rows(*validation, classes, complete=False)
    if validation[0].shape[1] != rows[0].shape[1]:
        raise DataError(expected(f"validation features (M, {rows[0].shape[1]})", tuple(validation[0].shape)))
    return rows, validation


def _split(rows: Rows, share: float, seed: int) -> tuple[Rows, Rows | None]:
    train, rest = held_out(rows[1], share, seed)
    if not len(rest):
        return rows, None
    features, labels = rows[0], rows[1].cpu()
    place = features.device
    return (features[train.to(place)], labels[train]), (features[rest.to(place)], labels[rest])


def _accuracies(design: Design, held: Rows, fits: Sequence[Fit]) -> tuple[float, ...]:
    """Of each fit on rows that were held out, standardised as those of the design are."""
    batch = design.batch or 4096
    test = Design(held[0], design.mean, design.scale, device=design.device, dtype=design.dtype, batch=batch)
    return tuple(_accuracy(test, held[1], fit) for fit in fits)


def _accuracy(test: Design, labels: Tensor, fit: Fit) -> float:
    guess = (test.scores(fit.weight) + fit.bias[:, None]).argmax(0)
    return float((guess.cpu() == labels.cpu()).double().mean())


def _check_shares(*, l1_ratio: float, lambda_ratio: float, validation_share: float) -> None:
    for name, value in (("l1_ratio", l1_ratio), ("lambda_ratio", lambda_ratio)):
        if not _real(value) or not 0 < value < 1:
            raise ConfigError(expected(f"{name} in (0, 1)", value))
    if not _real(validation_share) or not 0 <= validation_share < 1:
        raise ConfigError(expected("validation_share in [0, 1)", validation_share))


def _check_solver(tolerance: float, dtype: torch.dtype) -> None:
    if not _real(tolerance) or tolerance <= 0:
        raise ConfigError(expected("tolerance > 0", tolerance))
    if dtype not in (torch.float32, torch.float64):
        raise ConfigError(expected("dtype to be torch.float32 or torch.float64", dtype))


def _check_counts(**counts: tuple[int, int]) -> None:
    for name, (number, low) in counts.items():
        if type(number) is not int or number < low:
            raise ConfigError(expected(f"{name} to be a whole number >= {low}", number))


def _lambda_grid(lambdas: Sequence[float]) -> list[float]:
    grid = list(lambdas)
    if not grid or not all(_real(lam) and lam > 0 for lam in grid) or any(b >= a for a, b in pairwise(grid)):
        raise ConfigError(expected("lambdas to be falling numbers > 0", lambdas))
    return grid


def _real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
