"""Tests of a run that only replays known counterexamples: each ends as failed or as skipped, never as passed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from robustest.errors import ClaimFailed, NotSearched, RobustestError

if TYPE_CHECKING:
    from robustest.context import Context


@contextmanager
def skip_if_only_replayed(context: Context) -> Iterator[None]:
    """Skip a test at its end unless a claim failed or could not be measured.

    Claims that are not refuted return a result without numbers, and the test goes on. Where it then stumbles over their
    absence, that is no failure of the model: it is skipped, and the reason says over what.
    """
    stumbled = ""
    try:
        yield
    except NotSearched:
        pass
    except (ClaimFailed, RobustestError):
        raise
    except Exception as error:
        if not context.unvouched:
            raise
        stumbled = f"; then the test could not go on: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    told = "; ".join(context.unvouched) or "replayed only: the test makes no claim"
    context.unvouched.clear()
    pytest.skip(told + stumbled)


@contextmanager
def skip_if_not_searched() -> Iterator[None]:
    """Skip a test whose fixtures measure what no known counterexample decides; of a shared one, every test."""
    try:
        yield
    except NotSearched as error:
        pytest.skip(str(error))
