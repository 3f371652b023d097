"""Measuring on a worker: what it must have in common with the process that asks."""

from __future__ import annotations

from typing import Any

import pytest

from robustest import ConfigError
from robustest.identity.packages import own_code
from robustest.run.units import ModelJob
from robustest.run.workers import versions


def job(**changes: Any) -> ModelJob:
    """A job that nothing can be measured by: the versions are compared before anything is opened."""
    nothing: Any = None
    fields = dict.fromkeys(("model", "samples", "settings", "look"), nothing)
    return ModelJob(**{**fields, "digest": "", "versions": versions(), **changes})


def test_the_version_of_robustest_is_that_of_its_code() -> None:
    assert own_code()[:12] in versions()[0]


@pytest.mark.parametrize("place", [0, 1])
def test_a_worker_with_other_code_under_the_same_version_is_refused(place: int) -> None:
    here = list(versions())
    here[place] = here[place].replace(own_code()[:12], "0" * 12) if place == 0 else "0.0.1"
    with pytest.raises(ConfigError, match="on every worker, as here, but one has robustest"):
        job(versions=(here[0], here[1])).start("cpu")
