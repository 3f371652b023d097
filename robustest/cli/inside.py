"""A pytest plugin for runs that the command starts: tests from outside of the project, time left, files used.

The command writes a plan, a JSON file, and runs `pytest -p robustest.cli.inside --robust-plan=FILE ROOT`. Questions are
collected from a temporary file as if it lay in the folder of the project's tests, where they find its fixtures: so a
run that is killed leaves no test behind.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from robustest.cli.remaining import Runs, Spent, UnderWay, changed, timing
from robustest.pytest_plugin.options import CONTEXT, LEDGER
from robustest.reports.inert import inert

# Seconds between two lines of progress; within a test the time spent is also a tenth longer than at the last line.
_EVERY, _LONGER = 1.0, 1.1


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the option that names the plan."""
    parser.addoption("--robust-plan", metavar="FILE", help="plan of a run that the command robustest starts")


@pytest.hookimpl(wrapper=True)  # before robustest's plugin, which takes back the reports of an earlier run
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Note the files that are used from now on; a conftest.py may open some as it is imported."""
    options = early_config.known_args_namespace
    _drop_others(options)
    _note_files(early_config, getattr(options, "robust_plan", None))
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the hooks of a planned run."""
    _drop_others(config.option)
    path = config.getoption("--robust-plan")
    _note_files(config, path)  # in a worker of pytest-xdist, which has no earlier hook
    if path and not hasattr(config, "workerinput"):
        plan = json.loads(Path(path).read_text(encoding="utf-8"))
        config.pluginmanager.register(_Planned(config, plan))
        if "file" in plan:  # no question is a test of hypothesis, which this plugin imports at the end of every run
            config.pluginmanager.unregister(name="hypothesispytest")


# Reports that a project may ask for in its addopts. The tests of a plan require almost nothing, or run several times:
# they must not make a badge green, replace a report, or enter a history or a baseline.
_REPORTS = ("html", "junit", "badge", "track", "history", "update_baseline")
# Options that select tests, or end a run early, with their defaults: questions are all asked.
_SELECTING: dict[str, object] = {
    "keyword": "",
    "markexpr": "",
    "deselect": None,
    "maxfail": 0,
    "lf": False,
    "stepwise": False,
    "stepwise_skip": False,
    "robust_shard": None,
    "robust_replay_only": False,
}

# Options of plugins that move tests to other processes, measure which lines run, or end a test early: the questions
# lie in no folder that a worker would find, and are none of the project's own tests.
_SPREADING: dict[str, object] = {
    "numprocesses": None,
    "dist": "no",
    "tx": [],
    "px": [],
    "looponfail": False,
    "cov_source": None,
    "cov_fail_under": None,
    "no_cov": True,
    "timeout": None,
    "reruns": 0,
    "flake_finder": False,
    "count": 1,
    "xmlpath": None,
}


def _drop_others(options: argparse.Namespace) -> None:
    """Set options of the project's own runs to their defaults where they do not fit the plan, if there is one."""
    path = getattr(options, "robust_plan", None)
    plan = json.loads(Path(path).read_text(encoding="utf-8")) if path else {"files": ""}
    if "files" in plan:  # `robustest watch` runs the tests as they are
        return
    for name in _REPORTS:
        setattr(options, f"robust_{name}", None)
    options.xmlpath = None
    if "file" in plan:
        vars(options).update(_SELECTING)
        # Absent ones are those of plugins that are not installed.
        vars(options).update({name: value for name, value in _SPREADING.items() if hasattr(options, name)})
    if "title" not in plan:  # nothing is measured
        options.robust_json = None


def _note_files(config: pytest.Config, plan: str | None) -> None:
    if plan and not config.pluginmanager.has_plugin(_FilesUsed.NAME):
        folder = json.loads(Path(plan).read_text(encoding="utf-8")).get("files")
        if folder:
            config.pluginmanager.register(_FilesUsed(Path(folder)), _FilesUsed.NAME)


class _FilesUsed:
    """Notes the files that this process reads and writes, for `robustest watch`."""

    NAME = "robustest-files-used"
    # Place of the path among the arguments of audit events that write a file without opening it.
    _WRITES: ClassVar = {"os.rename": 1, "os.link": 1, "os.remove": 0, "sqlite3.connect": 0}

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: set[str] = set()
        self._wrote: set[str] = set()
        self._over = False
        sys.addaudithook(self._note)  # it stays: no hook can be taken away

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._over or not (event == "open" or event in self._WRITES):
            return
        with suppress(Exception):  # an error here would be one of the call that is noted
            path = arguments[self._WRITES.get(event, 0)]
            if isinstance(path, int) or path is None:
                return
            flags = arguments[2] if event == "open" else os.O_WRONLY
            (self._wrote if flags & (os.O_WRONLY | os.O_RDWR) else self._read).add(os.path.abspath(os.fsdecode(path)))

    def pytest_unconfigure(self) -> None:
        self._over = True
        sources = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        self._read |= {os.path.abspath(one) for one in sources if isinstance(one, str)}
        content = json.dumps({"read": sorted(self._read), "wrote": sorted(self._wrote)})
        (self._folder / f"files-{os.getpid()}.json").write_text(content, encoding="utf-8")


class _Planned:
    """The hooks of a planned run.

    A plan has these keys; all but `parent` may be absent.
        parent: process id of the command.
        files: folder for the names of the files that the run uses.
        root, folder: the project, and its folder of tests, absolute.
        file, name: file with the questions, and the place of the later tests below `root`.
        quiet: true if pytest shows no outcomes.
        title: words for this run, e.g. "seed 1".
        started, run: times at which the command, and this run, started.
        warm: true if the process has run pytest before.
        timing: file for the runs that follow (`robustest.cli.remaining`): by test, "tests" (costs) and
            "values"; "recalled" (true if a test was), "spent" (seconds of all tests).
        before: the same of the first run, and "between" (its other seconds).
        share: part of them that this run is expected to take.
        weights: how long each test is expected to take, by the last part of its id and in any unit.
        audited: the tests of attacks, by the same part.
        after, last: runs like this one that follow, and part of one that follows in the end.
        further: runs that follow if a value changes with the seed.
    """

    def __init__(self, config: pytest.Config, plan: dict[str, Any]) -> None:
        self._config, self._plan = config, plan
        self._tests: list[str] = []
        self._began = self._last = self._opening = 0.0
        self._begun, self._estimated = 0, False
        self._fixtures: float | None = None
        self._seconds: dict[str, float] = {}
        self._ended: dict[str, Spent] = {}
        self._values: dict[str, list[float | None]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        if "file" not in self._plan or path != Path(self._plan["root"]):
            return None
        root = Elsewhere.from_parent(parent, path=path)
        root.plan = self._plan
        return root

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._tests = [item.nodeid for item in session.items]
        self._began = time.monotonic()
        self._opening = time.time() - self._plan.get("run", time.time())

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if os.getppid() != self._plan["parent"]:
            pytest.exit("the command that started this run has ended", returncode=2)
        if "title" in self._plan and nodeid in self._tests:
            now = time.monotonic()
            if not self._begun or now - self._last >= _EVERY:
                self._last = now
                place = f"{self._begun + 1} of {len(self._tests)}"
                self._write(f"measuring {nodeid} ({place}), {self._plan['title']}; {self._clock()}")
            self._begun += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        context, chunks, last = item.stash.get(CONTEXT, None), list[tuple[float, int]](), time.monotonic()
        name = item.nodeid.rpartition("::")[2]
        if context is None or "title" not in self._plan or name not in self._plan.get("weights", {}):
            return

        def progress(_: str, measured: int, total: int, broken: int) -> None:
            nonlocal last
            now, spent = time.monotonic(), time.time() - self._plan["started"]
            further = measured - sum(n for _, n in chunks)
            if further <= 0:
                return
            chunks.append((now - last, further))
            last = now
            # The first estimate of a scan does not wait.
            if now - self._last >= max(_EVERY, spent * (1 - 1 / _LONGER)) or not self._estimated:
                audited = name in self._plan["audited"]
                part = UnderWay.of(item.nodeid, chunks, total=total, broken=broken, audited=audited)
                clock = self._clock(part)
                if self._estimated:
                    self._last = now
                    self._write(
                        f"measured {measured} of {total} samples of {item.nodeid}, {self._plan['title']}; {clock}"
                    )

        context.progress = progress

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._fixtures is None:  # the first setup makes the model and the samples
            self._fixtures = report.duration
        else:
            self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        rows = self._config.stash[LEDGER].rows() if LEDGER in self._config.stash else []
        results = [row.result for row in rows if row.test == nodeid and row.result is not None]
        self._ended[nodeid] = Spent(
            self._seconds.get(nodeid, 0.0),
            measured=sum(one.cost.seconds for one in results),
            recalled=bool(results) and all(one.evidence.cached for one in results),
        )
        self._values[nodeid] = [end for one in results for end in (one.estimate, *one.numbers.left_interval)]

    def pytest_sessionfinish(self) -> None:
        if (path := self._plan.get("timing")) and self._began:
            fixtures = self._fixtures or 0.0
            spent = time.monotonic() - self._began - fixtures
            told = timing(self._ended, self._values, spent=spent)
            Path(path).write_text(json.dumps(told), encoding="utf-8")

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        # The table that the command prints has the outcomes.
        return ("", "", "") if self._plan.get("quiet") else None

    def _write(self, text: str) -> None:
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        if reporter is None:
            return
        line = inert(text)
        if capture is None:
            reporter.ensure_newline()
            reporter.write_line(line)
        else:
            with capture.global_and_fixture_disabled():
                reporter.ensure_newline()
                reporter.write_line(line)

    def _clock(self, now: UnderWay | None = None) -> str:
        plan, fixtures = self._plan, self._fixtures or 0.0
        spent = f"{time.time() - plan['started']:.0f} s spent"
        before, weights = plan.get("before"), plan.get("weights", {})
        further, after = plan.get("further", 0), plan["after"]
        if before and any(changed(before["values"].get(test), values) for test, values in self._values.items()):
            further, after = 0, after + further
        runs = Runs(
            tests=self._tests,
            weights={test: weights.get(test.rpartition("::")[2], 1.0) for test in self._tests},
            before=before["tests"] if before else None,
            share=plan.get("share", 1.0),
            between=before["between"] if before else fixtures + (self._opening if plan.get("warm") else 0.0),
            after=after,
            further=further,
            last=plan.get("last", 0.0),
            resumed=bool(before and before["recalled"]),
        )
        left = runs.left(self._ended, time.monotonic() - self._began - fixtures, now)
        self._estimated |= bool(left)
        return f"{spent}, {left}" if left else spent


class Elsewhere(pytest.Directory):
    """A folder of the project that holds the questions alone."""

    plan: dict[str, Any]

    def collect(self) -> Iterator[pytest.Collector]:
        root, folder = (Path(self.plan[name]) for name in ("root", "folder"))
        if self.path != folder:
            inner = Elsewhere.from_parent(self, path=folder)
            inner.plan = self.plan
            yield inner
            return
        _ = self.ihook  # loads the conftest.py of this folder
        place = root / self.plan["name"]
        rootpath = self.config.rootpath
        nodeid = place.relative_to(rootpath).as_posix() if place.is_relative_to(rootpath) else place.as_posix()
        yield pytest.Module.from_parent(self, path=Path(self.plan["file"]), nodeid=nodeid)
