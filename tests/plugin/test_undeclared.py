"""A test that claims or measures is a robustness test, whatever its fixtures are called."""

from __future__ import annotations

import re

import pytest

FIXTURES = """
import pytest
from toy import Brightness, data

@pytest.fixture(scope="session")
def model(): return Brightness()

@pytest.fixture(scope="session")
def test_data(): return data()
"""

# `check` hides the claim from whoever reads the test's text only.
HELPER = """
from robustest import Linf, assert_robust_accuracy
from robustest.measure import measure_robust_accuracy

def check(model, data, eps, at_least, **options):
    __tracebackhide__ = True
    return assert_robust_accuracy(model, data, Linf(eps), at_least=at_least, attack="fgsm", **options)

def look(model, data, **options):
    return measure_robust_accuracy(model, data, Linf(0.1), attack="fgsm", **options)
"""

TESTS = """
from helper import check, look
import threading

def test_holds(model, test_data): check(model, test_data, 0.1, 0.5)

def test_fails(model, test_data): check(model, test_data, 0.1, 0.6)

def test_by_its_text(model, test_data):
    assert_robust_accuracy(model, test_data, Linf(0.1), at_least=0.6, attack="fgsm")

def test_caught(model, test_data):
    with pytest.raises(AssertionError):
        check(model, test_data, 0.1, 0.6)

def test_no_claim_could_be_measured(model, test_data): check(model, test_data[0], 0.1, 0.6)

def test_measures(model, test_data): assert look(model, test_data).estimate == 0.5

def test_measures_and_fails(model, test_data): assert look(model, test_data).estimate == 0.6

def test_in_a_thread(model, test_data):
    caught = []
    def run():
        try:
            check(model, test_data, 0.1, 0.6)
        except AssertionError as error:
            caught.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

@pytest.fixture(scope="module")
def kept(model, test_data): return check(model, test_data, 0.1, 0.5).estimate

def test_in_a_fixture(kept): assert kept == 0.5

def test_that_shares_it(kept): assert kept == 0.6

def test_plain(): pass

def test_plain_that_fails(): assert 0
"""

STATES = {
    "test_holds": ["passed"],
    "test_fails": ["failed"],
    "test_by_its_text": ["failed"],
    "test_caught": ["tolerated"],
    "test_no_claim_could_be_measured": ["error"],
    "test_measures": ["measured"],
    "test_measures_and_fails": ["measured", "failed"],
    "test_in_a_thread": ["failed"],
    "test_in_a_fixture": ["passed"],
    "test_that_shares_it": ["failed"],
    "other": ["error"],  # "other tests": the last plain one
}


def rows(lines: list[str]) -> list[tuple[str, str]]:
    """Name of the test and state of each row of the terminal."""
    found = [re.match(r"(?:test_a\.py::)?(\w+) .* (\S+)$", line) for line in lines]
    return [(one[1], one[2].lower()) for one in found if one and not one[0].startswith("replay")]


@pytest.fixture
def undeclared(project, write):
    project.makeconftest(FIXTURES)
    project.makepyfile(helper=HELPER)
    write(test_a=TESTS)


@pytest.mark.parametrize("how", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)], ids=["plain", "xdist"])
def test_every_claim_is_a_row(undeclared, how, run, section) -> None:
    """The fifth test fails in a thread that caught its error: nobody else would notice it."""
    result = run("--robust", "-p", "no:randomly", *how)
    states: dict[str, list[str]] = {}
    for test, state in rows(section(result)):
        states.setdefault(test, []).append(state)
    assert states == STATES
    assert result.ret == 1
    # Failures look as those of a declared test: one short line, and no frame of robustest's.
    assert "FAILED test_a.py::test_fails - robust accuracy 0.500 < 0.60" in result.stdout.str()
    assert "FAILED test_a.py::test_by_its_text - robust accuracy 0.500 < 0.60" in result.stdout.str()
    assert "assertion.py" not in result.stdout.str()


def test_without_robust_the_first_claim_skips_its_test(undeclared, run) -> None:
    result = run("-rs", "-p", "no:randomly")
    result.assert_outcomes(passed=1, failed=1, skipped=10)
    result.stdout.fnmatch_lines(["*10 robustness tests skipped: add --robust*"])
    assert "SKIPPED [1] test_a.py:" in result.stdout.str()  # the line of the claim in the test, not one of robustest's


def test_the_ini_file_may_run_them(undeclared, project, run) -> None:
    (project.path / "pytest.ini").write_text("[pytest]\nrobust_plain_runs = run\n", encoding="utf-8")
    run("-p", "no:randomly").assert_outcomes(passed=6, failed=6)
    (project.path / "pytest.ini").write_text("[pytest]\nrobust_plain_runs = never\n", encoding="utf-8")
    result = run()
    assert result.ret != 0
    result.stderr.fnmatch_lines(["*robust_plain_runs to be skip or run but got 'never'*"])


def test_a_claim_in_the_tests_text_is_selected_and_builds_no_fixture_without_robust(project, write, run) -> None:
    project.makeconftest(FIXTURES.replace("return Brightness()", "raise RuntimeError('loaded')"))
    write(
        test_a="""
        import robustest as rb
        import robustest.measure

        def test_of_a_module(model, test_data): rb.assert_robust_accuracy(model, test_data, Linf(0.1), at_least=0.5)

        def test_inside(model, test_data):
            def claims(): robustest.measure.measure_robust_accuracy(model, test_data, Linf(0.1))
            claims()

        def helper(model, test_data):
            rb.assert_robust_accuracy(model, test_data, Linf(0.1), at_least=0.5)

        def test_of_a_helper(model, test_data): helper(model, test_data)

        class TestOf:
            def test_imports(self, model, test_data):
                from robustest.measure import measure_robust_accuracy
                measure_robust_accuracy(model, test_data, Linf(0.1))

        def test_of_another_library():
            import numpy
            numpy.testing.assert_allclose(1, 1)

        def assert_mine(): pass

        def test_mine(): assert_mine()
        """
    )
    run().assert_outcomes(skipped=4, passed=2)
    run("--robust", "-m", "robust").assert_outcomes(errors=4, deselected=2)
    result = run("--robust", "-k", "mine or library")
    result.stdout.fnmatch_lines(["*4 robustness tests deselected by -k*"])


def test_looking_for_claims_touches_nothing_of_the_tests_globals(project, write, run) -> None:
    """A proxy, as web frameworks have them, raises outside of its context."""
    write(
        test_a="""
        class Proxy:
            @property
            def __class__(self): raise RuntimeError("outside of a context")

        app = Proxy()

        def test_proxy(): assert app

        def helper(): assert app

        def test_calls(): helper()
        """
    )
    run().assert_outcomes(passed=2)
    run("--robust").assert_outcomes(passed=2)


def test_a_retried_claim_is_not_green(undeclared, project, write, run, section) -> None:
    pytest.importorskip("pytest_rerunfailures")
    write(
        test_a="""
        from helper import check
        tries = []

        def test_lucky(model, test_data):
            tries.append(1)
            check(model, test_data, 0.1, 0.6 if len(tries) < 2 else 0.5)

        def test_plain():
            tries.append(1)
            assert len(tries) > 3
        """
    )
    result = run("--robust", "--reruns", "2", "-p", "no:randomly")
    assert result.ret == 1
    states = [("test_lucky", state) for state in ("failed", "passed", "passed", "failed")]
    assert rows(section(result)) == states
    assert "test_plain" not in "\n".join(section(result))


def test_a_shard_owns_no_claim_of_a_helper(undeclared, write, run) -> None:
    write(test_a="from helper import check\n\ndef test_it(model, test_data): check(model, test_data, 0.1, 0.5)\n")
    result = run("--robust", "--robust-shard=1/2")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*Mark it @pytest.mark.robust*"])


def test_a_replay_skips_claims_and_nothing_else(undeclared, write, run) -> None:
    write(
        test_a="""
        from helper import check

        def test_claims(model, test_data): check(model, test_data, 0.1, 0.5)

        def test_plain(): pass
        """
    )
    run("--robust", "--robust-replay-only").assert_outcomes(skipped=1, passed=1)


@pytest.mark.parametrize("how", [(), pytest.param(("-n", "1"), marks=pytest.mark.slow)], ids=["plain", "xdist"])
def test_a_missing_fixture_is_named(undeclared, how, write, run, section) -> None:
    write(
        test_a="""
        def test_it(modle, test_data): assert_robust_accuracy(modle, test_data, Linf(0.1), at_least=0.5)
        """
    )
    [row] = section(run("--robust", *how))[:1]
    assert "error in setup: fixture 'modle' not found. Did you mean 'model'?" in row


def test_a_claim_in_another_thread_skips_its_test_at_its_end(undeclared, write, run) -> None:
    """A skip raised there would kill a worker of the pool, which would never answer."""
    write(
        test_a="""
        from multiprocessing.pool import ThreadPool
        from helper import check

        def test_pool(model, test_data):
            with ThreadPool(1) as pool:
                pool.apply(check, (model, test_data, 0.1, 0.5))

        def test_that_fails_there(model, test_data):
            with ThreadPool(1) as pool:
                pool.apply(check, (model, test_data, 0.1, 0.6))
        """
    )
    run().assert_outcomes(skipped=2)
    run("--robust").assert_outcomes(passed=1, failed=1)


def test_a_claim_in_a_fixture_skips_every_test_that_uses_it(undeclared, write, run) -> None:
    write(
        test_a="""
        from helper import check

        @pytest.fixture(scope="module")
        def kept(model, test_data): return check(model, test_data, 0.1, 0.5)

        def test_first(kept): pass

        def test_second(kept): pass
        """
    )
    run().assert_outcomes(skipped=2)


def test_what_is_measured_again_and_again_is_one_row(undeclared, write, run, section) -> None:
    write(
        test_a="""
        from helper import look

        def test_it(model, test_data):
            for _ in range(3): look(model, test_data)
            look(model, test_data, at_least=0.5)
        """
    )
    result = run("--robust")
    assert rows(section(result)) == [("test_it", "measured")] * 2
