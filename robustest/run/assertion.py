"""An assertion: a measurement with a result that becomes the outcome of the running test."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, cast

from robustest import context
from robustest.context import claiming
from robustest.errors import ClaimFailed, ClaimInconclusive, ConfigError, NotSearched, expected
from robustest.identity.fingerprint import digest
from robustest.reports.text import failure_text
from robustest.results import Cost, Result, Verdict
from robustest.run.measurement import check_keywords, kind_of
from robustest.store.files import save_record
from robustest.store.provenance import when

P = ParamSpec("P")


def assertion(measure: Callable[P, Result], **defaults: float) -> Callable[[Callable[[], object]], Callable[P, Result]]:
    """Return a decorator that makes an assertion of a measurement.

    The decorated function has no arguments, only the assertion's name, and a docstring with the claim:

    ```python
    @assertion(measure_robust_accuracy)
    def assert_robust_accuracy() -> None:
        \"\"\"Claim that accuracy is at least `at_least`.\"\"\"
    ```

    The assertion takes the arguments of the measurement. A threshold without which nothing is claimed has no default.

    Args:
        measure: made by `robustest.run.measurement.measurement` with a kind of claim.
        **defaults: thresholds that are claimed if no other is given.

    Returns:
        The decorator. The assertion raises, beside the errors of the measurement:

        - `ConfigError`: nothing is claimed.
        - `UnknownNameError`: a keyword is unknown; the nearest known one is named.
        - `ClaimFailed`, `ClaimInconclusive`: see `gate`.
    """
    kind = kind_of(measure)
    thresholds = kind.thresholds
    # A misspelt default would be no threshold at all.
    if strangers := sorted(set(defaults) - set(thresholds)):
        raise ConfigError(expected(f"defaults of the thresholds of {kind.name!r}, {thresholds}", strangers))
    required = not kind.advises and (kind.together or len(thresholds) == 1)
    signature = inspect.signature(measure)
    parameters = []
    for part in signature.parameters.values():
        # A single threshold, or thresholds that belong together, must be given.
        default = inspect.Parameter.empty if required and part.name in thresholds else part.default
        parameters.append(part.replace(default=defaults.get(part.name, default)))
    signature = signature.replace(parameters=parameters)

    def make(words: Callable[[], object]) -> Callable[P, Result]:
        @wraps(words)
        def claim(*args: P.args, **kwargs: P.kwargs) -> Result:
            __tracebackhide__ = True
            context.begin()
            with claiming(kind.name):
                check_keywords(measure, kwargs)
                given: Any = {**defaults, **kwargs}
                try:
                    # Python's message would name the measurement, not the assertion.
                    signature.bind(*args, **given)
                except TypeError as error:
                    shown = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
                    keyword = next((f"{name}=..." for name in thresholds), "")
                    call = f"{words.__name__}({', '.join([*shown, keyword] if keyword else shown)})"
                    mend = "samples and labels are one argument, (x, y), and limits are keywords"
                    raise TypeError(f"{words.__name__}() {error}. Write {call}: {mend}.") from None
                if not kind.advises and all(given.get(name) is None for name in thresholds):
                    first = ", ".join(f"{name}=" for name in thresholds[:-1])
                    listed = f"{first} or {thresholds[-1]}=" if first else f"{thresholds[0]}="
                    none = {1: "None", 2: "neither"}.get(len(thresholds), "none")
                    raise ConfigError(f"Expected {listed} but got {none}: there is nothing to claim.")
                try:
                    return gate(measure(*args, **given), advises=kind.advises)
                except NotSearched as nothing:
                    return unsearched(kind.name, nothing)

        claim.__doc__ = (
            f"{inspect.cleandoc(words.__doc__ or '')}\n\n"
            f"Arguments and errors are those of `{measure.__name__}`; returns the result.\n\n"
            "Raises:\n"
            "    ClaimFailed: the claim does not hold.\n"
            "    ClaimInconclusive: the samples do not settle it, or a check or a control forbids a pass.\n"
        )
        claim.__annotations__ = dict(measure.__annotations__)
        made = cast("Any", claim)
        made.__signature__ = signature
        made.__wrapped__ = measure  # not `words`, which has no arguments
        return claim

    return make


def gate(result: Result, *, advises: bool = False) -> Result:
    """Record a result, and return it only if it passed.

    An inconclusive claim skips its test if the settings say so; it never passes. In a run that only replays known
    counterexamples, a claim that does not fail was not measured, and does not pass.

    Args:
        advises: True for a kind that may be asserted without a threshold; its result passes if nothing is claimed.

    Raises:
        ClaimFailed: the claim does not hold.
        ClaimInconclusive: the samples do not decide it.
    """
    __tracebackhide__ = True
    running = context.current()
    # An advisory kind without a threshold claims nothing, and so cannot fail.
    free = advises and result.threshold is None and not running.settings.replay_only
    if not free:
        running.gate(result)
        if running.settings.replay_only and result.verdict is not Verdict.FAILED:
            raise running.not_searched(result.statement, "replayed only: nothing was searched for")
    running.record(result)
    if running.test and running.settings.store is not None:
        # The latest result of each claim, as if all had been measured now; one with another threshold replaces it.
        plain = replace(result, cached="").to_dict()
        record = {"test": running.test, "claim": result.claim, "when": when(), "result": plain}
        save_record(Path(running.settings.store), digest((running.test, result.claim)), record)
    if free or result.verdict is Verdict.PASSED:
        return result
    if result.verdict is Verdict.INCONCLUSIVE and running.settings.inconclusive == "skip" and running.skip is not None:
        running.skip(f"inconclusive: {result.statement}: {result.rule}")
    error = ClaimFailed if result.verdict is Verdict.FAILED else ClaimInconclusive
    raise error(failure_text(result, replay=""), result)  # the report of the run says once how to repeat its test


def unsearched(kind: str, nothing: NotSearched) -> Result:
    """Return the result of an assertion in a replay, if no known counterexample refutes its claim."""
    # The test goes on to its next claim, and is skipped at its end unless one of its claims failed.
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
        seed=context.current().settings.seed,
        setting="",
        method="",
        reasons=("not_searched",),
    )
