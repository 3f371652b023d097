"""Guards of the ledger: what each report of a test comes to, and what is missing from a run that is not green."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accounts
import pytest

from robustest.pytest_plugin.ledger import Ledger, ending_of

RESULT = accounts.RESULT.to_dict()


def report(test: str, when: str, outcome: str = "passed", worker: str = "", **ours: Any) -> Any:
    more: dict[str, Any] = {f"robustest_{name}": value for name, value in ours.items() if name != "wasxfail"}
    if "wasxfail" in ours:
        more["wasxfail"] = ours["wasxfail"]
    if worker:
        more["node"] = SimpleNamespace(gateway=SimpleNamespace(id=worker))
    return SimpleNamespace(
        nodeid=test, when=when, outcome=outcome, longrepr=f"why {when}", location=("t.py", 3, test), **more
    )


def whole(ledger: Ledger, test: str, outcome: str = "passed", results: int = 1, **more: Any) -> None:
    """The three reports of a test that recorded so many results."""
    ledger.take(report(test, "setup", **more))
    ledger.take(report(test, "call", outcome, results=[RESULT] * results, **more))
    ledger.take(report(test, "teardown", recorded=results, **more))


def ledger_of(*tests: str, calls: bool = True, robust: tuple[str, ...] | None = None) -> Ledger:
    ledger = Ledger()
    ledger.expect(list(tests), calls=calls)
    ledger.add_robust(tests if robust is None else robust)
    return ledger


def ends(ledger: Ledger, **options: Any) -> list[tuple[str, str, str]]:
    return [(one.test, one.phase, one.outcome) for one in ledger.endings(**options)]


# A report


@pytest.mark.parametrize(
    ("when", "outcome", "more", "ending"),
    [
        ("setup", "passed", {}, None),
        ("teardown", "passed", {}, None),
        ("call", "passed", {}, ("call", "passed", "")),
        ("call", "passed", {"wasxfail": "known"}, ("call", "xpassed", "known")),
        ("call", "failed", {}, ("call", "failed", "why call")),
        ("call", "failed", {"unmeasured": "NaN"}, ("call", "error", "why call")),
        ("setup", "failed", {}, ("setup", "error", "why setup")),
        ("teardown", "failed", {}, ("teardown", "error", "why teardown")),
        ("???", "failed", {}, ("worker", "error", "why ???")),
        ("call", "skipped", {}, ("call", "skipped", "why call")),
        ("setup", "skipped", {}, ("setup", "skipped", "why setup")),
        ("teardown", "skipped", {}, None),
        ("call", "skipped", {"wasxfail": "known"}, ("call", "xfailed", "known")),
        ("call", "rerun", {}, None),
    ],
    ids=str,
)
def test_what_a_phase_comes_to(when: str, outcome: str, more: dict[str, Any], ending: Any) -> None:
    found = ending_of(report("t", when, outcome, **more))
    assert (None if found is None else (found.phase, found.outcome, found.reason)) == ending
    if found is not None:
        assert ending_of(report("t", when, outcome, claimed=True, **more)) == replace(found, claimed=True)


def test_reports_become_rows_in_the_order_of_collection() -> None:
    ledger = ledger_of("a", "b")
    whole(ledger, "b", "failed")
    whole(ledger, "a", results=2)
    assert [(row.test, row.ending.outcome if row.ending else None) for row in ledger.rows()] == [
        ("a", "passed"),
        ("a", "passed"),
        ("b", "failed"),
    ]
    assert ledger.tests() == {"a", "b"}
    assert ledger.places(Path("/root")) == dict.fromkeys("ab", ("/root/t.py", 4))
    assert ledger.lost() == []


def test_what_could_not_be_measured_has_a_row_of_its_own() -> None:
    ledger = ledger_of("a")
    ledger.take(report("a", "setup"))
    ledger.take(report("a", "call", "failed", results=[RESULT], unmeasured="ModelError: NaN", replay="pytest a"))
    assert [(row.result is None, row.problem, row.replay) for row in ledger.rows()] == [
        (False, "", "pytest a"),
        (True, "ModelError: NaN", "pytest a"),
    ]


def test_a_setup_begins_a_test_anew() -> None:
    ledger = ledger_of("a")
    whole(ledger, "a", "failed", results=2)
    ledger.take(report("a", "setup"))
    assert (ledger.rows(), ends(ledger)) == ([], [])
    assert ledger.lost() == ["not every report came from a", "2 results were recorded but 2 arrived"]
    ledger.take(report("a", "call", results=[RESULT]))
    ledger.take(report("a", "teardown", recorded=1))
    assert (len(ledger.rows()), ends(ledger), ledger.lost()) == (1, [("a", "call", "passed")], [])


# What is missing


@pytest.mark.parametrize(
    ("phases", "calls", "missing"),
    [
        ([], True, "no report came from a"),
        ([("setup", "passed")], True, "not every report came from a"),
        ([("setup", "passed"), ("call", "passed")], True, "not every report came from a"),
        ([("setup", "passed"), ("teardown", "passed")], True, "not every report came from a"),
        ([("setup", "passed"), ("teardown", "passed")], False, ""),
        ([("setup", "passed")], False, "not every report came from a"),
        ([("setup", "skipped"), ("teardown", "passed")], True, ""),
        ([("setup", "failed")], True, ""),
        ([("call", "passed"), ("teardown", "passed")], True, "not every report came from a"),
        ([("setup", "passed"), ("call", "failed")], True, ""),
        ([("???", "failed")], True, ""),
        ([("setup", "passed"), ("call", "passed"), ("teardown", "passed")], True, ""),
    ],
    ids=str,
)
def test_every_phase_of_a_test_has_to_report(phases: list[tuple[str, str]], calls: bool, missing: str) -> None:
    ledger = ledger_of("a", calls=calls)
    for when, outcome in phases:
        ledger.take(report("a", when, outcome))
    assert ledger.lost() == ([missing] if missing else [])


def test_a_test_that_every_worker_runs_has_to_come_from_each() -> None:
    ledger = ledger_of("a")
    whole(ledger, "a", worker="gw0")
    ledger.take(report("a", "setup", worker="gw1"))
    assert ledger.lost() == ["not every report came from a"]
    ledger.take(report("a", "call", worker="gw1", results=[RESULT]))
    ledger.take(report("a", "teardown", worker="gw1", recorded=1))
    assert ledger.lost() == []
    assert len(ledger.rows()) == 2


@pytest.mark.parametrize(("announced", "sent", "lost"), [(1, 0, ""), (2, 0, "2"), (1, 1, ""), (1, 3, "3"), (0, 0, "")])
def test_results_are_counted_by_test_and_by_worker(announced: int, sent: int, lost: str) -> None:
    ledger = ledger_of("a")
    ledger.take(report("a", "setup"))
    ledger.take(report("a", "call", results=[RESULT]))
    ledger.take(report("a", "teardown", recorded=announced))
    ledger.add_sent(sent)
    assert ledger.lost() == ([f"{lost} results were recorded but 1 arrived"] if lost else [])


def test_what_several_workers_sent_adds_up() -> None:
    ledger = ledger_of("a")
    whole(ledger, "a")
    ledger.add_sent(1)
    assert ledger.lost() == []
    ledger.add_sent(1)
    assert ledger.lost() == ["2 results were recorded but 1 arrived"]


def test_an_account_says_what_was_lost_unless_the_run_was_stopped() -> None:
    def account(stopped: str) -> Any:
        ledger = ledger_of("a", "b")
        whole(ledger, "a", unwritten=["a picture could not be written"])
        ledger.add_problems(["a claim came late"])
        return ledger.account(0, stopped=stopped, collected=["a", "b", "c"], deselected=["d"], selection="-k a")

    beside = ("a picture could not be written", "a claim came late")
    ended = account("")
    assert ended.lost == ("no report came from b", *beside)
    stopped = account("interrupted")
    assert stopped.lost == beside
    assert [(one.test, one.phase, one.outcome) for one in stopped.endings] == [
        ("a", "call", "passed"),
        ("b", "setup", "unfinished"),
    ]
    assert [one.outcome for one in ended.endings] == ["passed"]
    session = stopped.session
    assert (session.collected, session.deselected, session.ran, session.selection) == (3, ("d",), 1, "-k a")
    assert session.files_left_out == 0
    bare = Ledger().account(0, stopped="", collected=[], deselected=[], files_left_out=2).session
    assert bare is not None
    assert (bare.selection, bare.files_left_out, bare.ran) == ("", 2, 0)


@pytest.mark.parametrize(
    ("phases", "calls", "phase"),
    [
        ([], True, "setup"),
        (["setup"], True, "call"),
        (["setup", "call"], True, "teardown"),
        (["setup", "call", "teardown"], True, ""),
        ([], False, ""),
    ],
    ids=str,
)
def test_a_run_that_was_stopped_names_the_phase_that_did_not_come(phases: list[str], calls: bool, phase: str) -> None:
    ledger = ledger_of("a", "plain", calls=calls, robust=("a",))
    for when in phases:
        ledger.take(report("a", when))
    unfinished = [one for one in ends(ledger, stopped=True) if one[2] == "unfinished"]
    assert unfinished == ([("a", phase, "unfinished")] if phase else [])


def test_one_worker_that_ran_all_of_a_test_is_enough_when_a_run_is_stopped() -> None:
    ledger = ledger_of("a")
    whole(ledger, "a", worker="gw0")
    ledger.take(report("a", "setup", worker="gw1"))
    assert ends(ledger, stopped=True) == [("a", "call", "passed")]


def test_of_other_tests_only_what_is_red_is_told() -> None:
    ledger = ledger_of("good", "bad", "mine", robust=("mine",))
    for name, outcome in (("good", "passed"), ("bad", "failed"), ("mine", "passed")):
        whole(ledger, name, outcome, results=0)
    ledger.add_uncollected("t.py", "trace\nE   ModuleNotFoundError: none\n\n")
    found = ledger.endings()
    assert [(one.test, one.outcome, one.robust, one.reason) for one in found] == [
        ("t.py", "error", False, "ModuleNotFoundError: none"),
        ("bad", "failed", False, "why call"),
        ("mine", "passed", True, ""),
    ]
    unknown = Ledger()
    unknown.expect(["good"], calls=True)
    whole(unknown, "good", results=0)
    assert [one.robust for one in unknown.endings()] == [True], "nobody has said which are"


# Attempts


def attempt(outcome: str | None = None) -> dict[str, Any]:
    told = {} if outcome is None else {"phase": "call", "outcome": outcome, "reason": f"it {outcome}"}
    return {"results": [RESULT], **told}


@pytest.mark.parametrize("last", ["passed", "failed"])
def test_each_attempt_has_its_row_and_its_ending_however_few_reports_came(last: str) -> None:
    ledger = ledger_of("a")
    attempts = [attempt("failed"), attempt("passed"), attempt()]
    whole(ledger, "a", last, attempts=attempts, replay="pytest a", claimed=last == "failed")
    account = ledger.account(1, stopped="", collected=["a"], deselected=[])
    assert account.lost == ()
    rows = [(row.ending.attempt, row.ending.outcome, row.replay) for row in account.results if row.ending]
    assert rows == [(1, "failed", "pytest a"), (2, "passed", "pytest a"), (3, last, "pytest a")]
    told = [(one.attempt, one.outcome, one.claimed, one.replay) for one in account.endings]
    assert told == [
        (1, "failed", True, "pytest a"),
        (2, "passed", False, "pytest a"),
        (3, last, last == "failed", "pytest a"),
    ]


def test_what_an_attempt_could_not_measure_and_its_teardown_are_kept() -> None:
    ledger = ledger_of("a")
    ledger.take(report("a", "setup"))
    more = {"attempts": [attempt("error"), attempt()], "replay": "pytest a"}
    ledger.take(report("a", "call", "failed", results=[RESULT], unmeasured="ModelError: NaN", **more))
    ledger.take(report("a", "teardown", "failed", results=[], recorded=1, **more))
    account = ledger.account(1, stopped="", collected=["a"], deselected=[])
    assert [(row.ending.attempt, row.problem) for row in account.results if row.ending] == [
        (1, ""),
        (2, ""),
        (2, "ModelError: NaN"),
    ]
    assert [(row.ending.phase, row.ending.outcome) for row in account.results[1:] if row.ending] == [
        ("call", "error"),
        ("call", "error"),
    ]
    assert [(one.attempt, one.phase, one.outcome) for one in account.endings] == [
        (1, "call", "error"),
        (2, "call", "error"),
        (2, "teardown", "error"),
    ]


def test_an_account_may_be_asked_for_twice() -> None:
    ledger = ledger_of("a")
    whole(ledger, "a", attempts=[attempt("failed"), attempt()])
    first, second = (ledger.account(1, stopped="", collected=["a"], deselected=[]) for _ in range(2))
    assert first == second
    assert len(first.results) == 2


@pytest.mark.parametrize(
    ("longrepr", "reason"),
    [
        (("t.py", 3, "Skipped: no GPU"), "no GPU"),
        (("t.py", 3, "no GPU"), "no GPU"),
        ("why\nE   more", "why\nE   more"),
        (None, ""),
        ("", ""),
        (SimpleNamespace(reprcrash=SimpleNamespace(message="it broke")), "it broke"),
        (
            "file t.py, line 3\nE       fixture 'modle' not found",
            "fixture 'modle' not found. Define it in conftest.py.",
        ),
        (
            SimpleNamespace(reprcrash=SimpleNamespace(message="file a.txt\nE   is missing")),
            "is missing. Define it in conftest.py.",
        ),
    ],
)
def test_the_reason_of_an_ending_is_the_message_alone(longrepr: Any, reason: str) -> None:
    one = report("t", "call", "skipped")
    one.longrepr = longrepr
    found = ending_of(one)
    assert found is not None
    assert (found.reason, found.replay, found.claimed) == (reason, "", False)


@pytest.mark.parametrize(("line", "place"), [(0, 1), (None, 1), (1, 2), (7, 8)])
def test_lines_of_tests_are_counted_from_one(line: int | None, place: int) -> None:
    ledger, one = ledger_of("a"), report("a", "setup")
    one.location = ("in/t.py", line, "a")
    ledger.take(one)
    assert ledger.places(Path("/root")) == {"a": ("/root/in/t.py", place)}


@pytest.mark.parametrize(("announced", "arrived", "lost"), [(0, 0, []), (1, 0, ["1"]), (1, 1, []), (2, 1, ["2"])])
def test_a_test_without_rows_may_have_lost_them(announced: int, arrived: int, lost: list[str]) -> None:
    ledger = ledger_of("a")
    ledger.take(report("a", "setup"))
    ledger.take(report("a", "call", **({"results": [RESULT] * arrived} if arrived else {})))
    ledger.take(report("a", "teardown", recorded=announced))
    assert ledger.lost() == [f"{one} results were recorded but {arrived} arrived" for one in lost]


@pytest.mark.parametrize(
    ("first", "second", "phase"),
    [
        (["setup", "call"], ["setup"], "call"),
        (["setup"], ["setup", "call"], "teardown"),
        (["setup"], ["setup"], "call"),
    ],
)
def test_of_a_stopped_run_the_last_worker_says_how_far_a_test_came(
    first: list[str], second: list[str], phase: str
) -> None:
    ledger = ledger_of("a")
    for worker, phases in (("gw0", first), ("gw1", second)):
        for when in phases:
            ledger.take(report("a", when, worker=worker))
    assert [one for one in ends(ledger, stopped=True) if one[2] == "unfinished"] == [("a", phase, "unfinished")]


@pytest.mark.parametrize("worker", ["", "gw1"])
@pytest.mark.parametrize("when", ["setup", "call"])
def test_attempts_are_those_of_their_test_with_its_command(when: str, worker: str) -> None:
    ledger = ledger_of("a", "b")
    whole(ledger, "b")
    more = {"attempts": [attempt("failed"), attempt("error"), attempt()], "replay": "pytest a", "worker": worker}
    if when == "call":
        ledger.take(report("a", "setup", worker=worker))
    ledger.take(report("a", when, "failed", results=[RESULT], **more))
    account = ledger.account(1, stopped="", collected=["a", "b"], deselected=[])
    assert [row.test for row in account.results] == ["a", "a", "a", "b"]
    assert {row.replay for row in account.results[:3]} == {"pytest a"}
    told = [(one.test, one.attempt, one.phase, one.outcome, one.claimed, one.replay) for one in account.endings]
    last = ("setup", "error") if when == "setup" else ("call", "failed")
    assert told == [
        ("a", 1, "call", "failed", True, "pytest a"),
        ("a", 2, "call", "error", True, "pytest a"),
        ("a", 3, *last, False, "pytest a"),
        ("b", 0, "call", "passed", False, ""),
    ]
    # Where the setup of the last attempt failed, its rows are those of a call that has no ending of its own.
    (third,) = {row.ending for row in account.results[2:3]}
    assert third is not None
    assert (third.test, third.phase, third.attempt) == ("a", "call", 3)


def test_a_command_is_that_of_the_rows_or_else_of_the_call() -> None:
    for on_rows, on_call, command in (("pytest r", "pytest c", "pytest r"), ("", "pytest c", "pytest c"), ("", "", "")):
        ledger = ledger_of("a")
        ledger.take(report("a", "setup"))
        attempts = [attempt("failed"), attempt()]
        ledger.take(report("a", "call", replay=on_call))
        ledger.take(report("a", "teardown", results=[RESULT], recorded=1, attempts=attempts, replay=on_rows))
        account = ledger.account(0, stopped="", collected=["a"], deselected=[])
        assert [row.replay for row in account.results] == [command] * 2
        assert account.endings[0].replay == command


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a.py:3: in <module>\n    import none\nE   ModuleNotFoundError: none\n\n", "ModuleNotFoundError: none"),
        ("E   SyntaxError: invalid", "SyntaxError: invalid"),
        ("one\n  two  \nthree\nfour", "four"),
        (" \n", ""),
        ("", ""),
    ],
)
def test_the_last_line_says_why_a_file_was_not_collected(text: str, reason: str) -> None:
    ledger = Ledger()
    ledger.add_uncollected("t.py", text)
    (one,) = ledger.endings()
    assert (one.test, one.phase, one.outcome, one.reason, one.robust) == ("t.py", "collect", "error", reason, False)
