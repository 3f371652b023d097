"""The outcome of one robustness test, and its report."""

# A test body that ends without an exception is not enough for a pass: the test must have claimed or measured something,
# every earlier attempt counts, and a run that only replays counterexamples passes nothing. Results ride on pytest's
# reports, as only these cross from workers to the process that writes the files.

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from robustest.context import Context
from robustest.errors import AttemptsFailed, ClaimFailed, NoClaimError, NotSearched, RobustestError
from robustest.outside import RefusedClaim
from robustest.reports.inert import inert_lines
from robustest.results import LONG, Result, Verdict
from robustest.words import folded

# Narrowest width of a terminal that pytest believes, and its default.
_NARROWEST, _USUAL = 40, 80


class FixtureScope(NamedTuple):
    """A fixture that several tests share, with one of its parameters."""

    name: str  # name of the fixture
    scope: str  # node id of the class, module or session that it is set up for
    parameter: int  # index of its parameter; 0 without parameters


def fixture_scopes(item: pytest.Item) -> set[FixtureScope]:
    """Return every fixture that a test may have used, at each scope that it may have."""
    plain: Any = item
    names = set(getattr(item, "fixturenames", ()))
    request = getattr(item, "funcargs", {}).get("request")
    names |= set(getattr(request, "fixturenames", ()))  # includes those that the test asked for by name
    indices = getattr(getattr(plain, "callspec", None), "indices", {})
    return {FixtureScope(name, node.nodeid, indices.get(name, 0)) for name in names for node in item.listchain()}


def list_measured(context: Context) -> None:
    """Add the measured results that no assertion took to the test's results, each once."""

    def key(result: Result) -> tuple[object, ...]:
        # Measurements of a test that differ in none of these are shown as one.
        of = result.subject.claim, result.ruling.threshold, result.evidence.model, result.evidence.data
        return *of, result.verdict, result.estimate, result.interval, result.numbers.n

    recorded = {id(result): place for place, result in enumerate(context.results)}
    # A test of drawn examples may measure the same many times, and a test may measure what it asserts later.
    listed = {key(result) for result in context.results}
    for result in context.ungated:
        loose, place = result.but(gated=False), recorded.get(id(result))
        if result.is_claim and result.verdict is not Verdict.PASSED:
            caveat = f"{result.verdict}, but the test does not assert it: write {result.subject.asserted_by}"
            loose = loose.but(caveats=(*result.words.caveats, caveat))
        elif place is not None:
            continue
        if place is not None:
            context.results[place] = loose
        elif key(loose) not in listed:
            listed.add(key(loose))
            context.results.append(loose)
    context.ungated.clear()


def require_claim(context: Context, arguments: Mapping[str, object], *, shared: bool) -> None:
    """Refuse a test that claimed and measured nothing.

    Args:
        arguments: values of its fixtures; a result that a fixture measured for many tests counts.
        shared: True if a shared fixture that the test uses claimed or measured.
    """

    def has_result(value: object) -> bool:
        values: Iterable[object] = (value,)
        if isinstance(value, Mapping):
            values = value.values()
        elif isinstance(value, (list, tuple, set, frozenset)):
            values = value
        return any(isinstance(one, Result) for one in values)

    if not (context.measured or context.results or shared or any(map(has_result, arguments.values()))):
        raise NoClaimError(
            "Expected a claim in a robustness test but it ended without a claim and without a measurement, so it would "
            "pass for any model. Call an assert_ function in it, record a result that was measured elsewhere "
            "(robust.record(result)), or remove the robust marker and robustest's fixtures from it."
        )


def require_attempts(context: Context, *, passed: bool) -> None:
    """Refuse an attempt that passes, or is skipped, unless the attempts together hold.

    Raises:
        AttemptsFailed: an earlier attempt failed, and the setting `attempts` ("every" or "majority") is not met.
    """
    __tracebackhide__ = True
    if not context.robust:
        return
    # Plugins such as pytest-rerunfailures, flaky and pytest-retry run failed tests again. A claim that is repeated
    # until it passes finds a lucky draw: with a chance of 1 in 10 to pass, 27 % of all series of three attempts end in
    # a pass. Attempts that ended in an error measured nothing and do not count.
    failed = [(number, one) for number, one in enumerate(context.attempts, 1) if one.outcome == "failed"]
    held = passed + sum(one.outcome == "passed" for one in context.attempts)
    rule = context.settings.attempts
    context.forgiven = not failed or (rule == "majority" and held > len(failed))
    if context.forgiven:
        return
    number, first = failed[0]
    raise AttemptsFailed(
        f"failed in {len(failed)} of {len(context.attempts) + 1} attempts: a later pass does not undo a failure. "
        f'The setting attempts = "{rule}" is not met; attempt {number}: {first.reason.partition(chr(10))[0]}'
    )


@contextmanager
def skip_if_only_replayed(context: Context) -> Iterator[None]:
    """Skip a test of a replay-only run at its end, unless a claim failed or could not be measured."""
    further = ""
    try:
        yield
    except NotSearched:
        pass
    except (ClaimFailed, RobustestError):
        raise
    except Exception as error:
        # A claim that no known counterexample refutes returned a result without numbers. An exception that these
        # missing numbers cause is no failure of the model, so the test is skipped, and the reason names it.
        if not context.unvouched:
            raise
        further = f"; then the test raised {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if not (context.robust or context.unvouched):
        return
    reason = "; ".join(context.unvouched) or "replayed only: the test makes no claim"
    context.unvouched.clear()
    pytest.skip(reason + further)


@contextmanager
def skip_if_not_searched() -> Iterator[None]:
    """Skip a test of a replay-only run if a fixture measures something that no known counterexample decides."""
    try:
        yield
    except NotSearched as error:
        pytest.skip(str(error))


def attach(
    report: pytest.TestReport,
    context: Context,
    excinfo: pytest.ExceptionInfo[BaseException] | None,
    *,
    properties: list[tuple[str, object]],
    short_traceback: bool,
) -> None:
    """Put a test's results on its report, as plain JSON types: reports cross process borders.

    Args:
        properties: properties of the item, which later phases' reports copy; each result becomes one.
        short_traceback: True to cut the traceback of a claim to the user's frames: tensors printed as arguments explain
            nothing.
    """
    plain: Any = report
    raised = None if excinfo is None else excinfo.value
    plain.robustest_replay = context.replay(context.settings.seed)
    plain.robustest_claimed = raised is not None and _caused_by_claim(raised, context)
    plain.robustest_unwritten = list(context.unwritten)
    context.unwritten.clear()
    if report.when == "teardown":
        # The ledger compares this number with the results that arrived.
        plain.robustest_recorded = len(context.results)
    if context.attempts:
        # Plugins that repeat tests send some attempts' reports, others', or none: each report has all attempts. The
        # ending of the last one is on pytest's own report.
        earlier = [
            {
                "results": [result.to_dict() for result in one.results],
                "phase": one.phase,
                "outcome": "rerun" if context.forgiven and one.outcome != "passed" else one.outcome,
                "reason": one.reason,
            }
            for one in context.attempts
        ]
        plain.robustest_attempts = [*earlier, {"results": [result.to_dict() for result in context.results]}]
    # Results of the setup wait for the report of the call; later ones ride on the teardown's.
    late = report.when == "teardown" and context.sent < len(context.results)
    if not (report.when == "call" or report.failed or late):
        return
    rows = [result.to_dict() for result in context.results[context.sent :]]
    plain.robustest_results = rows
    for number, row in enumerate(rows, context.sent + 1):
        properties.append((f"robustest.{number}", json.dumps({k: v for k, v in row.items() if k not in LONG})))
    report.user_properties = list(properties)
    context.sent = len(context.results)
    if raised is not None and _is_unmeasured(raised, context):
        plain.robustest_unmeasured = f"{type(raised).__name__}: {raised}"
    if excinfo is not None and isinstance(raised, (RobustestError, ClaimFailed, AttemptsFailed)):
        if short_traceback:
            # A test that passed and does not hold has no line to be blamed.
            style: Any = "short" if _users_frames(excinfo) else "value"
            report.longrepr = excinfo.getrepr(
                style=style, funcargs=False, tbfilter=lambda error: _users_frames(error) or error.traceback[-1:]
            )
        _make_inert(report.longrepr)
        _make_short(report.longrepr, raised)


def _caused_by_claim(raised: BaseException, context: Context) -> bool:
    if isinstance(raised, pytest.skip.Exception):
        last = context.results[-1] if context.results else None
        skipped = last is not None and last.is_claim and last.verdict is Verdict.INCONCLUSIVE
        return skipped and str(raised).startswith("inconclusive: ")
    return isinstance(raised, (ClaimFailed, AttemptsFailed)) or _is_unmeasured(raised, context)


def _is_unmeasured(raised: BaseException, context: Context) -> bool:
    return isinstance(raised, RobustestError) or any(raised is one for one in context.stumbled)


def _users_frames(excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
    # The hooks around a test are context managers.
    others = (str(Path(__file__).parents[1]), contextlib.__file__)
    kept = excinfo.traceback.filter(lambda entry: not str(entry.path).startswith(others))
    return type(kept)(kept[-1:])


def _make_inert(longrepr: Any) -> None:
    # Messages quote names and files from elsewhere, and pytest prints them on terminals and into logs.
    alone = (getattr(longrepr, "reprtraceback", None), getattr(longrepr, "reprcrash", None), None)
    for traceback, crash, _ in getattr(longrepr, "chain", None) or [alone]:
        if crash is not None:
            crash.message = inert_lines(crash.message)
        for entry in getattr(traceback, "reprentries", ()):
            entry.lines[:] = [inert_lines(line) for line in entry.lines]
            # Values of arguments (--tb=long) and of local variables (--showlocals) are apart from an entry's lines.
            if (arguments := getattr(entry, "reprfuncargs", None)) is not None:
                arguments.args = [(name, inert_lines(str(value))) for name, value in arguments.args]
            if (local := getattr(entry, "reprlocals", None)) is not None:
                local.lines[:] = [inert_lines(line) for line in local.lines]


def _make_short(longrepr: Any, error: BaseException) -> None:
    crash = getattr(longrepr, "reprcrash", None)
    if crash is not None and isinstance(error, (ClaimFailed, AttemptsFailed)):
        crash.message = inert_lines(str(error).partition("\n")[0])
    width, name = columns(), type(error)
    alone = (getattr(longrepr, "reprtraceback", None), None, None)
    for traceback, _, _ in getattr(longrepr, "chain", None) or [alone]:
        for entry in getattr(traceback, "reprentries", ()):
            lines = entry.lines
            if isinstance(error, (ClaimFailed, AttemptsFailed)):  # the module of the class says nothing of the claim
                lines = [line.replace(f"E   {name.__module__}.", "E   ", 1) for line in lines]
            entry.lines[:] = [
                part
                for line in lines
                for part in (folded(line, width, indent="E" + " " * 15) if line[:1] == "E" else [line])
            ]


def fail_collection(report: pytest.CollectReport, refused: list[RefusedClaim], before: int, start: str) -> None:
    """Fail the collection of a file in which claims were refused, also if its code caught the errors.

    Args:
        report: of the collection.
        refused: refusals on no report yet; those of this collection are taken out.
        before: number of refusals before this collection.
        start: folder to which places are relative.
    """
    these = dict.fromkeys(refused[before:])
    told = [_told(one, start) for one in these]
    if not report.failed:
        report.outcome, report.longrepr, report.result = "failed", "\n".join(text for _, text, *_ in told), []
    elif not all(text in report.longreprtext for _, text, *_ in told):
        return  # the file has another error, and caught this one: it is reported at the end
    refused[before:] = []
    cast("Any", report).robustest_outside = told


def _told(refused: RefusedClaim, start: str) -> tuple[str, str, str, int]:
    """Return place, sentence, file and line of a refused claim, for a report."""
    return refused.place(start), inert_lines(refused.sentence(start)), refused.file, refused.line


def report_outside(session: pytest.Session, refused: Iterable[RefusedClaim], start: str) -> None:
    """Report refused claims of hooks, threads and other processes, each as an error, and have the run end in error.

    Args:
        start: folder to which places are relative.
    """
    config, places = session.config, set()
    terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
    # pytest's terminal would print that it collects, and --lf would look for a test of that name in the next run.
    others = [one for one in (terminal, config.pluginmanager.get_plugin("lfplugin")) if one is not None]
    call = config.pluginmanager.subset_hook_caller("pytest_collectreport", remove_plugins=others)
    for one in refused:
        place, text, *_ = told = _told(one, start)
        if (place, one.name) in places:
            continue
        places.add((place, one.name))
        report: Any = pytest.CollectReport(nodeid=place, outcome="failed", longrepr=text, result=[])
        report.when, report.robustest_outside = "session", [told]
        call(report=report)
        if terminal is not None:
            terminal.stats.setdefault("error", []).append(report)
    if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def columns() -> int:
    """Return the width of the terminal as pytest takes it."""
    width = shutil.get_terminal_size(fallback=(80, 24)).columns
    return width if width >= _NARROWEST else _USUAL
