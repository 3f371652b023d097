"""Guards of claims that are made elsewhere, and of tests that run again; tests/plugin has the same within pytest."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from robustest.context import (
    _CLAIMS,
    Apart,
    Attempt,
    Context,
    _send,
    claiming,
    current,
    followed,
    lost_claims,
    receive,
    running,
    still_claiming,
)
from robustest.errors import ClaimFailed, ModelError, RobustestError
from robustest.pytest_plugin.running import raise_unheard
from robustest.results import Cost, Result, Verdict

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Python 3.12, where threads meet a fork


def made(verdict: str = "passed", **changes: Any) -> Result:
    fields: dict[str, Any] = {
        "kind": "robust_accuracy",
        "statement": "made up",
        "verdict": Verdict(verdict),
        "rule": "by hand",
        "quantity": "accuracy",
        "estimate": 0.5,
        "interval": (0.25, 0.75),
        "threshold": 0.5,
        "comparison": ">=",
        "n": 4,
        "n_total": 4,
        "outcomes": (True, False, True, False),
        "cost": Cost(),
        "seed": 0,
        "setting": "",
        "method": "",
    }
    return Result.of(**{**fields, **changes})


def claim(error: BaseException | None = None) -> None:
    with claiming("accuracy"):
        current().record(made("passed" if error is None else "failed"))
        if error is not None:
            raise error


def failed(words: str = "no") -> ClaimFailed:
    return ClaimFailed(words, made("failed"))


def in_fork(work: Callable[[], object]) -> int:
    pid = os.fork()
    if not pid:
        with suppress(BaseException):
            work()
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def in_thread(work: Callable[[], object], name: str = "worker") -> None:
    """Run where no error ends the test, as in a future that nobody reads."""

    def quiet() -> None:
        with suppress(BaseException):
            work()

    thread = threading.Thread(target=quiet, name=name)
    thread.start()
    thread.join()


@pytest.fixture(autouse=True)
def folder() -> Iterator[Path]:
    """Where other processes write their claims; nothing is lost from one test to the next."""
    with followed():
        yield Path(os.environ[_CLAIMS].partition(":")[2])
        lost_claims()


def of_test(name: str = "t") -> Context:
    return Context(test=name, home=(os.getpid(), threading.get_ident()))


# Other processes


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [(failed(), ClaimFailed, "no"), (ModelError("NaN"), RobustestError, "ModelError: NaN"), (None, None, "")],
    ids=str,
)
def test_what_a_fork_claims_is_in_the_record_of_its_test_once(
    error: BaseException | None, kind: Any, words: str
) -> None:
    context = of_test()
    with running(context):
        pid = in_fork(lambda: claim(error))
        assert context.results == [], "another process's memory is not this one's"
        receive(context)
        receive(context)
    assert [one.verdict for one in context.results] == [Verdict.PASSED if error is None else Verdict.FAILED]
    assert [(one.where, type(one.error), str(one.error)) for one in context.apart] == (
        [] if kind is None else [(f"accuracy in process {pid}", kind, words)]
    )
    assert context.under_way == {}
    assert lost_claims() == []


def test_a_process_that_dies_leaves_its_claim_under_way() -> None:
    def dies() -> None:
        with claiming("accuracy"):
            os._exit(1)

    context = of_test()
    with running(context):
        pid = in_fork(dies)
        receive(context)
    assert still_claiming(context) == [f"accuracy in process {pid}"]
    with pytest.raises(RobustestError, match=f"these have not: accuracy in process {pid}. Join threads"):
        raise_unheard(context, over=True)
    assert still_claiming(context) == [], "it is told once"


def test_a_process_that_knows_of_no_test_claims_for_the_one_that_runs() -> None:
    in_fork(lambda: claim(failed()))
    context = of_test()
    receive(context)
    assert [one.verdict for one in context.results] == [Verdict.FAILED]
    assert len(context.apart) == 1


def test_half_a_line_of_a_process_that_was_killed_is_left_out(folder: Path) -> None:
    whole = json.dumps({"test": "t", "result": made().to_dict()})
    (folder / "1.jsonl").write_text(f"{whole}\n{whole[:30]}", encoding="utf-8")
    context = of_test()
    receive(context)
    assert context.results == [made()]


def test_claims_of_a_test_that_has_ended_are_lost_by_name(folder: Path) -> None:
    with running(of_test("early")):
        in_fork(lambda: claim(failed()))
    late = of_test("late")
    receive(late)
    assert (late.results, late.apart, late.under_way) == ([], [], {})
    assert set(lost_claims()) == {"a claim of early came when its test had ended"}
    assert lost_claims() == []
    in_fork(claim)  # with no test about
    assert set(lost_claims()) == {"a claim of another process came when its test had ended"}


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        ({"begun": "1", "words": "accuracy"}, True),
        ({"ended": "1", "error": None}, False),
        ({"ended": "1", "error": {"name": "ClaimFailed", "message": "no", "result": None}}, True),
        ({"result": made().to_dict()}, True),
    ],
    ids=["begun", "ended well", "ended badly", "recorded"],
)
def test_the_good_end_of_a_claim_that_was_told_of_before_loses_nothing(
    line: dict[str, Any], lost: bool, folder: Path
) -> None:
    _send(folder, {"test": "early", **line})
    receive(of_test("late"))
    assert bool(lost_claims()) is lost


def test_what_is_claimed_after_the_run_disturbs_nobody(folder: Path) -> None:
    context = of_test()
    context.home = (-1, 0)
    _send(folder / "gone", {"test": "t"})
    folder.rename(folder.with_name("moved"))
    with running(context), pytest.raises(ClaimFailed):
        claim(failed())
    assert context.results == []
    folder.with_name("moved").rename(folder)


def test_the_process_that_a_test_runs_in_records_for_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test runs in a fork of its own, its context says so; else the environment does."""
    monkeypatch.setenv(_CLAIMS, f"-1:{folder}")
    own, unknown = of_test(), Context(test="t")
    with running(own):
        claim()
    assert own.results == [made()]
    with running(unknown):
        claim()
    assert unknown.results == []
    monkeypatch.setenv(_CLAIMS, f"{os.getpid()}:{folder}")
    with running(unknown):
        claim()
    assert unknown.results == [made()]


def test_a_file_is_not_taken_while_a_process_writes_it(folder: Path) -> None:
    fcntl: Any = pytest.importorskip("fcntl")
    _send(folder, {"test": "t", "result": made().to_dict()})
    context = of_test()
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=receive, args=(context,))
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
        assert context.results == []
    thread.join()
    assert context.results == [made()]


@pytest.mark.parametrize("before", ["1:elsewhere", None])
def test_the_environment_is_as_it_was_after_a_run(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if before is None:
        monkeypatch.delenv(_CLAIMS)
    else:
        monkeypatch.setenv(_CLAIMS, before)
    with followed():
        inside = Path(os.environ[_CLAIMS].partition(":")[2])
        assert inside.is_dir()
    assert os.environ.get(_CLAIMS) == before
    assert not inside.exists()


# Threads


@pytest.mark.parametrize("error", [failed(), ModelError("NaN"), ZeroDivisionError("inside")], ids=repr)
def test_an_error_of_another_thread_is_kept_for_the_end_of_the_test(error: BaseException) -> None:
    context = of_test()
    with running(context):
        in_thread(lambda: claim(error))
        assert context.results == [made("failed")]
        assert [(one.where, one.error) for one in context.apart] == [("accuracy in thread 'worker'", error)]
        with pytest.raises(type(error)):
            raise_unheard(context)
        raise_unheard(context)  # raised once
    assert any("accuracy in thread 'worker': only this report shows the error" in note for note in error.__notes__)


def test_an_error_in_the_tests_own_thread_ends_the_test_and_is_kept_nowhere() -> None:
    for context in (of_test(), Context(test="t")):
        with running(context), pytest.raises(ClaimFailed):
            claim(failed())
        assert (context.apart, context.under_way) == ([], {})
    assert lost_claims() == []


def test_a_claim_in_a_thread_is_under_way_until_it_ends() -> None:
    go, begun, context = threading.Event(), threading.Event(), of_test()

    def slow() -> None:
        with claiming("accuracy"):
            begun.set()
            go.wait(60)

    with running(context):
        thread = threading.Thread(target=slow, name="slow")
        thread.start()
        begun.wait(10)
        assert still_claiming(context) == ["accuracy in thread 'slow'"]
        raise_unheard(context)  # there is time yet
        go.set()
        thread.join()
        assert still_claiming(context) == []
        with claiming("accuracy"):
            assert still_claiming(context) == [], "the test itself is not waited for"


@pytest.mark.parametrize("follows", [True, False])
def test_an_error_that_no_test_can_hear_of_is_lost_by_name(follows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not follows:  # in nobody's run of tests, who made the claim hears of its error
        monkeypatch.delenv(_CLAIMS)
    ended = of_test()
    ended.over = True
    with running(ended):
        in_thread(lambda: claim(failed("no\nmore")), "late")
    in_thread(lambda: claim(failed()), "nobody's")
    assert ended.apart == []
    monkeypatch.setenv(_CLAIMS, "")
    assert lost_claims() == (
        [
            "a claim of t ended in ClaimFailed in thread 'late': no",
            'a claim outside of any robustness test ended in ClaimFailed in thread "nobody\'s": no',
        ]
        if follows
        else []
    )


def test_a_thread_belongs_to_the_test_that_runs_and_to_none_after_it() -> None:
    seen: list[str] = []
    outer, inner = of_test("outer"), of_test("inner")
    with running(outer):
        with running(inner):
            in_thread(lambda: seen.append(current().test))
        in_thread(lambda: seen.append(current().test))
    in_thread(lambda: seen.append(current().test))
    assert seen == ["inner", "outer", ""]


@pytest.mark.parametrize(
    ("error", "stumbled"),
    [(ZeroDivisionError(), True), (failed(), False), (ModelError("NaN"), False), (KeyboardInterrupt(), False)],
    ids=repr,
)
def test_what_is_no_error_of_ours_keeps_a_claim_from_being_measured(error: BaseException, stumbled: bool) -> None:
    context = of_test()
    with running(context), pytest.raises(type(error)):
        claim(error)
    assert context.stumbled == ([error] if stumbled else [])


def test_a_thread_that_may_yet_claim_is_waited_for_and_an_idle_one_is_not() -> None:
    go, context = threading.Event(), of_test()
    context.declared = True

    def waits() -> None:  # in a module that knows of robustest; what waits is in Python's own
        go.wait(60)

    knows, idle = threading.Thread(target=waits, name="knows"), threading.Thread(target=go.wait, args=(60,))
    pool = ThreadPoolExecutor(1)
    pool.submit(int).result()
    context.threads = [knows, idle, *pool._threads]
    assert still_claiming(context) == [], "none has begun but the pool's, which is idle"
    knows.start()
    idle.start()
    deadline = time.monotonic() + 60
    while not still_claiming(context) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert still_claiming(context) == ["thread 'knows'"]
    with pytest.raises(RobustestError, match="thread 'knows'"):
        raise_unheard(context, over=True)
    go.set()
    knows.join()
    idle.join()
    pool.shutdown()
    assert still_claiming(context) == []


# Tasks


def test_the_error_of_a_task_counts_unless_somebody_has_asked_for_it() -> None:
    context, tasks = of_test(), []

    async def work() -> None:
        await asyncio.sleep(0)
        claim(failed())

    async def main() -> None:
        asked, unasked = asyncio.create_task(work()), asyncio.create_task(work())
        tasks.extend([asked, unasked])
        await asyncio.wait([asked, unasked])
        assert isinstance(asked.exception(), ClaimFailed)

    with running(context):
        asyncio.run(main())
    assert [one.task for one in context.apart] == tasks
    assert [one.unheard for one in context.apart] == [False, True]
    with pytest.raises(ClaimFailed):
        raise_unheard(context)
    assert not tasks[1]._log_traceback, "it is the test's from here on, and nobody else's to log"
    raise_unheard(context, over=True)


def test_a_task_that_goes_on_may_yet_be_asked_until_the_test_is_over() -> None:
    context = of_test()

    async def work() -> None:
        try:
            claim(failed())
        except ClaimFailed:
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        raise_unheard(context)
        assert [one.unheard for one in context.apart] == [True]
        other = Apart("accuracy in thread 'worker'", ModelError("NaN"))
        context.apart.append(other)
        with pytest.raises(ModelError):  # what is certain does not wait for it
            raise_unheard(context)
        assert [one.task for one in context.apart] == [task]
        with pytest.raises(ClaimFailed):
            raise_unheard(context, over=True)
        assert context.apart == []
        task.cancel()

    with running(context):
        asyncio.run(main())


# Attempts


@pytest.mark.parametrize(
    ("error", "results", "outcome"),
    [
        (None, [], "passed"),
        (AssertionError("no"), [], "failed"),
        (failed(), [made("failed")], "failed"),
        (pytest.fail.Exception("no"), [], "failed"),
        (OSError("disk"), [], "error"),
        (ModelError("NaN"), [made()], "error"),
        (OSError("disk"), [made("failed")], "failed"),
        (OSError("disk"), [made("inconclusive")], "failed"),
        (OSError("disk"), [made(), made("failed")], "failed"),
        (OSError("disk"), [made("failed", gated=False)], "error"),
        (OSError("disk"), [made("inconclusive", threshold=None)], "error"),
    ],
    ids=str,
)
def test_an_attempt_fails_by_what_was_claimed_or_asserted(
    error: BaseException | None, results: list[Result], outcome: str
) -> None:
    context = Context(test="t", results=results, ended=None if error is None else ("teardown", error))
    found = Attempt.of(context)
    assert (found.outcome, found.results) == (outcome, tuple(results))
    if error is not None:
        assert (found.phase, found.reason) == ("teardown", str(error))


def test_an_attempt_begins_with_nothing_of_the_one_before() -> None:
    context = of_test()
    for phase in ("setup", "call", "teardown"):
        context.begins(phase)
    assert context.attempts == []
    context.results += [made("failed")]
    context.ended, context.forgiven = ("call", failed()), True
    context.apart.append(Apart("elsewhere", failed()))
    context.under_way["1"] = "accuracy"
    context.stumbled.append(OSError())
    context.ungated.append(made("failed"))
    context.unvouched.append("replayed only")
    context.sent = context.measured = 3
    context.over, context.home = True, None
    context.begins("setup")
    assert [(one.outcome, one.results) for one in context.attempts] == [("failed", (made("failed"),))]
    assert context.phases == ["setup"]
    assert context.home == (os.getpid(), threading.get_ident())
    anew = Context(test="t")
    for name in ("results", "ended", "forgiven", "apart", "under_way", "stumbled", "ungated", "unvouched"):
        assert getattr(context, name) == getattr(anew, name), name
    assert (context.sent, context.measured, context.over) == (0, 0, False)


@pytest.mark.parametrize(
    ("phases", "attempts"),
    [
        (["setup", "call", "teardown"], 0),
        (["setup", "call", "teardown", "setup", "call"], 1),
        (["setup", "setup", "call"], 1),
        (["setup", "call", "call", "call"], 2),
        (["call", "setup"], 1),
        (["setup", "teardown", "setup", "teardown", "setup", "call"], 2),
    ],
    ids=str,
)
def test_a_phase_that_comes_again_is_another_attempt(phases: list[str], attempts: int) -> None:
    context = of_test()
    for phase in phases:
        context.begins(phase)
    assert len(context.attempts) == attempts
