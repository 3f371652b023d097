"""Where a result becomes a test's outcome.

Assertions made of their measurements: the same arguments, and a test that fails where the claim does not hold.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, cast

from robustest import context, extensions
from robustest.context import claiming
from robustest.errors import ClaimFailed, ClaimInconclusive, ConfigError, NotSearched, expected
from robustest.identity.fingerprint import digest
from robustest.kinds import Kind
from robustest.reports.text import failure_text
from robustest.results import Cost, Result, Verdict
from robustest.run.measurement import kind_of
from robustest.run.plan import check_keywords
from robustest.store.files import save_record
from robustest.store.provenance import when


def gate(result: Result) -> Result:
    """Record a result and let it through only if it passed.

    An inconclusive claim skips its test where the settings say so; it never passes. In a run that only replays known
    counterexamples, a claim that does not fail was not measured by them, and does not pass.

    Raises:
        ClaimFailed: the claim does not hold.
        ClaimInconclusive: the samples do not settle it.
    """
    __tracebackhide__ = True
    running = context.current()
    running.gate(result)
    if running.settings.replay_only and result.verdict is not Verdict.FAILED:
        raise running.not_searched(result.statement, "replayed only: nothing was searched for")
    _record(result)
    if result.verdict is Verdict.PASSED:
        return result
    if result.verdict is Verdict.INCONCLUSIVE and running.settings.inconclusive == "skip" and running.skip is not None:
        running.skip(f"inconclusive: {result.statement}: {result.rule}")
    kind = ClaimFailed if result.verdict is Verdict.FAILED else ClaimInconclusive
    raise kind(failure_text(result, replay=""), result)  # the report of the run says how to repeat its test, once


def advise(result: Result) -> Result:
    """Record a result; it is let through where nothing was claimed, and gated where something was.

    Raises:
        As `gate`, where there is a threshold.
    """
    __tracebackhide__ = True
    if result.threshold is not None or context.current().settings.replay_only:
        return gate(result)
    _record(result)
    return result


def unvouched(kind: str, nothing: NotSearched) -> Result:
    """What an assertion returns where known counterexamples alone do not refute its claim: nothing was searched for.

    Its test goes on to the next claim, and is skipped at its end unless one of its claims failed. There is neither an
    estimate nor details.

    Args:
        kind: of the claim.
        nothing: what said so.
    """
    running = context.current()
    return Result(
        kind=kind,
        claim=nothing.claim,
        statement=nothing.statement,
        verdict=Verdict.INCONCLUSIVE,
        rule=nothing.reason,
        quantity="",
        estimate=None,
        interval=(0.0, 1.0),
        threshold=None,
        comparison=">=",
        n=0,
        n_total=0,
        outcomes=(),
        cost=Cost(),
        seed=running.settings.seed,
        setting="",
        method="",
        reasons=("not_searched",),
    )


def _record(result: Result) -> None:
    running = context.current()
    running.record(result)
    if running.test and running.settings.store is not None:
        _remember(Path(running.settings.store), running.test, result)


def _remember(folder: Path, test: str, result: Result) -> None:
    """Keep the latest result of each claim, as it would be had it all been measured now."""
    plain = replace(result, cached="").to_dict()
    record = {"test": test, "claim": result.claim, "when": when(), "result": plain}
    key = digest((test, result.claim))
    save_record(folder, key, record)  # another threshold replaces it


P = ParamSpec("P")


def assertion(measure: Callable[P, Result], **defaults: float) -> Callable[[Callable[[], object]], Callable[P, Result]]:
    """Make an assertion of a measurement, from a function of no arguments that has its name and says what is claimed.

    ```python
    @assertion(measure_robust_accuracy)
    def assert_robust_accuracy() -> None:
        \"\"\"Claim that accuracy is at least `at_least`.\"\"\"
    ```

    It takes what the measurement takes, measures, records the result, and raises unless it passed. Its signature is the
    measurement's, except that a threshold without which there is nothing to claim has no default. Its docstring goes on
    with where arguments and errors are described.

    Args:
        measure: made by `robustest.run.measurement.measurement`, whose kind of claim this asserts.
        **defaults: thresholds that are claimed where no other is given.

    Returns:
        A decorator. What it makes raises, beside what the measurement raises:

        - `ConfigError`: there is nothing to claim.
        - `UnknownNameError`: a keyword is unknown; the nearest known one is named.
        - `ClaimFailed`, `ClaimInconclusive`: see `robustest.assertions.assertion.gate`.
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
