"""That something was measured, for the test that it was measured in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from robustest import context
from robustest.results import Result

P = ParamSpec("P")
R = TypeVar("R")


def noted(measure: Callable[P, R]) -> Callable[P, R]:
    """A measurement that the running test knows of once it has ended.

    A test that neither claims nor measures anything does not pass, and of what was measured against a threshold and
    then not asserted the report says so (`robustest.pytest_plugin.claims`).
    """

    @wraps(measure)
    def measured(*args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True
        found = measure(*args, **kwargs)
        context.current().note(found if isinstance(found, Result) else None)
        return found

    return measured
