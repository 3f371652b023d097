"""Assertions made of their measurements: the same arguments, and a test that fails where the claim does not hold."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, cast

from robustest import extensions
from robustest.assertions.gate import advise, gate, unvouched
from robustest.context import claiming
from robustest.errors import ConfigError, NotSearched, expected
from robustest.kinds import Kind
from robustest.results import Result
from robustest.run.noting import kind_of
from robustest.run.options import check_keywords

P = ParamSpec("P")


def asserted(measure: Callable[P, Result], **defaults: float) -> Callable[[Callable[[], object]], Callable[P, Result]]:
    """Make an assertion of a measurement, from a function of no arguments that has its name and says what is claimed.

    ```python
    @asserted(measure_robust_accuracy)
    def assert_robust_accuracy() -> None:
        \"\"\"Claim that accuracy is at least `at_least`.\"\"\"
    ```

    It takes what the measurement takes, measures, records the result, and raises unless it passed. Its signature is the
    measurement's, except that a threshold without which there is nothing to claim has no default. Its docstring goes on
    with where arguments and errors are described.

    Args:
        measure: made by `robustest.run.noting.measures`, whose kind of claim this asserts.
        **defaults: thresholds that are claimed where no other is given.

    Returns:
        A decorator. What it makes raises, beside what the measurement raises:

        - `ConfigError`: there is nothing to claim.
        - `UnknownNameError`: a keyword is unknown; the nearest known one is named.
        - `ClaimFailed`, `ClaimInconclusive`: see `robustest.assertions.gate.gate`.
    """
    kind = kind_of(measure)
    if strangers := sorted(set(defaults) - set(kind.thresholds)):
        raise ConfigError(expected(f"defaults of the thresholds of {kind.name!r}, {kind.thresholds}", strangers))
    signature = _signature(measure, kind, defaults)

    def make(words: Callable[[], object]) -> Callable[P, Result]:
        @wraps(words)
        def claim(*args: P.args, **kwargs: P.kwargs) -> Result:
            __tracebackhide__ = True
            with claiming(kind.name):
                check_keywords(measure, kwargs)
                given: Any = {**defaults, **kwargs}
                try:
                    signature.bind(*args, **given)
                except TypeError as error:
                    raise TypeError(f"{words.__name__}() {error}") from None
                if not kind.advises:
                    _check_claim(kind, given)
                try:
                    found = measure(*args, **given)
                    return advise(found) if kind.advises else gate(found)
                except NotSearched as nothing:
                    return unvouched(kind.name, nothing)

        claim.__doc__ = _docstring(words, measure)
        claim.__annotations__ = dict(measure.__annotations__)
        made = cast("Any", claim)
        made.__signature__ = signature
        made.__wrapped__ = measure  # not the words, which have no arguments
        return claim

    return make


def _check_claim(kind: Kind, given: Mapping[str, object]) -> None:
    """Refuse a call that claims nothing.

    Raises:
        ConfigError: no threshold was given, or None.
    """
    names = kind.thresholds
    if any(given.get(name) is not None for name in names):
        return
    first = ", ".join(f"{name}=" for name in names[:-1])
    listed = f"{first} or {names[-1]}=" if first else f"{names[0]}="
    none = {1: "None", 2: "neither"}.get(len(names), "none")
    raise ConfigError(f"Expected {listed} but got {none}: there is nothing to claim.")


def _required(kind: Kind) -> bool:
    return not kind.advises and (kind.together or len(kind.thresholds) == 1)


def _signature(measure: Callable[..., Result], kind: Kind, defaults: Mapping[str, float]) -> inspect.Signature:
    """A measurement's, with the thresholds' own defaults, and none where the claim needs them."""
    signature = inspect.signature(measure)
    parameters = [
        part.replace(default=defaults[part.name])
        if part.name in defaults
        else part.replace(default=inspect.Parameter.empty)
        if part.name in kind.thresholds and _required(kind)
        else part
        for part in signature.parameters.values()
    ]
    return signature.replace(parameters=parameters)


def _docstring(words: Callable[[], object], measure: Callable[..., Result]) -> str:
    """What is claimed, where the arguments are described, and what is raised."""
    claim, raises, errors = inspect.cleandoc(words.__doc__ or "").partition("\n\nRaises:\n")
    about = f"Arguments and errors are those of `{measure.__name__}`; returns the result."
    return f"{claim}\n\n{about}{raises}{errors}\n"


def kinds() -> dict[str, Kind]:
    """Return every kind of claim by name: robustest's own, then those of packs.

    Raises:
        PackError: a pack is broken, or a kind of claim of a pack has the name of another.
    """
    from robustest import assertions
    from robustest.assertions import strategies  # and with it hypothesis

    named: dict[str, Any] = {**vars(assertions), **vars(strategies)}
    every = [one for name, one in named.items() if name.startswith("assert_")]
    found = {kind.name: kind for kind in (kind_of(one.__wrapped__) for one in every)}
    owners = dict.fromkeys(found, "")
    for pack, kind in extensions.all_of("robustest_kinds", Kind):
        extensions.check_new("kind of claim", kind.name, pack, owners)
        found[kind.name], owners[kind.name] = kind, pack
    return found
