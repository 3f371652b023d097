"""This project's warning filters: ours are errors, others are shown, and `-W error` makes all of them errors."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

OTHERS = {
    "deprecation_of_theirs": 'warn_explicit("old", DeprecationWarning, "theirs.py", 1, module="theirs")',
    "deprecation_blamed_on_us": 'warn_explicit("old", DeprecationWarning, "a.py", 1, module="robustest.shifts")',
    "future_blamed_on_us": 'warn_explicit("old", FutureWarning, "a.py", 1, module="robustest.models.frozen")',
    "user_blamed_on_us": 'warn_explicit("old", UserWarning, "a.py", 1, module="robustest.engine.search")',
    "numbers_of_theirs": 'warn_explicit("overflow", RuntimeWarning, "theirs.py", 1, module="theirs")',
    "pytests_deprecation": 'warn_explicit("old", pytest.PytestDeprecationWarning, "a.py", 1, module="test_a")',
}
OURS = {
    "health": 'warn("weak", robustest.HealthWarning)',
    "store": 'warn("damaged", robustest.StoreWarning)',
    "numbers_of_ours": 'warn_explicit("overflow", RuntimeWarning, "a.py", 1, module="robustest.rng")',
    "numbers_of_tests": 'warn_explicit("overflow", RuntimeWarning, "a.py", 1, module="tests.unit.test_a")',
    "pytest": 'warn("what", pytest.PytestWarning)',
}


@pytest.fixture
def filtered(pytester: pytest.Pytester) -> pytest.Pytester:
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    filters = settings["tool"]["pytest"]["ini_options"]["filterwarnings"]
    pytester.makeini("[pytest]\nfilterwarnings =\n" + "".join(f"    {line}\n" for line in filters))
    tests = "".join(f"def test_{name}():\n    {body}\n" for name, body in {**OTHERS, **OURS}.items())
    pytester.makepyfile(f"import pytest, robustest\nfrom warnings import warn, warn_explicit\n{tests}")
    return pytester


def test_ours_are_errors_and_others_are_shown(filtered: pytest.Pytester) -> None:
    result = filtered.runpytest("-v")
    result.assert_outcomes(passed=len(OTHERS), failed=len(OURS), warnings=len(OTHERS))
    result.stdout.fnmatch_lines_random([f"*::test_{name} FAILED*" for name in OURS])


def test_all_are_errors_where_that_is_asked(filtered: pytest.Pytester) -> None:
    filtered.runpytest("-W", "error").assert_outcomes(failed=len(OTHERS) + len(OURS))
