"""Properties of whole images, and which of them errors go with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy.stats import rankdata
from torch import Tensor

from robustest import rng
from robustest.checks import checked_images

_PERMUTATIONS_AT_A_TIME = 100
_AT_A_TIME = 128
"""Images whose properties are taken together, in float64."""


@dataclass(frozen=True, slots=True)
class Association:
    """How a property goes with errors among images of the same class.

    Attributes:
        name: the property.
        correlation: of its rank and being wrong, in -1..1, both within classes; above 0 where errors have more of it.
        p: of a permutation test, corrected for all properties.
    """

    name: str
    correlation: float
    p: float


def properties(x: Tensor) -> dict[str, Tensor]:
    """Properties of images (N, C, H, W) by name, each (N,) float64.

    Brightness is the mean and contrast the standard deviation of grey (the mean of the channels); colour a channel's
    mean less the brightness; sharpness the mean difference of neighbours over the contrast; border the mean of the
    outermost pixels; mass is what is unlike the image's median grey, and row and column are its centre's, in 0..1.

    Raises:
        ConfigError: there are no images.
    """
    checked_images(x, "their properties")
    parts = [_properties(part) for part in torch.split(x, _AT_A_TIME)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _properties(x: Tensor) -> dict[str, Tensor]:
    grey = x.double().mean(1)
    height, width = grey.shape[1:]
    flat = grey.flatten(1)
    brightness, contrast = flat.mean(1), flat.std(1, correction=0)
    found = {"brightness": brightness, "contrast": contrast}
    if x.shape[1] > 1:
        channels = x.double().flatten(2).mean(2) - brightness.unsqueeze(1)
        found |= {f"colour of channel {c}": value for c, value in enumerate(channels.unbind(1))}
    change = grey.diff(dim=1).abs().flatten(1).sum(1) + grey.diff(dim=2).abs().flatten(1).sum(1)
    found["sharpness"] = change / (2 * height * width) / contrast.clamp(min=1e-9)
    inside = torch.zeros(height, width, dtype=torch.bool, device=x.device)
    inside[1:-1, 1:-1] = True
    found["border"] = grey[:, ~inside].mean(1)
    mass = (grey - flat.median(1).values.view(-1, 1, 1)).abs()
    total = mass.flatten(1).sum(1).clamp(min=1e-9)
    for name, axis, length in (("row", 2, height), ("column", 1, width)):
        steps = torch.linspace(0, 1, length, dtype=mass.dtype, device=x.device)
        found[f"{name} of the mass"] = (mass.sum(axis) * steps).sum(1) / total
    return found


def error_associations(
    values: Mapping[str, Tensor], y: Tensor, wrong: Tensor, *, permutations: int = 999, seed: int = 0
) -> list[Association]:
    """Which properties errors go with, among images of the same class; the strongest first.

    Ranks and errors are centred within classes, and errors are permuted there. A property's p-value is the share of
    permutations where any property goes with errors as closely (Westfall and Young, 1993).

    Args:
        values: properties, each (N,).
        y: (N,) int64 labels.
        wrong: (N,) bool, samples that the model gets wrong.
        permutations: how many.
        seed: draws them.

    Returns:
        Nothing where no class has both errors and hits.
    """
    y, wrong = y.cpu(), wrong.cpu()
    ranks = torch.stack([_centred_ranks(value.cpu(), y) for value in values.values()])
    error = torch.zeros(len(y), dtype=torch.float64)
    for label in torch.unique(y):
        rows = y == label
        error[rows] = wrong[rows].double() - wrong[rows].double().mean()
    if not bool(error.any()):
        return []
    scale = ranks.norm(dim=1).clamp(min=1e-9) * error.norm()
    seen = (ranks @ error) / scale
    farthest = torch.cat(
        [
            ((ranks @ _permuted(error, y, seed, first, permutations)).abs() / scale.unsqueeze(1)).amax(0)
            for first in range(0, permutations, _PERMUTATIONS_AT_A_TIME)
        ]
    )
    p_values = (1 + (farthest >= seen.abs().unsqueeze(1) - 1e-12).sum(1)) / (1 + permutations)
    found = [Association(*row) for row in zip(values, seen.tolist(), p_values.tolist(), strict=True)]
    return sorted(found, key=lambda one: -abs(one.correlation))


def _centred_ranks(value: Tensor, y: Tensor) -> Tensor:
    """Ranks within each class, over its size, less their mean."""
    out = torch.zeros(len(y), dtype=torch.float64)
    for label in torch.unique(y):
        rows = (y == label).nonzero().squeeze(1)
        rank = torch.from_numpy(rankdata(value[rows].numpy()))
        out[rows] = (rank - rank.mean()) / len(rows)
    return out


def _permuted(error: Tensor, y: Tensor, seed: int, first: int, permutations: int) -> Tensor:
    """(N, m) the errors permuted within classes, m times."""
    count = min(_PERMUTATIONS_AT_A_TIME, permutations - first)
    ids = torch.arange(len(y))
    draw = rng.uniform(rng.fold(rng.fold(rng.keys(seed, ids), "permuted errors"), first), (count,))
    out = torch.empty(len(y), count, dtype=torch.float64)
    for label in torch.unique(y):
        rows = (y == label).nonzero().squeeze(1)
        out[rows] = error[rows][draw[rows].argsort(0)]
    return out
