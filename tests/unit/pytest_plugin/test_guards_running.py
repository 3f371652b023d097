"""Guards of one test's hooks: its settings hold while it runs, and what it claimed decides its end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from accounts import RESULT

from robustest import Settings, plain_run
from robustest.context import Context, current
from robustest.errors import AttemptsFailed, ClaimFailed, ConfigError, NoClaimError, NotSearched, RobustestError
from robustest.pytest_plugin import outcome, running
from robustest.pytest_plugin.options import CONTEXT, MEASURING, SETTINGS, WRONG
from robustest.pytest_plugin.outcome import FixtureScope
from robustest.reports.terminal import folder_name

Skipped = pytest.skip.Exception


def item(context: Context | None = None, stash: dict[Any, Any] | None = None, **fields: Any) -> Any:
    run = SimpleNamespace(
        stash={SETTINGS: Settings()} if stash is None else stash,
        getoption=lambda name, *_: "auto" if name == "tbstyle" else None,
    )
    held = {} if context is None else {CONTEXT: context}
    return SimpleNamespace(config=run, stash=held, user_properties=[], funcargs={}, nodeid="t", **fields)


def ran(hook: Any, work: Callable[[], object]) -> object:
    """Run a hook around some work; return its value, or raise its error."""
    next(hook)
    try:
        try:
            value = work()
        except BaseException as error:
            hook.throw(error)
        else:
            hook.send(value)
    except StopIteration as end:
        return end.value
    raise AssertionError("the hook has not ended")


def raising(error: BaseException) -> Callable[[], object]:
    def work() -> object:
        raise error

    return work


# Phases


@pytest.mark.parametrize("phase", ["setup", "call", "teardown"])
@pytest.mark.parametrize(
    ("error", "claims", "ended"),
    [
        (None, False, False),
        (ClaimFailed("no", RESULT), True, True),
        (ConfigError("no"), True, True),
        (KeyError("no"), False, True),
        (KeyboardInterrupt(), False, True),
        (Skipped("why"), False, False),
    ],
    ids=repr,
)
def test_a_phase_notes_the_error_that_ends_it(
    phase: str, error: BaseException | None, claims: bool, ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(outcome, "require_attempts", lambda _, *, passed: asked.append(passed))
    context, other = Context(test="t"), KeyError("another")
    context.apart = [SimpleNamespace(error=error), SimpleNamespace(error=other)]  # type: ignore[list-item]
    with suppress(BaseException), running._phase(context, phase):
        if error is not None:
            raise error
    assert context.claims is claims
    assert (context.ended == (phase, error)) is ended
    kept = [other] if ended else [error, other]
    assert [id(one.error) for one in context.apart] == [id(one) for one in kept], "one that it raised is reported"
    assert asked == ([False] if isinstance(error, Skipped) else [True] if error is None and phase == "call" else [])
    with pytest.raises(ZeroDivisionError), running._phase(context, "teardown"):
        raise ZeroDivisionError
    assert (context.ended is not None and context.ended[0]) == (phase if ended else "teardown"), "the first one counts"


@pytest.mark.parametrize("replay", [True, False])
def test_a_setup_begins_anew_and_a_replay_is_skipped(replay: bool) -> None:
    context = Context(test="t", settings=Settings(replay_only=replay))
    one = item(context)
    one.user_properties += [("robustest.1", "a"), ("mine", "b")]
    assert ran(running.pytest_runtest_setup(one), lambda: 5) == 5
    assert (context.phases, one.user_properties) == (["setup"], [("mine", "b")])
    with pytest.raises(Skipped if replay else NotSearched):
        ran(running.pytest_runtest_setup(one), raising(NotSearched("s", "r")))
    wrong = item(context)
    wrong.stash[WRONG] = pytest.UsageError("odd")
    with pytest.raises(pytest.UsageError, match="odd"):
        next(running.pytest_runtest_setup(wrong))
    assert ran(running.pytest_runtest_setup(item()), lambda: 5) == 5


# The call


@pytest.mark.parametrize(
    ("fields", "shard", "error"),
    [
        ({"declared": True, "measured": 1}, None, None),
        ({"declared": True}, None, NoClaimError),
        ({}, None, None),
        ({"claims": True}, None, None),
        ({"claims": True}, (1, 2), ConfigError),
        ({"declared": True, "measured": 1, "claims": True}, (1, 2), None),
        ({}, (1, 2), None),
    ],
)
def test_a_call_without_a_claim_is_refused(
    fields: dict[str, Any], shard: Any, error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.pytest_options, "shard_of", lambda _: shard)

    def work() -> int:
        for name, value in fields.items():
            setattr(context, name, value)
        return 5

    context = Context(test="t")
    one = item(context, listchain=list, fixturenames=())
    if error is None:
        assert ran(running.pytest_runtest_call(one), work) == 5
    else:
        with pytest.raises(error):
            ran(running.pytest_runtest_call(one), work)
        assert context.ended is not None
    assert context.phases == ["call"]
    assert one.config.stash[MEASURING] == set()


@pytest.mark.parametrize(("scope", "shared"), [("m.py", True), ("other.py", False)])
def test_a_shared_fixture_that_measured_is_the_claim_of_its_tests(scope: str, shared: bool) -> None:
    context = Context(test="t", declared=True)
    one = item(context, listchain=lambda: [SimpleNamespace(nodeid="m.py")], fixturenames=("model",))
    one.config.stash[MEASURING] = {FixtureScope("model", scope, 0)}
    hook = running.pytest_runtest_call(one)
    if shared:
        ran(hook, lambda: None)
    else:
        with pytest.raises(NoClaimError):
            ran(hook, lambda: None)
    assert not shared or context.claims


@pytest.mark.parametrize("replay", [True, False])
def test_errors_of_other_threads_end_the_call_and_the_teardown(replay: bool) -> None:
    for hook, words in ((running.pytest_runtest_call, "call"), (running.pytest_runtest_teardown, "teardown")):
        for error in (None, ClaimFailed("apart", RESULT)):
            context = Context(test="t", settings=Settings(replay_only=replay), measured=1, claims=True)
            context.apart = [] if error is None else [SimpleNamespace(error=error, unheard=True, task=None, where="w")]
            one = item(context, listchain=list, fixturenames=())
            if error is not None:
                with pytest.raises(ClaimFailed, match="apart"):
                    ran(hook(one), lambda: 5)
                assert context.ended == (words, error)
            elif replay and words == "call":
                with pytest.raises(Skipped, match="replayed only"):
                    ran(hook(one), lambda: 5)
            else:
                assert ran(hook(one), lambda: 5) == 5
    assert ran(running.pytest_runtest_teardown(item()), lambda: 5) == 5


def test_threads_that_a_call_has_started_are_its_own() -> None:
    context, stop = Context(test="t"), threading.Event()
    mine = threading.Thread(target=stop.wait, daemon=True)
    ran(running.pytest_runtest_call(item(context, listchain=list, fixturenames=())), mine.start)
    stop.set()
    assert context.threads == [mine]


def test_a_claim_that_has_not_ended_is_an_error_of_the_teardown_alone() -> None:
    context = Context(test="t", under_way={"1": "a claim in thread 'x'"})
    running.raise_unheard(context)
    with pytest.raises(RobustestError, match="these have not: a claim in thread 'x'"):
        running.raise_unheard(context, over=True)
    assert context.under_way == {}
    running.raise_unheard(context, over=True)


@pytest.mark.parametrize(("hook", "ends"), [("setup", False), ("call", False), ("teardown", True)])
def test_claims_have_to_end_before_the_teardown_does(hook: str, ends: bool) -> None:
    context = Context(test="t", claims=True, measured=1, under_way={"1": "a claim in thread 'x'"})
    one = item(context, listchain=list, fixturenames=())
    work = getattr(running, f"pytest_runtest_{hook}")(one)
    if ends:
        with pytest.raises(RobustestError, match="these have not: a claim in thread 'x'"):
            ran(work, lambda: 5)
        assert context.ended is not None
    else:
        assert ran(work, lambda: 5) == 5


class Task:
    """A task of an event loop."""

    def __init__(self, *, done: bool, cancelled: bool = False) -> None:
        self.done_, self.cancelled_, self.asked = done, cancelled, 0

    def done(self) -> bool:
        return self.done_

    def cancelled(self) -> bool:
        return self.cancelled_

    def exception(self) -> None:
        self.asked += 1


@pytest.mark.parametrize(
    ("tasks", "over", "raised", "left", "asked"),
    [
        # (done, unheard) of each
        ([], False, None, 0, 0),
        ([(True, True)], False, 0, 0, 1),
        ([(True, False)], False, None, 0, 0),
        ([(False, True)], False, None, 1, 0),
        ([(False, True)], True, 0, 0, 0),
        ([(False, True), (True, True)], False, 1, 1, 1),
        ([(True, True), (True, True)], False, 0, 0, 2),
        ([(None, True), (False, True)], False, 0, 1, 0),  # of a thread
    ],
)
def test_the_error_of_a_task_is_raised_once_it_has_ended(
    tasks: list[tuple[Any, bool]], over: bool, raised: int | None, left: int, asked: int
) -> None:
    made = [None if done is None else Task(done=done) for done, _ in tasks]
    errors = [ConfigError(f"error {place}") for place in range(len(tasks))]
    context = Context(test="t")
    context.apart = [
        SimpleNamespace(error=errors[place], unheard=unheard, task=made[place], where=f"task {place}")  # type: ignore[misc]
        for place, (_, unheard) in enumerate(tasks)
    ]
    if raised is None:
        running.raise_unheard(context, over=over)
    else:
        with pytest.raises(ConfigError, match=f"error {raised}"):
            running.raise_unheard(context, over=over)
        assert "only this report shows the error" in errors[raised].__notes__[0]
    assert len(context.apart) == left
    assert sum(one.asked for one in made if one is not None) == asked


# Settings


def test_settings_hold_while_a_test_runs_and_it_is_over_afterwards() -> None:
    context = Context(test="mine")
    one = item(context)
    assert ran(running.pytest_runtest_protocol(one), lambda: current().test) == "mine"
    assert context.over
    assert current().test != "mine"
    wrong = item(context)
    wrong.stash[WRONG] = pytest.UsageError("odd")
    context.over = False
    assert ran(running.pytest_runtest_protocol(wrong), lambda: current().test) != "mine"
    assert not context.over


@pytest.mark.parametrize("with_option", [True, False])
@pytest.mark.parametrize("again", [True, False])
def test_after_the_report_of_its_teardown_a_test_claims_no_more(
    with_option: bool, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.pytest_options, "skips_claims", lambda _: False)
    one = item(Context(test="t")) if with_option else item(stash={})
    session = plain_run.begin_session()

    def work() -> list[bool]:
        seen = []
        for when in ("setup", "call", "teardown"):
            call: Any = SimpleNamespace(when=when, excinfo=None)
            ran(running.pytest_runtest_makereport(one, call), int)
            seen.append(plain_run.session_outside() is session)
        if again:
            ran(running.pytest_runtest_setup(one), lambda: None)
            seen.append(plain_run.session_outside() is session)
        return seen

    try:
        assert plain_run.session_outside() is session
        expected = [False, False, True, *([False] if again else [])]
        assert ran(running.pytest_runtest_protocol(one), work) == expected
        assert plain_run.session_outside() is session
    finally:
        plain_run.end_session(session)
    assert plain_run.session_outside() is not session


@pytest.mark.parametrize("skips", [True, False])
def test_without_the_option_the_first_claim_skips_the_test(skips: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running.pytest_options, "skips_claims", lambda _: skips)
    hook = running.pytest_runtest_protocol(item(stash={}))
    if skips:
        with pytest.raises(Skipped, match="run with --robust"):
            ran(hook, plain_run.claim)
    else:
        ran(hook, plain_run.claim)


@pytest.mark.parametrize(
    ("scope", "works", "shared", "ungated"),
    [
        ("function", lambda: current().note(RESULT), None, 1),
        ("module", lambda: None, None, 0),
        ("module", lambda: current().note(RESULT), ("model", "m.py", 2), 1),
        ("session", lambda: current().record(RESULT), ("model", "m.py", 2), 0),
    ],
)
def test_a_shared_fixture_has_the_settings_of_its_module_and_its_measurement_counts(
    scope: str, works: Any, shared: Any, ungated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.pytest_options, "settings_for", lambda *_: Settings(seed=9, pictures="theirs"))
    run = SimpleNamespace(stash={SETTINGS: Settings()})
    request: Any = SimpleNamespace(config=run, node=SimpleNamespace(nodeid="m.py"), param_index=2)
    first = Context(test="first", settings=Settings(seed=1, pictures="mine"))
    seen: list[Any] = []

    def work() -> None:
        seen.append((current().settings.seed, current().settings.pictures, current().owner, current().measured))
        works()

    from robustest.context import running as runs

    with runs(first):
        fixture: Any = SimpleNamespace(scope=scope, argname="model")
        ran(running.pytest_fixture_setup(fixture, request), work)
    own = (1, "mine", "", 0) if scope == "function" else (9, "mine", "m.py::model", 0)
    assert seen == [own]
    assert run.stash.get(MEASURING, set()) == ({FixtureScope(*shared)} if shared else set())
    assert len(first.ungated) == ungated
    del request.param_index  # a fixture without parameters
    with runs(Context(test="second")):
        ran(running.pytest_fixture_setup(fixture, request), lambda: current().note(RESULT))
    if scope != "function":
        assert FixtureScope("model", "m.py", 0) in run.stash[MEASURING]
    run.stash.clear()
    assert ran(running.pytest_fixture_setup(fixture, request), lambda: 5) == 5


# Reports


def test_a_robustness_test_s_results_are_on_its_report(monkeypatch: pytest.MonkeyPatch) -> None:
    attached: list[Any] = []
    monkeypatch.setattr(outcome, "attach", lambda *given, **how: attached.append((given, how)))
    call: Any = SimpleNamespace(excinfo="error", when="call")
    for context, count in ((Context(test="t", claims=True), 1), (Context(test="t"), 0), (None, 0)):
        attached.clear()
        one = item(context)
        assert ran(running.pytest_runtest_makereport(one, call), lambda: "report") == "report"
        assert len(attached) == count
        if count:
            assert attached[0] == (
                ("report", context, "error"),
                {"properties": one.user_properties, "short_traceback": True},
            )


@pytest.mark.parametrize(
    ("when", "failed", "problem", "shown"),
    [
        ("call", True, "odd", ("error", "E", "ERROR")),
        ("call", True, "", None),
        ("call", True, None, None),
        ("call", False, "odd", None),
        ("setup", True, "odd", None),
    ],
)
def test_what_could_not_be_measured_is_shown_as_an_error(when: str, failed: bool, problem: Any, shown: Any) -> None:
    more = {} if problem is None else {"robustest_unmeasured": problem}
    report: Any = SimpleNamespace(when=when, failed=failed, **more)
    assert running.pytest_report_teststatus(report) == shown


@pytest.mark.parametrize(
    ("attempts", "failed", "holds"),
    [("every", 1, False), ("majority", 1, False), ("every", 0, True)],
)
def test_a_later_pass_does_not_undo_a_failure(attempts: str, failed: int, holds: bool) -> None:
    from robustest.context import Attempt

    context = Context(test="t", claims=True, measured=1, settings=Settings(attempts=attempts))
    context.attempts += [Attempt((), "call", "failed", "first")] * failed
    hook = running.pytest_runtest_call(item(context, listchain=list, fixturenames=()))
    if holds:
        assert ran(hook, lambda: 5) == 5
    else:
        with pytest.raises(AttemptsFailed, match="failed in 1 of 2 attempts"):
            ran(hook, lambda: 5)


# The record of a test


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("worker", [True, False])
@pytest.mark.parametrize("pictures", ["shown", None])
def test_a_test_has_its_own_folder_of_pictures_and_shows_progress_in_the_main_process(
    pictures: str | None, worker: bool, declared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Settings(seed=4, pictures=pictures)
    monkeypatch.setattr(running.pytest_options, "settings_for", lambda *_: own)
    monkeypatch.setattr(running.pytest_options, "from_here", lambda *_: "here/t")
    monkeypatch.setattr(running.pytest_options, "rerun_command", lambda *given: f"pytest of {given[1:]!r}")
    one = item()
    if worker:
        one.config.workerinput = {}
    made = running.context_of(one, one.config, declared=declared)
    folder = None if pictures is None else f"shown/{folder_name('t')}"
    settings = replace(own, pictures=folder)
    assert (made.settings, made.test, made.where, made.declared) == (settings, "t", "here/t", declared)
    assert (made.progress is None) is worker
    assert made.rerun == f"pytest of {(settings, 't')!r}"
    assert (made.skip, made.claims, made.owner) == (pytest.skip, False, "")


def test_a_test_that_declares_nothing_gets_its_record_when_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    record = Context(test="t")
    monkeypatch.setattr(running, "context_of", lambda *given, declared: asked.append((given, declared)) or record)
    one = item()
    assert ran(running.pytest_runtest_protocol(one), lambda: current() is record)
    assert asked == [((one, one.config), False)]
    assert (one.stash[CONTEXT], record.over) == (record, True)
    record.over = False
    with pytest.raises(KeyError):
        ran(running.pytest_runtest_protocol(one), raising(KeyError()))
    assert (len(asked), record.over) == (1, True)
