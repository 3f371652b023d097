"""The pytest plugin: options, marker, fixtures, and results from workers to reports.

Loaded by every pytest run where robustest is installed, so it imports nothing but pytest; even our own
modules come in only once a run or a test is robust.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from robustest import pytest_options

if TYPE_CHECKING:
    from robustest.context import Context
    from robustest.ledger import Ledger
    from robustest.settings import Settings

_SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
_LEDGER: pytest.StashKey[Ledger] = pytest.StashKey()
_LOST: pytest.StashKey[Sequence[str]] = pytest.StashKey()
_CONTEXT: pytest.StashKey[Context] = pytest.StashKey()
_COLLECTED: pytest.StashKey[list[str]] = pytest.StashKey()  # robustness tests of all shards
_WRONG: pytest.StashKey[pytest.UsageError] = pytest.StashKey()
_FIXTURES = ("robust", "robust_baseline", "robust_data", "robust_model")

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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    if not config.getoption("--robust") or os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    from robustest import pytest_workers

    return pytest_workers.auto(pytest_options.settings_of(config))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    if _SETTINGS in config.stash:
        from robustest import pytest_workers

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
    yield
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
        where=pytest_options.from_here(config, item.nodeid),
        progress=None if _is_worker(config) else Progress(config),
        rerun=pytest_options.rerun_command(config, settings),
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
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _CONTEXT in item.stash:
        from robustest.ledger import attach

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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if _WRONG in item.stash:
        raise item.stash[_WRONG]
    if _CONTEXT in item.stash:  # another plugin may run a test again
        item.stash[_CONTEXT].results.clear()
        item.stash[_CONTEXT].sent = 0
        item.user_properties[:] = [p for p in item.user_properties if not p[0].startswith("robustest.")]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    config = session.config
    if _LEDGER in config.stash and not config.getoption("collectonly"):
        tests = [item.nodeid for item in session.items]
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
        node.config.stash[_COLLECTED] = output.get("robustest_collected", [])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if _LEDGER not in config.stash:
        return
    ledger = config.stash[_LEDGER]
    if _is_worker(config):
        recorded = sum(len(item.stash[_CONTEXT].results) for item in session.items if _CONTEXT in item.stash)
        config.workeroutput["robustest_recorded"] = recorded  # type: ignore[attr-defined]
        config.workeroutput["robustest_collected"] = config.stash.get(_COLLECTED, [])  # type: ignore[attr-defined]
        return
    stopped = session.shouldstop or session.shouldfail or session.exitstatus == pytest.ExitCode.INTERRUPTED
    config.stash[_LOST] = lost = [] if stopped else ledger.lost()
    if lost:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
    if config.stash[_SETTINGS].update_baseline and not lost:
        from robustest.ledger import update_baselines

        update_baselines(ledger.rows())
    from robustest import pytest_reports

    pytest_reports.write(config, ledger.rows(), lost, config.stash[_SETTINGS], shard=_shard(config))


def _shard(config: pytest.Config) -> dict[str, Any] | None:
    shard = pytest_options.shard_of(config)
    tests = config.stash.get(_COLLECTED, [])
    if shard is None:
        return None
    reported = config.stash[_LEDGER].tests()
    return {"index": shard.index, "count": shard.count, "tests": tests, "reported": [t for t in tests if t in reported]}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if _LEDGER in config.stash:
        from robustest.reports.terminal import summary

        rows, lost = config.stash[_LEDGER].rows(), config.stash.get(_LOST, [])
        summary(terminalreporter, rows, lost, details=config.getoption("--robust-details"))
        if os.environ.get("GITHUB_ACTIONS"):
            from robustest.reports import github

            github.report(
                rows,
                lost,
                environ=os.environ,
                where=config.stash[_LEDGER].places(config.rootpath),
                annotations=not config.pluginmanager.has_plugin("pytest_github_actions_annotate_failures"),
                echo=terminalreporter.write_line,
            )


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
