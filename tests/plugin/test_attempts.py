"""Of a test that another plugin runs again every attempt has its rows, and a later pass undoes no failure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from importlib.util import find_spec
from typing import Any

import pytest

SHOPPED = """
    import itertools

    tries = itertools.count(1)

    def holds(*attempts):
        return next(tries) in attempts

    @pytest.mark.flaky(MARK)
    def test_it(robust):
        number = next(tries)
        def result():
            return made("passed" if number in HOLDS else "failed", statement=f"draw {number}")
        robust.record(result())
        if number in ERRORS:
            raise ConnectionError("no answer")
        if number not in HOLDS:
            from robustest import ClaimFailed
            raise ClaimFailed(f"draw {number} does not hold", result())
"""

UNREPORTED = """
import pytest
from _pytest.runner import runtestprotocol

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):  # as flaky does: of the attempts before the last, no report goes out
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for _ in range(3):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if not any(report.failed for report in reports):
            break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
"""

CALLED_AGAIN = """
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):  # as pytest-retry does: the hooks are called again, and make no reports
    report = yield
    if call.when == "call" and report.failed:
        for _ in range(2):
            item.ihook.pytest_runtest_teardown(item=item, nextitem=pytest.Class.from_parent(item.session, name="none"))
            item._initrequest()
            item.ihook.pytest_runtest_setup(item=item)
            call = pytest.CallInfo.from_call(lambda: item.ihook.pytest_runtest_call(item=item), when="call")
            again = pytest.TestReport.from_item_and_call(item, call)
            report.outcome, report.longrepr = again.outcome, again.longrepr
            if again.passed:
                break
    return report
"""


CALL_ALONE = """
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):  # the call alone is made again, with the fixtures that there are
    report = yield
    if call.when == "call" and report.failed:
        call = pytest.CallInfo.from_call(lambda: item.ihook.pytest_runtest_call(item=item), when="call")
        again = pytest.TestReport.from_item_and_call(item, call)
        report.outcome, report.longrepr = again.outcome, again.longrepr
    return report
"""

SOURCES = {"unreported": UNREPORTED, "called again": CALLED_AGAIN, "call alone": CALL_ALONE}


def _plugin(name: str, project: Any) -> tuple[tuple[str, ...], str]:
    """Arguments for pytest, and for the marker, with which a test has three attempts."""
    others = {"rerunfailures": "rerunfailures", "flaky": "flaky", "retry": "pytest-retry"}
    off = tuple(part for one, plugin in others.items() if one != name for part in ("-p", f"no:{plugin}"))
    if name in SOURCES:
        source = SOURCES[name]
        project.makeconftest((project.path / "conftest.py").read_text() + source)
        return (*off, "-o", "markers=flaky"), ""
    module, mark = {
        "rerunfailures": ("pytest_rerunfailures", "reruns=2"),
        "flaky": ("flaky", "max_runs=3"),
        "retry": ("pytest_retry", "retries=2"),
    }[name]
    pytest.importorskip(module)
    return off, mark


PLUGINS = ["unreported", "called again", "rerunfailures"]
# The others are tried where they are installed: they would take part in every run of this suite.
PLUGINS += [name for name, module in (("flaky", "flaky"), ("retry", "pytest_retry")) if find_spec(module)]


@pytest.fixture
def shopped(project: Any, write_light: Any, run: Any, read_json: Any) -> Any:
    """Run a test that holds in some attempts; the exit code, the file of the run, and the run."""

    def _run(plugin: str, holds: tuple[int, ...], *more: str, errors: tuple[int, ...] = ()) -> Any:
        arguments, mark = _plugin(plugin, project)
        text = SHOPPED.replace("MARK", mark).replace("HOLDS", str(holds or (0,))).replace("ERRORS", str(errors or (0,)))
        write_light(test_a=text)
        files = ("--robust-json=out.json", "--robust-junit=out.xml", "--robust-html=page")
        result = run("--robust", *files, "-W", "ignore", *arguments, *more)
        return result, read_json()

    return _run


def _rows(content: Any) -> list[tuple[str, str, int]]:
    return [
        (row["result"]["statement"], row["ending"]["outcome"], row["ending"]["attempt"])
        for row in content["results"]
        if row["result"] is not None
    ]


@pytest.mark.parametrize(
    ("plugin", "workers"),  # each plugin one way every day, and the other one slow
    [
        pytest.param(
            plugin,
            ("-n", "2") if workers else (),
            id=f"{plugin}-{'workers' if workers else 'alone'}",
            marks=pytest.mark.slow if (place + workers) % 2 else (),
        )
        for place, plugin in enumerate(PLUGINS)
        for workers in (False, True)
    ],
)
def test_a_pass_after_a_failed_attempt_is_not_green(plugin: str, workers: tuple[str, ...], shopped: Any) -> None:
    result, content = shopped(plugin, (2, 3), *workers)
    assert result.ret == 1
    assert [(statement, attempt) for statement, _, attempt in _rows(content)] == [
        ("draw 1", 1),
        ("draw 2", 2),
        ("draw 3", 3),
    ]
    assert _rows(content)[0] == ("draw 1", "failed", 1)
    assert any("failed in 1 of 3 attempts" in one["reason"] for one in content["tests"])
    result.stdout.fnmatch_lines(["*failed in 1 of 3 attempts*"])
    if plugin != "called again":  # whose report is its own
        # No line of the test is to blame, and none of the hooks is shown.
        result.stdout.fnmatch_lines(["E   AttemptsFailed: failed in 1 of 3 attempts*"])
        result.stdout.no_fnmatch_line("*contextlib*")
    assert content["counts"]["failed"] >= 1
    assert content["lost"] == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_majority_of_attempts_may_hold_by_a_rule_and_every_attempt_is_told(
    plugin: str, shopped: Any, project: Any
) -> None:
    result, content = shopped(plugin, (2, 3), "-o", "robust_attempts=majority")
    assert result.ret == 0
    assert [(statement, attempt) for statement, _, attempt in _rows(content)] == [
        ("draw 1", 1),
        ("draw 2", 2),
        ("draw 3", 3),
    ]
    assert content["counts"] == {"rerun": 1, "passed": 2}
    cases = [case.get("name") for case in ET.parse(project.path / "out.xml").iter("testcase")]  # noqa: S314
    assert cases == ["draw 1 (attempt 1)", "draw 2 (attempt 2)", "draw 3 (attempt 3)"]
    assert "draw 1" in (project.path / "page" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("plugin", PLUGINS)
def test_half_of_the_attempts_are_no_majority(plugin: str, shopped: Any) -> None:
    result, content = shopped(plugin, (2,), "-o", "robust_attempts=majority")
    assert result.ret == 1
    assert [statement for statement, _, _ in _rows(content)] == ["draw 1", "draw 2", "draw 3"]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_an_attempt_in_error_says_nothing_of_the_model(plugin: str, shopped: Any) -> None:
    result, content = shopped(plugin, (1, 2), errors=(1,))
    assert result.ret == 0
    assert _rows(content) == [("draw 1", "rerun", 1), ("draw 2", "passed", 2)]
    assert content["counts"] == {"rerun": 1, "passed": 2}


def test_an_error_beside_a_claim_that_failed_is_a_failure(shopped: Any) -> None:
    result, _ = shopped("unreported", (2, 3), errors=(1,))
    assert result.ret == 1


def test_a_skip_after_a_failed_attempt_is_no_way_out(project: Any, write_light: Any, run: Any) -> None:
    _plugin("unreported", project)
    write_light(
        test_a="""
        tries = []
        def test_it(robust):
            tries.append(1)
            robust.record(made())
            if len(tries) > 1:
                pytest.skip("tired")
            assert False, "no"
        """
    )
    result = run("--robust")
    assert result.ret == 1
    result.assert_outcomes(failed=1)


def test_a_skip_is_no_attempt_that_holds(project: Any, write_light: Any, run: Any) -> None:
    """One failed and one held: the third would have to hold for a majority."""
    _plugin("unreported", project)
    write_light(
        test_a="""
        tries = []
        def test_it(robust):
            tries.append(1)
            robust.record(made())
            if len(tries) == 3:
                pytest.skip("tired")
            assert len(tries) > 1, "no"
        """
    )
    result = run("--robust", "-o", "robust_attempts=majority")
    assert result.ret == 1
    result.assert_outcomes(failed=1)


FIRST = """
    import itertools

    tries = itertools.count(1)

    @pytest.fixture
    def first():
        return next(tries) == 1
"""


@pytest.mark.parametrize("plugin", ["unreported", "rerunfailures"])
def test_a_claim_that_failed_in_a_fixture_is_a_failed_attempt(
    plugin: str, project: Any, write_light: Any, run: Any, read_json: Any
) -> None:
    arguments, mark = _plugin(plugin, project)
    write_light(
        test_a=FIRST
        + f"""
    @pytest.fixture
    def checked(robust, first):
        result = made("failed" if first else "passed")
        robust.record(result)
        if first:
            from robustest import ClaimFailed
            raise ClaimFailed("the first draw does not hold", result)

    @pytest.mark.flaky({mark})
    def test_it(checked): pass
    """
    )
    result = run("--robust", "--robust-json=out.json", "-W", "ignore", *arguments)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*failed in 1 of * attempts*attempt 1: the first draw does not hold*"])
    verdicts = [(row["result"]["verdict"], row["ending"]["attempt"]) for row in read_json()["results"]]
    assert verdicts[:2] == [("failed", 1), ("passed", 2)]


@pytest.mark.parametrize("plugin", ["unreported", "rerunfailures"])
@pytest.mark.parametrize(
    ("call", "teardown"),
    [("True", "assert not first"), ("not first", "if first: raise OSError('disk')")],
    ids=["failed at its end", "failed, and then in error"],
)
def test_a_failure_counts_in_whichever_phase_it_comes(
    *, plugin: str, call: str, teardown: str, project: Any, write_light: Any, run: Any
) -> None:
    """And no error that comes after it makes it an attempt that says nothing."""
    arguments, mark = _plugin(plugin, project)
    write_light(
        test_a=FIRST
        + f"""
    @pytest.fixture
    def ended(first):
        yield
        {teardown}

    @pytest.mark.flaky({mark})
    def test_it(robust, first, ended):
        robust.record(made())
        assert {call}
    """
    )
    result = run("--robust", "-W", "ignore", *arguments)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*failed in 1 of * attempts*"])


def test_a_call_that_is_made_again_alone_is_another_attempt(shopped: Any) -> None:
    result, content = shopped("call alone", (2,))
    assert result.ret == 1
    assert _rows(content)[:2] == [("draw 1", "failed", 1), ("draw 2", "failed", 2)]


def test_pytests_own_file_has_the_last_attempt_once(shopped: Any, project: Any) -> None:
    result, _ = shopped("unreported", (2, 3), "-o", "robust_attempts=majority", "--junitxml=junit.xml")
    assert result.ret == 0
    found = [(one.get("name"), one.get("value")) for one in ET.parse(project.path / "junit.xml").iter("property")]  # noqa: S314
    ours = [(name, value) for name, value in found if name.startswith("robustest.")]
    assert [name for name, _ in ours] == ["robustest.1"]
    assert "draw 3" in ours[0][1]


def test_a_test_that_runs_once_has_no_attempts(write_light: Any, run: Any, read_json: Any) -> None:
    write_light(test_a="def test_it(robust): robust.record(made())")
    assert run("--robust", "--robust-json=out.json").ret == 0
    assert [row["ending"]["attempt"] for row in read_json()["results"]] == [0]
