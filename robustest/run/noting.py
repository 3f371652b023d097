"""That something was measured, for the test that it was measured in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar, cast

from robustest import clock, context, extensions
from robustest.errors import ConfigError, NotSearched, PackError, expected
from robustest.kinds import Kind
from robustest.models.process_state import full_float32, unchanged_process
from robustest.results import Cost, Result, Verdict
from robustest.run.naming import ClaimName, named
from robustest.run.options import check_keywords

P = ParamSpec("P")
R = TypeVar("R")

_KIND = "__robustest_kind__"
"""Where a measurement keeps the kind of claim that it measures."""


def measures(kind: Kind) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """A measurement of a kind of claim: what it returns has the name of its claim, and facts and captions of that kind.

    They are made last, of the result as it leaves, so that none can be older than the details it is made of. The
    running test knows of it, as of all that is `noted`.

    Args:
        kind: what is measured; `kind_of` gives it back.

    Raises:
        ConfigError: the kind names an argument that the measurement does not take.
    """

    def decorate(measure: Callable[P, Result]) -> Callable[P, Result]:
        bound = signature(measure)
        named_by_kind = {*kind.thresholds, *kind.asks_too, *kind.limits, *kind.parameters}
        if strangers := sorted(named_by_kind - set(bound.parameters)):  # its claims would lack that part of their names
            raise ConfigError(expected(f"arguments of {measure.__name__} in the kind {kind.name!r}", strangers))

        @wraps(measure)
        def described(*args: P.args, **kwargs: P.kwargs) -> Result:
            __tracebackhide__ = True
            check_keywords(measure, kwargs)
            for pack, other in extensions.all_of("robustest_kinds", Kind):
                if other.name == kind.name and other is not kind:
                    what = f"the pack {pack!r} to give its kind of claim a name of its own"
                    raise PackError(
                        f"Expected {what} but {kind.name!r} is another kind's too. Rename it, or uninstall it."
                    )
            seconds = cast("Any", kwargs).get("time_budget", context.current().settings.time_budget)
            try:
                call = bound.bind(*args, **kwargs)
            except TypeError:  # Python's own words name the function and the argument
                return measure(*args, **kwargs)
            name = ClaimName.of(kind, call)
            try:
                with named(name), clock.budget(seconds if isinstance(seconds, (int, float)) else None):
                    return name.given_to(kind.describe(measure(*args, **kwargs)))
            except clock.OutOfTime as over:
                given = call.arguments
                return name.given_to(_undecided(kind, {**given, **given.get("options", {})}, str(over)))
            except NotSearched as nothing:
                nothing.claim = name.claim
                raise

        measured = noted(described)
        setattr(measured, _KIND, kind)
        return measured

    return decorate


def _undecided(kind: Kind, given: Mapping[str, Any], reason: str) -> Result:
    """Return the result of a claim whose time was up before anything could be decided.

    Args:
        kind: of the claim.
        given: its arguments.
        reason: how far it had come; empty where that is not known.
    """
    asked = next((one for one in kind.quantities if given.get(one.threshold) is not None), kind.quantities[0])
    threshold = given.get(asked.threshold)
    settings = context.current().settings
    return Result(
        kind=kind.name,
        statement=asked.name,
        verdict=Verdict.INCONCLUSIVE,
        rule=reason or "the clock: the time was up before the search had ended",
        quantity=asked.name,
        estimate=None,
        interval=(0.0, 1.0),
        threshold=threshold,
        comparison=asked.comparison,
        n=0,
        n_total=0,
        outcomes=(),
        cost=Cost(),
        seed=given.get("seed", settings.seed),
        setting="",
        method="",
        captions=kind.captions,
        reasons=("budget",),
    )


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
    then not asserted the report says so (`robustest.pytest_plugin.outcome`).

    All of it runs in full float32, the user's functions too, and not the model's passes alone: so precision and default
    type of the process move no outcome, and no key under which one is remembered. Both are the user's again afterwards.
    """

    @wraps(measure)
    def measured(*args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True
        with unchanged_process(), full_float32():
            found = measure(*args, **kwargs)
        context.current().note(found if isinstance(found, Result) else None)
        return found

    return measured
