"""Entries made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robustest.history import HistoryEntry


def commit_at(number: int) -> tuple[str, str]:
    """The name of the n-th commit of a line of commits, and when it was made: names are in no order."""
    return f"{(number * 7919 + 13) % 65536:04x}c0ffee", f"2026-01-{1 + number // 24:02d}T{number % 24:02d}:00:00Z"


@pytest.fixture
def entry() -> Callable[..., HistoryEntry]:
    """An entry of the n-th commit, of the n-th run: `entry(3, "failed", run=7)`."""

    def make(at: int, verdict: str = "passed", *, run: int | None = None, **changes: Any) -> HistoryEntry:
        name, committed = commit_at(at)
        moment = at if run is None else run
        measured = {"estimate": 0.5, "low": 0.45, "high": 0.55, "used": 100, "total": 100, "comparison": ">="}
        fields: dict[str, Any] = {
            "time": f"2026-02-{1 + moment // 24:02d}T{moment % 24:02d}:30:00.000Z",
            "commit": name,
            "committed": committed,
            "dirty": False,
            "state": verdict or "error",
            "verdict": verdict,
            **({"threshold": 0.4, "required": ">= 0.4", "model": "a", "data": "b", **measured} if verdict else {}),
        }
        return HistoryEntry(**{**fields, **changes})

    return make
