"""That something was measured, for the test that it was measured in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from robustest import context
from robustest.errors import ConfigError, expected
from robustest.kinds import Kind
from robustest.models.process_state import unchanged_process
from robustest.results import Result
from robustest.run.options import check_keywords

P = ParamSpec("P")
R = TypeVar("R")

_KIND = "__robustest_kind__"
"""Where a measurement keeps the kind of claim that it measures."""


def measures(kind: Kind) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """A measurement of a kind of claim: what it returns has the facts, captions and counts of that kind.

    They are made last, of the result as it leaves, so that none can be older than the details it is made of. The
    running test knows of it, as of all that is `noted`.

    Args:
        kind: what is measured; `kind_of` gives it back.
    """

    def decorate(measure: Callable[P, Result]) -> Callable[P, Result]:
        @wraps(measure)
        def described(*args: P.args, **kwargs: P.kwargs) -> Result:
            __tracebackhide__ = True
            check_keywords(measure, kwargs)
            return kind.describe(measure(*args, **kwargs))

        measured = noted(described)
        setattr(measured, _KIND, kind)
        return measured

    return decorate


def kind_of(measure: Callable[..., Result]) -> Kind:
    """The kind of claim that a measurement is of.

    Raises:
        ConfigError: it was not made by `measures`.
    """
    kind = getattr(measure, _KIND, None)
    if not isinstance(kind, Kind):
        raise ConfigError(expected("a measurement made by robustest.run.noting.measures", measure))
    return kind


def noted(measure: Callable[P, R]) -> Callable[P, R]:
    """A measurement that the running test knows of once it has ended.

    A test that neither claims nor measures anything does not pass, and of what was measured against a threshold and
    then not asserted the report says so (`robustest.pytest_plugin.claims`).
    """

    @wraps(measure)
    def measured(*args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True
        with unchanged_process():
            found = measure(*args, **kwargs)
        context.current().note(found if isinstance(found, Result) else None)
        return found

    return measured
