"""A green says something: no empty or undecided claim passes, and no guard takes the green from a sound one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from empty_claims import EMPTY, SOUND

sys.path.pop(0)
from robustest import Result, RobustestError, UnknownNameError, Verdict

Claim = Callable[[], Result]


def params(table: dict[str, dict[str, Claim]]) -> list[object]:
    """Rows of each group; every third of them daily, the others with the slow tests."""
    return [
        pytest.param(claim, id=f"{group}: {name}", marks=pytest.mark.slow if place % 3 else ())
        for group, claims in table.items()
        for place, (name, claim) in enumerate(claims.items())
    ]


@pytest.mark.filterwarnings("ignore::robustest.HealthWarning")
@pytest.mark.parametrize("claim", params(EMPTY))
def test_an_empty_claim_is_not_green(claim: Claim) -> None:
    """It is red, undecided, or refused with what to do; a misspelt keyword would refuse it for nothing."""
    try:
        result = claim()
    except UnknownNameError:
        raise
    except RobustestError:
        return
    assert result.verdict is not Verdict.PASSED, result.rule


@pytest.mark.filterwarnings("ignore::robustest.HealthWarning")
@pytest.mark.parametrize("claim", params(SOUND))
def test_a_sound_claim_is_green(claim: Claim) -> None:
    result = claim()
    assert result.verdict is Verdict.PASSED, result.rule


def test_the_tables_are_as_long_as_we_say() -> None:
    """Sixty claims at least, and a twin of each group."""
    assert sum(map(len, EMPTY.values())) >= 60
    assert sum(map(len, SOUND.values())) >= 60
