"""Each row of an account has one state; a run is red for what failed, for what is missing, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from accounts import RESULT

from robustest import extensions
from robustest.account import (
    EXPLAINED,
    OUTCOMES,
    PHASES,
    RED,
    STATES,
    Account,
    Ending,
    Row,
    Session,
    exit_reason,
    first_line,
)
from robustest.errors import ConfigError
from robustest.extensions import Section
from robustest.results import Counterexample, Result, Verdict
from robustest.typed import from_plain, to_plain

VERDICTS = {verdict: RESULT.but(verdict=Verdict(verdict)) for verdict in ("passed", "failed", "inconclusive")}
MEASURED = VERDICTS["inconclusive"].but(threshold=None)
LOOSE = VERDICTS["failed"].but(gated=False)


def ending(outcome: str = "passed", phase: str = "call", test: str = "t", **more: Any) -> Ending:
    return Ending(test=test, phase=phase, outcome=outcome, **more)


# Rows

STATE_OF: dict[str, dict[str | None, str]] = {
    # for each measurement, its state by the outcome of the phase; others have the one at ...
    "passed": {"...": "passed", "xpassed": "xpassed"},
    "failed": {
        "...": "failed",
        "passed": "tolerated",
        "xpassed": "tolerated",
        "xfailed": "xfailed",
        "skipped": "skipped",
        "rerun": "rerun",
    },
    "inconclusive": {
        "...": "inconclusive",
        "passed": "tolerated",
        "xpassed": "tolerated",
        "xfailed": "xfailed",
        "skipped": "skipped",
        "rerun": "rerun",
    },
    "measured": {"...": "measured"},
    "loose": {"...": "measured"},
    "none": {None: "error", "passed": "error", **{one: one for one in OUTCOMES if one != "passed"}},
}
RESULTS = {**VERDICTS, "measured": MEASURED, "loose": LOOSE, "none": None}


@pytest.mark.parametrize("outcome", [None, *OUTCOMES])
@pytest.mark.parametrize("of", STATE_OF)
def test_a_row_has_the_state_of_its_verdict_and_its_ending(of: str, outcome: str | None) -> None:
    row = Row("t", RESULTS[of], ending=None if outcome is None else ending(outcome))
    states = STATE_OF[of]
    assert row.state == states.get(outcome, states.get("...", ""))
    assert row.state in STATES
    assert row.red is (row.state in {"failed", "error", "unfinished", "inconclusive"})


def test_states_and_outcomes_are_those_that_reports_know() -> None:
    assert RED | {"tolerated"} == EXPLAINED
    assert set(STATES) == {*OUTCOMES, "inconclusive", "tolerated", "measured"}
    assert {one for one in OUTCOMES if ending(one).red} == {"failed", "error", "unfinished"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"phase": "end"}, "a phase among"),
        ({"outcome": "tolerated"}, "an outcome among"),
        ({"attempt": -1}, "attempt of an ending to be 0 or more"),
    ],
)
def test_an_ending_that_cannot_be_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Ending(**{"test": "t", "phase": "call", "outcome": "passed", **fields})


@pytest.mark.parametrize(("length", "kept"), [(3999, 3999), (4000, 4000), (4001, 4000), (9000, 4000)])
def test_a_reason_is_cut(length: int, kept: int) -> None:
    reason = ending(reason="x" * length).reason
    assert len(reason) == kept
    assert reason.endswith("…") is (length > kept)


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\nb", "a"), ("\n  \n b\nc", " b"), ("", "no reason was given"), (" \n", "no reason was given")],
)
def test_the_first_line_that_says_something(text: str, line: str) -> None:
    assert first_line(text) == line


def test_endings_and_sessions_come_back_from_their_plain_form() -> None:
    one = ending("failed", reason="r", robust=False, claimed=True, replay="p", attempt=2)
    assert from_plain(Ending, to_plain(one), "an ending") == one
    run = Session(exit=1, stopped="s", collected=3, deselected=("a", "b"), ran=2, selection="-k a")
    assert from_plain(Session, to_plain(run), "a run") == run
    for cls, plain in ((Ending, to_plain(one)), (Session, to_plain(run))):
        for name, value in plain.items():
            wrong = {"str": 3, "int": True, "bool": 1, "list": ["a", 1]}[type(value).__name__]
            with pytest.raises(TypeError, match=name):
                from_plain(cls, {**plain, name: wrong}, "it")
            with pytest.raises(KeyError, match=name):
                from_plain(cls, {key: held for key, held in plain.items() if key != name}, "it")
        with pytest.raises(TypeError, match=r"got also \['colour'\]"):
            from_plain(cls, {**plain, "colour": 1}, "it")
        with pytest.raises(TypeError, match="the fields of"):
            from_plain(cls, [plain], "it")
    assert to_plain(Row("t", RESULT, "p", "r", one)) == {
        "test": "t",
        "result": RESULT.to_dict(),
        "problem": "p",
        "replay": "r",
        "ending": to_plain(one),
    }
    assert to_plain(Row("t", None)) == {"test": "t", "result": None, "problem": "", "replay": "", "ending": None}


# Sessions


@pytest.mark.parametrize(
    ("count", "selection", "line"),
    [
        (0, "-k a", ""),
        (1, "", "one robustness test deselected: t0"),
        (2, "-k a", "2 robustness tests deselected by -k a: t0, t1"),
        (10, "", f"10 robustness tests deselected: {', '.join(f't{i}' for i in range(10))}"),
        (11, "", f"11 robustness tests deselected: {', '.join(f't{i}' for i in range(10))}, and 1 more"),
    ],
)
def test_what_was_left_out_is_named(count: int, selection: str, line: str) -> None:
    run = Session(exit=0, deselected=tuple(f"t{i}" for i in range(count)), selection=selection)
    assert run.left_out == line
    assert account(session=run).left_out == line
    assert account().left_out == ""
    unknown = Session(exit=0)
    assert (unknown.collected, unknown.ran, unknown.files_left_out, unknown.left_out) == (0, 0, 0, "")


def test_every_exit_code_of_pytest_has_words() -> None:
    assert len({exit_reason(status) for status in range(1, 8)}) == 7
    assert exit_reason(77) == exit_reason(-1) == "a plugin, or pytest.exit(), gave that code"


# Accounts


def account(*rows: Row, endings: Any = (), session: Session | None = None, **more: Any) -> Account:
    return Account(results=rows, endings=tuple(endings), session=session, **more)


CALL = ending("failed", claimed=True)


@pytest.mark.parametrize(
    ("row", "of", "explained"),
    [
        (None, ending("passed"), True),
        (None, ending("failed"), False),
        (None, ending("skipped"), False),
        (Row("t", VERDICTS["failed"], ending=CALL), CALL, True),
        (Row("t", VERDICTS["inconclusive"], ending=CALL), CALL, True),
        (Row("t", None, ending=CALL), CALL, True),
        (Row("t", VERDICTS["passed"], ending=CALL), CALL, False),
        (Row("t", VERDICTS["failed"], ending=ending("passed")), CALL, False),  # of another phase
        (Row("t", VERDICTS["failed"], ending=ending("failed")), ending("failed"), False),  # of an assertion beside it
        (Row("t", VERDICTS["passed"], ending=ending("xpassed")), ending("xpassed"), True),
        (Row("t", None, ending=ending("xpassed")), ending("xpassed"), False),
    ],
)
def test_an_ending_that_no_claim_explains_has_its_row(row: Row | None, of: Ending, explained: bool) -> None:
    held = [] if row is None else [row]
    rows = account(*held, endings=[of]).rows
    assert len(rows) == len(held) + (not explained)
    if not explained:
        assert (rows[-1].result, rows[-1].problem, rows[-1].ending) == (None, of.reason, of)


def test_rows_come_in_the_order_of_collection_each_ending_once() -> None:
    first, second = ending("failed", test="a"), ending("error", "teardown", test="a")
    rows = account(
        Row("c", RESULT), Row("a", RESULT), Row("b", RESULT), endings=[first, ending(test="b"), second, first]
    ).rows
    assert [(row.test, row.state) for row in rows] == [
        ("a", "passed"),
        ("a", "failed"),
        ("a", "error"),
        ("b", "passed"),
        ("c", "passed"),
    ]


@pytest.mark.parametrize("count", [1, 2, 10, 11])
def test_failures_of_other_tests_share_one_row(count: int) -> None:
    red = [ending("failed", test=f"o{i}", robust=False, reason=f"why {i}\nmore") for i in range(count)]
    green = [ending("skipped", test="s", robust=False), ending(test="p", robust=False)]
    rows = account(Row("t", RESULT), endings=[*green, *red]).rows
    assert [row.test for row in rows] == ["t", "other tests"]
    named = ", ".join(f"o{i} (call: why {i})" for i in range(min(count, 10)))
    how = "one did not pass" if count == 1 else f"{count} did not pass"
    assert rows[-1].problem == f"{how}: {named}{', and 1 more' if count == 11 else ''}"
    assert (rows[-1].state, rows[-1].ending and rows[-1].ending.phase) == ("error", "session")
    # A test that has rows is named with them, though nothing declares it.
    mine = ending("failed", test="t", robust=False, reason="late")
    assert [row.test for row in account(Row("t", RESULT), endings=[mine]).rows] == ["t", "t"]
    assert account(Row("t", RESULT), endings=green).rows == [Row("t", RESULT)]


@pytest.mark.parametrize(
    ("status", "red", "stopped", "line"),
    [
        (0, False, "", None),
        (0, True, "", None),
        (1, True, "", None),
        (1, False, "", "pytest ended with exit code 1: something failed that no test is named for"),
        (5, False, "", "pytest ended with exit code 5: no test ran"),
        (2, True, "", "pytest ended with exit code 2: the run was interrupted, or a module could not be collected"),
        (2, True, "Ctrl-C", "pytest ended with exit code 2: Ctrl-C"),
        (3, False, "", "pytest ended with exit code 3: an internal error, or results were lost"),
        (3, False, "why", "pytest ended with exit code 3: an internal error, or results were lost (why)"),
        (1, False, "why", "pytest ended with exit code 1: something failed that no test is named for (why)"),
        (77, True, "", "pytest ended with exit code 77: a plugin, or pytest.exit(), gave that code"),
    ],
)
def test_a_red_exit_code_that_no_row_explains_has_its_row(
    status: int, red: bool, stopped: str, line: str | None
) -> None:
    one = Row("t", VERDICTS["failed" if red else "passed"])
    run = Session(exit=status, stopped=stopped)
    rows = account(one, session=run).rows
    assert [row.problem for row in rows[1:]] == ([] if line is None else [line])
    assert all(row.test == "pytest" and row.red for row in rows[1:])
    assert [row.ending for row in rows[1:]] == [
        Ending(test="pytest", phase="session", outcome="error", reason=row.problem, robust=False) for row in rows[1:]
    ]
    assert account(one, session=run, lost=("a",)).rows == [one], "what was lost says it"
    assert account(session=Session(exit=5)).rows == []


def test_a_loss_turns_the_run_into_an_internal_error() -> None:
    one = account(session=Session(exit=0, collected=3))
    assert one.with_lost([]) is one
    lost = one.with_lost(["a", "b", "a"])
    assert (lost.lost, lost.session) == (("a", "b"), Session(exit=3, collected=3))
    assert lost.with_lost(["b"]) is lost
    assert account().with_lost(["a"]).session == Session(exit=3)
    assert one.with_exit(1).session == Session(exit=1, collected=3)
    assert account().with_exit(2).session == Session(exit=2)


def raising(error: Exception) -> Any:
    def write() -> None:
        raise error

    return write


def test_a_file_that_cannot_be_written_is_lost_and_takes_no_other_with_it() -> None:
    one = account()
    assert one.with_file("the page", "p.html", lambda: None) is one
    denied = one.with_file("the page", "p.html", raising(PermissionError(13, "Permission denied")))
    assert denied.lost == ("the page could not be written to p.html: Permission denied",)
    assert one.with_file("the page", "p.html", raising(OSError("odd"))).lost == (
        "the page could not be written to p.html: odd",
    )
    assert one.with_file("the page", "p.html", raising(KeyError("x"))).lost == (
        "the page could not be made at p.html: KeyError: 'x'",
    )


def test_sections_of_packs_are_made_of_the_results_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def all_of(name: str, kind: type, *, results: tuple[Result, ...]) -> list[tuple[str, Any]]:
        asked.append((name, kind, results))
        return [("a pack", "its section")]

    monkeypatch.setattr(extensions, "all_of", all_of)
    empty = account(Row("t", None))
    assert empty.with_sections() is empty
    assert account(Row("t", None), Row("u", RESULT)).with_sections().sections == ("its section",)
    assert asked == [("robustest_sections", Section, (RESULT,))]
    monkeypatch.setattr(extensions, "all_of", lambda *_, **__: raising(ConfigError("no"))())
    assert account(Row("u", RESULT)).with_sections().lost == ("the sections of packs could not be made: no",)


def test_paths_of_pictures_are_made_relative_to_another_folder(tmp_path: Path) -> None:
    worst = Counterexample(index=0, label=0, clean=0, predicted=1)
    sheets = [{"title": "a", "image": "p/b.png"}, {"title": "none"}, "a text", {"image": 3}]
    shown = RESULT.but(counterexamples=(replace(worst, image="p/a.png"), worst), details={"pictures": sheets, "n": 1})
    one = account(Row("t", shown), Row("u", None), Row("v", RESULT))
    moved = one.with_pictures_from(lambda _: tmp_path / "run", tmp_path / "out" / "page")
    first = moved.results[0].result
    assert first is not None
    assert [each.image for each in first.counterexamples] == ["../../run/p/a.png", None]
    assert first.details == {
        "pictures": [{"title": "a", "image": "../../run/p/b.png"}, {"title": "none"}, "a text", {"image": 3}],
        "n": 1,
    }
    assert moved.results[1:] == one.results[1:]
    assert one.with_pictures_from(lambda _: tmp_path, tmp_path).results[0].result is shown
    assert PHASES[0] == "collect"


def test_a_picture_on_another_drive_keeps_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(*_: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr("os.path.relpath", apart)
    shown = Counterexample(index=0, label=0, clean=0, predicted=1, image="p.png")
    made = RESULT.but(counterexamples=(shown,), details={"pictures": [{"image": "q.png"}, {"image": 3}, "r"]})
    (row,) = account(Row("t", made)).with_pictures_from(lambda _: Path("/a"), Path("/b")).results
    assert row.result is not None
    assert row.result.counterexamples[0].image == "p.png"
    assert row.result.details["pictures"] == [{"image": "q.png"}, {"image": 3}, "r"]
