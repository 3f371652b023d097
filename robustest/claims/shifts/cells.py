"""The cells of a claim on corruptions: what each shows of a chunk's samples, and how the model answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from robustest.checks import moved_rows
from robustest.data import Samples
from robustest.data.benchmarks import CorruptedBenchmark
from robustest.decisions.corruption_error import cell_column
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError, DataError, unknown
from robustest.run.evidence import Exhibit, Observation, exhibits_of
from robustest.shifts import (
    COMMON_CORRUPTIONS,
    CORRUPTIONS,
    Shift,
    ShiftedInputs,
    ShiftFunction,
    as_shift,
    followed,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A cell of a benchmark's files.

    Attributes:
        name, severity: the corruption, and how strong it is, 1..5.
        samples: its images, in the order of the data.
    """

    name: str
    severity: int
    samples: Samples

    @property
    def level(self) -> int:
        """The severity, as `Shift.level`."""
        return self.severity

    def __str__(self) -> str:
        return f"{self.name}, severity {self.severity}"

    def shifted(self, chunk: Chunk) -> ShiftedInputs:
        """The chunk's images in this cell, beside the chunk's own.

        Raises:
            DataError: they have other labels or another shape, or are outside the bounds.
        """
        x, y = self.samples.take(chunk.ids)
        low, high = chunk.bounds
        x = (x * (high - low) + low).to(chunk.x.device)
        if x.shape != chunk.x.shape or not torch.equal(y, chunk.y.cpu()):
            raise DataError(
                f"Expected images of {self.name} at severity {self.severity} to be those of the data, "
                f"{tuple(chunk.x.shape)} with their labels, but got {tuple(x.shape)} or other labels."
            )
        if not bool(((x >= low) & (x <= high)).all()):
            raise DataError(
                f"Expected images of {self.name} in [0, 1] but view= gives others. Leave "
                "normalisation to preprocessing=."
            )
        return ShiftedInputs(x, moved_rows(chunk.x, x), torch.zeros_like(chunk.key, dtype=torch.bool))


Cell = Shift | Stored
Corruptions = str | Shift | ShiftFunction | Sequence[str | Shift | ShiftFunction]
T = TypeVar("T", Shift, Stored)


def moved_column(cell: Cell) -> str:
    """The column of whether a cell's images differ from the chunk's own."""
    return f"moved {cell_column((cell.name, cell.severity))}"


def cut_column(cell: Cell) -> str:
    """The column of `ShiftedInputs.cut`."""
    return f"cut {cell_column((cell.name, cell.severity))}"


def cells_of(corruptions: Corruptions, severities: Sequence[int]) -> list[Shift]:
    """Shifts at severities; "common" stands for the benchmark's 15 corruptions, "all" for ImageNet-C's 19.

    A function that does not ask for a severity is one cell: at five severities it would be five that are alike.

    Raises:
        ConfigError: there is none, or one twice.
    """
    sets = {"common": COMMON_CORRUPTIONS, "all": CORRUPTIONS}
    if isinstance(corruptions, str):
        chosen: Sequence[str | Shift | ShiftFunction] = sets.get(corruptions, [corruptions])
    else:
        chosen = [corruptions] if isinstance(corruptions, Shift) or callable(corruptions) else list(corruptions)
    cells = []
    for one in dict.fromkeys(chosen):
        at = [as_shift(one, severity) for severity in dict.fromkeys(severities)]
        cells += at if all(cell.level is not None for cell in at) else at[:1]
    return _once(cells)


def stored_cells(stored: CorruptedBenchmark, corruptions: Corruptions, severities: Sequence[int]) -> list[Stored]:
    """The cells of a benchmark; "common" stands for the 15 of ImageNet-C where it has them, else for all that it has.

    Raises:
        UnknownNameError: it has no such corruption.
        ConfigError: there is none, or a severity is not 1..5.
    """
    if corruptions == "common":
        corruptions = [name for name in stored.corruptions if name in COMMON_CORRUPTIONS] or stored.corruptions
    given = stored.corruptions if corruptions == "all" else corruptions
    names = []
    for name in given if isinstance(given, Sequence) and not isinstance(given, str) else [given]:
        if name not in stored.corruptions:
            raise unknown(f"corruption of {stored.name}", str(name), stored.corruptions)
        names.append(str(name))
    for severity in severities:
        if severity not in {level for _, level in stored.cells}:
            raise ConfigError(f"Expected severities of 1..5 but got {severity!r}.")
    return _once(
        [
            Stored(name=name, severity=severity, samples=stored.cells[name, severity])
            for name in dict.fromkeys(names)
            for severity in dict.fromkeys(severities)
        ]
    )


def _once(cells: list[T]) -> list[T]:
    if not cells:
        raise ConfigError("Expected one corruption and one severity or more but got none.")
    twice = [name for (name, _), count in Counter((one.name, one.severity) for one in cells).items() if count > 1]
    if twice:
        raise ConfigError(f"Expected each corruption once but got {twice[0]!r} twice. Write an assertion for each.")
    return cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupting:
    """Predictions of a chunk, clean and in every cell; each right sample's most confident error may be shown.

    Attributes:
        cells: corruptions with their severities.
        clean: whether the chunk's own images are looked at too; else nothing is said of them.
        beside_clean: whether the chunk's own images are clean ones, so that a cell that leaves them as they are is one
            that changes nothing.
        examples: how many samples may be shown.
    """

    cells: tuple[Cell, ...]
    clean: bool
    beside_clean: bool
    examples: int

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        """What became of a chunk."""
        task, columns = evaluator.task, {}
        clean, right = None, torch.ones(len(chunk.y), dtype=torch.bool, device=chunk.y.device)
        if self.clean:
            before = evaluator.judged(chunk.x, chunk.y)
            clean, right = before.predicted, before.holds
            columns["clean"] = right
            if task.one_class:
                columns["label"] = chunk.y
        count = torch.zeros(len(chunk.y), device=chunk.y.device)
        exhibits: list[Exhibit] = []
        for cell in self.cells:
            if isinstance(cell, Shift):
                changed = cell.shifted(chunk.x, chunk.key, chunk.bounds)
                moved = followed(task, cell, chunk.x, chunk.y, chunk.key, bounds=chunk.bounds)
            else:
                changed, moved = cell.shifted(chunk), chunk.y
            after = changed.x
            if self.beside_clean:
                columns |= {moved_column(cell): changed.moved, cut_column(cell): changed.cut}
            seen = evaluator.judged(after, moved)
            held, predicted = seen.holds, seen.predicted
            columns[cell_column((cell.name, cell.severity))] = held
            count += held
            exhibits += exhibits_of(
                chunk,
                right & ~held,
                clean=predicted if clean is None else clean,
                predicted=predicted,
                before=after if clean is None else chunk.x,
                after=after,
                badness=-seen.margin,
                size=cell.level,
                most=self.examples,
                task=task,
                moved=moved,
            )
            exhibits = _one_a_sample(exhibits)[: self.examples]
        columns["held"] = 2 * count >= len(self.cells)
        return Observation({name: outcome.cpu().numpy() for name, outcome in columns.items()}, exhibits)


def _one_a_sample(exhibits: list[Exhibit]) -> list[Exhibit]:
    """Worst first, each sample once."""
    kept: dict[int, Exhibit] = {}
    for exhibit in sorted(exhibits, key=lambda e: -e.badness):
        kept.setdefault(exhibit.index, exhibit)
    return list(kept.values())
