"""Subsets that learners are trained on: equally many of both sets, their halves, and a real learning curve."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import rng
from robustest_training.real_and_synthetic import Sets
from robustest_training.remembered_fits import Bools, Fits, Source
from robustest_training.training_draws import Trained, halves_variance

# Most disjoint sets of the compared size, of either kind.
_SETS = 4
# Most disjoint subsets of each smaller size.
_SUBSETS = 8
# The learning curve ends at most at this many times the compared size.
_BEYOND = 4
# The learning curve begins at least at the compared size over this.
_BELOW = 64
# Fewest subsets whose variance is used; with fewer it is that of the whole set.
_SPREAD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Positions of samples, (n,) int64 each."""

    synthetic: list[Tensor]  # synthetic, real: disjoint sets of equally many
    real: list[Tensor]
    # synthetic_halves, real_halves: both halves of some of these, for each random split.
    synthetic_halves: list[tuple[Tensor, Tensor]]
    real_halves: list[tuple[Tensor, Tensor]]
    curve: dict[int, list[Tensor]]  # by size, growing, disjoint sets of real samples; the size of `real` is left out

    @classmethod
    def of(cls, sets: Sets, splits: int, seed: int) -> Draws:
        """Draw the subsets, each from the seed alone, with `splits` of each kind into halves."""
        many, fewest = len(sets.train.y), max(sets.smallest, sets.n / _BELOW)
        # Powers of two around the compared size: half of it is among them, whose learners the halves provide, too.
        doubled = [sets.n * 2.0**power for power in range(-10, 10)]
        sizes = [round(size) for size in doubled if fewest <= size <= min(many, _BEYOND * sets.n)]
        curve = {
            size: _disjoint(many, size, _SUBSETS if size < sets.n else _SETS, seed, f"curve {size}")
            for size in sizes
            if size != sets.n
        }
        if many < _BEYOND * sets.n and many > max(sizes):
            curve[many] = _disjoint(many, many, 1, seed, "all")
        synthetic = _disjoint(len(sets.synthetic.y), sets.n, _SETS, seed, "synthetic")
        real = _disjoint(many, sets.n, _SETS, seed, "real")
        return cls(
            synthetic=synthetic,
            real=real,
            synthetic_halves=_halves(synthetic, sets.synthetic, splits, seed, "synthetic halves"),
            real_halves=_halves(real, sets.train, splits, seed, "real halves"),
            curve=dict(sorted(curve.items())),
        )

    @property
    def trainings(self) -> int:
        halves = 2 * (len(self.synthetic_halves) + len(self.real_halves))
        return len(self.synthetic) + len(self.real) + halves + sum(map(len, self.curve.values()))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawLearners:
    """Learners of all draws."""

    synthetic: Trained  # synthetic, real: trained on equally many samples
    real: Trained
    curve: tuple[Trained, ...]  # of real samples, of growing sizes, `real` among them


def learned(fits: Fits, sets: Sets, draws: Draws) -> DrawLearners:
    """Train on every draw, the smallest first."""

    def right(source: Source, ids: list[Tensor]) -> list[Bools]:
        return [fits.right(source, one) for one in ids]

    below = {size: right(sets.train, ids) for size, ids in draws.curve.items() if size < sets.n}
    halves = [right(sets.train, list(pair)) for pair in draws.real_halves]
    other = [right(sets.synthetic, list(pair)) for pair in draws.synthetic_halves]
    real = _whole(right(sets.train, draws.real), halves, sets.n)
    synthetic = _whole(right(sets.synthetic, draws.synthetic), other, sets.n)
    above = {size: right(sets.train, ids) for size, ids in draws.curve.items() if size > sets.n}
    points = []
    for size, found in {**below, **above}.items():
        # Halves of the real set are learners of half its size.
        again = list(chain.from_iterable(halves)) if size == round(sets.n / 2) else []
        points.append(_point(size, found, again, real))
    curve = tuple(sorted([*points, real], key=lambda one: one.size))
    return DrawLearners(synthetic=synthetic, real=real, curve=curve)


def _whole(right: list[Bools], halves: list[list[Bools]], size: int) -> Trained:
    variance = halves_variance([[float(half.mean()) for half in pair] for pair in halves]) / len(right)
    return Trained(size=size, right=_share(right), variance=variance, freedom=len(halves), draws=len(right))


def _share(right: list[Bools]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.stack(right).astype(np.float64).mean(0)
    return mean


def _point(size: int, apart: list[Bools], again: list[Bools], whole: Trained) -> Trained:
    """Return a point of the curve.

    Args:
        apart: test samples that learners of disjoint subsets are right on.
        again: the same of subsets that overlap with these.
        whole: learners of sets of the size that was halved.
    """
    # Variance is at least that of the whole set, scaled by the number of samples trained on in all.
    shared = whole.variance * whole.draws * whole.size / (len(apart) * size)
    own = float(np.var([one.mean() for one in apart], ddof=1)) / len(apart) if len(apart) >= _SPREAD else 0.0
    right = _share([*apart, *again])
    freedom = len(apart) - 1.0 if own > shared else whole.freedom
    draws = len(apart) + len(again)
    return Trained(size=size, right=right, variance=max(shared, own), freedom=freedom, draws=draws)


def _disjoint(many: int, size: int, most: int, seed: int, use: str) -> list[Tensor]:
    order = rng.permutation(_seed(seed, use), many)
    return [order[at * size : (at + 1) * size] for at in range(max(1, min(most, many // size)))]


def _halves(sets: list[Tensor], source: Source, splits: int, seed: int, use: str) -> list[tuple[Tensor, Tensor]]:
    # Equal samples stay together: halves that share them would agree more than other draws do.
    _, same = np.unique(source.x.flatten(1).numpy(), axis=0, return_inverse=True)
    groups, made = torch.from_numpy(same.reshape(-1)), []
    for split in range(splits):
        ids = sets[split % len(sets)]
        place = rng.permutation(_seed(seed, f"{use} {split}"), len(groups))[groups[ids]]
        made.append(_cut(ids[place.argsort(stable=True)], place.sort().values))
    return made


def _cut(ids: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Return two parts as nearly equal as groups allow, (n,) in their order; a single group is halved."""
    ends = (group[1:] != group[:-1]).nonzero().flatten() + 1
    half = len(ids) // 2
    at = half if not len(ends) else int(ends[(ends - half).abs().argmin()])
    return ids[:at], ids[at:]


def _seed(seed: int, use: str) -> int:
    return int(rng.fold(rng.keys(seed, torch.zeros(1, dtype=torch.int64)), use))
