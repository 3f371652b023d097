"""--robust: robust tests run with it, are skipped with a reason without it, and other tests never notice."""

from __future__ import annotations

import pytest

MIXED = """
    @pytest.mark.robust
    def test_marked(): claimed()

    def test_uses_model(robust_model): claimed()

    def test_uses_data(robust_data): claimed()

    def test_uses_context(robust): claimed()

    @pytest.fixture
    def wrapped(robust_model): return robust_model

    def test_uses_them_through_a_fixture(wrapped): claimed()

    def test_plain(): pass
"""


def test_robust_tests_are_skipped_without_it_for_a_reason_that_names_it(write, run):
    write(test_a=MIXED)
    result = run("-rs")
    result.assert_outcomes(skipped=5, passed=1)
    assert result.ret == 0
    reasons = [line for line in result.outlines if line.startswith("SKIPPED")]
    assert reasons
    assert all("--robust" in reason for reason in reasons)


def test_they_run_with_it(write, run):
    write(test_a=MIXED)
    result = run("--robust")
    result.assert_outcomes(passed=6)
    assert result.ret == 0


def test_a_skipped_test_builds_no_fixture(write, run):
    write(
        test_a="""
        @pytest.fixture
        def robust_model(): raise RuntimeError("built")

        def test_uses_model(robust_model): pass
        """
    )
    run().assert_outcomes(skipped=1)
    run("--robust").assert_outcomes(errors=1)


def test_a_unittest_class_may_be_robust(write, run, section):
    write(
        test_a="""
        import unittest

        @pytest.mark.robust
        class TestOld(unittest.TestCase):
            def test_recorded(self):
                from toy import Brightness, data
                claim(Brightness(), data(), 0.1, at_least=0.5)
        """
    )
    run().assert_outcomes(skipped=1)
    result = run("--robust")
    result.assert_outcomes(passed=1)
    assert section(result)[0].startswith("test_a.py::TestOld::test_recorded ")


@pytest.mark.parametrize(("expression", "passed"), [("robust", 5), ("not robust", 1)])
def test_the_marker_selects_tests_that_only_use_the_fixtures_too(write, run, expression, passed):
    write(test_a=MIXED)
    run("--robust", "-m", expression).assert_outcomes(passed=passed, deselected=6 - passed)


@pytest.mark.parametrize(
    ("source", "code"),
    [("", 5), ("def test_plain(): pass", 0), ("def test_plain(): assert 0", 1), ("import no_such_module", 2)],
    ids=["nothing collected", "passed", "failed", "collection error"],
)
def test_without_robust_tests_exit_code_and_output_are_pytests_own(write, run, section, source, code):
    write(test_a=source)
    result = run("--robust")
    assert result.ret == code
    assert section(result) == []
    result.stdout.no_fnmatch_line("*LOST*")


def test_the_marker_is_registered_and_explained(run):
    result = run("--strict-markers", "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.robust(*): a robustness test, run under --robust*"])


def test_the_options_are_explained(run):
    help_text = run("--help").stdout.str()
    options = ("profile=NAME", "device=DEVICE", "seed=N", "details", "json=FILE", "junit=FILE")
    assert [option for option in options if f"--robust-{option}" not in help_text] == []
