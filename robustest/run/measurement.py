"""The wrapper of every measurement: name of the claim, clock, state of the process, facts of its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar, cast

from robustest import clock, context, extensions
from robustest.data import decoded
from robustest.errors import ConfigError, NotSearched, PackError, UnknownNameError, expected, unknown
from robustest.kinds import Kind
from robustest.models.frozen import full_float32, unchanged_process
from robustest.results import Cost, Result, Verdict
from robustest.run.naming import ClaimName, named
from robustest.run.plan import Options

P = ParamSpec("P")
R = TypeVar("R")

# Words for the radius of a threat, which is no option.
_OF_THREAT = ("eps", "epsilon", "radius", "norm")
# Attribute of a measurement with its kind of claim.
_KIND = "__robustest_kind__"


def measurement(kind: Kind | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that makes a measurement of a function, and notifies the running test of each call.

    Args:
        kind: of claim, for `kind_of`, and for name, facts and captions of the result. None for a function that measures
            no claim.

    Raises:
        ConfigError: the kind names an argument that the function does not take.
    """

    def decorate(measure: Callable[P, R]) -> Callable[P, R]:
        bound = signature(measure)
        arguments = () if kind is None else (*kind.thresholds, *kind.further_claims, *kind.limits, *kind.parameters)
        if kind is not None and (strangers := sorted({*arguments} - {*bound.parameters})):
            # The names of its claims would lack that part.
            raise ConfigError(expected(f"arguments of {measure.__name__} in the kind {kind.name!r}", strangers))

        @wraps(measure)
        def measured(*args: P.args, **kwargs: P.kwargs) -> R:
            __tracebackhide__ = True
            if kind is not None:
                context.begin()
            # Also around the user's functions: precision and default dtype of the process change no outcome and no key.
            cached = bool(kwargs.get("cache", context.current().settings.cache))
            with unchanged_process(), full_float32(), decoded.claim(lasts=cached):
                if kind is None:
                    return note(measure(*args, **kwargs))
                check_keywords(measure, kwargs)
                check_unique(kind)
                try:
                    call = bound.bind(*args, **kwargs)
                except TypeError:  # Python's own message names the function and the argument
                    return note(measure(*args, **kwargs))
                name = ClaimName.of(kind, call)
                seconds = cast("Any", kwargs).get("time_budget", context.current().settings.time_budget)
                try:
                    with named(name), clock.budget(seconds if isinstance(seconds, (int, float)) else None):
                        found = cast("Any", measure(*args, **kwargs))
                    # Last, so that facts agree with the details.
                    result = kind.describe(found, **name.fields(found.threshold))
                except clock.OutOfTime as over:
                    given = {**call.arguments, **call.arguments.get("options", {})}
                    result = _undecided(kind, name, given, str(over))
                except NotSearched as nothing:
                    nothing.claim = name.claim
                    raise
            return note(cast("R", result))

        setattr(measured, _KIND, kind)
        return measured

    return decorate


def note(found: R) -> R:
    """Notify the running test of a measurement that has ended; return its value."""
    # A test that neither claims nor measures anything does not pass, and the report names each measured threshold that
    # was not asserted (`robustest.pytest_plugin.claims`).
    context.current().note(found if isinstance(found, Result) else None)
    return found


def check_unique(kind: Kind) -> None:
    """Raise PackError if a pack has another kind of claim of the same name."""
    for pack, other in _kinds_of_packs(extensions.manager()):
        if other.name == kind.name and other is not kind:
            what = f"the pack {pack!r} to give its kind of claim a name of its own"
            raise PackError(f"Expected {what} but {kind.name!r} is another kind's too. Rename it, or uninstall it.")


@cache
def _kinds_of_packs(manager: object) -> list[tuple[str, Kind]]:
    # Cached, as this comes before every measurement.
    return extensions.all_of("robustest_kinds", Kind)


def _undecided(kind: Kind, name: ClaimName, given: Mapping[str, Any], reason: str) -> Result:
    quantity = next((one for one in kind.quantities if given.get(one.threshold) is not None), kind.quantities[0])
    threshold = given.get(quantity.threshold)
    return Result(
        kind=kind.name,
        statement=quantity.name,
        verdict=Verdict.INCONCLUSIVE,
        rule=reason or "the clock: the time was up before the search had ended",
        quantity=quantity.name,
        estimate=None,
        interval=(0.0, 1.0),
        threshold=threshold,
        comparison=quantity.comparison,
        n=0,
        n_total=0,
        outcomes=(),
        cost=Cost(),
        seed=given.get("seed", context.current().settings.seed),
        setting="",
        method="",
        captions=kind.captions,
        reasons=("budget",),
        **name.fields(threshold),
    )


def kind_of(measure: Callable[..., Result]) -> Kind:
    """Return the kind of claim of a measurement.

    Raises:
        ConfigError: it was not made by `measurement(kind)`.
    """
    kind = getattr(measure, _KIND, None)
    if not isinstance(kind, Kind):
        raise ConfigError(expected("a measurement made by robustest.run.measurement.measurement", measure))
    return kind


def check_keywords(measure: Callable[..., object], given: Iterable[str]) -> None:
    """Raise UnknownNameError, with the nearest name, for a keyword that a measurement does not take."""
    for name in given:
        if name not in (known := _keywords(measure)):
            if name in _OF_THREAT and "threat" in known:
                raise UnknownNameError(f"Unknown option {name!r}. The threat holds the radius: Linf(8 / 255), L2(0.5).")
            raise unknown("option", name, known)


@cache
def _keywords(measure: Callable[..., object]) -> frozenset[str]:
    own = [part.name for part in signature(measure).parameters.values() if part.kind is not part.VAR_KEYWORD]
    return frozenset((*own, *Options.__annotations__))
