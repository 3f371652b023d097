"""A run that loses a report or a result says so and ends with exit code 3, however green the rest."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from textwrap import dedent

import pytest

pytest.importorskip("xdist")

TESTS = """
    def test_one(robust): robust.record(made(statement="one"))

    def test_two(robust): robust.record(made(statement="two"))

    def test_silent(robust): pass
"""

# Hooks of an inner conftest that lose something on the worker.
WORKER = {
    "results of one report": """
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(item):
            report = yield
            if "test_one" in item.nodeid:
                vars(report).pop("robustest_results", None)
            return report
    """,
    "everything ours on a test's reports": """
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(item):
            report = yield
            if "test_one" in item.nodeid:
                for name in [name for name in vars(report) if name.startswith("robustest")]:
                    delattr(report, name)
            return report
    """,
    "a report that cannot be sent": """
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(item):
            report = yield
            if "test_two" in item.nodeid and report.when == "call":
                report.unsendable = object()
            return report
    """,
}

# Hooks of an inner conftest that drop reports where they come in.
CONTROLLER = """
    def pytest_sessionstart(session):
        dsession = session.config.pluginmanager.get_plugin("dsession")
        if dsession is None:
            return
        original = dsession.worker_testreport

        def worker_testreport(node, rep):
            if not ({drop}):
                original(node, rep)

        dsession.worker_testreport = worker_testreport
"""
DROPPED = {
    "all reports of a test": "'test_one' in rep.nodeid",
    "the call of a test that records": "'test_one' in rep.nodeid and rep.when == 'call'",
    "the call of a test that records nothing": "'test_silent' in rep.nodeid and rep.when == 'call'",
    "the teardown of a test": "'test_one' in rep.nodeid and rep.when == 'teardown'",
}


@pytest.fixture
def lossy(project, write_light):
    def _lossy(hooks: str, tests: str = TESTS) -> None:
        project.path.joinpath("conftest.py").write_text("import pytest\n" + dedent(hooks), encoding="utf-8")
        write_light(test_a=tests)

    return _lossy


def _is_not_green(result: pytest.RunResult) -> None:
    assert result.ret == 3
    result.stdout.fnmatch_lines(["LOST: *; this run is not green"])


@pytest.mark.parametrize("drop", DROPPED.values(), ids=DROPPED)
def test_a_report_dropped_at_the_controller_is_missed(lossy, run, drop):
    lossy(CONTROLLER.format(drop=drop))
    _is_not_green(run("--robust", "-n", "1"))


@pytest.mark.parametrize("what", ["results of one report", "everything ours on a test's reports"])
def test_results_dropped_on_a_worker_are_missed(lossy, run, what):
    lossy(WORKER[what])
    _is_not_green(run("--robust", "-n", "1"))


@pytest.mark.parametrize("tests", [TESTS, "    def test_two(robust): pass"], ids=["among others", "the only test"])
def test_a_report_that_cannot_be_sent_is_missed(lossy, run_apart, tests):
    lossy(WORKER["a report that cannot be sent"], tests)
    result = run_apart("--robust", "-n", "1")
    assert result.ret == 3


def test_results_are_missed_in_one_process_too(lossy, run, section):
    lossy(WORKER["results of one report"])
    result = run("--robust")
    _is_not_green(result)
    assert section(result)[-1] == "LOST: 2 results were recorded but 1 arrived; this run is not green"


def test_a_test_that_never_ran_is_missed(lossy, run, section):
    lossy(
        """
        def pytest_runtest_protocol(item):
            return True if "test_two" in item.nodeid else None
        """
    )
    result = run("--robust")
    _is_not_green(result)
    assert section(result)[-1] == "LOST: no report came from test_a.py::test_two; this run is not green"


def test_the_files_say_so(project, lossy, run, read_json):
    lossy(WORKER["results of one report"])
    run("--robust", "--robust-json=out.json", "--robust-junit=out.xml")
    assert read_json()["lost"] == ["2 results were recorded but 1 arrived"]
    root = ET.parse(project.path / "out.xml").getroot()  # noqa: S314 - our own file
    assert int(root.get("errors")) >= 1, "who reads only this file must not see a green run"


def test_without_a_terminal_exit_code_and_file_still_tell(lossy, run, read_json):
    lossy(WORKER["results of one report"])
    assert run("--robust", "-p", "no:terminal", "--robust-json=out.json").ret == 3
    assert read_json()["lost"] == ["2 results were recorded but 1 arrived"]


@pytest.mark.parametrize("restart", [[], ["--max-worker-restart=0"]], ids=["replaced", "not replaced"])
def test_a_worker_that_crashes_is_not_green(write_light, run, restart):
    write_light(
        test_a="""
        import os
        def test_before(robust): robust.record(made())

        def test_crash(robust): os._exit(0)

        def test_after(robust): robust.record(made())
        """
    )
    result = run("--robust", "-n", "1", *restart)
    assert result.ret not in (0, 5)
    result.stdout.fnmatch_lines(["*crashed while running*"])
