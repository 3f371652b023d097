"""Fixtures of the claims' tests: files of baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from robustest.results import Result
from robustest.run.comparison import measured_by
from robustest.store.baselines import BaselineEntry, write
from robustest.tasks import CLASSIFICATION

Keeps = Callable[[Result, Iterable[bool], object], Path]


@pytest.fixture
def baseline_of(tmp_path: Path) -> Keeps:
    """Writes the baseline that a result would be compared with, had its outcomes been these, measured so."""

    def keep(now: Result, outcomes: Iterable[bool], identity: object) -> Path:
        entry = BaselineEntry(
            test="",
            claim=now.subject.claim,
            quantity=now.numbers.quantity,
            outcomes=tuple(outcomes),
            data=now.evidence.data,
            model=None,
            seed=0,
            method="",
            date="2026-01-01",
            commit="",
            estimate=None,
            interval=(0.0, 1.0),
            measured_by=measured_by(identity, CLASSIFICATION),
        )
        write(tmp_path / "was.json", {f": {now.subject.claim}": entry})
        return tmp_path / "was.json"

    return keep
