"""Candidates of a search that play side by side: who can no longer be among the lowest is broken off."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass
class Race:
    """A race of candidates to the lowest mean return.

    Where rewards are not negative, returns only grow. So a candidate whose mean so far is above those of as many
    others as are asked for, which have ended, is not among the lowest: nobody needs the rest of its episodes. Once a
    reward is negative nothing is broken off any more. Which candidates come out lowest, and their returns, are those
    of a race that all run to the end, unless the first negative reward comes after something was broken off.

    Attributes:
        candidates, episodes: how many, and what each plays; row c * episodes + e is episode e of candidate c.
        lowest: how many are asked for.
    """

    candidates: int
    episodes: int
    lowest: int
    _returns: NDArray[np.float64] = field(init=False)
    _over: NDArray[np.bool_] = field(init=False)
    _out: NDArray[np.bool_] = field(init=False)
    _grows: bool = True

    def __post_init__(self) -> None:
        self._returns = np.zeros(self.candidates * self.episodes)
        self._over = np.zeros(self.candidates * self.episodes, bool)
        self._out = np.zeros(self.candidates, bool)

    def still(self, rows: NDArray[Any], returns: NDArray[np.float64], alive: NDArray[Any]) -> Tensor:
        """(A,) bool, which of the episodes that go on are still to be played.

        Args:
            rows: (n,) int64 rows of the episodes that are played side by side.
            returns: (n,) of them so far.
            alive: (A,) int64 places among them of those that go on.
        """
        self._grows = self._grows and not bool((returns < self._returns[rows]).any())
        self._returns[rows] = returns
        self._over[rows] = True
        self._over[rows[alive]] = False
        ended = self._over.reshape(self.candidates, -1).all(1) & ~self._out
        if self._grows and ended.sum() >= self.lowest:
            means = self._returns.reshape(self.candidates, -1).mean(1)
            self._out |= ~ended & (means > np.sort(means[ended])[self.lowest - 1])
        return torch.from_numpy(~self._out[rows[alive] // self.episodes])
