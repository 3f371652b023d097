"""The overview of a page: the claims that are listed one by one, and the families that are shown as heat maps."""

# A run of a thousand claims has to be overseen before it is read. So the claims that did not pass are listed first, and
# every claim is one cell of a map of its family, in the order of the run: a map shows where in its parameters a model
# breaks, which no list does. Families, and the order of claims by their distance to the threshold, are those of the
# terminal (`robustest.reports.families`).

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from robustest.account import EXPLAINED, STATES, Row
from robustest.reports.families import FEW, ClaimFamily, families_of, nearness, worst_first
from robustest.reports.text import row_without_result

# Claims that did not pass and are listed before the families: all, if they are no more than `_ALL`; else `_WORST`, so
# that the maps with all the others come into sight.
_ALL, _WORST = 24, 12
# Sides of a map with an axis for each of two parameters; larger ones are a plain sequence of cells.
_TALLEST, _WIDEST = 8, 24
# Distances from the threshold, as shares of its scale, at which a cell changes its tone.
_NEAR, _FAR = 0.02, 0.05
# Characters of a cell's description.
_LONGEST = 160
# Parameters in a test's id are joined by "-", which a negative number or an exponent has as well.
_JOINT = re.compile(r"(?<=[^-])(?<!\de)-", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cell:
    """A claim on a map."""

    number: int  # place of the claim in the run, from 1
    state: str
    heat: int  # 0 to 2: a pass by little and a failure by much are the hottest
    words: str  # description for a pointer and for screen readers


@dataclass(frozen=True, slots=True)
class MapRow:
    """A row of a map; a place without a claim is None."""

    label: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedFamily:
    """A family as the page shows it: numbers of its claims, and its map."""

    name: str
    counts: tuple[tuple[str, int], ...]  # claims in each state, the worst first
    worst: int  # number of the claim that is the farthest on the wrong side, or passed by the least
    numbers: tuple[int, ...]  # claims that are not listed before the families, worst first
    rows: tuple[MapRow, ...]
    columns: tuple[str, str] | None  # first and last value of the parameter along a row; None without such an axis

    @property
    def size(self) -> int:
        """Number of its claims."""
        return sum(count for _, count in self.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The numbers of all claims, each once.

    Attributes:
        listed: claims that are listed one by one, worst first: all of a small run, else the worst that did not pass.
        hidden: number of claims that did not pass and are not listed; their families show them.
        families: families, that of the worst claim first; none in a small run.
        alone: further claims that belong to no family.
    """

    listed: tuple[int, ...]
    hidden: int
    families: tuple[MappedFamily, ...]
    alone: tuple[int, ...]


def overview_of(rows: Sequence[Row]) -> Overview:
    """Return the overview of a run's rows."""
    numbers = {id(row): number for number, row in enumerate(rows, 1)}
    ordered = worst_first(rows)
    if len(rows) <= FEW:
        return Overview(listed=tuple(numbers[id(row)] for row in ordered), hidden=0, families=(), alone=())
    families = families_of(rows)
    bad = [numbers[id(row)] for row in ordered if row.state in EXPLAINED]
    listed = {*bad}
    if len(bad) > _ALL:
        # Those that the terminal prints, some of each family, and then the worst of the others.
        listed &= {numbers[id(row)] for family in families for row in family.printed}
        listed.update([number for number in bad if number not in listed][: max(0, _WORST - len(listed))])
    places = {number: place for place, number in enumerate(numbers[id(row)] for row in ordered)}
    mapped = [_mapped(family, numbers, listed) for family in families if family.name]
    alone = [numbers[id(row)] for family in families if not family.name for row in family.rows]
    return Overview(
        listed=tuple(sorted(listed, key=places.__getitem__)),
        hidden=len(bad) - len(listed),
        families=tuple(sorted(mapped, key=lambda family: places[family.worst])),
        alone=tuple(sorted({*alone} - listed, key=places.__getitem__)),
    )


def _mapped(family: ClaimFamily, numbers: dict[int, int], listed: set[int]) -> MappedFamily:
    counts = Counter(row.state for row in family.rows)
    ordered = [numbers[id(row)] for row in worst_first(family.rows)]
    cells = [_cell(row, numbers[id(row)], family.name) for row in family.rows]
    grid = _grid([row.test.partition("[")[2].rstrip("]") for row in family.rows], cells)
    rows, columns = grid if grid is not None else ((MapRow("", tuple(cells)),), None)
    return MappedFamily(
        name=family.name,
        counts=tuple((state, counts[state]) for state in STATES if counts[state]),
        worst=ordered[0],
        numbers=tuple(number for number in ordered if number not in listed),
        rows=rows,
        columns=columns,
    )


def _cell(row: Row, number: int, family: str) -> Cell:
    result = row.result
    if result is None:
        told = row_without_result(row)
    else:
        required = result.requirement
        told = f"{result.numbers.quantity} {result.measured_value}{f', required {required}' if required else ''}"
    words = f"{row.test.removeprefix(family)} {row.state}: {told}"
    return Cell(number, row.state, heat_of(row), words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…")


def heat_of(row: Row) -> int:
    """Return the tone of a claim's cell, 0 to 2: the narrowest passes and the widest failures have 2."""
    near = nearness(row)
    if near is None:
        return 0
    if row.state in ("passed", "xpassed"):
        return 2 if near < _NEAR else int(near < _FAR)
    return 0 if near > -_NEAR else 1 if near > -_FAR else 2


def _grid(parameters: Sequence[str], cells: Sequence[Cell]) -> tuple[tuple[MapRow, ...], tuple[str, str]] | None:
    """Return the map of claims of two or more parameters; None if they do not cross, or would not fit.

    The parameter with the most values runs along a row, and the others name the rows.
    """
    split = [tuple(_JOINT.split(text)) for text in parameters]
    if len({len(parts) for parts in split}) != 1 or len(split[0]) < 2:
        return None
    values = [dict.fromkeys(parts[at] for parts in split) for at in range(len(split[0]))]
    along = max(range(len(values)), key=lambda at: len(values[at]))
    keys = [(" ".join((*parts[:along], *parts[along + 1 :])), parts[along]) for parts in split]
    labels = dict.fromkeys(label for label, _ in keys)
    placed = dict(zip(keys, cells, strict=True))
    crossed = len(placed) == len(cells) and 2 * len(cells) > len(labels) * len(values[along])
    if not crossed or not 2 <= len(labels) <= _TALLEST or len(values[along]) > _WIDEST:
        return None
    rows = tuple(MapRow(label, tuple(placed.get((label, value)) for value in values[along])) for label in labels)
    return rows, (next(iter(values[along])), next(reversed(values[along])))
