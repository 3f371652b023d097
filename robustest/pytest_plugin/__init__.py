"""The pytest plugin: hooks of the whole run, and the fixtures."""

# Every pytest run loads it, so it imports nothing but pytest; other modules are loaded only once a run or a test is
# robust.

from __future__ import annotations

import inspect
import os
import shlex
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from fnmatch import fnmatch
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from robustest import plain_run
from robustest.pytest_plugin import options as pytest_options
from robustest.pytest_plugin.options import (
    ACCOUNT,
    CLAIMS,
    COLLECTED,
    CONTEXT,
    DESELECTED,
    FOLLOWED,
    FOUND,
    LEDGER,
    LOADED,
    OTHERS,
    SESSION,
    SETTINGS,
    SILENT,
    WRONG,
)
from robustest.pytest_plugin.running import SKIPPED, context_of
from robustest.pytest_plugin.running import pytest_fixture_setup as pytest_fixture_setup
from robustest.pytest_plugin.running import pytest_report_teststatus as pytest_report_teststatus
from robustest.pytest_plugin.running import pytest_runtest_call as pytest_runtest_call
from robustest.pytest_plugin.running import pytest_runtest_makereport as pytest_runtest_makereport
from robustest.pytest_plugin.running import pytest_runtest_protocol as pytest_runtest_protocol
from robustest.pytest_plugin.running import pytest_runtest_setup as pytest_runtest_setup
from robustest.pytest_plugin.running import pytest_runtest_teardown as pytest_runtest_teardown

if TYPE_CHECKING:
    from robustest.account import Account
    from robustest.context import Context
    from robustest.pytest_plugin.ledger import Ledger

_FIXTURES = ("robust", "robust_baseline", "robust_data", "robust_model", "robust_responses")
# Options of pytest that show something and open no session.
_SHOWING = ("help", "version", "markers")
_MISSING = """\
Expected a fixture {name!r} but this project defines none. Add it to your conftest.py:

    import pytest

    @pytest.fixture(scope="session")
    def {name}():
        return {what}
"""


@pytest.fixture
def robust(request: pytest.FixtureRequest) -> Context:
    """Give the settings and the recorder of this test: `robust.settings`, `robust.record(result)`."""
    if CONTEXT not in request.node.stash:  # asked for by name, in a run without --robust
        pytest.skip(SKIPPED)
    context: Context = request.node.stash[CONTEXT]
    context.declared = True
    return context


@pytest.fixture(scope="session")
def robust_baseline(pytestconfig: pytest.Config) -> str:
    """Path of the file of committed outcomes, for `no_worse_than=robust_baseline`."""
    if SETTINGS not in pytestconfig.stash:
        raise pytest.UsageError("Expected `robust_baseline` in a run with --robust.")
    return pytestconfig.stash[SETTINGS].baseline


@pytest.fixture(scope="session")
def robust_model() -> object:
    """Give the model under test; define it in your conftest.py."""
    raise pytest.UsageError(
        _MISSING.format(name="robust_model", what="load_my_model()  # a torch module, or any callable")
    )


@pytest.fixture(scope="session")
def robust_data() -> object:
    """Give the data to test on; define it in your conftest.py."""
    raise pytest.UsageError(_MISSING.format(name="robust_data", what="x, y  # or a data set, or a DataLoader"))


@pytest.fixture(scope="session")
def robust_responses() -> object:
    """Give the annotators' answers about the data; define it in your conftest.py."""
    raise pytest.UsageError(
        _MISSING.format(
            name="robust_responses",
            what='robustest_people.Responses.from_csv("answers.csv", size=len(y), classes=names)',
        )
    )


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    pytest_options.add(parser)
    # The first hook of a run: modules of other plugins and each conftest.py are imported after it.
    config: pytest.Config | None = pluginmanager.get_plugin("pytestconfig")
    if config is not None and CLAIMS not in config.stash:
        session = config.stash[CLAIMS] = plain_run.begin_session()
        config.add_cleanup(lambda: plain_run.end_session(session))
        config.add_cleanup(lambda: _end_in_error(config))  # called first


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Take back the files of an earlier run, before a conftest.py, an argument or a setting can end this one."""
    options = early_config.known_args_namespace
    if options.robust and not any(getattr(options, name, False) for name in _SHOWING):
        from robustest.pytest_plugin.reports import take_back

        take_back(options, early_config.invocation_params.dir)
        _follow(early_config)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "robust(**settings): a robustness test, run under --robust; settings (seed=, device=, ...) are its own",
    )
    pytest_options.check_ini(config)
    if CLAIMS in config.stash:
        config.stash[CLAIMS].worker = _is_worker(config)
    if config.getoption("--robust"):
        from robustest.pytest_plugin.ledger import Ledger

        pytest_options.check_packs()
        config.stash[SETTINGS] = pytest_options.settings_of(config)
        pytest_options.shard_of(config)
        config.stash[LEDGER] = Ledger()
        _follow(config)
        if not _is_worker(config):
            pytest_options.check_reports(config)
            config.pluginmanager.register(_Intake(config.stash[LEDGER], config.rootpath))


def _follow(config: pytest.Config) -> None:
    """Receive claims of other processes until the end of the run."""
    if FOLLOWED in config.stash:
        return
    from robustest.context import followed

    following = ExitStack()
    following.enter_context(followed())
    config.add_cleanup(following.close)
    config.stash[FOLLOWED] = True


def _end_in_error(config: pytest.Config) -> None:
    """Change pytest's exit code if a claim was refused after the reports were written."""
    if CLAIMS in config.stash and config.stash[CLAIMS].late and SESSION in config.stash:
        config.stash[SESSION].exitstatus = pytest.ExitCode.INTERNAL_ERROR


def pytest_unconfigure(config: pytest.Config) -> None:
    _end_in_error(config)
    if LEDGER in config.stash:
        from robustest.context import over

        over()
    if ACCOUNT in config.stash:  # other plugins may have changed the exit status after the reports were written
        account, session = config.stash[ACCOUNT], config.stash[SESSION]
        if account.session is not None and int(session.exitstatus) != account.session.exit:
            _write(session, account.with_exit(int(session.exitstatus)))
        # Last: a run is sent once, with the exit status that it ends with, and a slow server delays no verdict.
        if config.getoption("--robust-track") and not config.getoption("collectonly"):
            from robustest.pytest_plugin.reports import track

            track(config, config.stash[ACCOUNT], config.stash[SETTINGS])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    if not config.getoption("--robust") or os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    from robustest.pytest_plugin import xdist

    return xdist.process_count(pytest_options.settings_of(config))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    if SETTINGS in config.stash:
        from robustest.pytest_plugin import xdist

        xdist.share_machine(specs, config.stash[SETTINGS])


def pytest_report_header(config: pytest.Config) -> list[str] | None:
    if SETTINGS not in config.stash:
        return None
    from robustest import extensions
    from robustest.reports.terminal import header

    packs = ", ".join(extensions.names())
    return [
        *header(config.stash[SETTINGS], config.get_terminal_writer().fullwidth),
        *([f"robustest packs: {packs}"] if packs else []),
    ]


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    by_text = SETTINGS in config.stash or pytest_options.skips_claims(config)
    for item in items:  # before others select by marker
        if not item.get_closest_marker("robust") and _is_robust(item, by_text=by_text):
            item.add_marker(pytest.mark.robust)
    found = [*items, *_found_tests(config)]
    robust = [item for item in found if _is_robust(item, by_text=by_text)]
    config.stash[DESELECTED] = [item.nodeid for item in robust]
    config.stash[OTHERS] = [item for item in found if item not in robust]
    yield
    if SETTINGS in config.stash:
        _keep_shard(config, items)
    for item in items:  # after others added markers and deselected
        if not item.get_closest_marker("robust"):
            continue
        if SETTINGS in config.stash:
            try:
                item.stash[CONTEXT] = context_of(item, config, declared=True)
            except pytest.UsageError as error:
                if not _is_worker(config):
                    raise
                item.stash[WRONG] = error  # an error that ends a worker is not shown; an error of a test is
        else:
            from robustest.settings import Settings

            pytest_options.settings_for(item, Settings(), config)  # a mistake in a marker is an error of any run
            item.add_marker(pytest.mark.skip(reason=SKIPPED))
    if SETTINGS in config.stash and any(CONTEXT in item.stash for item in items) and not _is_worker(config):
        pytest_options.check_attack(config, config.stash[SETTINGS])


def _is_robust(item: pytest.Item, *, by_text: bool, below: Path | None = None) -> bool:
    """Return True if a test claims, by its marker, its fixtures, or its text and that of helpers in its module.

    Args:
        by_text: True to read texts.
        below: folder whose other modules are read as well, and the test's fixtures.
    """
    if item.get_closest_marker("robust") or set(_FIXTURES) & set(getattr(item, "fixturenames", ())):
        return True
    if not by_text:
        return False
    # A claim inside of a helper is only noticed once it is made. By its text a test can be skipped before its fixtures
    # load a model, selected by `-m robust`, and belong to a shard.
    visits: set[Any] = set()
    todo: list[Any] = []
    with suppress(ValueError):  # a chain of wrappers without an end, as mocks have it
        todo.append(inspect.unwrap(getattr(item, "obj", None) or (lambda: None)))
    if below is not None:
        fixtures = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
        todo += [one.func for several in fixtures.values() for one in several]
    while todo:
        function = todo.pop()
        code, names = getattr(function, "__code__", None), getattr(function, "__globals__", {})
        if code in visits or not isinstance(code, CodeType):
            continue
        visits.add(code)
        used = set(_names(code))
        values = {name: names[name] for name in used if name in names}
        owners = {name: _owner(value) for name, value in values.items()}
        # Either the function is one of robustest's or of a pack's, or it is read from such a module.
        modules = any(name.startswith("robustest") for name in used if name not in names) or any(
            issubclass(type(values[name]), ModuleType) and owner.startswith("robustest")
            for name, owner in owners.items()
        )
        claims = [name for name in used if name.startswith(("assert_", "measure_"))]
        if any(owners[name].startswith("robustest") if name in owners else modules for name in claims):
            return True
        # Helpers of the same module are read as well.
        own = [values[name] for name, owner in owners.items() if owner and owner == names.get("__name__")]
        if below is not None:
            own += [values[name] for name, owner in owners.items() if _is_below(owner, below)]
            # Functions of a module `helpers` in `helpers.check(model)`, and methods of a class.
            parts = [vars(one) for one in own if type(one) is not FunctionType]
            own += [part[name] for part in parts for name in used if name in part]
        todo += [one for one in own if type(one) is FunctionType]
    return False


def _is_below(module: str, folder: Path) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and Path(file).is_relative_to(folder) and "site-packages" not in file


def _owner(value: object) -> str:
    # By the type alone: reading an attribute of a proxy may raise whatever its library raises outside of its context.
    if issubclass(type(value), ModuleType):
        return str(vars(value).get("__name__", ""))
    return str(value.__module__) if type(value) in (FunctionType, type) else ""


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, CodeType):  # a function, lambda or comprehension inside
            yield from _names(part)


def pytest_collection_finish(session: pytest.Session) -> None:
    if DESELECTED in session.config.stash:  # only now has --lf deselected its tests as well
        chosen = {item.nodeid for item in session.items}
        found = session.config.stash[DESELECTED]
        if SETTINGS in session.config.stash:  # a claim inside of a helper is noticed once it is made, if the test runs
            left = [item for item in session.config.stash[OTHERS] if item.nodeid not in chosen]
            found += [item.nodeid for item in left if _is_robust(item, by_text=True, below=session.config.rootpath)]
        session.config.stash[DESELECTED] = [name for name in dict.fromkeys(found) if name not in chosen]


@pytest.hookimpl(wrapper=True, trylast=True)  # innermost: --lf removes tests from the report
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    config = collector.config
    refused = config.stash[CLAIMS].refused
    before = len(refused)
    report = yield
    if len(refused) > before:
        from robustest.pytest_plugin.outcome import fail_collection

        fail_collection(report, refused, before, config.stash[CLAIMS].folder)
    if SETTINGS in config.stash:  # no plugin deselects the tests that ids on the command line leave out
        found = config.stash.setdefault(FOUND, {})
        if isinstance(collector, pytest.Class):
            found.pop(collector.nodeid, None)
        held = list(report.result)
        if not held and report.passed and isinstance(collector, pytest.File) and config.getoption("lf", False):
            with suppress(Exception):  # --lf skips whole files without collecting them
                held = list(collector.collect())
        found |= {one.nodeid: one for one in held if isinstance(one, (pytest.Item, pytest.Class))}
    return report


def _found_tests(config: pytest.Config) -> list[pytest.Item]:
    found: list[pytest.Item] = []
    queue = list(config.stash.get(FOUND, {}).values())
    while queue:
        one = queue.pop(0)
        if isinstance(one, pytest.Class):
            with suppress(Exception):  # pytest reports a class that cannot be collected
                queue += [part for part in one.collect() if isinstance(part, (pytest.Item, pytest.Class))]
        elif isinstance(one, pytest.Item):
            found.append(one)
    return found


_SELECTING = {
    "-k": "keyword",
    "-m": "markexpr",
    "--deselect": "deselect",
    "--ignore": "ignore",
    "--ignore-glob": "ignore_glob",
}
"""Options of pytest that select tests by their names, and the names of their values."""
_COLLECTING = ("addopts", "python_files", "python_classes", "python_functions", "testpaths", "norecursedirs")
"""Keys of ini files that `-o` may set, and that decide which tests there are."""


def _selection(config: pytest.Config) -> str:
    parts, here = [], config.invocation_params.dir
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        parts = [*map(shlex.quote, config.args)]
    elif config.args_source is pytest.Config.ArgsSource.INVOCATION_DIR and here != config.rootpath:
        parts = [shlex.quote(str(here))]  # pytest collects the folder in which it was started
    for option, name in _SELECTING.items():
        given = config.getoption(name, None) or ()
        parts += [f"{option} {shlex.quote(one)}" for one in ((given,) if isinstance(given, str) else given)]
    if (file := config.getoption("inifilename", None)) is not None:
        parts.append(f"-c {shlex.quote(str(file))}")
    for one in config.getoption("override_ini", None) or ():
        parts += [f"-o {shlex.quote(one)}"] if one.partition("=")[0].strip() in _COLLECTING else []
    flags = (("--lf", "lf"), ("--sw", "stepwise"), ("--sw-skip", "stepwise_skip"), ("--noconftest", "noconftest"))
    for option, name in flags:
        parts += [option] if config.getoption(name, False) else []
    return " ".join(parts)


# Files and folders that are looked at for tests that were not collected.
_MOST_LOOKED_AT = 20_000


def _files_left_out(config: pytest.Config) -> int:
    """Return the number of files of tests that lie outside of what the command line names; 1 if there is too much."""
    here, source = config.invocation_params.dir, config.args_source
    named = [(here / one.partition("::")[0]).resolve() for one in config.args]
    ignored = [(here / one).resolve() for one in config.getoption("ignore", None) or ()]
    globs = [str(here / one) for one in config.getoption("ignore_glob", None) or ()]
    if source is pytest.Config.ArgsSource.TESTPATHS and not (ignored or globs):
        return 0
    # Without an ini file the root is the folder of what is named, and the tests beside it lie above.
    tops = [config.rootpath / one for one in config.getini("testpaths")] or [
        here if config.rootpath.is_relative_to(here) else config.rootpath
    ]
    patterns, skipped = config.getini("python_files"), config.getini("norecursedirs")
    looked_at = found = 0
    for top in tops:
        for folder, folders, files in os.walk(top.resolve()):
            if "pyvenv.cfg" in files:
                folders.clear()
                continue
            folders[:] = [name for name in folders if not any(fnmatch(name, one) for one in skipped)]
            looked_at += len(folders) + len(files)
            if looked_at > _MOST_LOOKED_AT:
                return max(found, 1)
            for path in (Path(folder, name) for name in files if any(fnmatch(name, one) for one in patterns)):
                left_out = any(map(path.is_relative_to, ignored)) or any(fnmatch(str(path), one) for one in globs)
                found += left_out or not any(map(path.is_relative_to, named))
    return found


def _keep_shard(config: pytest.Config, items: list[pytest.Item]) -> None:
    robust = [item for item in items if item.get_closest_marker("robust")]
    config.stash[COLLECTED] = [item.nodeid for item in robust]
    shard = pytest_options.shard_of(config)
    if shard is None:
        return
    index, count = shard
    # Every N-th test: neighbours are often parameters of one test, of similar cost, and spread over the shards.
    others = {id(item) for place, item in enumerate(robust) if place % count != index - 1}
    config.hook.pytest_deselected(items=[item for item in items if id(item) in others])
    left = {item.nodeid for item in items if id(item) in others}  # left to other shards, not deselected by the user
    found = config.stash[DESELECTED]
    config.stash[DESELECTED] = [name for name in found if name not in left]
    items[:] = [item for item in items if id(item) not in others]


class _Intake:
    def __init__(self, ledger: Ledger, root: Path) -> None:
        self._ledger, self._root = ledger, root

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._ledger.take(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        for one in getattr(report, "robustest_outside", ()):
            self._ledger.add_outside(*one)
        if report.failed and not hasattr(report, "robustest_outside"):
            self._ledger.add_uncollected(report.nodeid, report.longreprtext)
        # A file that skips itself, e.g. by `pytest.importorskip`, has tests that nobody counts.
        elif report.skipped and _mentions_robustest(self._root / report.nodeid):
            why = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longreprtext
            self._ledger.add_skipped(report.nodeid, str(why).removeprefix("Skipped: "))


def _mentions_robustest(path: Path) -> bool:
    with suppress(OSError):
        return any(b"robust" in one.read_bytes() for one in ([path] if path.is_file() else path.rglob("*.py")))
    return False


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    config = session.config
    if LEDGER in config.stash and not config.getoption("collectonly"):
        tests = [item.nodeid for item in session.items]
        config.stash[LEDGER].add_robust(_collected(config))
        config.stash[LEDGER].expect(tests, calls=not config.getoption("setuponly", False))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    if LEDGER in node.config.stash:
        node.config.stash[LEDGER].expect(ids, calls=not node.config.getoption("setuponly", False))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodeready(node: Any) -> None:
    if LEDGER in node.config.stash:
        node.config.stash.setdefault(SILENT, set()).add(node.gateway.id)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    output = getattr(node, "workeroutput", None)
    if output is not None and output.get("robustest_outside"):
        from robustest.outside import RefusedClaim

        node.config.stash[CLAIMS].refused += [RefusedClaim(*one) for one in output["robustest_outside"]]
    if output is not None and LEDGER in node.config.stash:
        node.config.stash[LEDGER].add_sent(output.get("robustest_recorded", 0))
        if "robustest_collected" in output:
            node.config.stash[COLLECTED] = output["robustest_collected"]
            node.config.stash[DESELECTED] = output["robustest_deselected"]
            node.config.stash[LEDGER].add_robust(output["robustest_collected"])
        node.config.stash[LEDGER].add_problems(output.get("robustest_lost", ()))
        if "robustest_loaded" in output:
            node.config.stash.setdefault(LOADED, set()).update(output["robustest_loaded"])
            node.config.stash.setdefault(SILENT, set()).discard(node.gateway.id)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    config = session.config
    claims, config.stash[SESSION] = config.stash[CLAIMS], session
    _report_outside(session)  # before other reporters, such as pytest's --junitxml, write their files
    if LEDGER not in config.stash:
        try:
            return (yield)
        finally:
            _report_outside(session)
            claims.written = True
    failed = []
    try:
        yield
    except OSError as error:  # of another reporter, e.g. pytest's --junitxml: robustest's reports are still to come
        failed = [f"a plugin could not end: {type(error).__name__}: {error}"]
    from dataclasses import replace

    from robustest.context import lost_claims
    from robustest.pytest_plugin.reports import loaded_code, remember_endings, update_baselines

    ledger = config.stash[LEDGER]
    if _is_worker(config):
        sent: dict[str, Any] = config.workeroutput  # type: ignore[attr-defined]
        sent["robustest_recorded"] = sum(
            len(item.stash[CONTEXT].results) for item in session.items if CONTEXT in item.stash
        )
        if COLLECTED in config.stash:
            sent["robustest_collected"] = config.stash[COLLECTED]
            sent["robustest_deselected"] = config.stash[DESELECTED]
        sent["robustest_lost"] = lost_claims()
        _report_outside(session)
        claims.written = True
        sent["robustest_loaded"] = sorted(loaded_code(config))
        return None

    ledger.add_problems(lost_claims())
    _report_outside(session)
    collected = list(dict.fromkeys([*_collected(config), *ledger.claiming]))
    deselected: list[str] = config.stash.get(DESELECTED, [])
    stopped = session.shouldstop or session.shouldfail or session.exitstatus == pytest.ExitCode.INTERRUPTED
    account = ledger.account(
        int(session.exitstatus),
        stopped=(str(session.shouldstop or session.shouldfail or "interrupted") if stopped else ""),
        collected=collected,
        deselected=deselected,
        selection=_selection(config),
        files_left_out=_files_left_out(config),
    )
    settings = config.stash[SETTINGS]
    account = replace(account.with_lost(failed).with_sections(), service=settings.service)
    # A baseline from a run that lost results would lack outcomes, and later runs would compare with less.
    if settings.update_baseline and not account.lost:
        account = account.with_lost(update_baselines(account.results))
    if session.exitstatus == pytest.ExitCode.OK and any(
        row.red for row in account.rows
    ):  # never green beside a red row
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        account = account.with_exit(int(session.exitstatus))
    _write(session, account)
    claims.written = True
    if settings.store is not None:
        remember_endings(account, str(settings.store))
    return None


def _report_outside(session: pytest.Session) -> None:
    """Report claims that were refused outside of any test and are on no report yet."""
    config = session.config
    if FOLLOWED in config.stash:
        from robustest.context import receive

        receive(None)
    claims = config.stash[CLAIMS]
    refused, claims.refused[:] = list(dict.fromkeys(claims.refused)), []
    if not refused:
        return
    if _is_worker(config):
        sent: dict[str, Any] = config.workeroutput  # type: ignore[attr-defined]
        sent.setdefault("robustest_outside", []).extend(tuple(one) for one in refused)
        return
    from robustest.pytest_plugin.outcome import report_outside

    report_outside(session, refused, claims.folder)


def _write(session: pytest.Session, account: Account) -> None:
    from robustest.pytest_plugin import reports as pytest_reports

    config = session.config
    shard = None
    if (place := pytest_options.shard_of(config)) is not None:
        tests, reported = _collected(config), config.stash[LEDGER].tests()
        index, count = place
        mine = [test for test in tests if test in reported]
        shard = {"index": index, "count": count, "tests": tests, "reported": mine}
    account = pytest_reports.write(config, account, config.stash[SETTINGS], shard=shard)
    if account.lost:
        # Results that nobody can read are lost. pytest's own code for failed tests would hide that.
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
    config.stash[ACCOUNT], config.stash[SESSION] = account, session


@pytest.hookimpl(wrapper=True, tryfirst=True, specname="pytest_terminal_summary")
def pytest_shown_failures(terminalreporter: Any, config: pytest.Config) -> Generator[None, Any, Any]:
    """Print of a large run only the failures that its section names: pytest's list of all would bury them.

    pytest's last line counts every failure.
    """
    stats = terminalreporter.stats
    left_out: set[str] = set()
    if ACCOUNT in config.stash and terminalreporter.verbosity <= 0:
        from robustest.reports.families import hidden_tests

        left_out = hidden_tests(config.stash[ACCOUNT].rows)
    names = [name for name in ("failed", "error") if left_out and name in stats]
    before = {name: stats[name] for name in names}
    for name, reports in before.items():
        stats[name] = [one for one in reports if getattr(one, "nodeid", "") not in left_out]
    try:
        return (yield)
    finally:
        stats.update(before)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    # Skipped tests are green, so a line says that they were skipped for lack of --robust.
    reports = terminalreporter.stats.get("skipped", ())
    count = sum(isinstance(one.longrepr, tuple) and str(one.longrepr[-1]).endswith(SKIPPED) for one in reports)
    skipped = [f"{count} robustness test{'' if count == 1 else 's'} skipped: add --robust"] if count else []
    for line in (*skipped, *pytest_options.unused(config)):
        terminalreporter.write_line(line, yellow=True)
    if ACCOUNT not in config.stash:
        return
    account = config.stash[ACCOUNT]
    if account.lost or not config.getoption("no_summary"):  # some versions of pytest call this hook regardless
        from robustest.reports.terminal import summary

        summary(
            terminalreporter,
            account,
            details=config.getoption("--robust-details"),
            left_out=account.left_out,
            verbose=terminalreporter.verbosity > 0,
        )
    if os.environ.get("GITHUB_ACTIONS") and not config.pluginmanager.has_plugin(
        "pytest_github_actions_annotate_failures"
    ):
        from robustest.reports import github

        where, workspace = config.stash[LEDGER].places(config.rootpath), os.environ.get("GITHUB_WORKSPACE", "")
        for line in github.annotation_commands(
            account.rows, account.lost, where=where, workspace=workspace, service=account.service
        ):
            terminalreporter.write_line(line)


def _collected(config: pytest.Config) -> list[str]:
    return config.stash.get(COLLECTED, [])


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")
