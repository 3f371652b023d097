"""Controls of a claim that trains: the same training on data that teach nothing.

A claim about trainings may hold for another reason than its data: a network that knew the classes before, a function
that ignores its arguments or goes on with the last call's network, one that reads the test samples. Each has the
classes right after a training on data from which nobody could learn them:

- *labels permuted*: samples whose labels agree with nothing. Within each class all labels are there equally often, and
  the k-th of the trainings gets label + k: over all of them a learner of the samples alone is right as often as chance.
- *noise*: elements drawn between their least and largest value, with such labels. Networks that samples with wrong
  labels would change keep here what they knew.

Both are small, a sixteenth of the samples, so that they end near the weights that the training starts from. Then

1. a training that has more of the test samples right than of other samples of the same data, which it saw no more of,
   has read the test samples: the same models judge both, so that only the draw of the samples differs;
2. a claim that allows a difference d must fail on a control: with a the accuracy claimed about and c the control's, a
   pass with a - c <= d shows nothing that the data taught.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from robustest import rng
from robustest.words import number

Bools = NDArray[np.bool_]

# A control has this part of the samples, and this many of each class at least.
_PART, _OF_EACH_CLASS = 16, 4
# Trainings of each control: for two classes an even number, so that labels and their opposites balance.
_TRAININGS, _OF_TWO_CLASSES = 3, 4
# Chance of taking a training for one that reads the test samples, and the least difference that is one.
_PEEKS, _LEAST_PEEK = 1e-3, 0.02


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ControlSet:
    """Data that teach nothing.

    Attributes:
        name: "labels permuted" or "noise".
        x, y: (n, *S) and (n,) to train on.
        seed: of the training.
    """

    name: str
    x: Tensor
    y: Tensor
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ControlAnswers:
    """Answers of the trainings of one control.

    Attributes:
        held: (S, m) bool, the outcomes of the claim on its test samples, of each training.
        right: (S, m) bool, right on the unchanged test samples.
        held_out: (S, h) bool, right on the samples held out.
    """

    name: str
    size: int
    held: Bools
    right: Bools
    held_out: Bools

    @property
    def accuracy(self) -> float:
        return float(self.held.mean())

    @property
    def peek(self) -> float:
        """The accuracy on test samples above that on samples held out, if no chance draw explains it; else 0."""
        if not self.held_out.shape[1]:
            return 0.0
        # A sample's part is its share over the trainings: answers of several models about one sample are one cluster.
        test, other = self.right.mean(0), self.held_out.mean(0)
        error = sqrt(test.var() / len(test) + other.var() / len(other))
        more = float(test.mean() - other.mean())
        return more if more - max(_LEAST_PEEK, -float(ndtri(_PEEKS)) * error) > 0 else 0.0

    def row(self) -> dict[str, Any]:
        other = float(self.held_out.mean()) if self.held_out.shape[1] else None
        shares = {"test": float(self.right.mean()), "held_out": other, "holds": self.accuracy}
        return {"trained_on": self.name, "samples": self.size, "trainings": len(self.held), **shares}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Controls:
    """The trainings on data that teach nothing, of one claim.

    Attributes:
        sets: the data, one for each training.
        held_out: (h,) int64, places of samples that no control is trained on.
        answers: of each control, once it was trained.
    """

    CAPTION: ClassVar[str] = "the same training on data that teach nothing: accuracy"  # of their table in reports

    sets: tuple[ControlSet, ...]
    held_out: Tensor
    answers: tuple[ControlAnswers, ...] = ()

    @classmethod
    def of(cls, x: Tensor, y: Tensor, *, judged: int, seed: int, size: int | None = None) -> Controls:
        """Draw the sets from samples that a claim trains on.

        Args:
            x, y: (N, *S) and (N,) with labels >= 0.
            judged: number of test samples, and at most of those held out.
            size: samples that the claim's largest training gets; None for all.
        """
        classes = torch.unique(y)
        size = len(y) if size is None else size
        n = min(max(size // _PART, _OF_EACH_CLASS * len(classes)), size, max(len(y) // 2, 1))
        order = rng.permutation(seed, len(y))
        own = order[:n]
        # Labels of one class after the other: each true class has all of them equally often.
        sorted_own = own[y[own].argsort(stable=True)]
        place = torch.arange(n)
        low, high = x.amin(0), x.amax(0)
        noise = rng.uniform(rng.fold(rng.keys(seed, place), "noise control"), tuple(x.shape[1:]))
        drawn = (low + (high - low) * noise).to(x.dtype)
        many = _OF_TWO_CLASSES if len(classes) == 2 else _TRAININGS
        sets = [
            ControlSet(name=name, x=inputs, y=classes[(place + k) % len(classes)], seed=seed + k)
            for name, inputs in (("labels permuted", x[sorted_own]), ("noise", drawn))
            for k in range(many)
        ]
        return cls(sets=tuple(sets), held_out=order[n : n + judged])

    def trained(self, judge: Callable[[Tensor, Tensor, int], tuple[Bools, Bools, Bools]]) -> Controls:
        """Return the controls with their answers.

        Args:
            judge: trains on samples x (n, *S), y (n,) with a seed; returns (m,) bool, the outcomes of the claim on its
                test samples; (m,) bool, right on the unchanged test samples; and (h,) bool, right on the samples held
                out.
        """
        answers = []
        for name in dict.fromkeys(one.name for one in self.sets):
            judged = [judge(one.x, one.y, one.seed) for one in self.sets if one.name == name]
            held, right, held_out = (
                np.stack([np.asarray(part, dtype=bool) for part in each]) for each in zip(*judged, strict=True)
            )
            size = len(self.sets[0].y)
            answers.append(ControlAnswers(name=name, size=size, held=held, right=right, held_out=held_out))
        return replace(self, answers=tuple(answers))

    @property
    def details(self) -> dict[str, Any]:
        """The detail of a result that lists the controls; nothing if none was trained."""
        return {"controls": [one.row() for one in self.answers]} if self.answers else {}

    def doubt(self, *, taught: float, allowed: float) -> str:
        """Return the reason why a pass would show nothing that the data taught; "" if there is none.

        Args:
            taught: the accuracy from which the claim allows a loss, 0..1.
            allowed: the largest loss claimed.
        """
        for one in self.answers:
            if one.peek:
                return (
                    f"the training reads the test samples: trained on {one.size} samples with {one.name}, it has "
                    f"{number(one.right.mean(), float(one.held_out.mean()))} of them right, and "
                    f"{number(one.held_out.mean())} of other samples that it was "
                    "not given"
                )
        best = max(self.answers, key=lambda one: one.accuracy)
        if taught - best.accuracy <= allowed:
            what = "samples with labels permuted" if best.name == "labels permuted" else "samples of noise"
            return (
                f"the data taught nothing that could be lost: trained on {best.size} {what}, the same function has "
                f"{number(best.accuracy, taught)} of the test samples right, where {number(taught)} are claimed "
                "about and a loss of "
                f"{allowed:g} is allowed. It ignores its data, knew the classes before, or keeps what an earlier call "
                "learned. Train from other weights, or claim less"
            )
        return ""
