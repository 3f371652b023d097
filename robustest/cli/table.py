"""Rows as the terminal report shows them, for several commands."""

from __future__ import annotations

from collections.abc import Sequence

from robustest.account import Account, Row
from robustest.cli.exits import Exit
from robustest.cli.screen import Screen, counted
from robustest.endings import Session
from robustest.reports.states import STATES, red, state
from robustest.reports.terminal import summary

_WORDS = {"error": "not measured", "measured": "without a claim"}
"""Where a count needs more than the state's own word."""


def show_rows(screen: Screen, account: Account, *, details: bool) -> Exit:
    """Print the section `robustness` and a count; no results are not well."""
    rows = account.rows
    left_out = account.left_out.get("deselected", "")
    if not left_out and account.session is not None and account.session.selection:
        left_out = f"selected by {account.session.selection}: no other file was looked into"
    summary(screen, rows, account.lost, details=details, left_out=left_out, sections=account.sections)
    counts = dict.fromkeys(reversed(STATES), 0)
    for row in rows:
        counts[state(row)] += 1
    told = ", ".join(f"{count} {_WORDS.get(name, name)}" for name, count in counts.items() if count)
    screen.write_line(f"{counted(len(rows), 'result')}: {told}" if rows else "no results")
    return ending(rows, account.lost, account.session)


def ending(rows: Sequence[Row], lost: Sequence[str], session: Session | None) -> Exit:
    """The exit code for the worst of it; nothing measured is not well, and neither is a run that was cut short."""
    if lost or (session is not None and session.exit not in (0, 1, 5, 6)):
        return Exit.MISSING
    if any(map(red, rows)):
        return Exit.NOT_PASSED
    return Exit.OK if any(row.result is not None for row in rows) else Exit.MISSING
