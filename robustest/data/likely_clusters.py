"""Signs of clusters: samples that were probably drawn together, though nothing says so."""

# Three cheap signs, each of which many small groups must show, and more of them than there are classes: as many are
# what classes look like.
#
# - Names and groups: see `robustest.data.likely_names`.
# - Inputs: images or sounds that differ by little more than two frames of one film do. Independent images are rarely
#   nearer to each other than a third of their usual distance.

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from robustest.data.likely_names import MOST_NAMES, by_names
from robustest.data.samples import Samples, Waveforms

# Pairs of neighbours that are compared, and values of each input.
_PAIRS, _VALUES = 64, 4096
# Fewer values, as of a row of a table, are often near each other by chance.
_FEWEST_VALUES = 64
# Inputs nearer than this share of the distance that a fifth of the pairs keep are alike; so many of them, and in so
# many groups, are a sign.
_NEAR, _USUAL, _ALIKE, _FAMILIES = 0.2, 0.2, 0.2, 5


def by_inputs(x: Tensor, classes: int = 1) -> str:
    """Return what images or sounds (n, *S) say of clusters, in words; "" if nothing; n is at most a few hundred."""
    flat = x.detach().reshape(len(x), -1).to(torch.float64)
    if len(flat) < 2 * _FAMILIES or flat.shape[1] < _FEWEST_VALUES:
        return ""
    flat = flat[:, :: max(1, flat.shape[1] // _VALUES)]
    apart = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")  # equal inputs are at exactly 0
    # Of samples of few classes most pairs are far apart by their class alone, so that a low quantile is the usual one.
    usual = float(apart[apart > 0].quantile(_USUAL)) if bool((apart > 0).any()) else 0.0
    # Equal inputs are copies, which a claim about the population counts once.
    near = ((apart < _NEAR * usual) & (apart > 0)).numpy()
    alike, families = int(near.any(1).sum()), _families(near)
    if alike < _ALIKE * len(flat) or families < max(_FAMILIES, 2 * classes + 1):
        return ""
    return (
        f"{alike} of {len(flat)} samples compared are nearly equal to others, as frames of one film are: if samples "
        "were drawn together, say so with cluster="
    )


def of_samples(samples: Samples, some: Tensor, labels: NDArray[Any] | None) -> str:
    """Return what samples say of clusters, in words; "" if nothing.

    Args:
        some: inputs (n, *S) of samples that were read already, for data that take long to read.
        labels: those of some or all samples, or None.
    """
    classes = 1 if labels is None else len(np.unique(labels))
    if found := by_names(names_of(samples.source), classes):
        return found
    if len(samples) < 2 * _FAMILIES or (some.ndim <= 2 and samples.sample_rate is None):
        return ""
    if not samples.slow:  # neighbours in the data are often frames of one film
        first = np.linspace(0, len(samples) - 2, min(_PAIRS, len(samples) // 2)).astype(np.int64)
        some = samples.take(torch.from_numpy(np.unique([first, first + 1])))[0]
    return by_inputs(some[: 2 * _PAIRS], classes)


def names_of(data: Any) -> list[str]:
    """Return the paths of the files of a data set such as torchvision's `ImageFolder`, in its order; may be empty."""
    if isinstance(data, Waveforms):
        data = data.data
    if isinstance(data, DataLoader):
        data = data.dataset
    if isinstance(data, Subset):
        inner = names_of(data.dataset)
        return [inner[place] for place in data.indices] if inner else []
    files = getattr(data, "samples", None)
    if not isinstance(files, (list, tuple)) or not files:
        return []
    paths = [one[0] if isinstance(one, (tuple, list)) and one else one for one in files[:MOST_NAMES]]
    return [str(path) for path in paths] if all(isinstance(path, (str, PurePath)) for path in paths) else []


def _families(near: NDArray[np.bool_]) -> int:
    """Return the number of groups of two or more that are connected by being near (n, n)."""
    left, found = set(np.flatnonzero(near.any(1)).tolist()), 0
    while left:
        found, reached = found + 1, [left.pop()]
        while reached:
            more = left & set(np.flatnonzero(near[reached.pop()]).tolist())
            left -= more
            reached += more
    return found
