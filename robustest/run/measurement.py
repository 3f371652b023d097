"""The wrappers of a claim: a measurement returns a result, an assertion makes it the outcome of the running test."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from inspect import signature
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from robustest import clock, context, devices, extensions, process
from robustest.context import claiming
from robustest.errors import (
    ClaimFailed,
    ClaimInconclusive,
    ConfigError,
    NotSearched,
    PackError,
    UnknownNameError,
    expected,
    unknown,
)
from robustest.identity.fingerprint import digest
from robustest.kinds import Kind
from robustest.loaded import loaded
from robustest.reports.progress import TerminalProgress
from robustest.reports.text import failure_text
from robustest.results import Cost, Result, Verdict
from robustest.run.afterwards import collected, recording
from robustest.run.naming import ClaimName, named
from robustest.run.options import Options
from robustest.store.files import save_record
from robustest.store.provenance import when

# The wrapper of every measurement: name of the claim, clock, state of the process, facts of its kind.


P = ParamSpec("P")
R = TypeVar("R")

# Words for the radius of a threat, which is no option.
_OF_THREAT = ("eps", "epsilon", "radius", "norm")
_OF_LIMIT = ("threshold", "limit", "minimum", "min", "min_accuracy", "accuracy", "at_most", "maximum", "max")
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
        ours = measure.__module__.startswith("robustest.")
        if ours and kind is not None:
            _OURS[kind.name] = kind

        @wraps(measure)
        def measured(*args: P.args, **kwargs: P.kwargs) -> R:
            __tracebackhide__ = True
            if kind is not None:
                context.begin(measure.__name__)
            # Also around the user's functions: precision and default dtype of the process change no outcome and no key.
            cached = bool(kwargs.get("cache", context.current().settings.cache))
            with _unchanged_process(keeps_samples=cached):
                if kind is None:
                    return note(measure(*args, **kwargs))
                check_keywords(measure, kwargs)
                if not ours:  # robustest's kinds need no pack, and to load those of all packs takes a second
                    check_unique(kind)
                try:
                    call = bound.bind(*args, **kwargs)
                except TypeError:  # Python's own message names the function and the argument
                    return note(measure(*args, **kwargs))
                name = ClaimName.of(kind, call)
                seconds = cast("Any", kwargs).get("time_budget", context.current().settings.time_budget)
                try:
                    limit = clock.budget(seconds if isinstance(seconds, (int, float)) else None)
                    with named(name), limit, collected() as afterwards:
                        found = cast("Any", measure(*args, **kwargs))
                        # Last, so that facts agree with the details.
                        result = kind.describe(found, **name.fields(found.ruling.threshold))
                        result = require_clusters(result, cast("Any", kwargs).get("cluster"))
                        result = afterwards.done(result)
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


@contextmanager
def _unchanged_process(*, keeps_samples: bool) -> Iterator[None]:
    """Compute in full float32 inside the block, and leave the process as it was; see `models.frozen`.

    Args:
        keeps_samples: True if decoded samples may outlast the claim.
    """
    if _BESIDE.get():
        yield
        return
    # Without torch nothing is computed in it, and recorded outcomes do not load it.
    if loaded("torch") is None:
        with process.unchanged():
            yield
        return
    from robustest.data import decoded
    from robustest.models.frozen import full_float32, unchanged_process

    with unchanged_process(), full_float32(), devices.default_on_host(), decoded.claim(lasts=keeps_samples):
        yield


# True in the claims that are made beside each other: the state of the process is held around all of them.
_BESIDE: ContextVar[bool] = ContextVar("robustest_beside", default=False)


@contextmanager
def claims_beside() -> Iterator[None]:
    """Let threads that start inside the block, with its context, make a claim each; one of them may run at a time."""
    with _unchanged_process(keeps_samples=True):
        token = _BESIDE.set(True)
        try:
            yield
        finally:
            _BESIDE.reset(token)


def require_clusters(result: Result, cluster: object) -> Result:
    """Return a result that passes about the population only if it counts the clusters that were given.

    Args:
        cluster: the option of this name, or None.
    """
    # Here, where every claim comes by, and not in each rule: a rule that knows of no clusters takes their units for
    # draws of their own.
    passed = result.verdict is Verdict.PASSED and result.subject.scope != "set"
    if cluster is None or not passed or result.details.get("clusters"):
        return result
    rule = (
        "clusters were given, and the rule of this claim counts single units as draws: not shown for the population; "
        f'claim it of these units (scope="set"). {result.rule}'
    )
    return result.but(verdict=Verdict.INCONCLUSIVE, rule=rule, reasons=("clusters",))


def note(found: R) -> R:
    """Notify the running test of a measurement that has ended; return its value."""
    # A test that neither claims nor measures anything does not pass, and the report names each measured threshold that
    # was not asserted (`robustest.pytest_plugin.claims`).
    context.current().note(found if isinstance(found, Result) else None)
    return found


def check_unique(kind: Kind) -> None:
    """Raise PackError if the name of a pack's or the user's kind of claim is that of another kind.

    Names of robustest's kinds count as far as they are loaded; `robustest.claims.kinds` compares all.
    """
    if _OURS.get(kind.name, kind) is not kind:
        raise PackError(
            f"Expected a kind of claim with a name of its own but {kind.name!r} is one of robustest's. Rename it, or "
            "uninstall its pack."
        )
    for pack, other in _kinds_of_packs(extensions.manager()):
        if other.name == kind.name and other is not kind:
            what = f"the pack {pack!r} to give its kind of claim a name of its own"
            raise PackError(f"Expected {what} but {kind.name!r} is another kind's too. Rename it, or uninstall it.")


# Robustest's own kinds of claims by name, as far as their modules are loaded.
_OURS: dict[str, Kind] = {}


@cache
def _kinds_of_packs(manager: object) -> list[tuple[str, Kind]]:
    # Cached, as this comes before every measurement of a pack's kind.
    return extensions.all_of("robustest_kinds", Kind)


def _undecided(kind: Kind, name: ClaimName, given: Mapping[str, Any], reason: str) -> Result:
    quantity = next((one for one in kind.quantities if given.get(one.threshold) is not None), kind.quantities[0])
    threshold = given.get(quantity.threshold)
    return _unmeasured(
        kind.name,
        quantity.name,
        reason or "the clock: the time was up before the search had ended",
        "budget",
        quantity=quantity.name,
        threshold=threshold,
        comparison=quantity.comparison,
        seed=given.get("seed", context.current().settings.seed),
        captions=kind.captions,
        **name.fields(threshold),
    )


def _unmeasured(kind: str, statement: str, rule: str, reason: str, **others: Any) -> Result:
    defaults = {"quantity": "", "threshold": None, "comparison": ">=", "seed": context.current().settings.seed}
    return Result.of(
        kind=kind,
        statement=statement,
        verdict=Verdict.INCONCLUSIVE,
        rule=rule,
        estimate=None,
        interval=(0.0, 1.0),
        n=0,
        n_total=0,
        outcomes=(),
        cost=Cost(),
        setting="",
        method="",
        reasons=(reason,),
        **{**defaults, **others},
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
            limits = sorted(one for one in known - {"max_samples"} if one.startswith(("at_least", "max_")))
            if name in _OF_LIMIT and limits:
                raise UnknownNameError(f"Unknown option {name!r}. The limit of this claim is {' or '.join(limits)}.")
            if name == "metric" and "task" in known:
                raise UnknownNameError(
                    "Unknown option 'metric'. This claim counts samples that are right, those whose score reaches the "
                    "task's floor. assert_accuracy, assert_robust_score, assert_shift_accuracy (a corruption at a "
                    "time) and assert_worst_group_accuracy take a metric of the set."
                )
            raise unknown("option", name, known)


@cache
def _keywords(measure: Callable[..., object]) -> frozenset[str]:
    own = [part.name for part in signature(measure).parameters.values() if part.kind is not part.VAR_KEYWORD]
    return frozenset((*own, *Options.__annotations__))


# An assertion: a measurement with a result that becomes the outcome of the running test.


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
            context.begin(words.__name__)
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
                announced: list[Result] = []
                try:
                    with recording(lambda result: announced.append(_announced(result))):
                        result = measure(*args, **given)
                    return gate(result, advises=kind.advises, announced=announced[0] if announced else None)
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


def _announced(result: Result) -> Result:
    """Record and show the result of a failed claim before its counterexamples are made smaller; return it."""
    running = context.current()
    running.announce(result)
    _store(result)
    if isinstance(running.progress, TerminalProgress):
        running.progress.verdict(result.headline, result.cost.seconds)
    return result


def _store(result: Result) -> None:
    running = context.current()
    if running.test and running.settings.store is not None:
        # The latest result of each claim, as if all had been measured now; one with another threshold replaces it.
        plain = result.but(cached="").to_dict()
        record = {"test": running.test, "claim": result.subject.claim, "when": when(), "result": plain}
        save_record(Path(running.settings.store), digest((running.test, result.subject.claim)), record)


def gate(result: Result, *, advises: bool = False, announced: Result | None = None) -> Result:
    """Record a result, and return it only if it passed.

    An inconclusive claim skips its test if the settings say so; it never passes. In a run that only replays known
    counterexamples, a claim that does not fail was not measured, and does not pass.

    Args:
        advises: True for a kind that may be asserted without a threshold; its result passes if nothing is claimed.
        announced: the same result as it was recorded before its counterexamples were made smaller, or None.

    Raises:
        ClaimFailed: the claim does not hold.
        ClaimInconclusive: the samples do not decide it.
    """
    __tracebackhide__ = True
    running = context.current()
    # An advisory kind without a threshold claims nothing, and so cannot fail.
    free = advises and result.ruling.threshold is None and not running.settings.replay_only
    if not free:
        running.gate(result)
        if running.settings.replay_only and result.verdict is not Verdict.FAILED:
            raise running.not_searched(result.subject.statement, "replayed only: nothing was searched for")
    running.record(result, announced=announced)
    _store(result)
    if free or result.verdict is Verdict.PASSED:
        return result
    if result.verdict is Verdict.INCONCLUSIVE and running.settings.inconclusive == "skip" and running.skip is not None:
        running.skip(f"inconclusive: {result.subject.statement}: {result.rule}")
    error = ClaimFailed if result.verdict is Verdict.FAILED else ClaimInconclusive
    raise error(failure_text(result, replay=""), result)  # the report of the run says once how to repeat its test


def unsearched(kind: str, nothing: NotSearched) -> Result:
    """Return the result of an assertion in a replay, if no known counterexample refutes its claim."""
    # The test goes on to its next claim, and is skipped at its end unless one of its claims failed.
    return _unmeasured(kind, nothing.statement, nothing.reason, "not_searched", claim=nothing.claim)
