"""Properties of whole images: which of them mark a class, and which of them errors go with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import rankdata
from torch import Tensor

from robustest import rng
from robustest.checks import checked_images
from robustest.cues.filtered import ColourCast
from robustest.discovery.patch_places import RARE
from robustest.discovery.proposals import CASTS, Proposal

MARKED = 0.7
"""The gap at which a property marks a class: classes differ by nature in brightness more than at any one place."""

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


Marks = dict[tuple[int, str], tuple[float, Tensor]]
"""By class and property: the gap, and (N,) bool, the images beyond the limit."""


def marks(values: Mapping[str, Tensor], y: Tensor, labels: Sequence[int]) -> Marks:
    """Properties that mark a class: most of its images have more, or less, of it than nearly all others.

    Args:
        values: properties, each (N,).
        y: (N,) int64 labels.
        labels: the classes to look at and to compare with.

    Returns:
        The gap is that of `find_patches`, of the share beyond the best limit; those of `MARKED` or more.
    """
    found: Marks = {}
    members = [y == label for label in labels]
    shares_tried = torch.linspace(0.02, 0.5, 13, dtype=torch.float64, device=y.device)
    for name, value in values.items():
        for own, label in enumerate(labels):
            for signed in (value, -value):
                for limit in signed[members[own]].quantile(shares_tried):
                    beyond = signed >= limit
                    shares = [float(beyond[rows].double().mean()) for rows in members]
                    rest = max([0.0, *shares[:own], *shares[own + 1 :]])
                    gap = shares[own] - rest
                    if rest <= RARE and gap >= max(MARKED, found.get((label, name), (0.0,))[0]):
                        found[label, name] = (gap, beyond)
    return found


def cast_like(
    x: Tensor, beyond: Tensor, others: Tensor, *, label: int, score: float, bounds: tuple[float, float]
) -> Proposal | None:
    """The colour cast that makes other images as bright, colourful and flat as those of a class.

    A cast of strength s mixes in a share s of one colour: it multiplies contrast by 1 - s, and moves every channel's
    mean towards the colour's. Where the class has no less contrast, black or white is mixed in.

    Args:
        x: images (N, C, H, W) inside the bounds.
        beyond, others: (N,) bool, images with the cast and images without it.
        label: the class.
        score: the proposal's.
        bounds: smallest and largest input value.

    Returns:
        None where both kinds are as bright, or one of them is missing.
    """
    if not bool(beyond.any()) or not bool(others.any()):
        return None
    have, lack = (x[rows].mean((2, 3)).double().mean(0) for rows in (beyond, others))
    flat, full = (float(x[rows].std((2, 3), correction=0).mean()) for rows in (beyond, others))
    low, high = bounds
    strength = 1 - flat / max(full, 1e-9)
    if strength < 0.05:
        end = high if float((have - lack).mean()) > 0 else low
        strength = float((have - lack).mean() / (end - lack.mean()))
        colour = torch.full_like(have, end)
    else:
        colour = ((have - (1 - strength) * lack) / strength).clamp(low, high)
    if strength < 0.01:
        return None
    value = tuple(colour.tolist())
    cue = ColourCast(colour=value, strength=min(strength, 1.0))
    return Proposal(found_by=CASTS, label=label, cue=cue, score=score, region=None, value=value)


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
