"""Results and accounts of rows made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from robustest.account import Account, Row
from robustest.extensions import Section
from robustest.results import Cost, Result, Verdict

RESULT = Result.of(
    kind="robust_accuracy",
    statement="made up",
    verdict=Verdict.PASSED,
    rule="by hand",
    quantity="accuracy",
    estimate=0.5,
    interval=(0.25, 0.75),
    threshold=0.5,
    comparison=">=",
    n=4,
    n_total=4,
    outcomes=(True, False, True, False),
    cost=Cost(),
    seed=0,
    setting="",
    method="",
)
"""A claim that passed, of four samples."""


def account_of(rows: Iterable[Row], lost: Sequence[str] = (), sections: Sequence[Section] = ()) -> Account:
    """An account that shows these rows, of a run of which nothing else is known."""
    return Account(results=tuple(rows), endings=(), session=None, lost=tuple(lost), sections=tuple(sections))
