"""Races: candidates of a search that play side by side until they can no longer be among the lowest."""

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

    While rewards are not negative, returns only grow: a candidate whose mean so far exceeds those of `lowest` others
    that have ended is broken off. The first negative reward ends all breaks.
    """

    # The lowest candidates and their returns are those of a race without breaks, unless the first negative reward comes
    # after a break.

    candidates: int  # number of candidates; row c * episodes + e is episode e of candidate c
    episodes: int  # episodes of each candidate
    lowest: int  # number of candidates wanted
    _returns: NDArray[np.float64] = field(init=False)
    _over: NDArray[np.bool_] = field(init=False)
    _out: NDArray[np.bool_] = field(init=False)
    _grows: bool = True

    def __post_init__(self) -> None:
        self._returns = np.zeros(self.candidates * self.episodes)
        self._over = np.zeros(self.candidates * self.episodes, bool)
        self._out = np.zeros(self.candidates, bool)

    def still(self, rows: NDArray[Any], returns: NDArray[np.float64], alive: NDArray[Any]) -> Tensor:
        """Return (A,) bool: True for those of the places `alive` (A,) that are still to be played."""
        # A return that fell shows a negative reward: from now on means so far bound nothing.
        self._grows = self._grows and not bool((returns < self._returns[rows]).any())
        self._returns[rows] = returns
        self._over[rows] = True
        self._over[rows[alive]] = False
        ended = self._over.reshape(self.candidates, -1).all(1) & ~self._out
        if self._grows and ended.sum() >= self.lowest:
            means = self._returns.reshape(self.candidates, -1).mean(1)
            self._out |= ~ended & (means > np.sort(means[ended])[self.lowest - 1])
        return torch.from_numpy(~self._out[rows[alive] // self.episodes])
