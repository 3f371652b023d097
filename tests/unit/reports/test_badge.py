"""A badge is green for a whole run in which every claim holds, and for no other."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from robustest.account import Account, Ending, Session
from robustest.errors import ConfigError
from robustest.reports.badge import UNFINISHED, Badge, badge_of, check_path, write

WHOLE = Session(exit=0, collected=2, ran=2)


def ended(outcome: str, **more: Any) -> Ending:
    return Ending(test="t", phase="call", outcome=outcome, reason="because", **more)


@pytest.fixture
def badge(row: Any, made: Any) -> Any:
    """The badge of a run with a claim that passed, and further rows."""

    def of(*rows: Any, session: Session | None = WHOLE, lost: tuple[str, ...] = (), alone: bool = False) -> Badge:
        passed = () if alone else (row("t", made("passed"), ending=ended("passed")),)
        endings = tuple(one.ending for one in rows if one.ending is not None)
        return badge_of(Account(results=(*passed, *rows), endings=endings, session=session, lost=lost))

    return of


def test_a_whole_run_in_which_every_claim_holds_is_green(badge: Any, row: Any, made: Any) -> None:
    assert badge() == ("1 claim holds", "brightgreen")
    assert badge(session=replace(WHOLE, selection="tests -m robust")).green
    measured = row("t", made("inconclusive", threshold=None), ending=ended("passed"))
    assert badge(row("u", made("passed"), ending=ended("passed")), measured) == ("2 claims hold", "brightgreen")


@pytest.mark.parametrize(
    ("session", "shown"),
    [
        (None, "unfinished"),
        (replace(WHOLE, deselected=("t::other",)), "1 test left out"),
        (replace(WHOLE, ran=0), "2 tests left out"),
        (replace(WHOLE, selection="tests/more", files_left_out=1), "1 file left out"),
        (replace(WHOLE, selection="tests --ignore tests/test_b.py", files_left_out=2), "2 files left out"),
        (replace(WHOLE, exit=1), "1 of 2 not measured"),
        (replace(WHOLE, exit=2, stopped="interrupted"), "1 of 2 not measured"),
        (replace(WHOLE, exit=5), "1 of 2 not measured"),
    ],
)
def test_no_other_run_is_green(badge: Any, session: Session | None, shown: str) -> None:
    found = badge(session=session)
    assert (found.message, found.green) == (shown, False)
    assert not badge(session=session, lost=("a result",)).green


@pytest.mark.parametrize("claimed", [True, False], ids=["beside a claim that holds", "alone"])
@pytest.mark.parametrize(
    ("verdict", "outcome", "shown"),
    [
        ("failed", "failed", "1 of {} failed"),
        ("inconclusive", "failed", "1 of {} inconclusive"),
        ("failed", "passed", None),
        ("failed", "xfailed", None),
        ("inconclusive", "skipped", None),
        ("failed", "rerun", None),
        ("passed", "xpassed", None),
        (None, "error", "1 of {} not measured"),
        (None, "unfinished", "unfinished"),
        (None, "skipped", None),
    ],
)
def test_no_other_state_is_green(
    badge: Any, row: Any, made: Any, *, verdict: str | None, outcome: str, shown: str | None, claimed: bool
) -> None:
    result = None if verdict is None else made(verdict)
    ending = ended(outcome, claimed=verdict != "passed")
    found = badge(row("t", result, problem="NaN" if result is None else "", ending=ending), alone=not claimed)
    assert found.message == (shown or ("1 of 2 hold" if claimed else "no claim holds")).format(1 + claimed)
    assert not found.green


def test_a_run_without_a_claim_is_grey(badge: Any, row: Any, made: Any) -> None:
    assert badge(alone=True) == ("no claim", "lightgrey")
    measured = row("t", made("inconclusive", threshold=None), ending=ended("passed"))
    assert badge(measured, alone=True) == ("no claim", "lightgrey")
    assert badge(lost=("a result",)) == ("results lost", "red")


def test_a_run_that_makes_its_baseline_is_grey(badge: Any, row: Any, made: Any) -> None:
    """It has compared nothing with it."""
    details = {"baseline": {"file": "b.json", "tolerance": 0.0, "update": True}}
    unread = made("passed", threshold=None, details=details)
    assert badge(row("t", unread, ending=ended("passed"))) == ("baseline made, not compared", "lightgrey")


def test_both_forms_show_the_same(tmp_path: Path) -> None:
    for made in (UNFINISHED, Badge("3 claims hold", "brightgreen"), Badge("<&>", "red")):
        write(tmp_path / "new" / "b.json", made)
        write(tmp_path / "b.svg", made)
        content = json.loads((tmp_path / "new" / "b.json").read_text())
        assert content == {
            "schemaVersion": 1,
            "label": "robustness",
            "message": made.message,
            "color": made.color,
            "isError": not made.green,
        }
        root = ET.parse(tmp_path / "b.svg").getroot()  # noqa: S314 - our own file
        assert [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")] == ["robustness", made.message]
        assert ("#4c1" in {one.get("fill") for one in root.iter()}) is made.green


def test_the_suffix_names_the_form() -> None:
    with pytest.raises(ConfigError, match=r"end in \.svg or \.json but got 'badge\.png'"):
        check_path("badge.png")
