"""One robustness test on its way through pytest: its settings, what it claimed, and its reports."""

from __future__ import annotations

from collections.abc import Generator
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
    """Raise what is wrong with a test's settings, and forget what it recorded when it ran before."""
    __tracebackhide__ = True
    if WRONG in item.stash:
        raise item.stash[WRONG]
    if CONTEXT not in item.stash:
        return (yield)
    item.stash[CONTEXT].forget()  # another plugin may run a test again
    item.user_properties[:] = [p for p in item.user_properties if not p[0].startswith("robustest.")]
    if not item.stash[CONTEXT].settings.replay_only:
        return (yield)
    from robustest.pytest_plugin.replay import skip_if_not_searched

    with skip_if_not_searched():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let the test's settings hold while it runs."""
    if CONTEXT not in item.stash:
        return (yield)
    from robustest.context import running

    with running(item.stash[CONTEXT]):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Refuse a test that claimed and measured nothing; one that replays only ends as what it replayed."""
    __tracebackhide__ = True
    if CONTEXT not in item.stash:
        return (yield)
    if item.stash[CONTEXT].settings.replay_only:
        from robustest.pytest_plugin.replay import skip_if_only_replayed

        with skip_if_only_replayed(item.stash[CONTEXT]):
            return (yield)
    result = yield
    from robustest.pytest_plugin import claims as pytest_claims

    measuring = item.config.stash.setdefault(MEASURING, set())
    shared = not measuring.isdisjoint(pytest_claims.claimants(item))
    pytest_claims.settle(item.stash[CONTEXT], getattr(item, "funcargs", {}), shared=shared)
    return result


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
