"""The plugin's fixtures: this test's settings, and what a project says of its model and data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robustest.pytest_plugin.stash import CONTEXT, SETTINGS

if TYPE_CHECKING:
    from robustest.context import Context

_MISSING = """\
Expected a fixture {name!r} but this project defines none. Add it to your conftest.py:

    import pytest

    @pytest.fixture(scope="session")
    def {name}():
        return {what}
"""


@pytest.fixture
def robust(request: pytest.FixtureRequest) -> Context:
    """This test's settings and recorder: `robust.settings`, `robust.record(result)`."""
    if CONTEXT not in request.node.stash:
        raise pytest.UsageError("Expected `robust` as an argument of the test, or the test marked @pytest.mark.robust.")
    context: Context = request.node.stash[CONTEXT]
    return context


@pytest.fixture(scope="session")
def robust_baseline(pytestconfig: pytest.Config) -> str:
    """The path of the file of committed outcomes, for `no_worse_than=robust_baseline`."""
    if SETTINGS not in pytestconfig.stash:
        raise pytest.UsageError("Expected `robust_baseline` in a run with --robust.")
    return pytestconfig.stash[SETTINGS].baseline


@pytest.fixture(scope="session")
def robust_model() -> object:
    """The model under test; define it in your conftest.py."""
    raise pytest.UsageError(
        _MISSING.format(name="robust_model", what="load_my_model()  # a torch module, or any callable")
    )


@pytest.fixture(scope="session")
def robust_data() -> object:
    """The data to test on; define it in your conftest.py."""
    raise pytest.UsageError(_MISSING.format(name="robust_data", what="x, y  # or a data set, or a DataLoader"))


@pytest.fixture(scope="session")
def robust_responses() -> object:
    """What annotators answered about the data; define it in your conftest.py."""
    raise pytest.UsageError(
        _MISSING.format(
            name="robust_responses",
            what='robustest_people.Responses.from_csv("answers.csv", size=len(y), classes=names)',
        )
    )
