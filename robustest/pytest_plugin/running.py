"""Hooks of one robustness test: its settings hold while it runs, its end is checked, its results go on its reports."""

# A test is a robustness test by its marker, fixtures or text, or once it claims or measures something. So in a run with
# --robust every test has a context, and without it the first claim of a test skips it.

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from robustest import plain_run
from robustest.pytest_plugin import options as pytest_options
from robustest.pytest_plugin.options import CONTEXT, MEASURING, SETTINGS, WRONG

if TYPE_CHECKING:
    from robustest.context import Context


SKIPPED = "robustness test; run with --robust"


def context_of(item: pytest.Item, config: pytest.Config, *, declared: bool) -> Context:
    """Return the settings and the recorder of a test."""
    from dataclasses import replace

    from robustest.context import Context
    from robustest.reports.progress import TerminalProgress
    from robustest.reports.terminal import folder_name

    settings = pytest_options.settings_for(item, config.stash[SETTINGS], config)
    if settings.pictures is not None:
        settings = replace(settings, pictures=f"{settings.pictures}/{folder_name(item.nodeid)}")
    return Context(
        settings=settings,
        test=item.nodeid,
        where=pytest_options.from_here(config, item),
        declared=declared,
        progress=None if hasattr(config, "workerinput") else TerminalProgress(config),
        rerun=pytest_options.rerun_command(config, settings, item.nodeid),
        skip=pytest.skip,
    )


@contextmanager
def _phase(context: Context, phase: str) -> Iterator[None]:
    __tracebackhide__ = True
    from robustest.errors import ClaimFailed, RobustestError
    from robustest.pytest_plugin.outcome import require_attempts

    try:
        yield
    except pytest.skip.Exception:
        require_attempts(context, passed=False)
        raise
    except BaseException as error:
        context.claims |= isinstance(error, (ClaimFailed, RobustestError))
        # An error of another thread that the test has raised itself is reported.
        context.apart[:] = [one for one in context.apart if one.error is not error]
        if context.ended is None:
            context.ended = phase, error
        raise
    if phase == "call":
        require_attempts(context, passed=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Raise a mistake in the test's marker; begin another attempt if the test ran before."""
    __tracebackhide__ = True
    plain_run.reported(over=False)
    if WRONG in item.stash:
        raise item.stash[WRONG]
    if CONTEXT not in item.stash:
        return (yield)
    context = item.stash[CONTEXT]
    context.begins("setup")
    item.user_properties[:] = [p for p in item.user_properties if not p[0].startswith("robustest.")]
    with _phase(context, "setup"):
        if not context.settings.replay_only:
            return (yield)
        from robustest.pytest_plugin.outcome import skip_if_not_searched

        with skip_if_not_searched():
            return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Make the test's settings current while it runs; without --robust, have its first claim skip it."""
    if SETTINGS not in item.config.stash:
        skips = pytest_options.skips_claims(item.config)
        with plain_run.running(plain_run.RunningTest((lambda: pytest.skip(SKIPPED)) if skips else None)):
            return (yield)
    if WRONG in item.stash:
        return (yield)
    from robustest.context import announced, running

    if CONTEXT not in item.stash:
        item.stash[CONTEXT] = context_of(item, item.config, declared=False)
    try:
        with announced(item.nodeid), plain_run.running(plain_run.RunningTest()), running(item.stash[CONTEXT]):
            return (yield)
    finally:
        item.stash[CONTEXT].over = True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Refuse a robustness test without a claim; skip one that only replayed."""
    __tracebackhide__ = True
    if CONTEXT not in item.stash:
        with plain_run.skipped_if_claimed():
            return (yield)
    from robustest.pytest_plugin import outcome

    context = item.stash[CONTEXT]
    context.begins("call")
    before = set(threading.enumerate())
    with _phase(context, "call"):
        try:
            if context.settings.replay_only:
                with outcome.skip_if_only_replayed(context):
                    result = yield
                    raise_unheard(context)
                    return result
            result = yield
            raise_unheard(context)
        finally:
            context.threads += [thread for thread in threading.enumerate() if thread not in before]
            measuring = item.config.stash.setdefault(MEASURING, set())
            shared = bool(measuring) and not measuring.isdisjoint(outcome.fixture_scopes(item))
            context.claims |= shared
            outcome.list_measured(context)
        if context.declared:
            outcome.require_claim(context, getattr(item, "funcargs", {}), shared=shared)
        elif context.robust and pytest_options.shard_of(item.config) is not None:
            from robustest.errors import ConfigError

            raise ConfigError(
                "Expected the marker on a test whose claims are made by a helper, in a run with --robust-shard, but it "
                "has none: no shard would own it. Mark it @pytest.mark.robust."
            )
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Refuse a test that ends before its claims do."""
    __tracebackhide__ = True
    if CONTEXT not in item.stash:
        return (yield)
    context = item.stash[CONTEXT]
    with _phase(context, "teardown"):
        result = yield
        raise_unheard(context, over=True)
    return result


def raise_unheard(context: Context, *, over: bool = False) -> None:
    """Raise the error of a claim in another thread, task or process, which the test itself cannot notice.

    Args:
        context: recorder of the test.
        over: True if every claim must have ended.

    Raises:
        ClaimFailed: a claim does not hold.
        RobustestError: a claim could not be measured, or has not ended.
    """
    __tracebackhide__ = True
    from robustest.context import receive, still_claiming
    from robustest.errors import RobustestError

    receive(context)
    unheard = [one for one in context.apart if one.unheard]
    if over or not any(one.task is not None and not one.task.done() for one in unheard):
        context.apart.clear()
    else:
        context.apart[:] = [one for one in unheard if one.task is not None and not one.task.done()]
        unheard = [one for one in unheard if one not in context.apart]
    if unheard:
        for task in (one.task for one in unheard):
            if task is not None and task.done() and not task.cancelled():
                # The error is the test's from here on. A task that nobody asked for its error logs it when the garbage
                # collector frees it, in whichever test runs then; the traceback that is logged makes Python before
                # 3.11.8 break down where it is parsing source at that moment, as pytest does (gh-106905).
                task.exception()
        unheard[0].error.add_note(f"({', '.join(one.where for one in unheard)}: only this report shows the error)")
        raise unheard[0].error
    if over and (late := still_claiming(context)):
        context.under_way.clear()
        raise RobustestError(
            f"Expected every claim to end before its test does but these have not: {', '.join(late)}. Join threads and "
            "processes before the test ends; a process that dies loses its claims."
        )


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Run a shared fixture with its module's settings, not with those of the first test that uses it."""
    __tracebackhide__ = True
    if fixturedef.scope == "function" or SETTINGS not in request.config.stash:
        return (yield)
    from dataclasses import replace

    from robustest.context import current, running

    first, recorded = current(), len(current().results)
    settings = pytest_options.settings_for(request.node, request.config.stash[SETTINGS], request.config)
    if first.test:
        settings = replace(settings, pictures=first.settings.pictures)
    own = replace(first, settings=settings, owner=f"{request.node.nodeid}::{fixturedef.argname}", measured=0)
    try:
        with running(own):
            return (yield)
    finally:
        first.ungated = own.ungated
        first.claims |= own.claims
        if own.measured or len(own.results) > recorded:
            from robustest.pytest_plugin.outcome import FixtureScope

            # Tests that use this fixture have a measurement, although their own recorder is empty.
            scope = FixtureScope(fixturedef.argname, request.node.nodeid, getattr(request, "param_index", 0))
            request.config.stash.setdefault(MEASURING, set()).add(scope)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the test's results on its report."""
    report = yield
    if call.when == "teardown":
        plain_run.reported(over=True)
    if CONTEXT in item.stash and item.stash[CONTEXT].robust:
        from robustest.pytest_plugin.outcome import attach

        attach(
            report,
            item.stash[CONTEXT],
            call.excinfo,
            properties=item.user_properties,
            short_traceback=item.config.getoption("tbstyle", "auto") == "auto",
        )
    return report


def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    """Show a test that could not measure, and a claim outside of tests, as errors, not as failed claims."""
    unmeasured = report.when == "call" and report.failed and getattr(report, "robustest_unmeasured", None)
    if unmeasured or hasattr(report, "robustest_outside"):
        return "error", "E", "ERROR"
    return None
