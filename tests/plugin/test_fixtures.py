"""The fixtures robust, robust_model, robust_data and robust_responses."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("name", ["robust_model", "robust_data", "robust_responses"])
def test_a_missing_one_is_an_error_that_shows_how_to_define_it(project, write, run, name):
    project.path.joinpath("conftest.py").unlink()
    write(test_a=f"    def test_it({name}): pass\n    def test_other(): pass")
    result = run("--robust")
    result.assert_outcomes(errors=1, passed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            f"*Expected a fixture '{name}' but this project defines none. Add it to your conftest.py:",
            '*@pytest.fixture(scope="session")',
            f"*def {name}():",
            "*    return *",
        ]
    )


def test_what_the_error_shows_works_when_pasted(project, write, run):
    conftest = project.path / "conftest.py"
    conftest.unlink()
    write(
        test_a="    def test_it(robust_model, robust_data): claimed(); assert (robust_model, robust_data) == ('M', 'D')"
    )
    shown = run("--robust").outlines
    start = next(number for number, line in enumerate(shown) if line.endswith("import pytest"))
    indent = shown[start].index("import")
    pasted = "\n".join(line[indent:] for line in shown[start : start + 5])
    assert "return load_my_model()" in pasted
    model = pasted.replace("load_my_model()", "'M'")
    data = pasted.replace("load_my_model()", "'D'").replace("robust_model", "robust_data")
    conftest.write_text(f"{model}\n{data}\n", encoding="utf-8")
    run("--robust").assert_outcomes(passed=1)


def test_they_may_be_overridden_nearer_to_a_test(write, run):
    write(
        test_a="""
        @pytest.fixture
        def robust_model(): return "mine"

        def test_it(robust_model): claimed(); assert robust_model == "mine"
        """
    )
    run("--robust").assert_outcomes(passed=1)


def test_robust_has_the_settings_of_its_test(write, run):
    write(
        test_a="""
        def test_settings(robust):
            claimed()
            folders = {name: getattr(robust.settings, name) for name in ("pictures", "store", "corpus", "baseline")}
            assert robust.settings == Settings(profile="dev", seed=7, **folders)
            assert robust.test == "test_a.py::test_settings"
            with pytest.raises(AttributeError):
                robust.settings.seed = 8
        """
    )
    run("--robust", "--robust-seed=7").assert_outcomes(passed=1)


def test_robust_records_a_result_that_a_test_measured(write, rows_of):
    write(
        test_a="""
        def test_it(robust, robust_model, robust_data):
            robust.record(measure_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.6, attack="fgsm"))
        """
    )
    rows = rows_of()
    assert rows["test_it"]["result"]["verdict"] == "failed"
    assert rows["test_it"]["result"]["estimate"] == 0.5


@pytest.mark.parametrize("wrong", ["'no result'", "made(details={'x': object()})"], ids=["not a result", "not plain"])
def test_what_cannot_be_recorded_spoils_its_own_test_only(write_light, run, wrong):
    write_light(
        test_a=f"""
        def test_wrong(robust): robust.record({wrong})

        def test_right(robust): robust.record(made())
        """
    )
    result = run("--robust")
    outcomes = result.parseoutcomes()
    assert outcomes.get("passed") == 1
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) == 1
    assert result.ret == 1
    result.stdout.fnmatch_lines(["test_a.py::test_right  accuracy *"])


def test_robust_asked_for_by_name_while_running_makes_a_robustness_test(write, run):
    write(
        test_a="""
        def test_records(request): request.getfixturevalue("robust").record(measured())

        def test_does_not(request): request.getfixturevalue("robust")

        def measured():
            from made import made
            return made()
        """
    )
    run().assert_outcomes(skipped=2)
    result = run("--robust")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*Expected a claim in a robustness test*"])


def test_what_a_fixture_raises_is_shown_without_the_code_that_called_it(project, write, run):
    """A newcomer's first error is that of a fixture still to be filled in: its own lines, and none of robustest's."""
    project.path.joinpath("conftest.py").write_text(
        "import pytest\n\n\n@pytest.fixture(scope='session')\ndef robust_model():\n    raise ValueError('mine')\n",
        encoding="utf-8",
    )
    write(test_a="    def test_it(robust_model): pass")
    result = run("--robust")
    result.assert_outcomes(errors=1)
    assert "raise ValueError('mine')" in result.stdout.str()
    assert "pytest_plugin" not in result.stdout.str()
