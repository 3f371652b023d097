"""Trainings of a claim: their sets, seeds, stored results and verdicts over seeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import hypot, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import Tensor

from robustest import Settings, clock, rng
from robustest.data import as_samples
from robustest.errors import DataError
from robustest.packs import (
    Chunk,
    Decision,
    Evaluator,
    Evidence,
    Observation,
    Options,
    Remembered,
    Setup,
    ShareRule,
    Tally,
    Terms,
    clopper_pearson,
    copied_from,
    current,
    decide_by_interval,
    frozen,
    observe,
    seed_draws,
)

Preprocessing = tuple[Sequence[float], Sequence[float]] | Callable[[Tensor], Tensor]
"""(mean, std) for each channel, or a function of a batch: as for `robustest.as_classifier`."""
TrainFn = Callable[[Tensor, Tensor, int], object]
"""Maps samples (n, *S) float32, labels (n,) int64 and a seed to a new model."""

# Training and test samples, read whole and checked: a training needs them as tensors.


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSets:
    """Training and test samples, on the CPU."""

    x: Tensor  # x, y: (N, *S) float32 inside the bounds and (N,) int64 labels to train on
    y: Tensor
    test_x: Tensor  # test_x, test_y: (M, *S) and (M,), to judge by
    test_y: Tensor

    @classmethod
    def of(cls, data: object, test: object, bounds: tuple[float, float]) -> TrainingSets:
        """Read both sets.

        Raises:
            DataError: a set is empty, of one class, outside the bounds, has NaN, or changes when it is read again;
                shapes differ; or test samples are trained on, exactly or but for rounding.
        """
        x, y = _read(data, bounds, "data")
        test_x, test_y = _read(test, bounds, "test")
        if x.shape[1:] != test_x.shape[1:]:
            raise DataError(
                f"Expected test samples of the shape of the data, {tuple(x.shape[1:])}, but got "
                f"{tuple(test_x.shape[1:])}."
            )
        _check_apart(x, test_x)
        return cls(x, y, test_x, test_y)

    def judged(self, seed: int, most: int | None) -> Tensor:
        """Return (m,) int64, rising: the test samples to judge by, drawn with a seed; all if `most` is None."""
        return rng.permutation(seed, len(self.test_y))[:most].sort().values

    @property
    def majority(self) -> float:
        """Return the share of the commonest training class: the accuracy of a model that has learned nothing."""
        return float(torch.bincount(self.y).max()) / len(self.y)


def _read(data: object, bounds: tuple[float, float], name: str) -> tuple[Tensor, Tensor]:
    whole = Chunk.whole(as_samples(data), bounds=bounds)
    x, y = whole.x, whole.y
    if bool((y < 0).any()):
        raise DataError(
            f"Expected labels >= 0 in {name} but sample {int((y < 0).nonzero()[0, 0])} has {int(y.min())}. Leave out "
            "samples without a label."
        )
    if bool((y == y[0]).all()):
        raise DataError(
            f"Expected samples of two classes or more in {name} but all are of class {int(y[0])}: nothing can be "
            "learned from them, or judged by them."
        )
    return x, y


def _check_apart(x: Tensor, test: Tensor) -> None:
    """Raise DataError for test samples that models are trained on: memorised samples cannot judge."""
    known = {mark: row for row, mark in enumerate(_marks(x))}
    inside = [(row, known[mark]) for row, mark in enumerate(_marks(test)) if mark in known]
    if inside:
        raise DataError(
            f"Expected test samples that are not trained on but {len(inside)} of {len(test)} are: test sample "
            f"{inside[0][0]} is sample {inside[0][1]} of the data. Take them out of either set."
        )
    check_not_copied(x, test, "the data")


def check_not_copied(x: Tensor, test: Tensor, name: str) -> None:
    """Raise DataError for test samples that are copies of those that are trained on, perhaps changed a little."""
    copied, how = copied_from(test, x)
    if copied:
        raise DataError(
            f"Expected test samples that are not trained on but {len(copied)} of those looked at are copies of samples "
            f"of {name}, {how}: test sample {copied[0][0]} is sample {copied[0][1]}. Take them out of either set."
        )


def _marks(x: Tensor) -> list[bytes]:
    return [sha256(row.tobytes()).digest() for row in x.contiguous().numpy()]


# Shares over models of several seeds, each judged on the same samples: intervals for other seeds and other samples.
#
# The mean over seeds and the mean over samples each have a standard error; answers of several models about one sample
# are one cluster. The interval adds the squares of both reaches by Student's t (Zou and Donner, "Construction of
# confidence limits about effect measures", Statistics in Medicine 2008). One model's samples alone would ignore the
# variance of trainings.


Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Seeded:
    """A share, or a difference of shares, over models of several seeds."""

    value: float  # the mean over seeds
    by_seed: float  # standard error for other seeds, on these samples; infinite for one seed
    by_sample: float  # standard error for other samples, of models of these seeds
    seeds: int  # seeds, samples: numbers of each
    samples: int

    @property
    def error(self) -> float:
        return hypot(self.by_seed, self.by_sample)

    def reach(self, alpha: float) -> float:
        """Return the half width of the interval, approximately alpha on each side."""
        if min(self.seeds, self.samples) < 2:
            return np.inf
        seed, sample = (float(student.ppf(1 - alpha, n - 1)) for n in (self.seeds, self.samples))
        return hypot(seed * self.by_seed, sample * self.by_sample)


def seeded_share(held: Bools) -> Seeded:
    """Return the share that holds, from held (S, m) bool of models of S seeds on m samples."""
    return _seeded(held.mean(1), held.mean(0) / held.shape[1])


def seeded_share_interval(held: Bools, alpha: float) -> Interval:
    """Return the approximate interval of the share for other seeds and samples; 0..1 for one seed."""
    found = seeded_share(held)
    reach, (least, most) = found.reach(alpha), _ends(held, alpha)
    # Never inside the exact interval of one model's samples: models that agree by chance show no variance.
    return max(0.0, min(found.value - reach, least)), min(1.0, max(found.value + reach, most))


def seeded_gap(train: Bools, train_ids: Ints, test: Bools) -> Seeded:
    """Return the share that holds among training samples (S, n) minus that among test samples (S, m).

    Args:
        train_ids: (S, n) positions of the training samples; seeds may share some.
    """
    _, sample = np.unique(train_ids, return_inverse=True)
    # One cluster per training sample, over all seeds that share it.
    own = np.bincount(sample.ravel(), weights=(train - train.mean()).ravel()) / train.size  # a sample's part, all seeds
    others = (test.mean(0) - test.mean()) / test.shape[1]
    return _seeded(train.mean(1) - test.mean(1), np.concatenate([own, -others]))


def seeded_gap_interval(train: Bools, train_ids: Ints, test: Bools, alpha: float) -> Interval:
    """Return the approximate interval of the gap for other seeds and samples; (-1, 1) for one seed."""
    found = seeded_gap(train, train_ids, test)
    reach = found.reach(alpha)
    (train_low, train_high), (test_low, test_high) = _ends(train, alpha), _ends(test, alpha)
    first, second = float(train.mean()), float(test.mean())
    # Never inside Newcombe's interval for one model's samples (Statistics in Medicine 1998, method 10, of exact
    # bounds).
    least = found.value - hypot(first - train_low, test_high - second)
    most = found.value + hypot(train_high - first, second - test_low)
    return max(-1.0, min(found.value - reach, least)), min(1.0, max(found.value + reach, most))


def _seeded(by_seed: NDArray[np.float64], parts: NDArray[np.float64]) -> Seeded:
    """Return an estimate from its values by seed (S,), and each sample's part of the mean over seeds (m,)."""
    seeds, samples = len(by_seed), len(parts)
    value = float(by_seed.mean())
    apart = parts - parts.mean()
    return Seeded(
        value=value,
        by_seed=float(by_seed.std(ddof=1)) / sqrt(seeds) if seeds > 1 else np.inf,
        by_sample=sqrt(float((apart**2).sum()) * samples / (samples - 1)) if samples > 1 else np.inf,
        seeds=seeds,
        samples=samples,
    )


def _ends(held: Bools, alpha: float) -> Interval:
    # The mean over seeds need not be a whole number of samples: round each end outwards.
    share, n = float(held.mean()), held.shape[1]
    low = clopper_pearson(int(np.floor(share * n)), n, alpha)[0]
    return low, clopper_pearson(int(np.ceil(share * n)), n, alpha)[1]


# Shared parts of claims about trainings: observation of whole sets, and verdicts over seeds.


def seen_whole(
    model: object,
    x: Tensor,
    y: Tensor,
    look: Callable[[Evaluator, Chunk], Observation],
    *,
    statement: str,
    options: Options,
    suppress: tuple[str, ...] = (),
) -> Evidence:
    """Observe every sample of a set: no early stop, no pictures, no cache entry."""
    setup = Setup.of(model, (x, y), options)
    suppressed = (*setup.settings.suppress, *suppress)
    setup = setup.but(exact=True, max_samples=None, time_budget=None, suppress=suppressed).unpictured()
    # The outcomes are cached with the training that they belong to.
    setup = replace(setup, settings=replace(setup.settings, store=None, corpus=None))
    return observe(setup.plan(statement, look, look_only_rule(setup.settings), here=True))


def look_only_rule(settings: Settings) -> ShareRule:
    """Return a rule that needs every outcome and decides nothing."""
    terms = Terms(scope="set", alpha=settings.alpha, fail_alpha=settings.alpha)
    return ShareRule(threshold=None, at_least=True, terms=terms)


def decision_over_seeds(
    estimate: float, interval: tuple[float, float], most: float | None, seeds: int, terms: Terms, *, doubt: str = ""
) -> Decision:
    """Return the decision on a value over seeds and samples that is claimed to be at most `most`.

    Args:
        interval: by Student's t over seeds.
        doubt: reason why the value means nothing, hence inconclusive, or "".
    """
    if most is not None and seeds == 1 and not doubt:  # the interval is all of 0..1, or -1..1
        doubt = "one seed says nothing of others: give seeds=3 or more"
    # Student's t over a few seeds is approximate: no claim about a population passes.
    return decide_by_interval(
        estimate,
        interval,
        most,
        at_least=False,
        terms=terms,
        how="other seeds and samples",
        by="Student's t over seeds",
        units="seeds",
        instead='claim the robust accuracy of a model that was trained (scope="population")',
        doubt=doubt,
    )


def total(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of the tallies."""
    whole = Tally()
    for tally in tallies:
        whole = whole.plus(tally)
    return whole


def asked_on(device: str) -> Settings:
    """Return the settings by which repairs ask a model that is not attacked: on a device, scores of any kind."""
    return Settings(device=device, suppress=("softmax_outputs",))


# Trainings by a user's function: models are trained once, and their measurements remembered.


class Trainings:
    """Trainings by one function, each measured and remembered; `about` is all else that measurements depend on."""

    def __init__(self, train: TrainFn, settings: Settings, about: object) -> None:
        self._train_fn = train
        self.remembered = Remembered("training", {"train": train, "device": settings.device, "about": about}, settings)

    def measured(
        self, x: Tensor, y: Tensor, seed: int, what: object, measure: Callable[[object], tuple[Observation, Tally]]
    ) -> tuple[Observation, Tally]:
        """Return the measurements of the model that is trained on x (n, *S), y (n,) with a seed.

        Args:
            what: identity of the measurement.

        Raises:
            StoreError: a remembered training comes out differently now.
        """

        def made() -> tuple[Observation, Tally]:
            clock.check()
            started = time.perf_counter()
            model = self._model(x, y, seed)
            took = time.perf_counter() - started
            observed, tally = measure(model)
            return observed, replace(tally, seconds=tally.seconds + took)

        return self.remembered.outcomes((x, y, seed, what), made)

    def _model(self, x: Tensor, y: Tensor, seed: int) -> object:
        # Draws from global generators follow from the seed, and the generators are restored.
        with torch.inference_mode(False), torch.enable_grad(), frozen(None):
            seed_draws(rng.fold(rng.keys(seed, torch.zeros(1, dtype=torch.int64)), "training"))
            return self._train_fn(x.clone(), y.clone(), seed)  # copies: it may write into them


def announced(statement: str, done: int, total: int) -> None:
    """Report the progress of trainings to the running test."""
    tell = current().progress
    if tell is not None:
        tell(f"{statement}: trainings", done, total, 0)
