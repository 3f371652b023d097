"""Classes of benchmarks, and which of a model's outputs stand for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.errors import ConfigError, ModelError, expected

SUBSETS = {"imagenet-a": "a", "imagenet-r": "r"}
"""Benchmarks of 200 of ImageNet's classes, and their letters in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMap:
    """Which outputs of a model stand for each class of a benchmark: it is right where the largest of those is one.

    All other outputs are left out, as the authors of such benchmarks do: a model of 1,000 classes, asked for one of
    200, is else mostly wrong for naming classes that the benchmark does not have.

    Attributes:
        names: what the benchmark calls its classes, in the order of its labels.
        groups: outputs of the model, by class; more than one where a class is several of the model's.
        outputs: how many outputs the model has.

    Raises:
        ConfigError: as many groups as names are not there, one is empty, or an output is in two or in none of
            0..outputs.
    """

    names: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    outputs: int = 1000
    _index: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        flat = [at for group in self.groups for at in group]
        if len(self.groups) != len(self.names) or len(self.names) < 2 or not all(self.groups):
            raise ConfigError(expected("two classes or more, each with outputs of its own", self.groups))
        if len(set(flat)) != len(flat) or not 0 <= min(flat) <= max(flat) < self.outputs:
            raise ConfigError(f"Expected outputs in 0..{self.outputs - 1}, each of one class, but got {sorted(flat)}.")
        width = max(map(len, self.groups))
        rows = [[*group, *[group[0]] * (width - len(group))] for group in self.groups]
        object.__setattr__(self, "_index", torch.tensor(rows))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def whole(self) -> bool:
        """Whether every output is a class of its own, in the model's order: nothing has to be left out."""
        return self.groups == tuple((at,) for at in range(self.outputs))

    def restrict(self, logits: Tensor) -> Tensor:
        """(B, K) the largest logit of each class's outputs, of (B, outputs).

        Raises:
            ModelError: the model has another number of outputs.
        """
        if logits.ndim != 2 or logits.shape[1] != self.outputs:
            raise ModelError(
                f"Expected a model of {self.outputs} classes, of which {len(self)} are the benchmark's, but its logits "
                f"have the shape {tuple(logits.shape)}. Give the model with all its outputs: they are picked here."
            )
        return logits[:, self._index.to(logits.device)].amax(-1)

    def labels(self, given: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N,) labels 0..K-1 for labels 0..outputs-1; -1 where a label is no class of the benchmark."""
        table = np.full(self.outputs, -1)
        for label, group in enumerate(self.groups):
            table[list(group)] = label
        return table[given]


@cache
def imagenet_classes() -> tuple[str, ...]:
    """The WordNet ids of ImageNet's 1,000 classes, in the order of a model's outputs."""
    return tuple(row[0] for row in _rows())


@cache
def imagenet_subset(name: str) -> ClassMap:
    """The 200 classes of "imagenet-a" or "imagenet-r", or all of them for any other name."""
    letter = SUBSETS.get(name, "")
    rows = [(at, row[0]) for at, row in enumerate(_rows()) if letter in "".join(row[1:])]
    return ClassMap(names=tuple(wnid for _, wnid in rows), groups=tuple((at,) for at, _ in rows))


@cache
def _rows() -> tuple[tuple[str, ...], ...]:
    text = files("robustest.data.benchmarks").joinpath("tables/imagenet.txt").read_text(encoding="utf-8")
    return tuple(tuple(line.split()) for line in text.splitlines() if not line.startswith("#"))
