"""One robustness test on its way through pytest: its settings, what it claimed, and its reports."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from robustest.pytest_plugin import options as pytest_options
from robustest.pytest_plugin.stash import CONTEXT, MEASURING, SETTINGS, WRONG

if TYPE_CHECKING:
    from robustest.context import Context


def context_of(item: pytest.Item, config: pytest.Config) -> Context:
    """The settings and recorder of a robustness test."""
    from dataclasses import replace

    from robustest.context import Context
    from robustest.reports.terminal import Progress, folder_name

    settings = pytest_options.settings_for(item, config.stash[SETTINGS], config)
    if settings.pictures is not None:
        settings = replace(settings, pictures=f"{settings.pictures}/{folder_name(item.nodeid)}")
    return Context(
        settings=settings,
        test=item.nodeid,
        where=pytest_options.from_here(config, item),
        progress=None if hasattr(config, "workerinput") else Progress(config),
        rerun=pytest_options.rerun_command(config, settings, item.nodeid),
        skip=pytest.skip,
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Raise what is wrong with a test's settings; where the test ran before, another attempt begins."""
    __tracebackhide__ = True
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
        from robustest.pytest_plugin.replay import skip_if_not_searched

        with skip_if_not_searched():
            return (yield)


@contextmanager
def _phase(context: Context, phase: str) -> Iterator[None]:
    """Note how a phase ended; one that is skipped after a failed attempt is no way out."""
    __tracebackhide__ = True
    from robustest.pytest_plugin.attempts import hold

    try:
        yield
    except pytest.skip.Exception:
        hold(context, passed=False)
        raise
    except BaseException as error:
        if context.ended is None:
            context.ended = phase, error
        raise
    if phase == "call":
        hold(context, passed=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let the test's settings hold while it runs."""
    if CONTEXT not in item.stash:
        return (yield)
    from robustest.context import running

    try:
        with running(item.stash[CONTEXT]):
            return (yield)
    finally:
        item.stash[CONTEXT].over = True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Refuse a test that claimed and measured nothing; one that replays only ends as what it replayed."""
    __tracebackhide__ = True
    if CONTEXT not in item.stash:
        return (yield)
    context = item.stash[CONTEXT]
    context.begins("call")
    before = set(threading.enumerate())
    with _phase(context, "call"):
        try:
            if context.settings.replay_only:
                from robustest.pytest_plugin.replay import skip_if_only_replayed

                with skip_if_only_replayed(context):
                    result = yield
                    settle_apart(context)
                    return result
            result = yield
        finally:
            context.threads += [thread for thread in threading.enumerate() if thread not in before]
        settle_apart(context)
        from robustest.pytest_plugin import claims as pytest_claims

        measuring = item.config.stash.setdefault(MEASURING, set())
        shared = not measuring.isdisjoint(pytest_claims.claimants(item))
        pytest_claims.settle(context, getattr(item, "funcargs", {}), shared=shared)
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
        settle_apart(context, over=True)
    return result


def settle_apart(context: Context, *, over: bool = False) -> None:
    """Raise what a claim came to that was made in another thread, task or process; the test cannot have heard of it.

    Args:
        context: the test's.
        over: whether every claim must have ended.

    Raises:
        ClaimFailed: a claim does not hold.
        RobustestError: one could not be measured, or has not ended.
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
        unheard[0].error.add_note(f"({', '.join(one.where for one in unheard)}: nothing but this report would say so)")
        raise unheard[0].error
    if over and (late := still_claiming(context)):
        context.under_way.clear()
        raise RobustestError(
            f"Expected every claim to end before its test does but these have not: {', '.join(late)}. Join threads and "
            "processes before the test ends; a process that dies takes its claims along."
        )


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """What a fixture of several tests measures has settings of its own, whichever of them asks first."""
    __tracebackhide__ = True
    if fixturedef.scope == "function" or SETTINGS not in request.config.stash:
        return (yield)
    from dataclasses import replace

    from robustest.context import current, running

    first, recorded = current(), len(current().results)
    settings = pytest_options.settings_for(request.node, request.config.stash[SETTINGS], request.config)
    if first.test:
        settings = replace(settings, pictures=first.settings.pictures)
    owner = f"{request.node.nodeid}::{fixturedef.argname}"
    own = replace(first, settings=settings, owner=owner, measured=0)
    try:
        with running(own):
            return (yield)
    finally:
        first.ungated = own.ungated
        if own.measured or len(own.results) > recorded:
            from robustest.pytest_plugin.claims import Claimant

            measuring = request.config.stash.setdefault(MEASURING, set())
            measuring.add(Claimant(fixturedef.argname, request.node.nodeid, getattr(request, "param_index", 0)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put what the test recorded on its report."""
    report = yield
    if CONTEXT in item.stash:
        from robustest.pytest_plugin.attach import attach

        attach(
            report,
            item.stash[CONTEXT],
            call.excinfo,
            properties=item.user_properties,
            short_traceback=item.config.getoption("tbstyle", "auto") == "auto",
        )
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """A run that could not measure is an error, not a failed claim."""
    if report.when == "call" and report.failed and getattr(report, "robustest_unmeasured", None):
        return "error", "E", "ERROR"
    return None
