"""What was stopped, deselected, run again or never meant to run is not called lost."""

from __future__ import annotations

from textwrap import dedent

import pytest

TESTS = """
    def test_one(robust): robust.record(made())

    def test_two(robust): robust.record(made()); assert 0

    def test_three(robust): robust.record(made())
"""
GREEN = TESTS.replace("; assert 0", "")


def _lost_nothing(result: pytest.RunResult) -> None:
    result.stdout.no_fnmatch_line("*LOST*")


@pytest.mark.parametrize("option", ["-x", "--maxfail=1", "--stepwise"])
def test_stopping_at_a_failure(write_light, run, option):
    write_light(test_a=TESTS)
    result = run("--robust", option)
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == (2 if option == "--stepwise" else 1)
    _lost_nothing(result)


def test_stopping_at_a_failure_under_xdist(write_light, run):
    pytest.importorskip("xdist")
    write_light(test_a=TESTS + "".join(f"\n    def test_more_{k}(robust): pass\n" for k in range(20)))
    result = run("--robust", "-n", "1", "-x", "--maxschedchunk=1")
    assert result.ret == 2
    assert result.parseoutcomes()["failed"] == 1
    _lost_nothing(result)


@pytest.mark.parametrize("how", ["pytest.exit('enough')", "raise KeyboardInterrupt"])
def test_stopping_from_within_a_test(write_light, project, how):
    write_light(test_a=TESTS.replace("assert 0", how))
    result = project.runpytest_inprocess("--robust", no_reraise_ctrlc=True)
    assert result.ret == 2
    _lost_nothing(result)


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--collect-only"], 0),
        (["--collect-only", "-q"], 0),
        (["-k", "one"], 0),
        (["--deselect", "test_a.py::test_two"], 0),
        (["-k", "nothing_such"], 5),
        (["--setup-plan"], 0),
        (["--fixtures"], 0),
        (["--fixtures-per-test"], 0),
        (["test_a.py::test_three", "test_a.py::test_one"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_running_a_part_or_nothing(write_light, run, args, code):
    write_light(test_a=GREEN)
    result = run("--robust", *args)
    assert result.ret == code
    _lost_nothing(result)


def test_running_the_last_failures_only(write_light, run):
    write_light(test_a=TESTS)
    run("--robust").assert_outcomes(passed=2, failed=1)
    result = run("--robust", "--lf")
    result.assert_outcomes(failed=1)
    assert result.ret == 1
    _lost_nothing(result)


def test_a_collection_error(write_light, run):
    write_light(test_a=GREEN, test_b="import no_such_module")
    result = run("--robust")
    assert result.ret == 2
    _lost_nothing(result)
    result = run("--robust", "--continue-on-collection-errors")
    assert result.ret == 1
    _lost_nothing(result)


def test_a_wrong_marker(write_light, run):
    write_light(test_a="@pytest.mark.robust(sed=3)\n" + dedent(GREEN).lstrip())
    result = run("--robust")
    assert result.ret == 4
    _lost_nothing(result)


def test_skipped_tests(write_light, run):
    write_light(
        test_a="""
        @pytest.mark.skip
        def test_marked(robust): pass

        def test_inside(robust): pytest.skip("not here")

        @pytest.fixture
        def absent(): pytest.skip("no such thing")

        def test_by_fixture(robust, absent): pass
        """
    )
    result = run("--robust")
    result.assert_outcomes(skipped=3)
    assert result.ret == 0
    _lost_nothing(result)


def test_a_test_that_another_plugin_runs_again(project, write_light, run, section):
    """As plugins that retry do: the reports of an attempt up to its failure go out as "rerun", then all goes again."""
    project.makeconftest(
        """
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            for last in (False, True):
                for report in runtestprotocol(item, nextitem=nextitem, log=False):
                    again = report.failed and not last
                    if again:
                        report.outcome = "rerun"
                    item.ihook.pytest_runtest_logreport(report=report)
                    if again:
                        break
                else:
                    return True
                item._initrequest()
        """
    )
    write_light(
        test_a="""
        attempts = []

        def test_flaky(robust):
            attempts.append(1)
            robust.record(made())
            if len(attempts) == 1:
                raise OSError("a file that is not there yet")
        """
    )
    result = run("--robust")
    assert result.ret == 0
    _lost_nothing(result)
    rows = [row for row in section(result) if "accuracy" in row]
    assert [row.split("attempt ")[1].split()[0] for row in rows] == ["1", "2"]
    assert not any("FAILED" in row for row in rows)


def test_a_claim_made_while_tearing_down(write_light, run, section):
    write_light(
        test_a="""
        @pytest.fixture
        def late(robust):
            yield
            robust.record(made(statement="late"))

        def test_it(robust, late): robust.record(made(statement="early"))
        """
    )
    result = run("--robust")
    assert result.ret == 0
    _lost_nothing(result)
    assert [row.split()[0] for row in section(result) if "accuracy" in row] == ["test_a.py::test_it"] * 2


def test_every_worker_running_every_test(write_light, run):
    pytest.importorskip("xdist")
    write_light(test_a=GREEN)
    result = run("--robust", "--dist=each", "--tx=2*popen")
    result.assert_outcomes(passed=6)
    assert result.ret == 0
    _lost_nothing(result)


@pytest.mark.parametrize("inner", ["--robust", "-q"])
def test_a_run_inside_a_test(write_light, run, section, inner):
    write_light(
        test_a=f"""
        def test_before(robust): robust.record(made())

        def test_inside(pytester):
            pytester.makepyfile("def test_plain(): pass")
            pytester.runpytest_inprocess("{inner}").assert_outcomes(passed=1)

        def test_after(robust): robust.record(made())
        """
    )
    result = run("--robust", "-p", "pytester")
    result.assert_outcomes(passed=3)
    assert result.ret == 0
    assert [row.split()[0] for row in section(result) if "accuracy" in row] == [
        "test_a.py::test_before",
        "test_a.py::test_after",
    ]
