"""`compare` on every kind of claim: better, alike, worse, a threshold that moved, other samples."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from robustest import Result, Settings, Verdict
from robustest.account import Account, Ending, Row, Session
from robustest.cli.compare import ClaimTrend, pair, trends
from robustest.context import Context, running
from robustest.reports import evidence, json_file

sys.path.insert(0, str(Path(__file__).parent))
from kinds import KINDS

sys.path.pop(0)

BY_GROUP = {"worst group"}
NOT_PAIRED = {
    "accuracy drop",
    "transfer drop",
    "subpopulation",
    "corruptions",
    "spurious feature",
    "certified accuracy",
    "robust score",
    "same answers",
    "calibrated",
    "selective accuracy",
    "other data rejected",
    "stable",
    "worst group's rate",
    "consistent runs",
    "reliable",
    "worst item's rate",
    "invariance",
    "expectation",
    "worst change's rate",
    "worst change's fall",
}  # fmt: skip


@cache
def measured(name: str, *, good: bool = True, draw: int = 0, hard: bool = False, scope: str = "set") -> Result:
    kind = KINDS[name]
    with running(
        Context(settings=Settings(store=str(_STORE[0]), corpus=None))
    ):  # models have digests where there is a store
        return kind.result(good=good, draw=draw, threshold=kind.hard if hard else kind.easy, scope=scope)


_STORE: list[Path] = []


@pytest.fixture(autouse=True, scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    _STORE.append(tmp_path_factory.mktemp("store"))
    yield
    _STORE.clear()
    measured.cache_clear()


def change(first: Result, second: Result) -> ClaimTrend:
    (found,) = trends([pair(*(Row(test="t", result=one, problem="", replay="") for one in (first, second)))], 0.01)
    return found


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_what_the_table_takes_it_for(name: str) -> None:
    results = [measured(name, **how) for how in ({}, {"draw": 1}, {"good": False}, {"hard": True})]
    assert [result.verdict for result in results[:2]] == [Verdict.PASSED] * 2
    assert Verdict.PASSED not in [result.verdict for result in results[2:]]
    # No sound numbers may look like forged ones.
    account = Account(results=tuple(Row("t", result) for result in results), endings=(), session=None)
    content = evidence.statement(account, {}, None, subject=[("weights", "0" * 64)], salt=b"", lines={})
    assert list(evidence.contradictions(content)) == []


@pytest.mark.thinned
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({}, {"good": False}, ClaimTrend.WORSE),
        ({"good": False}, {}, ClaimTrend.BETTER),
        ({}, {}, ClaimTrend.UNCHANGED),
        ({}, {"hard": True}, ClaimTrend.MOVED),
        ({"hard": True}, {}, ClaimTrend.MOVED),
        ({}, {"draw": 1}, ClaimTrend.NOT_PAIRED),
        ({}, {"draw": 1, "good": False}, ClaimTrend.WORSE),
        ({"draw": 1, "good": False}, {}, ClaimTrend.BETTER),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
def test_what_became_of_a_claim(name: str, first: dict[str, Any], second: dict[str, Any], told: ClaimTrend) -> None:
    assert change(measured(name, **first), measured(name, **second)) is told


@pytest.mark.parametrize("name", KINDS)
def test_the_same_model_under_another_scope_is_neither_worse_nor_alike(name: str) -> None:
    """A claim about the population asks for more, whatever its rule says; some kinds are about one of both alone."""
    by_set, by_population = measured(name), measured(name, scope="population")
    alone = by_set.subject.scope == by_population.subject.scope
    told = {change(by_set, by_population), change(by_population, by_set)}
    assert told == {ClaimTrend.UNCHANGED if alone else ClaimTrend.MOVED}


@pytest.mark.parametrize("name", KINDS)
def test_what_broke_the_old_threshold_as_well_is_worse_whatever_is_asked_now(name: str) -> None:
    assert change(measured(name), measured(name, good=False, hard=True)) is ClaimTrend.WORSE


@pytest.mark.parametrize("name", KINDS)
def test_what_is_paired_belongs_to_the_kind(name: str) -> None:
    pairing = measured(name).evidence.pairing
    assert pairing is not None
    assert pairing.share is (name not in NOT_PAIRED), f"Pass pairing= to finish, or add {name!r} to NOT_PAIRED here."
    assert bool(pairing.groups) is (name in BY_GROUP)
    assert Result.from_dict(measured(name).to_dict()).evidence.pairing == pairing


def test_the_command_ends_as_the_worst_of_all_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from robustest.cli import main

    def row(name: str, **how: Any) -> Row:
        result = measured(name, **how)
        broken = result.verdict is not Verdict.PASSED
        about = {"phase": "call", "outcome": "failed" if broken else "passed", "claimed": broken}
        ending = Ending(test=f"t::{name}", **about)
        return Row(test=ending.test, result=result, problem="", replay="", ending=ending)

    def file(which: str, **how: Any) -> str:
        rows = tuple(row(name, **how) for name in KINDS)
        code = int(any(one.result is not None and one.result.verdict is not Verdict.PASSED for one in rows))
        session = Session(exit=code)
        account = Account(results=rows, endings=tuple(one.ending for one in rows if one.ending), session=session)
        json_file.write(str(tmp_path / which), account, Settings())
        return str(tmp_path / which)

    good, bad, hard = file("good.json"), file("bad.json", good=False), file("hard.json", hard=True)
    codes = [
        main(["compare", *pair, "--fail-on-worse"]) for pair in ((good, good), (good, bad), (bad, good), (good, hard))
    ]
    told = [line for line in capsys.readouterr().out.splitlines() if " in both: " in line]
    n = len(KINDS)
    assert codes == [0, 1, 0, 0]
    assert [line.partition(": ")[2].partition(" (")[0] for line in told] == [
        f"{n} unchanged", f"{n} worse", f"{n} better", f"{n} threshold moved"
    ]  # fmt: skip
