"""That something was measured, for the test that it was measured in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Signature, signature
from typing import Any, ParamSpec, TypeVar, cast

from robustest import clock, context, extensions
from robustest.errors import ConfigError, NotSearched, PackError, expected
from robustest.kinds import Kind
from robustest.models.frozen import full_float32, unchanged_process
from robustest.results import Cost, Result, Verdict
from robustest.run.naming import ClaimName, named
from robustest.run.plan import check_keywords

P = ParamSpec("P")
R = TypeVar("R")

_KIND = "__robustest_kind__"
"""Where a measurement keeps the kind of claim that it measures."""


def measurement(kind: Kind | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that makes a measurement of a function.

    The running test knows of each measurement once it has ended: a test that neither claims nor measures anything does
    not pass, and the report names each measured threshold that was not asserted (`robustest.pytest_plugin.claims`).

    All of it runs in full float32, also the user's functions: so precision and default type of the process change no
    outcome and no key in the store. Both are restored at the end.

    Args:
        kind: the kind of claim, which `kind_of` gives back. The result gets the name of its claim, and the facts and
            captions of the kind; they are made last, so that they agree with the details. None for a function that
            measures no claim and returns no `Result`.

    Raises:
        ConfigError: the kind names an argument that the function does not take.
    """

    def decorate(measure: Callable[P, R]) -> Callable[P, R]:
        bound = signature(measure)
        named_by_kind = () if kind is None else (*kind.thresholds, *kind.further_claims, *kind.limits, *kind.parameters)
        if strangers := sorted(set(named_by_kind) - set(bound.parameters)):  # claims' names would lack that part
            what = f"arguments of {measure.__name__} in the kind {'' if kind is None else kind.name!r}"
            raise ConfigError(expected(what, strangers))

        @wraps(measure)
        def measured(*args: P.args, **kwargs: P.kwargs) -> R:
            __tracebackhide__ = True
            with unchanged_process(), full_float32():
                found = measure(*args, **kwargs) if kind is None else _claimed(kind, measure, bound, args, kwargs)
            context.current().note(found if isinstance(found, Result) else None)
            return cast("R", found)

        setattr(measured, _KIND, kind)
        return measured

    return decorate


def _claimed(
    kind: Kind, measure: Callable[..., Any], bound: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    __tracebackhide__ = True
    check_keywords(measure, kwargs)
    for pack, other in extensions.all_of("robustest_kinds", Kind):
        if other.name == kind.name and other is not kind:
            what = f"the pack {pack!r} to give its kind of claim a name of its own"
            raise PackError(f"Expected {what} but {kind.name!r} is another kind's too. Rename it, or uninstall it.")
    seconds = kwargs.get("time_budget", context.current().settings.time_budget)
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
        ConfigError: it was not made by `measurement`.
    """
    kind = getattr(measure, _KIND, None)
    if not isinstance(kind, Kind):
        raise ConfigError(expected("a measurement made by robustest.run.measurement.measures", measure))
    return kind
