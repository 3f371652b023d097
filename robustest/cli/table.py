"""Rows as the terminal report shows them, for several commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustest.cli.exits import Exit
from robustest.cli.runs import blocking
from robustest.cli.screen import Screen, counted
from robustest.ledger import Row
from robustest.reports.states import state
from robustest.reports.terminal import summary


def show_rows(
    screen: Screen, rows: Sequence[Row], lost: Sequence[str], settings: Mapping[str, Any], *, details: bool
) -> Exit:
    """Print the section `robustness` and a count; no results are not well."""
    summary(screen, rows, lost, details=details)
    counts = dict.fromkeys(("passed", "failed", "inconclusive", "not measured", "without a claim"), 0)
    for row in rows:
        counts[_kind(row)] += 1
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    screen.write_line(f"{counted(len(rows), 'result')}: {told}" if rows else "no results")
    return ending(rows, lost, settings)


def ending(rows: Sequence[Row], lost: Sequence[str], settings: Mapping[str, Any]) -> Exit:
    """The exit code for the worst of it."""
    if lost or not rows:
        return Exit.MISSING
    return Exit.NOT_PASSED if any(blocking(row, settings) for row in rows) else Exit.OK


def _kind(row: Row) -> str:
    found = state(row.result)
    return {"error": "not measured", "measured": "without a claim"}.get(found, found)
