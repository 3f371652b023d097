"""The pytest plugin: options, marker, fixtures, and results from workers to reports.

Loaded by every pytest run where robustest is installed, so it imports nothing but pytest; even our own
modules come in only once a run or a test is robust.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from robustest.pytest_plugin import options as pytest_options

if TYPE_CHECKING:
    from robustest.account import Account
    from robustest.context import Context
    from robustest.ledger import Ledger
    from robustest.pytest_plugin.claims import Claimant
    from robustest.settings import Settings

_SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
_LEDGER: pytest.StashKey[Ledger] = pytest.StashKey()
_ACCOUNT: pytest.StashKey[Account] = pytest.StashKey()
_SESSION: pytest.StashKey[pytest.Session] = pytest.StashKey()
_CONTEXT: pytest.StashKey[Context] = pytest.StashKey()
_MEASURING: pytest.StashKey[set[Claimant]] = pytest.StashKey()  # fixtures of several tests
_COLLECTED: pytest.StashKey[list[str]] = pytest.StashKey()  # robustness tests of all shards
_DESELECTED: pytest.StashKey[int] = pytest.StashKey()  # of the robustness tests
_WRONG: pytest.StashKey[pytest.UsageError] = pytest.StashKey()
_FIXTURES = ("robust", "robust_baseline", "robust_data", "robust_model", "robust_responses")

_MISSING = """\
Expected a fixture {name!r} but this project defines none. Add it to your conftest.py:

    import pytest

    @pytest.fixture(scope="session")
    def {name}():
        return {what}
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    pytest_options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "robust(**settings): a robustness test, run under --robust; settings (seed=, device=, ...) are its own",
    )
    pytest_options.check_ini(config)
    if config.getoption("--robust"):
        from robustest.ledger import Ledger

        config.stash[_SETTINGS] = pytest_options.settings_of(config)
        pytest_options.shard_of(config)
        pytest_options.check_html(config)
        config.stash[_LEDGER] = Ledger()
        if not _is_worker(config):
            config.pluginmanager.register(_Intake(config.stash[_LEDGER]))


def pytest_unconfigure(config: pytest.Config) -> None:
    if _LEDGER in config.stash:
        from robustest.context import over

        over()
    if _ACCOUNT in config.stash:  # what other plugins made of the exit status after our reports were written
        account, session = config.stash[_ACCOUNT], config.stash[_SESSION]
        if account.session is not None and int(session.exitstatus) != account.session.exit:
            _write(session, account.ended(int(session.exitstatus)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    if not config.getoption("--robust") or os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    from robustest.pytest_plugin import workers as pytest_workers

    return pytest_workers.auto(pytest_options.settings_of(config))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    if _SETTINGS in config.stash:
        from robustest.pytest_plugin import workers as pytest_workers

        pytest_workers.share_out(specs, config.stash[_SETTINGS])


def pytest_report_header(config: pytest.Config) -> str | None:
    if _SETTINGS not in config.stash:
        return None
    from robustest.reports.terminal import header

    return header(config.stash[_SETTINGS])


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    for item in items:  # before others select by marker
        if set(_FIXTURES) & set(getattr(item, "fixturenames", ())) and not item.get_closest_marker("robust"):
            item.add_marker(pytest.mark.robust)
    found = sum(item.get_closest_marker("robust") is not None for item in items)
    yield
    config.stash[_DESELECTED] = found - sum(item.get_closest_marker("robust") is not None for item in items)
    if _SETTINGS in config.stash:
        _keep_shard(config, items)
    for item in items:  # after others added markers and deselected
        if not item.get_closest_marker("robust"):
            continue
        if _SETTINGS in config.stash:
            try:
                item.stash[_CONTEXT] = _context_of(item, config)
            except pytest.UsageError as error:
                if not _is_worker(config):
                    raise
                item.stash[_WRONG] = error  # what ends a worker is not shown; an error of the test is
        else:
            from robustest.settings import Settings

            pytest_options.settings_for(item, Settings(), config)  # a wrong marker is an error in any run
            item.add_marker(pytest.mark.skip(reason="robustness test; run with --robust"))


def _keep_shard(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the robustness tests of this run's shard; how many there are in all is remembered for the merge."""
    robust = [item for item in items if item.get_closest_marker("robust")]
    config.stash[_COLLECTED] = [item.nodeid for item in robust]
    shard = pytest_options.shard_of(config)
    if shard is None:
        return
    others = {id(item) for place, item in enumerate(robust) if place % shard.count != shard.index - 1}
    config.hook.pytest_deselected(items=[item for item in items if id(item) in others])
    items[:] = [item for item in items if id(item) not in others]


def _context_of(item: pytest.Item, config: pytest.Config) -> Context:
    from dataclasses import replace

    from robustest.context import Context
    from robustest.reports.terminal import Progress, folder_name

    settings = pytest_options.settings_for(item, config.stash[_SETTINGS], config)
    if settings.pictures is not None:
        settings = replace(settings, pictures=f"{settings.pictures}/{folder_name(item.nodeid)}")
    return Context(
        settings=settings,
        test=item.nodeid,
        where=pytest_options.from_here(config, item),
        progress=None if _is_worker(config) else Progress(config),
        rerun=pytest_options.rerun_command(config, settings, item.nodeid),
        skip=pytest.skip,
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if _CONTEXT not in item.stash:
        return (yield)
    from robustest.context import running

    with running(item.stash[_CONTEXT]):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    if _CONTEXT not in item.stash:
        return (yield)
    if item.stash[_CONTEXT].settings.replay_only:
        from robustest.pytest_plugin.replay import skip_if_only_replayed

        with skip_if_only_replayed(item.stash[_CONTEXT]):
            return (yield)
    result = yield
    from robustest.pytest_plugin import claims as pytest_claims

    measuring = item.config.stash.setdefault(_MEASURING, set())
    shared = not measuring.isdisjoint(pytest_claims.claimants(item))
    pytest_claims.settle(item.stash[_CONTEXT], getattr(item, "funcargs", {}), shared=shared)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """What a fixture of several tests measures has settings of its own, whichever of them asks first."""
    if fixturedef.scope == "function" or _SETTINGS not in request.config.stash:
        return (yield)
    from dataclasses import replace

    from robustest.context import current, running

    first, recorded = current(), len(current().results)
    settings = pytest_options.settings_for(request.node, request.config.stash[_SETTINGS], request.config)
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

            measuring = request.config.stash.setdefault(_MEASURING, set())
            measuring.add(Claimant(fixturedef.argname, request.node.nodeid, getattr(request, "param_index", 0)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _CONTEXT in item.stash:
        from robustest.pytest_plugin.attach import attach

        attach(
            report,
            item.stash[_CONTEXT],
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


class _Intake:
    """A plugin of its own for each run: pytest_runtest_logreport is given no config."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._ledger.take(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._ledger.uncollected(report.nodeid, report.longreprtext)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    if _WRONG in item.stash:
        raise item.stash[_WRONG]
    if _CONTEXT not in item.stash:
        return (yield)
    item.stash[_CONTEXT].forget()  # another plugin may run a test again
    item.user_properties[:] = [p for p in item.user_properties if not p[0].startswith("robustest.")]
    if not item.stash[_CONTEXT].settings.replay_only:
        return (yield)
    from robustest.pytest_plugin.replay import skip_if_not_searched

    with skip_if_not_searched():
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    config = session.config
    if _LEDGER in config.stash and not config.getoption("collectonly"):
        tests = [item.nodeid for item in session.items]
        config.stash[_LEDGER].robust(_collected(config))
        config.stash[_LEDGER].expect(tests, calls=not config.getoption("setuponly", False))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    if _LEDGER in node.config.stash:
        node.config.stash[_LEDGER].expect(ids, calls=not node.config.getoption("setuponly", False))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    output = getattr(node, "workeroutput", None)
    if output is not None and _LEDGER in node.config.stash:
        node.config.stash[_LEDGER].worker_sent(output.get("robustest_recorded", 0))
        if "robustest_collected" in output:
            node.config.stash[_COLLECTED] = output["robustest_collected"]
            node.config.stash[_DESELECTED] = output["robustest_deselected"]
            node.config.stash[_LEDGER].robust(output["robustest_collected"])


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    config = session.config
    if _LEDGER not in config.stash:
        return (yield)
    failed = []
    try:
        yield
    except OSError as error:  # of another reporter, such as pytest's own --junitxml: ours are still to be written
        failed = [f"a plugin could not end: {type(error).__name__}: {error}"]
    ledger = config.stash[_LEDGER]
    if _is_worker(config):
        recorded = sum(len(item.stash[_CONTEXT].results) for item in session.items if _CONTEXT in item.stash)
        sent: dict[str, Any] = config.workeroutput  # type: ignore[attr-defined]
        sent["robustest_recorded"] = recorded
        if _COLLECTED in config.stash:
            sent["robustest_collected"] = config.stash[_COLLECTED]
            sent["robustest_deselected"] = config.stash[_DESELECTED]
        return None
    stopped = session.shouldstop or session.shouldfail or session.exitstatus == pytest.ExitCode.INTERRUPTED
    account = ledger.account(
        int(session.exitstatus),
        stopped=(str(session.shouldstop or session.shouldfail or "interrupted") if stopped else ""),
        collected=_collected(config),
        deselected=config.stash.get(_DESELECTED, 0),
    ).lost_too(failed)
    if config.stash[_SETTINGS].update_baseline and not account.lost:
        from robustest.pytest_plugin.reports import update_baselines

        account = account.lost_too(update_baselines(account.results))
    _write(session, account)
    if config.stash[_SETTINGS].store is not None:
        from robustest.pytest_plugin.reports import remember_endings

        remember_endings(account, str(config.stash[_SETTINGS].store))
    return None


def _write(session: pytest.Session, account: Account) -> None:
    """Write the reports; what could not be written turns the run red."""
    from robustest.pytest_plugin import reports as pytest_reports

    config = session.config
    account = pytest_reports.write(config, account, config.stash[_SETTINGS], shard=_shard(config))
    if account.lost:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
    config.stash[_ACCOUNT], config.stash[_SESSION] = account, session


def _shard(config: pytest.Config) -> dict[str, Any] | None:
    shard = pytest_options.shard_of(config)
    tests = _collected(config)
    if shard is None:
        return None
    reported = config.stash[_LEDGER].tests()
    return {"index": shard.index, "count": shard.count, "tests": tests, "reported": [t for t in tests if t in reported]}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if _ACCOUNT in config.stash:
        from robustest.reports.terminal import summary

        account = config.stash[_ACCOUNT]
        summary(terminalreporter, account.rows, account.lost, details=config.getoption("--robust-details"))
        if os.environ.get("GITHUB_ACTIONS") and not config.pluginmanager.has_plugin(
            "pytest_github_actions_annotate_failures"
        ):
            from robustest.reports import github

            where, workspace = config.stash[_LEDGER].places(config.rootpath), os.environ.get("GITHUB_WORKSPACE", "")
            for line in github.annotated(account.rows, account.lost, where=where, workspace=workspace):
                terminalreporter.write_line(line)


def _collected(config: pytest.Config) -> list[str]:
    return config.stash.get(_COLLECTED, [])


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.fixture
def robust(request: pytest.FixtureRequest) -> Context:
    """This test's settings and recorder: `robust.settings`, `robust.record(result)`."""
    if _CONTEXT not in request.node.stash:
        raise pytest.UsageError("Expected `robust` as an argument of the test, or the test marked @pytest.mark.robust.")
    context: Context = request.node.stash[_CONTEXT]
    return context


@pytest.fixture(scope="session")
def robust_baseline(pytestconfig: pytest.Config) -> str:
    """The path of the file of committed outcomes, for `no_worse_than=robust_baseline`."""
    if _SETTINGS not in pytestconfig.stash:
        raise pytest.UsageError("Expected `robust_baseline` in a run with --robust.")
    return pytestconfig.stash[_SETTINGS].baseline


@pytest.fixture(scope="session")
def robust_model() -> object:
    """The model under test; define it in your conftest.py."""
    raise pytest.UsageError(
        _MISSING.format(name="robust_model", what="load_my_model()  # a torch module, or any callable")
    )


@pytest.fixture(scope="session")
def robust_data() -> object:
    """The data to test on; define it in your conftest.py."""
    raise pytest.UsageError(_MISSING.format(name="robust_data", what="x, y  # or a data set, or a DataLoader"))


@pytest.fixture(scope="session")
def robust_responses() -> object:
    """What annotators answered about the data; define it in your conftest.py."""
    raise pytest.UsageError(
        _MISSING.format(
            name="robust_responses", what='robustest.Responses.from_csv("answers.csv", size=len(y), classes=names)'
        )
    )
