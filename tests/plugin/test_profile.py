"""--robust-profile: dev, ci, nightly and those of pyproject.toml; ci by itself where CI is set."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from robustest.version import VERSION

PROFILES = """
    [tool.robustest.profiles.strict]
    alpha = 0.001
    scope = "population"

    [tool.robustest.profiles.ci]
    seed = 21
"""


def header(result: pytest.RunResult) -> dict[str, str]:
    (line,) = [line for line in result.outlines if line.startswith(f"robustest {VERSION}:")]
    return dict(word.split("=") for word in line.split()[2:])


@pytest.mark.parametrize(
    ("ci", "profile"),
    [
        *[(value, "dev") for value in (None, "", "0", "false", "False")],
        *[(value, "ci") for value in ("true", "1", "True", "yes")],
    ],
)
def test_the_variable_ci_chooses_the_profile_where_nobody_does(run, ci, profile):
    assert header(run("--robust", ci=ci))["profile"] == profile


@pytest.mark.parametrize("profile", ["dev", "ci", "nightly"])
@pytest.mark.parametrize("ci", [None, "true"])
def test_the_option_chooses_whatever_ci_holds(run, profile, ci):
    assert header(run("--robust", f"--robust-profile={profile}", ci=ci))["profile"] == profile


def test_the_ini_chooses_over_ci_and_the_option_over_both(project, run):
    project.makeini("[pytest]\nrobust_profile = nightly\n")
    assert header(run("--robust", ci="true"))["profile"] == "nightly"
    assert header(run("--robust", "--robust-profile=dev", ci="true"))["profile"] == "dev"


def test_pyproject_changes_a_profile_we_bring(project, run):
    project.makepyprojecttoml(PROFILES)
    assert header(run("--robust", ci="true"))["seed"] == "21"
    assert header(run("--robust"))["seed"] == "0"


def test_pyproject_adds_a_profile_and_claims_are_measured_by_it(project, write, rows_of):
    project.makepyprojecttoml(PROFILES)
    write(
        test_a="""
        def test_it(robust_model, robust_data):
            claim(robust_model, robust_data, 0.1, at_least=0.5)
        """
    )
    by_set = rows_of()["test_it"]["result"]
    by_population = rows_of("--robust-profile=strict")["test_it"]["result"]
    assert (by_set["verdict"], by_population["verdict"]) == ("passed", "inconclusive")
    for result, alpha in ((by_set, 0.01), (by_population, 0.001)):
        wanted = binomtest(16, 32).proportion_ci(confidence_level=1 - 2 * alpha, method="exact")
        assert result["details"]["left_interval"] == pytest.approx([wanted.low, wanted.high], abs=1e-9)
        assert result["interval"] == pytest.approx([0, wanted.high], abs=1e-9)


def test_the_profiles_are_read_from_pyproject_beside_another_ini_file(project, run):
    project.makeini("[pytest]\n")
    project.makepyprojecttoml(PROFILES)
    assert header(run("--robust", "--robust-profile=strict"))["scope"] == "population"


@pytest.mark.parametrize("where", ["option", "ini"])
def test_an_unknown_profile_is_a_usage_error_that_names_the_nearest(project, write, run, where):
    write(test_a="def test_plain(): pass")
    if where == "ini":
        project.makeini("[pytest]\nrobust_profile = nighty\n")
    result = run("--robust", *(["--robust-profile=nighty"] if where == "option" else []))
    assert result.ret == 4
    named = "tox.ini: " if where == "ini" else ""
    result.stderr.fnmatch_lines(
        [f"ERROR: {named}Unknown robustest profile 'nighty'. Did you mean 'nightly'? Known: ci, dev, nightly."]
    )
    result.stdout.no_fnmatch_line("*passed*")
