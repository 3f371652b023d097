"""Entries of a history, which several test files share."""

from __future__ import annotations

from typing import Any

from robustest.history import HistoryEntry


def made(minute: int = 1, **changes: Any) -> HistoryEntry:
    """Return an entry of a passed run at a minute of 1 January 2026."""
    fields = {
        "time": f"2026-01-01T00:{minute:02d}:00.000Z",
        "commit": f"{minute:012d}",
        "committed": f"2026-01-01T00:{minute:02d}:00Z",
        "dirty": False,
        "state": "passed",
        "verdict": "passed",
        "estimate": 0.5,
        "low": 0.4,
        "high": 0.6,
        "used": 10,
        "total": 10,
        "comparison": ">=",
        "seconds": 1.5,
        "model": "abc",
    }
    return HistoryEntry(**{**fields, **changes})
