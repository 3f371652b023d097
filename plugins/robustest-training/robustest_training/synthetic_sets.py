"""Fits on real and synthetic sets: learners, their remembered fits, the sets, and random subsets of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from itertools import chain
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from robustest import Classifier, Settings, clock, rng
from robustest.clock import check as check_clock
from robustest.data import as_samples
from robustest.errors import DataError, ModelError, RobustestError, expected
from robustest.packs import (
    Chunk,
    Controls,
    Evaluator,
    Observation,
    Remembered,
    Tally,
    digest,
    frozen,
    seed_draws,
)
from robustest_training.synthetic_rule import Trained, halves_variance
from robustest_training.trainings import TrainFn, check_not_copied

# Learners of a training set: a logistic regression, or the user's training function.


Predict = Callable[[Tensor], Tensor]
"""Maps inputs (B, *S) to classes (B,) int64."""

# Test samples per call of a user's model: fixed, as last bits may depend on it.
_ROWS = 1024


class Learner(Protocol):
    """Learns from samples; has a name for reports."""

    @property
    def name(self) -> str: ...

    def train(self, x: Tensor, y: Tensor, classes: int, key: Tensor) -> Predict:
        """Train on samples x (n, *S) float32 with labels y (n,); `key` (1,) int64 seeds this training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """Multinomial logistic regression with an L2 penalty, at its only optimum: it draws nothing."""

    name: ClassVar[str] = "logistic regression"
    # The best penalty for digits (MNIST at 7 x 7, 1,500 samples).
    penalty: float = 10.0  # of half the squared weights, in units of one sample's loss
    tolerance: float = 1e-5  # largest gradient of the mean loss at the end
    steps: int = 1000  # most steps of L-BFGS

    def train(self, x: Tensor, y: Tensor, classes: int, key: Tensor) -> Predict:
        rows = x.flatten(1).double()
        # One scale for all inputs: pixels that hardly change in training are not blown up.
        centre = rows.mean(0)
        scale = float((rows - centre).square().mean().sqrt()) or 1.0
        weights, bias = self._fitted(((rows - centre) / scale).numpy(), y.numpy(), classes)
        w, b = torch.from_numpy(weights), torch.from_numpy(bias)

        def predict(at: Tensor) -> Tensor:
            return (((at.flatten(1).double() - centre) / scale) @ w + b).argmax(1)

        return predict

    def _fitted(
        self, x: NDArray[np.float64], y: NDArray[np.int64], classes: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        n, d = x.shape
        target = np.eye(classes)[y]

        def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            check_clock()
            w, b = flat[: d * classes].reshape(d, classes), flat[d * classes :]
            logits = x @ w + b
            # Log-sum-exp, shifted by the largest logit.
            top = logits.max(1, keepdims=True)
            odds = np.exp(logits - top)
            total = odds.sum(1, keepdims=True)
            value = (np.log(total) + top).mean() - (logits * target).sum() / n + self.penalty / n * (w * w).sum() / 2
            error = (odds / total - target) / n
            return float(value), np.concatenate([(x.T @ error + self.penalty / n * w).ravel(), error.sum(0)])

        found = minimize(
            loss,
            np.zeros((d + 1) * classes),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.steps, "maxfun": 2 * self.steps, "gtol": self.tolerance, "ftol": 0.0},
        )
        left = float(np.abs(found.jac).max())
        if not left <= 100 * self.tolerance:  # rounding may stop it a little before
            raise ModelError(
                f"Expected logistic regression to reach its optimum but a gradient of {left:.3g} is left after "
                f"{found.nit} steps. Scale the features alike, or train another learner with train=."
            )
        return found.x[: d * classes].reshape(d, classes), found.x[d * classes :]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLearner:
    """The user's training function."""

    fit: TrainFn  # maps samples (n, *S) float32, labels (n,) int64 and a seed to a model
    as_model: Callable[[object], Classifier]  # makes a classifier of the model
    device: str  # as in settings

    @property
    def name(self) -> str:
        return getattr(self.fit, "__name__", type(self.fit).__name__)

    def train(self, x: Tensor, y: Tensor, classes: int, key: Tensor) -> Predict:
        # Draws from global generators follow from the key, and the generators are restored.
        with torch.inference_mode(False), torch.enable_grad(), frozen(None):
            seed_draws(key)
            # Copies: the function may write into its arguments.
            model = self.as_model(self.fit(x.clone(), y.clone(), int(key[0]) & 0x7FFFFFFF))

        def predict(at: Tensor) -> Tensor:
            with torch.inference_mode(False), frozen(model.module) as notes:
                device = model.place(self.device)
                evaluator = Evaluator(model, device, batch_size=_ROWS, suppress=(), notes=notes)
                logits = [evaluator.logits(part.to(device)) for part in torch.split(at, _ROWS)]
                evaluator.require_finite()
                answers = [evaluator.task.predictions(each).cpu() for each in logits]
            if logits[0].shape[1] < classes:
                raise ModelError(
                    f"Expected train to return a model of {classes} classes, which the data have, but its logits "
                    f"are {tuple(logits[0].shape)}."
                )
            return torch.cat(answers)

        return predict


# Learners trained on subsets and judged on one test set, cached by all that they depend on.


Bools = NDArray[np.bool_]

_PREDICTED = "predicted"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """Samples: x (N, *S) float32 on the CPU, y (N,) int64."""

    x: Tensor
    y: Tensor


@dataclass(slots=True, kw_only=True)
class Fits:
    """Trains learners, or loads their predictions.

    A key covers most of a function that a user wrote. So the first recalled training is made again, and unless it
    comes out alike nothing is recalled.
    """

    learner: Learner
    own: bool  # True for robustest's learner, which depends on its inputs alone
    test: Source  # the samples that it is judged on
    classes: int
    settings: Settings
    tell: Callable[[], None]  # called after each training
    seconds: float = 0.0  # time of all trainings, recalled ones included
    model: str = ""  # digest of the learner; empty without one
    remembered: Remembered = field(init=False)

    def __post_init__(self) -> None:
        about = {"learner": self.learner, "classes": self.classes, "device": self.settings.device}
        self.remembered = Remembered("fit", about, self.settings, first=not self.own)
        with suppress(RobustestError):  # a learner without an identity
            self.model = digest(self.learner)

    def controls(self, sets: Sets) -> Controls:
        """Train the learner on data that teach nothing, and judge it; time and memory are this one's."""
        x, y, judged = sets.train.x, sets.train.y, len(self.test.y)
        controls = Controls.of(x, y, judged=judged, seed=self.settings.seed, size=sets.n)
        other, fits = controls.held_out, copy(self)
        fits.test, fits.seconds = (
            Source(x=torch.cat([self.test.x, x[other]]), y=torch.cat([self.test.y, y[other]])),
            0.0,
        )

        def judge(x: Tensor, y: Tensor, _: int) -> tuple[Bools, Bools, Bools]:
            right = fits.right(Source(x=x, y=y), torch.arange(len(y)))
            return right[:judged], right[:judged], right[judged:]

        trained = controls.trained(judge)
        self.seconds += fits.seconds
        return trained

    def right(self, source: Source, ids: Tensor) -> Bools:
        """Train on the samples at ids, and return (t,) bool, the test samples that the learner is right on.

        Raises:
            ModelError: the learner cannot be judged.
            StoreError: a cached training is contradicted.
        """
        # Sorted: the same subset in another order is the same training.
        ids = ids.sort().values
        x, y = source.x[ids], source.y[ids]
        found, tally = self.remembered.outcomes((x, y, self.test.x, self.test.y), lambda: self._train(x, y, ids))
        self.seconds += tally.seconds
        self.tell()
        held: Bools = np.asarray(found.columns[_PREDICTED]) == self.test.y.numpy()
        return held

    def _train(self, x: Tensor, y: Tensor, ids: Tensor) -> tuple[Observation, Tally]:
        clock.check()
        started = time.perf_counter()
        key = rng.fold(rng.keys(self.settings.seed, ids), "training").sum().view(1)
        predicted = self.learner.train(x, y, self.classes, key)(self.test.x)
        return Observation({_PREDICTED: predicted.int()}, []), Tally(seconds=time.perf_counter() - started)


# The three sets of a claim about synthetic data, read and checked.


_AT_ONCE = 1024
# Fewest samples of each class on average in either training set: a learning curve begins at half of that.
_EACH = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sets:
    """The three sets, on the CPU."""

    synthetic: Source
    train: Source
    test: Source
    classes: int  # one more than the largest label of real samples

    @property
    def n(self) -> int:
        """Return the number of synthetic and of real samples compared."""
        return min(len(self.synthetic.y), len(self.train.y))

    @property
    def smallest(self) -> int:
        return 2 * self.classes

    def counts(self, source: Source) -> NDArray[np.int64]:
        return np.bincount(source.y.numpy(), minlength=self.classes).astype(np.int64)


def read_sets(synthetic: object, train: object, test: object) -> Sets:
    """Read and check the sets.

    Raises:
        DataError: NaN, different shapes or classes, a single class, too few samples, test samples among the others, or
            the training samples given as synthetic ones.
    """
    given = {"synthetic": synthetic, "train": train, "test": test}
    read = {name: _read(data, name) for name, data in given.items()}
    shapes = {name: tuple(source.x.shape[1:]) for name, source in read.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"Expected synthetic, train and test samples of one shape but got {shapes}.")
    classes = int(max(read[name].y.max() for name in ("train", "test"))) + 1
    if int(read["synthetic"].y.max()) >= classes:
        raise DataError(
            f"Expected synthetic labels among the {classes} classes of the real samples but got "
            f"{int(read['synthetic'].y.max())}."
        )
    sets = Sets(**read, classes=classes)
    if sets.n < _EACH * classes:
        raise DataError(
            f"Expected {_EACH * classes} synthetic and real training samples or more, {_EACH} of each class on "
            f"average, but got {len(sets.synthetic.y)} and {len(sets.train.y)}."
        )
    _check_apart(sets)
    return sets


def features_of(sets: Sets, features: Callable[[Tensor], object]) -> Sets:
    """Return the sets with features (B, D) in place of the inputs. Raises ModelError for malformed features."""
    made = {}
    for name in ("synthetic", "train", "test"):
        source: Source = getattr(sets, name)
        rows = torch.cat([_featured(part, features) for part in torch.split(source.x, _AT_ONCE)])
        if not bool(torch.isfinite(rows).all()):
            raise ModelError(f"Expected finite features but those of {name} have NaN or infinite values.")
        made[name] = Source(x=rows, y=source.y)
    return Sets(**made, classes=sets.classes)


def _featured(x: Tensor, features: Callable[[Tensor], object]) -> Tensor:
    with torch.no_grad():
        made = features(x)
    rows = torch.as_tensor(made) if isinstance(made, np.ndarray) else made
    if not isinstance(rows, Tensor) or rows.ndim < 2 or len(rows) != len(x) or not rows.is_floating_point():
        got = tuple(rows.shape) if isinstance(rows, Tensor) else made
        raise ModelError(expected(f"features of {len(x)} samples as floats, ({len(x)}, D)", got))
    return rows.detach().cpu().float().flatten(1)


def _read(data: object, name: str) -> Source:
    try:
        whole = Chunk.whole(as_samples(data), bounds=(-np.inf, np.inf))
    except DataError as error:
        raise DataError(f"{error} (This is the {name} set.)") from error
    x, y = whole.x, whole.y
    if int(y.min()) < 0:
        raise DataError(f"Expected labels 0 or more but {name} sample {int(y.argmin())} has {int(y.min())}.")
    if int(y.min()) == int(y.max()):
        raise DataError(
            f"Expected {name} samples of two classes or more but all {len(y)} are of class {int(y[0])}: nothing can be "
            "learned from them, or judged by them."
        )
    return Source(x=x.contiguous(), y=y)


def _check_apart(sets: Sets) -> None:
    """Raise DataError for test samples in a training set, and for a training set given twice."""
    synthetic, train, test = (_marks(source) for source in (sets.synthetic, sets.train, sets.test))
    for name, marks in (("train", train), ("synthetic", synthetic)):
        among = set(marks)
        if len(among) < 2:
            raise DataError(f"Expected {name} samples that differ but all {len(marks)} are the same one.")
        shared = [at for at, mark in enumerate(test) if mark in among]
        if shared:
            raise DataError(
                f"Expected test samples that are in no training set but {len(shared)} of {len(test)} are among the "
                f"{name} ones too, the first of them test sample {shared[0]}. What was trained on cannot judge: take "
                "them out of one of the two."
            )
        source: Source = getattr(sets, name)
        check_not_copied(source.x, sets.test.x, f"the {name} set")
    if sorted(synthetic) == sorted(train):
        raise DataError(
            "Expected synthetic samples but got the training samples themselves: they would stand in for real data "
            "because they are real data."
        )


def _marks(source: Source) -> list[bytes]:
    # Inputs alone: a sample with another label is the same sample.
    return [row.tobytes() for row in source.x.flatten(1).numpy()]


# Subsets that learners are trained on: equally many of both sets, their halves, and a real learning curve.


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
