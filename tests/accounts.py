"""Accounts of rows made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from robustest.account import Account, Row
from robustest.extensions import Section


def account_of(rows: Iterable[Row], lost: Sequence[str] = (), sections: Sequence[Section] = ()) -> Account:
    """An account that shows these rows, of a run of which nothing else is known."""
    return Account(results=tuple(rows), endings=(), session=None, lost=tuple(lost), sections=tuple(sections))
