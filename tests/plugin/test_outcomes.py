"""What becomes of a test: a claim that fails is a failure, a run that could not measure is an error."""

from __future__ import annotations

import pytest


def _verdicts(rows: list[dict]) -> list[str | None]:
    return [row["result"] and row["result"]["verdict"] for row in rows]


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ("at_least=0.6", "robust accuracy * < 0.6*"),
        ("at_least=0.5, scope='population'", "inconclusive: robust accuracy *"),
    ],
    ids=["failed", "open"],
)
def test_a_claim_that_does_not_hold_fails_its_test(write, run, options, first):
    write(
        test_a=f"""
        def test_it(robust_model, robust_data):
            claim(robust_model, robust_data, 0.1, {options})
        """
    )
    result = run("--robust")
    result.assert_outcomes(failed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines([f"FAILED test_a.py::test_it - {first}"])


BROKEN = {
    "NaN logits": "claim(lambda x: robust_model(x) * float('nan'), robust_data, 0.1, 0.5)",
    "misshapen logits": "claim(lambda x: robust_model(x)[:, 0], robust_data, 0.1, 0.5)",
    "no gradient": "claim(lambda x: robust_model(x).detach(), robust_data, 0.1, 0.5)",
    "data out of bounds": "claim(robust_model, (robust_data[0] + 1, robust_data[1]), 0.1, 0.5)",
    "no labels": "claim(robust_model, robust_data[0], 0.1, 0.5)",
    "threshold in percent": "claim(robust_model, robust_data, 0.1, 50)",
    "unknown option": "claim(robust_model, robust_data, 0.1, 0.5, sed=3)",
    "unknown shift": "assert_shift_accuracy(robust_model, robust_data, 'noise', at_least=0.5)",
    "a model that raises": "claim(lambda x: robust_model(x.view(3, -1)), robust_data, 0.1, 0.5)",
}


@pytest.mark.parametrize("call", BROKEN.values(), ids=BROKEN)
def test_a_run_that_could_not_measure_is_an_error_and_neither_passed_nor_failed(write, run, section, call):
    write(test_a=f"    def test_it(robust_model, robust_data):\n        {call}\n")
    result = run("--robust", "-v")
    assert result.parseoutcomes() == {"errors": 1}
    assert result.ret == 1
    result.stdout.fnmatch_lines(["test_a.py::test_it ERROR *", "ERROR test_a.py::test_it - robustest.errors.*Error: *"])
    said = [line for line in section(result) if not line.startswith("replay")]
    assert "could not measure: " in " ".join(said)
    assert said[0].startswith("ERROR  test_a.py::test_it") or said[0].endswith("  ERROR")  # too long for a line, or not


def test_what_was_measured_before_an_error_is_kept(write, run, read_json):
    write(
        test_a="""
        def test_it(robust_model, robust_data):
            claim(robust_model, robust_data, 0.1, at_least=0.5)
            claim(robust_model, robust_data[0], 0.1, at_least=0.5)
        """
    )
    run("--robust", "--robust-json=out.json").assert_outcomes(errors=1)
    rows = read_json()["results"]
    assert _verdicts(rows) == ["passed", None]
    assert rows[1]["problem"].startswith("DataError: ")


def test_an_error_in_a_fixture_is_one_too_and_a_claim_in_a_fixture_is_kept(write, run, section):
    write(
        test_a="""
        @pytest.fixture
        def checked(robust_model, robust_data): claim(robust_model, robust_data, 0.1, at_least=0.6)

        @pytest.fixture
        def broken(robust_model, robust_data): claim(robust_model, robust_data[0], 0.1, at_least=0.6)

        def test_checked(checked): pass

        def test_broken(broken): pass
        """
    )
    result = run("--robust")
    result.assert_outcomes(errors=2)
    first, second = (line for line in section(result) if line.startswith("test_a.py"))
    assert first.split()[-1] == "FAILED"
    assert "could not measure: DataError" in second


def test_two_assertions_in_one_test_are_both_recorded(write, run, read_json):
    write(
        test_a="""
        def test_it(robust_model, robust_data):
            claim(robust_model, robust_data, 0.01, at_least=1.0)
            claim(robust_model, robust_data, 0.1, at_least=0.5)
        """
    )
    run("--robust", "--robust-json=out.json").assert_outcomes(passed=1)
    assert [row["result"]["setting"] for row in read_json()["results"]] == ["Linf(eps=0.01)", "Linf(eps=0.1)"]


def test_measuring_is_a_row_and_fails_nothing(write, run, section):
    write(
        test_a="""
        def test_it(robust_model, robust_data):
            result = measure_robust_accuracy(robust_model, robust_data, Linf(0.1), attack="fgsm")
            assert result.verdict == "inconclusive"
            assert result.estimate == 0.5
        """
    )
    result = run("--robust")
    result.assert_outcomes(passed=1)
    [row] = section(result)
    assert row.split()[-1] == "measured"


def test_a_plain_assertion_about_a_measurement_fails_like_any_other(write, run):
    write(
        test_a="""
        def test_it(robust_model, robust_data):
            assert measure_robust_accuracy(robust_model, robust_data, Linf(0.1), attack="fgsm").estimate > 0.9
        """
    )
    result = run("--robust")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *0.5 > 0.9*"])


def test_parametrised_tests_have_a_row_each(write, rows_of):
    write(
        test_a="""
        @pytest.mark.parametrize(("eps", "held"), [(0.01, 1.0), (0.1, 0.5), (0.2, 0.5)])
        def test_it(robust_model, robust_data, eps, held):
            claim(robust_model, robust_data, eps, at_least=held)
        """
    )
    estimates = {name: row["result"]["estimate"] for name, row in rows_of().items()}
    assert estimates == {"test_it[0.01-1.0]": 1.0, "test_it[0.1-0.5]": 0.5, "test_it[0.2-0.5]": 0.5}


def test_a_failure_shows_the_users_line_and_the_numbers_and_none_of_our_frames(write, run):
    write(
        test_a="""
        def test_it(robust_model, robust_data):
            assert_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.6, attack="fgsm")
        """
    )
    result = run("--robust")
    measured = "robust accuracy 0.500 [[]0.290, 0.710] after attack (true value at most 0.710), required >= 0.60"
    result.stdout.fnmatch_lines(
        [
            "test_a.py:*: in test_it",
            "    assert_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.6, attack=*",
            "E   ClaimFailed: robust accuracy 0.500 < 0.60 under Linf(eps=0.1), fgsm",
            "E     claim     robust accuracy under Linf(eps=0.1), fgsm",
            f"E     measured  {measured}; n=32",
            "E     threat    Linf(eps=0.1)",
            "E     verdict   failed (certain: exact on this set)",
            "E     clean accuracy 1",
            "E     worst 1 *sample *: label *, predicted *",
            "replay: pytest --robust *test_a.py::test_it",
        ]
    )
    result.stdout.no_fnmatch_line("*gate.py*")
    result.stdout.no_fnmatch_line("*tensor(*")


@pytest.mark.parametrize("style", ["long", "short", "line", "native", "no"])
def test_every_traceback_style_works(write, run, section, style):
    write(
        test_a="""
        def test_it(robust_model, robust_data):
            claim(robust_model, robust_data, 0.1, at_least=0.6)
        """
    )
    result = run("--robust", f"--tb={style}")
    result.assert_outcomes(failed=1)
    assert section(result)[0].startswith("test_a.py::test_it  robust accuracy 0.500 ")


def test_an_expected_failure_stays_one(write, run, section):
    write(
        test_a="""
        @pytest.mark.xfail(strict=True, raises=ClaimFailed)
        def test_it(robust_model, robust_data):
            claim(robust_model, robust_data, 0.1, at_least=0.6)

        @pytest.mark.xfail(strict=True, raises=ClaimFailed)
        def test_broken_is_no_failed_claim(robust_model, robust_data):
            claim(robust_model, robust_data[0], 0.1, at_least=0.6)
        """
    )
    result = run("--robust")
    result.assert_outcomes(xfailed=1, errors=1)
    assert section(result)[0].endswith("  failed as expected: no reason was given  xfailed")
    assert section(result)[1].endswith("  ERROR")


def test_a_claim_whose_failure_its_test_caught_is_neither_failed_nor_passed(write, run, section):
    write(
        test_a="""
        def test_it(robust_model, robust_data):
            with pytest.raises(ClaimFailed):
                claim(robust_model, robust_data, 0.1, at_least=0.6)
        """
    )
    result = run("--robust")
    result.assert_outcomes(passed=1)
    assert section(result)[0].endswith("  did not hold, but its test passed  tolerated")


def test_a_run_is_not_green_where_a_report_of_it_is_red(project, write, run, read_json):
    """Another plugin calls the error of a claim a pass; the row of what could not be measured stays."""
    hook = """
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item):
    report = yield
    report.outcome = "passed"
    return report
"""
    project.makeconftest((project.path / "conftest.py").read_text() + hook)
    write(test_a="def test_it(robust_model, robust_data): claim(robust_model, robust_data, 0.1, 50)")
    result = run("--robust", "--robust-json=out.json")
    assert read_json()["counts"] == {"error": 1}
    assert result.ret == 1
