"""Families of claims: the claims of one parametrised test, or of one file, worst first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from robustest.account import EXPLAINED, RED, STATES, Row

# Families of a run; with more of them, the claims of one file are a family.
_MOST = 25
# Claims of a family that are printed in full, and of a whole run: the worst ones that did not pass.
_WORST = 3
_WORST_OF_RUN = 12


@dataclass(frozen=True, slots=True)
class ClaimFamily:
    """Claims that are shown together."""

    name: str  # id of the test without its parameters, or of its file; empty if each claim is shown by itself
    rows: list[Row]  # in the order of the run
    printed: list[Row]  # those that a short report shows one by one

    @property
    def counted(self) -> str:
        """Number of claims in each state, the worst first: "75 claims: 10 FAILED, 65 passed"."""
        counts = Counter(row.state for row in self.rows)
        words = [f"{counts[state]} {state.upper() if state in RED else state}" for state in STATES if counts[state]]
        return f"{len(self.rows)} claim{'s' * (len(self.rows) > 1)}: {', '.join(words)}"

    @property
    def hidden(self) -> int:
        """Number of red claims that `printed` leaves out."""
        return sum(row.red for row in self.rows) - sum(row.red for row in self.printed)


FEW = 40
"""Claims of a run that are printed one by one; the lines of more would push the failures off the screen."""


def families_of(rows: Sequence[Row]) -> list[ClaimFamily]:
    """Group claims by test without its parameters; by file if those are too many; or all into one family.

    Families are in the order of the run. The worst claims of each are `printed`, fewer of each if many families fail.
    """
    levels: tuple[Callable[[Row], str], ...] = (
        lambda row: row.test.partition("[")[0],
        lambda row: row.test.partition("::")[0],
        lambda _: "all tests",
    )
    for level in levels:
        groups: dict[str, list[Row]] = {}
        for row in rows:
            groups.setdefault(level(row), []).append(row)
        if len(groups) <= _MOST:
            break
    red = sum(any(row.state in EXPLAINED for row in group) for group in groups.values())
    most = max(1, min(_WORST, _WORST_OF_RUN // max(red, 1)))
    return [
        ClaimFamily(name, group, [row for row in worst_first(group) if row.state in EXPLAINED][:most])
        if len(group) > 1
        else ClaimFamily("", group, group)
        for name, group in groups.items()
    ]


def hidden_tests(rows: Sequence[Row]) -> set[str]:
    """Return the ids of the tests of a large run that did not pass and that its families do not print."""
    if len(rows) <= FEW:
        return set()
    families = families_of(rows)
    printed = {row.test for family in families for row in family.printed}
    # The failures of tests without claims are pytest's own: only those of rows with a result are left out.
    return {row.test for row in rows if row.result is not None and row.red} - printed


def worst_first(rows: Iterable[Row]) -> list[Row]:
    """Sort rows by state, and within it by `nearness`: the farthest on the wrong side first, the widest pass last.

    Rows without a threshold follow those with one, in the order of the run.
    """

    def place(row: Row) -> tuple[int, bool, float]:
        near = nearness(row)
        return STATES.index(row.state), near is None, near or 0.0

    return sorted(rows, key=place)


def nearness(row: Row) -> float | None:
    """Return the distance of a value from its threshold, negative on the wrong side; None without a threshold.

    It is a share of the threshold's own scale: of a size in input units or a number of steps as much as of an accuracy.
    Values above 1 are no shares: 3 of 100 steps missing is less than 0.2 of an accuracy.
    """
    result = row.result
    if result is None or result.ruling.threshold is None:
        return None
    sign = 1 if result.ruling.comparison == ">=" else -1
    return (result.numbers.value - result.ruling.threshold) * sign / max(1.0, abs(result.ruling.threshold))
