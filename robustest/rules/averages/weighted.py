"""Claims on a weighted mean, over samples and columns, of values in 0..1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from robustest.errors import ConfigError, expected
from robustest.rules.averages.means import MeanRule
from robustest.rules.rule import Columns, Terms
from robustest.statistics.fixed import Decision
from robustest.statistics.sequential import Settled
from robustest.statistics.thresholds import checked_threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedRule:
    """A claim that the mean of a weighted sum of columns of values in 0..1 is at most a threshold.

    Attributes:
        weights: of each column; they sum to 1.
        mean: the claim on the weighted sums.
    """

    weights: Mapping[str, float]
    mean: MeanRule

    @classmethod
    def of(cls, name: str, threshold: float | None, weights: Mapping[str, float], terms: Terms) -> WeightedRule:
        """The claim that a threshold makes on a sum with weights of any size.

        Args:
            name: the threshold's argument.
            threshold: the mean of the sum claimed at most, > 0 and less than the sum of the weights; None for nothing.
            weights: of each column, > 0.
            terms: what the verdict may rest on.

        Raises:
            ConfigError: the threshold is out of range.
        """
        scale, most = math.fsum(weights.values()), None
        if threshold is not None:
            most = checked_threshold(name, threshold, within=(0.0, math.inf))
            if most >= scale:
                raise ConfigError(expected(f"{name} to be less than {scale:.3g}, which any model keeps,", threshold))
        shares = {column: weight / scale for column, weight in weights.items()}
        mean = MeanRule(threshold=None if most is None else most / scale, terms=terms, scale=scale)
        return cls(weights=shares, mean=mean)

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Claim.settled`."""
        return self.mean.settled(self._value(columns), n)

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Claim.decide`."""
        return self.mean.decide(self._value(columns), n, settled)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`."""
        return False

    def mean_of(self, columns: Columns) -> float:
        """The mean of the sum over these samples."""
        return self.mean.mean_of(self._value(columns))

    def _value(self, columns: Columns) -> Columns:
        value = sum(weight * columns[name] for name, weight in self.weights.items())
        return {"value": np.asarray(value, dtype=np.float64)}
