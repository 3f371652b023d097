"""Adversarial inputs as tensors: which of them are worth keeping, and as how many bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from robustest.errors import DataError, expected

EACH = 2
"""Inputs kept of one sample: where the smallest does not break the next model, the other may."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Adversarial inputs of one test.

    Attributes:
        ids: (m,) int64, the samples' indices in the data.
        x: (m, *S) float32, the inputs.
        y: (m,) int64, the samples' labels.
        sizes: (m,) float64, how far each input is from its sample, in the threat's unit.

    Raises:
        DataError: a tensor has another type, or another number of rows.
    """

    ids: Tensor
    x: Tensor
    y: Tensor
    sizes: Tensor

    def __post_init__(self) -> None:
        kinds = {"ids": torch.int64, "x": torch.float32, "y": torch.int64, "sizes": torch.float64}
        for name, dtype in kinds.items():
            held = getattr(self, name)
            fits = isinstance(held, Tensor) and held.dtype == dtype and held.ndim >= 1 and len(held) == len(self.ids)
            if not fits or (held.ndim == 1) == (name == "x"):
                raise DataError(expected(f"{name} to hold one row of {dtype} for each input", held))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> tuple[int, ...]:
        """S, the shape of one input."""
        return tuple(self.x.shape[1:])

    def rows(self, which: Tensor | list[int]) -> Kept:
        """Those rows, on the CPU."""
        index = torch.as_tensor(which, dtype=None if isinstance(which, Tensor) else torch.int64)
        return Kept(*(getattr(self, field.name).detach().cpu()[index] for field in fields(self)))


def levels(x: Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """The nearest of 256 evenly spaced levels from one bound to the other, as uint8."""
    low, high = bounds
    return ((x.double() - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8)


def from_levels(k: Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """The float32 inputs that levels stand for: k / 255 between 0 and 1."""
    low, high = bounds
    return (k.double() / 255 * (high - low) + low).float()


def on_levels(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """(m,) bool: the rows of x (m, *S) that their levels stand for, to the last bit."""
    return (from_levels(levels(x, bounds), bounds) == x).flatten(1).all(1)


def smallest(parts: Sequence[Kept]) -> tuple[Kept, list[int]]:
    """Inputs of one shape as one, ordered by sample and size: of each sample, by its label too, the two smallest.

    Args:
        parts: at least one.

    Returns:
        The inputs, and where each was among all.
    """
    everything = Kept(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Kept)))
    by_size = everything.sizes.argsort(stable=True)
    order = by_size[everything.ids[by_size].argsort(stable=True)].tolist()
    owners = list(zip(everything.ids.tolist(), everything.y.tolist(), strict=True))
    chosen: dict[tuple[int, int], list[int]] = {}
    for row in order:
        others = chosen.setdefault(owners[row], [])
        if len(others) < EACH and not any(torch.equal(everything.x[row], everything.x[other]) for other in others):
            others.append(row)
    which = [row for row in order if row in chosen[owners[row]]]
    return everything.rows(which), which


def news(kept: Kept, known: Kept | None) -> list[int]:
    """The rows of `kept` whose sample, with its label, has no known input, or only larger ones."""
    best: dict[tuple[int, int], float] = {}
    if known is not None:
        for sample, label, size in zip(known.ids.tolist(), known.y.tolist(), known.sizes.tolist(), strict=True):
            best[sample, label] = min(size, best.get((sample, label), size))
    rows = enumerate(zip(kept.ids.tolist(), kept.y.tolist(), kept.sizes.tolist(), strict=True))
    return [row for row, (sample, label, size) in rows if size < best.get((sample, label), float("inf"))]
