"""The share of a sample below a low quantile of held-out values."""

from __future__ import annotations

from math import ceil, inf

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from robustest.packs import clopper_pearson

Floats = NDArray[np.float64]


def fewest_held_out(quantile: float) -> int:
    """Return the number of held-out values needed for a quantile to lie among them."""
    return ceil(1 / quantile)


def share_below(values: Floats, held_out: Floats, quantile: float) -> tuple[float, float]:
    """Return the share of values (m,) below a quantile of held-out ones (t,), and the quantile; 0 is always below."""
    cut = float(np.quantile(held_out, quantile))
    return float(_below(values, cut).mean()), cut


def share_below_interval(values: Floats, held_out: Floats, quantile: float, alpha: float) -> tuple[float, float]:
    """Return an interval of the share below the quantile of the population of held-out values, alpha on each side."""
    # The share of a population below the k-th of t draws has a beta distribution, so the quantile lies between two of
    # the held-out values but for half of alpha on each side. Clopper-Pearson bounds of the shares below either one, at
    # the other half, are the ends.
    ordered, t, m = np.sort(held_out), len(held_out), len(values)
    ranks = np.arange(1, t + 1)
    certainly_below = int((beta.sf(quantile, ranks, t + 1 - ranks) <= alpha / 2).sum())
    certainly_above = int((beta.cdf(quantile, ranks, t + 1 - ranks) > alpha / 2).sum())
    low = float(ordered[certainly_below - 1]) if certainly_below else 0.0
    high = float(ordered[certainly_above]) if certainly_above < t else inf
    fewest, most = int(_below(values, low).sum()), int(_below(values, np.nextafter(high, inf)).sum())
    return clopper_pearson(fewest, m, alpha / 2)[0], clopper_pearson(most, m, alpha / 2)[1]


def _below(values: Floats, cut: float) -> NDArray[np.bool_]:
    # Exact copies have a ratio of 0, which no quantile of ratios can be below.
    below: NDArray[np.bool_] = (values < cut) | (values == 0)
    return below
