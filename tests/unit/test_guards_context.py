"""Guards of a test's record that need no run: which process claims, what ends a claim, what is done at the end."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from accounts import RESULT

from robustest import Settings, context
from robustest.context import Apart, Attempt, Context, claiming, current, followed, lost_claims, running, still_claiming
from robustest.errors import ClaimFailed, ConfigError, NotSearched
from robustest.results import Verdict

FAILED = RESULT.but(verdict=Verdict.FAILED)
OPEN = RESULT.but(verdict=Verdict.INCONCLUSIVE)


def of_test(**fields: Any) -> Context:
    return Context(test="t", home=(os.getpid(), threading.get_ident()), **fields)


@pytest.fixture(autouse=True)
def apart() -> Iterator[Path]:
    """The folder for claims of other processes; nothing is lost from one test to the next."""
    with followed():
        yield Path(os.environ[context._CLAIMS].partition(":")[2])
        lost_claims()


# What is recorded


@pytest.mark.parametrize("replay", [True, False])
@pytest.mark.parametrize("result", [RESULT, FAILED, OPEN], ids=["passed", "failed", "inconclusive"])
def test_a_replay_alone_passes_nothing_and_keeps_what_it_refutes(result: Any, replay: bool) -> None:
    one = of_test(settings=Settings(replay_only=replay))
    one.record(result)
    (held,) = one.results
    if replay and result is RESULT:
        assert (held.verdict, held.ruling.reasons) == (Verdict.INCONCLUSIVE, ("not_searched",))
        assert held.rule == "replayed only: nothing was searched for"
    else:
        assert held is result
    assert (one.claims, one.robust) == (True, True)


def test_outside_of_a_test_nothing_is_recorded_and_only_results_are() -> None:
    nobody = Context()
    nobody.record(RESULT)
    assert (nobody.results, nobody.claims) == ([], False)
    one = of_test()
    with pytest.raises(TypeError, match="robustest result"):
        one.record(0.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="plain JSON"):
        one.record(RESULT.but(details={"here": Path()}))
    assert (one.results, one.claims) == ([], False)


def test_a_replay_is_skipped_where_there_is_a_test_to_skip() -> None:
    with pytest.raises(ConfigError, match="pytest --robust"):
        of_test().not_searched("it", "replayed only")
    one = of_test(skip=pytest.skip)
    error = one.not_searched("it", "replayed only")
    assert (type(error), one.unvouched) == (NotSearched, [str(error)])


@pytest.mark.parametrize(
    ("owner", "declared", "claims", "claimant", "counts"),
    [("", False, False, "t", False), ("m::f", True, False, "m::f", True), ("", False, True, "t", True)],
)
def test_a_shared_fixture_claims_in_its_own_name(
    owner: str, declared: bool, claims: bool, claimant: str, counts: bool
) -> None:
    one = of_test(owner=owner, declared=declared, claims=claims)
    assert (one.claimant, one.robust) == (claimant, counts)


@pytest.mark.parametrize(("test", "where", "named"), [("t", "", "t"), ("t", "up/t", "up/t"), ("", "up/t", "")])
def test_a_test_is_repeated_by_its_name_from_here(test: str, where: str, named: str) -> None:
    command = Context(test=test, where=where, rerun="pytest").replay(3)
    assert command == (f"pytest --robust-seed=3 {named}" if named else "")


# Attempts


class FixtureLookupError(Exception):
    """Stands in for pytest's."""

    argname = "modle"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AssertionError("no"), "no"),
        (AssertionError(), "AssertionError"),
        (FixtureLookupError("a", "b"), "fixture 'modle' not found"),
    ],
    ids=repr,
)
def test_an_attempt_has_the_reason_that_ended_it(error: BaseException, reason: str) -> None:
    assert Attempt.of(of_test(ended=("setup", error))).reason == reason
    assert Attempt.of(of_test()) == Attempt((), "call", "passed", "")


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("threshold", [0.5, None])
@pytest.mark.parametrize("verdict", [*Verdict])
def test_an_error_beside_a_refuted_claim_is_a_failure(gated: bool, threshold: float | None, verdict: Verdict) -> None:
    result = RESULT.but(gated=gated, threshold=threshold, verdict=verdict)
    found = Attempt.of(of_test(ended=("call", OSError("disk")), results=[RESULT, result]))
    refuted = gated and threshold is not None and verdict is not Verdict.PASSED
    assert found.outcome == ("failed" if refuted else "error")


@pytest.mark.parametrize(
    ("task", "unheard"),
    [
        (None, True),
        (SimpleNamespace(done=lambda: False, _log_traceback=False), True),
        (SimpleNamespace(done=lambda: True, _log_traceback=False), False),
        (SimpleNamespace(done=lambda: True, _log_traceback=True), True),
        (SimpleNamespace(done=lambda: True), True),  # a loop that is not Python's own says nothing
    ],
    ids=["none", "runs", "asked", "unasked", "other loop"],
)
def test_an_error_is_unheard_unless_somebody_asked_for_it(task: Any, unheard: bool) -> None:
    assert Apart("w", OSError(), task).unheard is unheard


# Where a claim ends


def failing(one: Context) -> None:
    with suppress(ClaimFailed), running(one), claiming("accuracy"):
        raise ClaimFailed("no", FAILED)


def in_thread(one: Context, name: str) -> None:
    thread = threading.Thread(target=failing, args=(one,), name=name)
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("thread", "home", "over", "kept", "lost"),
    [
        (False, True, False, 0, 0),
        (False, True, True, 0, 1),
        (False, False, False, 0, 0),
        (True, True, False, 1, 0),
        (True, True, True, 0, 1),
        (True, False, False, 0, 1),
    ],
)
def test_an_error_is_kept_for_a_running_test_and_lost_after_it(
    thread: bool, home: bool, over: bool, kept: int, lost: int
) -> None:
    one = of_test(over=over) if home else Context(test="t", over=over)
    in_thread(one, "other") if thread else failing(one)
    assert (len(one.apart), len(lost_claims()), one.under_way) == (kept, lost, {})


@pytest.mark.parametrize(
    ("how", "where"),
    [
        ("callback", "accuracy in a callback of an event loop"),
        ("task", "accuracy in task 'mine'"),
        ("plain", None),
    ],
)
def test_an_error_in_a_loop_is_kept_and_one_of_the_test_is_raised(how: str, where: str | None) -> None:
    one = of_test()

    async def work() -> None:
        failing(one)

    async def main() -> None:
        if how == "task":
            await asyncio.create_task(work(), name="mine")
        else:
            asyncio.get_running_loop().call_soon(failing, one)
            await asyncio.sleep(0)

    failing(one) if how == "plain" else asyncio.run(main())
    assert [each.where for each in one.apart] == ([] if where is None else [where])
    assert [each.task is not None for each in one.apart] == ([] if where is None else [how == "task"])


@pytest.mark.parametrize(("declared", "alive"), [(True, True), (False, True), (True, False)])
def test_a_thread_is_waited_for_in_a_robustness_test_while_it_lives(declared: bool, alive: bool) -> None:
    stop, begun = threading.Event(), threading.Event()

    def waits() -> None:
        begun.set()
        stop.wait(10)

    thread = threading.Thread(target=waits, name="w")
    thread.start()
    begun.wait(10)
    if not alive:
        stop.set()
        thread.join()
    one = of_test(declared=declared, threads=[thread])
    assert still_claiming(one) == (["thread 'w'"] if declared and alive else [])
    one.under_way["1"] = "accuracy"
    assert still_claiming(one) == ["accuracy"]
    stop.set()
    thread.join()


# Other processes


def test_the_folder_for_claims_lies_within_that_of_the_process_before(
    apart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for before, parent in ((f"1:{apart}", apart), ("1:/nowhere/at/all", tmp_path), ("1:", tmp_path), (None, tmp_path)):
        if before is None:
            monkeypatch.delenv(context._CLAIMS)
        else:
            monkeypatch.setenv(context._CLAIMS, before)
        with followed():
            pid, _, inside = os.environ[context._CLAIMS].partition(":")
            assert (int(pid), Path(inside).parent) == (os.getpid(), parent)
            (Path(inside) / "kept.jsonl").touch()
        assert not Path(inside).exists()
        with followed():
            shutil.rmtree(os.environ[context._CLAIMS].partition(":")[2])  # somebody else was quicker


@pytest.mark.parametrize(
    ("named", "home", "foreign"),
    [
        ("{pid}:{folder}", True, False),
        ("{pid}:{folder}", False, False),
        ("-1:{folder}", True, False),
        ("-1:{folder}", False, True),
        ("0:{folder}", False, True),
        (":{folder}", False, False),
        ("", False, False),
        (None, False, False),
    ],
)
def test_a_claim_is_sent_to_the_process_of_its_test(
    named: str | None, home: bool, foreign: bool, apart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named is None:
        monkeypatch.delenv(context._CLAIMS)
    else:
        monkeypatch.setenv(context._CLAIMS, named.format(pid=os.getpid(), folder=apart))
    one = of_test() if home else Context(test="t")
    assert context._foreign(one) == (apart if foreign else None)
    one.home = (-1, 0)
    assert context._foreign(one) == (apart if named and not named.startswith(":") else None)


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ({"test": "t", "begun": "2", "words": "w"}, (0, {"1": "old", "2": "w"}, [], 0)),
        ({"test": "", "begun": "2", "words": "w"}, (0, {"1": "old", "2": "w"}, [], 0)),
        ({"test": "u", "begun": "2", "words": "w"}, (0, {"1": "old"}, [], 1)),
        ({"test": "t", "result": RESULT.to_dict()}, (1, {"1": "old"}, [], 0)),
        ({"test": "u", "result": RESULT.to_dict()}, (0, {"1": "old"}, [], 1)),
        ({"test": "t", "ended": "1", "error": None}, (0, {}, [], 0)),
        ({"test": "u", "ended": "1", "error": None}, (0, {"1": "old"}, [], 0)),
        (
            {"test": "t", "ended": "1", "error": {"name": "E", "message": "m", "result": None}},
            (0, {}, ["old: E: m"], 0),
        ),
        (
            {"test": "t", "ended": "3", "error": {"name": "E", "message": "m", "result": RESULT.to_dict()}},
            (0, {"1": "old"}, ["a claim in another process: m"], 0),
        ),
        ({"test": "u", "ended": "1", "error": {"name": "E", "message": "m", "result": None}}, (0, {"1": "old"}, [], 1)),
    ],
)
def test_a_line_of_another_process_is_taken_by_its_test(line: dict[str, Any], record: Any, apart: Path) -> None:
    one = of_test(under_way={"1": "old"})
    context._send(apart, line)
    context.receive(one)
    kept = [f"{each.where}: {each.error}" for each in one.apart]
    assert (len(one.results), one.under_way, kept, len(lost_claims())) == record
    assert list(apart.glob("*.jsonl")) == []
    context._send(apart, line)
    assert len(lost_claims()) == (0 if line.get("error", 0) is None else 1)


def test_a_claim_of_another_process_says_how_it_ended(apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(context._CLAIMS, f"-1:{apart}")
    for error in (None, ClaimFailed("no", FAILED), OSError("disk")):
        with suppress(BaseException), running(Context(test="t")), claiming("accuracy"):
            if error is not None:
                raise error
    one = of_test()
    context.receive(one)
    assert one.under_way == {}
    assert [each.where for each in one.apart] == [f"accuracy in process {os.getpid()}"] * 2
    assert [str(each.error) for each in one.apart] == ["no", "OSError: disk"]
    assert [isinstance(each.error, ClaimFailed) for each in one.apart] == [True, False]


def test_lines_after_one_that_changes_nothing_are_read(apart: Path) -> None:
    context._send(apart, {"test": "u", "ended": "1", "error": None})
    context._send(apart, {"test": "t", "result": RESULT.to_dict()})
    one = of_test()
    context.receive(one)
    assert (one.results, lost_claims()) == ([RESULT], [])


@pytest.mark.parametrize(("named", "taken"), [("1:{}", True), (":{}", False), ("1:{}/gone", False), ("", False)])
def test_lines_are_read_in_a_run_alone(named: str, taken: bool, apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context._send(apart, {"test": "t", "result": RESULT.to_dict()})
    monkeypatch.setenv(context._CLAIMS, named.format(apart))
    one = of_test()
    context.receive(one)
    assert one.results == ([RESULT] if taken else [])


def test_claims_are_sent_where_no_file_can_be_locked(apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(context.sys.modules, "fcntl", None)  # type: ignore[arg-type]
    context._send(apart, {"test": "t", "result": RESULT.to_dict()})
    one = of_test()
    context.receive(one)
    assert (one.results, (apart / "lock").exists()) == ([RESULT], False)


def test_a_picture_that_cannot_be_written_outside_of_a_test_is_warned_of_where_it_was_asked_for() -> None:
    def save() -> str:
        raise OSError(28, "full")

    with pytest.warns(RuntimeWarning, match="a picture could not be written to there: full") as found:
        assert Context().picture(save, "there") is None
    assert found[0].filename == __file__


# The current record


def test_the_last_test_that_runs_is_the_current_one_for_all_threads() -> None:
    seen: list[str] = []

    def look() -> None:
        thread = threading.Thread(target=lambda: seen.append(current().test))
        thread.start()
        thread.join()

    first, second = Context(test="first"), Context(test="second")
    with running(first):
        with running(second):
            look()
            with running(first):
                look()
        look()  # the inner block has taken it out
        assert current() is first
    look()
    assert seen == ["second", "first", "", ""]


@pytest.mark.parametrize("notebook", [True, False])
@pytest.mark.parametrize("shell", [True, False])
@pytest.mark.parametrize("tested", [True, False])
def test_a_notebook_shows_progress_and_pictures(
    notebook: bool, shell: bool, tested: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shows(*_: object) -> None:
        """Show nothing."""

    monkeypatch.setattr(context, "notebook_progress", lambda: shows if shell else None)
    monkeypatch.setattr(context, "_notebook_pictures", lambda: str(tmp_path))
    monkeypatch.setattr(context, "_running", [])
    if notebook:
        monkeypatch.setitem(context.sys.modules, "IPython", ModuleType("IPython"))
    else:
        monkeypatch.delitem(context.sys.modules, "IPython", raising=False)
    one = Context(test="t")
    with running(one) if tested else nullcontext():
        found = current()
    if tested:
        assert found is one
    elif notebook and shell:
        assert (found.progress, found.settings) == (shows, Settings(pictures=str(tmp_path)))
    else:
        assert (found.progress, found.settings, found.test) == (None, Settings(), "")


# The end of the process


def test_what_waits_for_the_end_is_called_once_the_last_one_first(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[Any] = []
    called: list[str] = []
    monkeypatch.setattr(context, "_endings", [])
    monkeypatch.setattr(context.atexit, "register", lambda *given, **how: registered.append((given, how)))
    monkeypatch.setattr(context.atexit, "unregister", registered.append)
    for name in "abc":
        context.when_over(lambda name=name: called.append(name))  # type: ignore[misc]
    assert registered == [((context.over,), {})]
    context.over()
    context.over()
    assert called == ["c", "b", "a"]
    context.when_over(lambda: called.append("d"))
    assert registered == [((context.over,), {}), context.over, context.over, ((context.over,), {})]
    registered.clear()
    folder = context._notebook_pictures.__wrapped__()
    assert registered == [((shutil.rmtree, folder), {"ignore_errors": True})]
    assert Path(folder).is_dir()
    shutil.rmtree(folder)


@pytest.mark.parametrize("home", [True, False])
def test_a_claim_makes_a_test_a_robustness_test(home: bool) -> None:
    one = of_test() if home else Context(test="t")
    with running(one):
        context.begin("a claim")
    assert (one.claims, one.robust, one.declared) == (True, True, False)


@pytest.mark.parametrize("value", [RESULT, None])
def test_a_measurement_is_ungated_until_an_assertion_takes_it(value: Any) -> None:
    one, other = of_test(), RESULT.but()
    one.note(other)
    one.note(value)
    assert one.measured == 2
    one.gate(RESULT)
    assert [each is other for each in one.ungated] == [True]
