"""What a claim on corruptions is measured in: its cells, and the errors that they are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robustest.claims.shifts.cells import Cell, Corruptions, cells_of, stored_cells
from robustest.claims.shifts.reference_errors import (
    check_classes,
    check_size,
    is_published,
    not_the_papers,
    published_of,
    reference_errors,
)
from robustest.data import Samples
from robustest.data.benchmarks import CorruptedBenchmark
from robustest.decisions.corruption_error import ErrorRates, cell_column
from robustest.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Corruptions at severities.

    Attributes:
        cells: each of them.
        stored: the benchmark that has their images; None where they are made.
        reference: error rates of another model; None where it is compared with none.
        clean: whether there are clean images beside the corrupted ones.
    """

    cells: tuple[Cell, ...]
    stored: CorruptedBenchmark | None
    reference: ErrorRates | None
    clean: bool

    @classmethod
    def of(
        cls,
        data: object,
        corruptions: Corruptions,
        severities: Sequence[int],
        *,
        reference: object,
        max_drop: float | None,
    ) -> Grid:
        """What a call's data and corruptions stand for; see `measure_corruption_robustness`.

        Raises:
            ConfigError: a corruption, a severity or the reference is none, or a fall is claimed and there are no clean
                images.
            StoreError: the reference cannot be read.
        """
        stored = data if isinstance(data, CorruptedBenchmark) else None
        cells = cells_of(corruptions, severities) if stored is None else stored_cells(stored, corruptions, severities)
        clean = stored is None or stored.clean is not None
        if max_drop is not None and not clean:
            raise ConfigError(
                "Expected clean images for max_drop but the benchmark has none: benchmark(name, root, clean=...)."
            )
        reference = reference_errors(published_of(stored, cells) if reference is None else reference, cells)
        return cls(cells=tuple(cells), stored=stored, reference=reference, clean=clean)

    @property
    def pairs(self) -> list[tuple[str, int]]:
        """Each cell's corruption and severity."""
        return [(cell.name, cell.severity) for cell in self.cells]

    @property
    def names(self) -> list[str]:
        """The corruptions, in their order."""
        return list(dict.fromkeys(cell.name for cell in self.cells))

    @property
    def levels(self) -> str:
        """The severities in a line; empty where no corruption has any."""
        return ", ".join(str(level) for level in sorted({cell.level for cell in self.cells if cell.level is not None}))

    @property
    def about(self) -> str:
        """The corruptions in a few words."""
        about = self.names[0] if len(self.names) == 1 else f"{len(self.names)} corruptions"
        return about if self.stored is None else f"{about} of {self.stored.name}"

    @property
    def published(self) -> bool:
        """Whether the errors compared with are those of papers."""
        return is_published(self.reference)

    @property
    def identity(self) -> object:
        """What the store keeps outcomes by; None for files, which may change under their names."""
        return ("corruptions", self.cells) if self.stored is None else None

    def check_images(self, samples: Samples) -> None:
        """Refuse to compare small images with errors on large ones, where they are corrupted here.

        Raises:
            ConfigError: they are small.
        """
        if self.stored is None and self.published:
            check_size(samples)

    def check_classes(self, classes: int) -> None:
        """Refuse to compare a model of other classes with published errors.

        Raises:
            ConfigError: it has others.
        """
        if self.published:
            check_classes(classes)

    def each(self, alpha: float, *, clean: bool) -> dict[str, Any]:
        """Return how a baseline is compared: by all cells together, and by each corruption's.

        Args:
            alpha: the error of all comparisons together.
            clean: whether clean samples are compared as well: a fall from them has two ends.
        """
        cells = tuple(cell_column(pair) for pair in self.pairs)
        parts = tuple((name, tuple(one for one in cells if one.startswith(f"{name}/"))) for name in self.names)
        if clean:
            every = (("all corruptions", cells),) if len(parts) > 1 else ()
            parts = (*every, *parts, ("clean samples", ("clean",)))
            return {"columns": (*cells, "clean"), "parts": parts, "together": False, "level": alpha / len(parts)}
        if len(self.names) == 1:
            return {"columns": cells}
        return {"columns": cells, "parts": parts, "level": alpha / (len(parts) + 1)}

    def caveats(self, *, mce: bool) -> tuple[str, ...]:
        """What every line must say of the benchmark, and of an mCE that is not the papers'."""
        own = self.stored.caveats if self.stored else ()
        return (*own, *(not_the_papers(self.names, self.levels) if self.published and mce else ()))
