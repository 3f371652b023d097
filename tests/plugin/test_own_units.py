"""A plugin measures units of its own, which are no tensors, with all that robustest's own claims have.

Its units are games of dice: a unit is a head start, a whole number, and the game is won where two dice and the head
start come to four or more. So the chance to win is known: 33 of 36 with no head start, 35 of 36 with one.
"""

from __future__ import annotations

import pytest

GAMES = '''
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustest import Result, rng
from robustest.run.measurement import assertion
from robustest.kinds import Kind, Quantity
from robustest.decisions import ShareRule, Terms
from robustest.run.driver import observe
from robustest.run.measurement import measurement
from robustest.run.options import settings_of
from robustest.run.units import OwnUnits, Part
from robustest.run.plan import Plan
from robustest.run.finish import finish

SIDES = 6


@dataclass(frozen=True)
class Games:
    """Games with head starts, one a unit."""

    starts: tuple[int, ...]

    def __len__(self):
        return len(self.starts)

    def load(self, ids: Sequence[int]):
        return [self.starts[index] for index in ids]

    def look(self, part: Part):
        dice = rng.integers(part.keys, (2,), SIDES) + 1
        total = dice.sum(1).numpy() + part.units
        return {"held": total >= 4, "total": total}


GAMES_WON = Kind(
    name="games_won",
    varies="nothing",
    quantities=(
        Quantity(
            name="games won", comparison=">=", threshold="at_least", statement="games won", counts="outcomes"
        ),
    ),
)


@measurement(GAMES_WON)
def measure_wins(games, *, at_least=None, **options: Any) -> Result:
    settings = settings_of(options)
    plan = Plan(
        statement=GAMES_WON.quantities[0].state(),
        units=OwnUnits(games),
        settings=settings,
        rule=ShareRule(threshold=at_least, at_least=True, terms=Terms.of(settings)),
        identity=("games",),
    )
    evidence = observe(plan)
    total = evidence.columns["total"]
    return finish(
        plan,
        evidence,
        threshold=at_least,
        kind=GAMES_WON,
        setting=f"dice of {SIDES} sides",
        method="played",
        details={"highest": int(total.max()), "mean_total": float(total.mean())},
    )


@assertion(measure_wins)
def assert_wins() -> None:
    """Claim that at least so many of the games are won."""
'''

TESTS = """
    from games import Games, assert_wins

    pytestmark = pytest.mark.robust

    def test_clear():
        assert_wins(Games((0,) * 4000), at_least=0.7)

    def test_too_much():
        assert_wins(Games((0, 1) * 2000), at_least=0.99)

    def test_whole():
        assert_wins(Games((1,) * 2000), at_least=0.95, exact=True)
"""

TIMED = ("cost", "cached")


@pytest.fixture
def games(project, write):
    """The plugin's module, and tests that use it; a failed one and two that pass."""
    (project.path / "games.py").write_text(GAMES)
    write(test_a=TESTS)


def untimed(rows: dict) -> dict:
    """What a run says of each claim, but for what it took and when it was measured."""
    assert all(row["result"] for row in rows.values())
    return {name: {k: v for k, v in row["result"].items() if k not in TIMED} for name, row in rows.items()}


def test_early_verdicts_and_estimates_are_what_the_dice_say(games, rows_of) -> None:
    rows = rows_of()
    clear, much, whole = (rows[f"test_{name}"]["result"] for name in ("clear", "too_much", "whole"))
    assert (clear["verdict"], much["verdict"], whole["verdict"]) == ("passed", "failed", "passed")
    assert clear["n"] < 1000 < clear["n_total"] == 4000
    assert clear["interval"][0] < 33 / 36 < clear["interval"][1]
    assert much["n"] < 4000
    assert whole["n"] == 2000
    assert abs(whole["estimate"] - 35 / 36) < 0.02  # five standard errors
    assert whole["data"]
    assert whole["details"]["highest"] == 13


def test_what_was_played_is_remembered_until_the_game_changes(games, rows_of, project) -> None:
    first, second = rows_of(), rows_of("-o", "robust_recheck=0")
    assert not any(row["result"]["cached"] for row in first.values())
    assert all(row["result"]["cached"] for row in second.values())
    assert untimed(first) == untimed(second)
    source = project.path / "games.py"
    source.write_text(source.read_text().replace("total >= 4", "total >= 5"))
    changed = rows_of()
    assert not any(row["result"]["cached"] for row in changed.values())
    assert changed["test_whole"]["result"]["estimate"] < first["test_whole"]["result"]["estimate"]


def test_remembered_games_that_are_played_again_agree(games, run) -> None:
    run("--robust").assert_outcomes(passed=2, failed=1)
    run("--robust", "-o", "robust_recheck=1").assert_outcomes(passed=2, failed=1)


@pytest.mark.slow
def test_xdist_and_worker_processes_play_the_same_games(games, rows_of) -> None:
    pytest.importorskip("xdist")
    alone = untimed(rows_of("--robust-no-cache"))
    assert len(alone) == 3
    assert untimed(rows_of("--robust-no-cache", "-n", "2")) == alone
    assert untimed(rows_of("--robust-no-cache", "--robust-workers=2")) == alone


def test_reports_show_the_claim(games, run, section, project) -> None:
    result = run("--robust", "--robust-html=out.html", "--junitxml=out.xml")
    lines = section(result)
    assert any(
        "test_clear" in line and "games won in" in line and "required >= 0.70; n=64 of 4000  passed" in line
        for line in lines
    )
    assert "games won" in (project.path / "out.html" / "index.html").read_text()
    assert "games won" in (project.path / "out.xml").read_text()


def test_a_run_that_only_replays_skips_it(games, run) -> None:
    run("--robust", "--robust-replay-only").assert_outcomes(skipped=3)
