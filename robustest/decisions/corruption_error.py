"""Weighted means over columns: mean accuracy over corruptions, its drop, the mean corruption error, a mean cost."""

# Each sample has outcomes in several cells (a corruption at a severity, a perturbation). The claim is on the mean of
# their weighted sums, scaled to -1..1: a `MeanRule`, with its finite-sample error. Outcomes of one sample may depend on
# each other.
#
# The mean corruption error (Hendrycks and Dietterich, ICLR 2019, section 4.2) with errors E of the model and B of a
# reference model, for corruption c and severity s:
#
#     mCE = mean over c of  sum_s E_{c,s} / sum_s B_{c,s}
#
# so that the weight of each cell's error is 1 / (corruptions x sum_s B_{c,s}).

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from robustest.checks import require
from robustest.decisions.mean import MeanRule
from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Rule, Terms
from robustest.decisions.thresholds import checked_threshold
from robustest.errors import ConfigError, expected

Cell = tuple[str, int]
"""A corruption at a severity, 1..5."""

ErrorRates = Mapping[str, Sequence[float]]
"""Error rates of a reference model: by corruption, one per severity 1..5, in 0..1; "clean" may hold a single one."""


def cell_column(cell: Cell) -> str:
    """Return the name of a cell's column."""
    return f"{cell[0]}/{cell[1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedRule(Rule):
    """A claim that the mean of a weighted sum of columns in 0..1 is at most a threshold; the weights sum to 1."""

    weights: Mapping[str, float]
    mean: MeanRule

    @classmethod
    def of(cls, name: str, threshold: float | None, weights: Mapping[str, float], terms: Terms) -> WeightedRule:
        """Return the claim for weights of any size, > 0.

        Args:
            name: the threshold's argument.
            threshold: > 0 and less than the sum of the weights.

        Raises:
            ConfigError: the threshold is out of range.
        """
        scale, most = math.fsum(weights.values()), None
        if threshold is not None:
            most = checked_threshold(name, threshold, within=(0.0, math.inf))
            require(most < scale, f"{name} to be less than {scale:.3g}, which any model keeps,", threshold)
        shares = {column: weight / scale for column, weight in weights.items()}
        mean = MeanRule(threshold=None if most is None else most / scale, terms=terms, scale=scale)
        return cls(weights=shares, mean=mean)

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        return self.mean.settle(self._value(columns), n)

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        return self.mean.decide(self._value(columns), n, early)

    def mean_of(self, columns: Columns) -> float:
        return self.mean.mean_of(self._value(columns))

    def _value(self, columns: Columns) -> Columns:
        value = sum(weight * columns[name] for name, weight in self.weights.items())
        return {"value": np.asarray(value, dtype=np.float64)}


@dataclass(frozen=True, slots=True, kw_only=True)
class CellsRule(WeightedRule):
    """A claim on a weighted mean over samples and cells, whose columns are outcomes; the weights are of their errors.

    Attributes:
        argument: the one that bounds the mean: "min_accuracy", "max_drop" (the clean sample's error is subtracted), or
            "max_mce".
    """

    argument: str
    threshold: float | None

    @classmethod
    def of_cells(
        cls,
        cells: Sequence[Cell],
        reference: ErrorRates | None,
        terms: Terms,
        *,
        min_accuracy: float | None,
        max_drop: float | None,
        max_mce: float | None,
    ) -> CellsRule:
        """Return the claim of the thresholds that are given.

        Raises:
            ConfigError: a threshold out of range, two thresholds, or `max_mce` without a reference.
        """
        thresholds = {"min_accuracy": min_accuracy, "max_drop": max_drop, "max_mce": max_mce}
        given = [name for name, value in thresholds.items() if value is not None]
        if len(given) > 1:
            raise ConfigError(f"Expected one threshold but got {' and '.join(given)}. Write an assertion for each.")
        weights = [1 / len(cells)] * len(cells)
        threshold: float | None
        if max_mce is not None:
            threshold = most = checked_threshold("max_mce", max_mce, within=(0.0, math.inf))
            if reference is None:
                raise ConfigError(
                    "Expected reference= for max_mce: it is a share of another model's errors. Papers' "
                    "figures are relative to "
                    "AlexNet's: reference=\"alexnet\", for models of ImageNet's classes."
                )
            raw = _weights(cells, reference)
            # Weights are scaled to sum to 1, as bets need values in -1..1; `scale` turns the shown values back.
            scale = math.fsum(raw)
            weights = [weight / scale for weight in raw]
            # All errors give the sum of the weights: no model can exceed it.
            if most >= scale:
                mend = (
                    f"A model that is always wrong has {scale:.3g}; 1 is as good as the baseline (not 100), and "
                    "papers' 76.7 is 0.767."
                )
                raise ConfigError(expected(f"max_mce to be less than {scale:.3g}", most, mend))
            mean = MeanRule(threshold=most / scale, terms=terms, scale=scale)
        elif max_drop is not None:
            threshold = checked_threshold("max_drop", max_drop, trivial=1)
            mean = MeanRule(threshold=threshold, terms=terms)
        else:
            threshold = checked_threshold("min_accuracy", min_accuracy, trivial=0, optional=True)
            mean = MeanRule(threshold=None if threshold is None else -threshold, terms=terms, sign=-1)
        columns = dict(zip(map(cell_column, cells), weights, strict=True))
        return cls(argument=next(iter(given), "min_accuracy"), threshold=threshold, weights=columns, mean=mean)

    def for_part(self, terms: Terms) -> CellsRule:
        return replace(self, mean=self.mean.for_part(terms))

    def _value(self, columns: Columns) -> Columns:
        # Errors for the mCE; errors less the clean error for a drop; minus the accuracy for "at least".
        value = np.asarray(sum(weight * ~columns[name] for name, weight in self.weights.items()), dtype=np.float64)
        if self.argument == "max_drop":
            value = value - (~columns["clean"]).astype(np.float64)
        elif self.argument == "min_accuracy":
            value = value - 1
        return {"value": value}


def mean_corruption_error(rates: Mapping[Cell, float], reference: ErrorRates) -> float:
    """Return the mean corruption error, 1 for the reference model.

    Args:
        rates: error rates, 0..1, by cell.
        reference: error rates of the reference model.
    """
    cells = list(rates)
    return math.fsum(w * rates[cell] for w, cell in zip(_weights(cells, reference), cells, strict=True))


def relative_mean_corruption_error(rates: Mapping[Cell, float], clean: float, reference: ErrorRates) -> float | None:
    """Return the relative mCE (section 4.2), of errors minus each model's clean error.

    None if the reference's clean error is unknown, or a corruption does not raise its error.
    """
    if "clean" not in reference:
        return None
    ratios = []
    for name in dict.fromkeys(name for name, _ in rates):
        own = [cell for cell in rates if cell[0] == name]
        base = math.fsum(reference[name][severity - 1] - reference["clean"][0] for _, severity in own)
        # A corruption that does not raise the reference's error leaves no ratio.
        if base <= 0:
            return None
        ratios.append(math.fsum(rates[cell] - clean for cell in own) / base)
    return math.fsum(ratios) / len(ratios)


def _weights(cells: Sequence[Cell], reference: ErrorRates) -> list[float]:
    names = dict.fromkeys(name for name, _ in cells)
    total = {n: math.fsum(reference[n][severity - 1] for name, severity in cells if name == n) for n in names}
    return [1 / (len(names) * total[name]) for name, _ in cells]
