"""Guards of the traceback on a report: words of others are inert, lines fit, and only the user's frames are shown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from accounts import RESULT

from robustest import context
from robustest.context import Context
from robustest.errors import AttemptsFailed, ClaimFailed, ModelError
from robustest.pytest_plugin import outcome
from robustest.results import Verdict

HOSTILE = "##[error]owned \x1b]0;"
INERT = r"\x23#[error]owned \x1b]0;"


def raised(error: BaseException, cause: BaseException | None = None) -> pytest.ExceptionInfo[BaseException]:
    """What pytest knows of an error that a test raised, or of one with a cause."""
    local = HOSTILE

    def test(given: str) -> None:
        if cause is None:
            raise error
        try:
            raise cause
        except BaseException as before:
            raise error from before

    with pytest.raises(type(error)) as found:
        test(local)
    return found  # type: ignore[return-value]


def text_of(longrepr: Any) -> str:
    return str(longrepr)


@pytest.mark.parametrize("cause", [None, OSError(HOSTILE)], ids=["alone", "caused"])
@pytest.mark.parametrize("style", ["long", "short", "value", "line"])
def test_every_line_of_a_traceback_is_inert(style: Any, cause: BaseException | None) -> None:
    found = raised(ModelError(HOSTILE), cause).getrepr(style=style, funcargs=True, showlocals=True)
    assert "\x1b" in text_of(found)
    assert "\x1b" in found.reprcrash.message  # type: ignore[union-attr]
    outcome._make_inert(found)
    assert "\x1b" not in text_of(found)
    assert INERT in text_of(found)
    chain = getattr(found, "chain", None) or [(found.reprtraceback, found.reprcrash, None)]
    assert len(chain) == (1 if cause is None else 2)
    assert [crash.message.rpartition("Error: ")[2] for _, crash, _ in chain if crash is not None] == [INERT] * len(
        chain
    )


def test_values_of_arguments_and_of_local_variables_are_inert() -> None:
    entry = SimpleNamespace(
        lines=["a", HOSTILE],
        reprfuncargs=SimpleNamespace(args=[("given", HOSTILE), ("other", 3)]),
        reprlocals=SimpleNamespace(lines=[HOSTILE, "b"]),
    )
    bare = SimpleNamespace(lines=[HOSTILE], reprfuncargs=None, reprlocals=None)
    one = SimpleNamespace(reprtraceback=SimpleNamespace(reprentries=[entry, bare]), reprcrash=None)
    outcome._make_inert(one)
    assert (entry.lines, bare.lines) == (["a", INERT], [INERT])
    assert entry.reprfuncargs.args == [("given", INERT), ("other", "3")]
    assert entry.reprlocals.lines == [INERT, "b"]
    outcome._make_inert("text")  # of --tb=no: nothing in it is read


@pytest.mark.parametrize(
    ("error", "cut"),
    [
        (ClaimFailed(f"first {HOSTILE}\nsecond", RESULT), True),
        (AttemptsFailed(f"first {HOSTILE}\nsecond"), True),
        (ModelError(f"first {HOSTILE}\nsecond"), False),
    ],
    ids=["claim", "attempts", "model"],
)
def test_the_message_of_a_claim_is_its_first_line(error: BaseException, cut: bool) -> None:
    found: Any = raised(error).getrepr(style="short")
    name = f"{type(error).__module__}.{type(error).__name__}"
    assert f"E   {name}: first" in text_of(found)
    before = found.reprcrash.message
    outcome._make_short(found, error)
    if cut:
        assert found.reprcrash.message == f"first {INERT}"
        assert name not in text_of(found)
        assert f"E   {type(error).__name__}: first" in text_of(found)
    else:
        assert found.reprcrash.message == before
        assert f"E   {name}: first" in text_of(found)


def test_lines_of_the_error_fit_the_terminal_and_code_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "columns", lambda: 50)
    error = ModelError("x")
    long = f"E   claim      {'words of it ' * 6}".rstrip()
    code = f">   call({'argument, ' * 10})"
    name = f"E   {ClaimFailed.__module__}.ClaimFailed: E   {ClaimFailed.__module__}.ClaimFailed"
    entries = [SimpleNamespace(lines=[code, long, "", "E   short"]), SimpleNamespace(lines=[name])]
    one = SimpleNamespace(chain=[(SimpleNamespace(reprentries=entries[:1]), None, None)] * 1, reprcrash=None)
    one.chain.append((SimpleNamespace(reprentries=entries[1:]), None, None))
    outcome._make_short(one, error)
    first, second = entries
    assert first.lines[0] == code
    assert first.lines[-2:] == ["", "E   short"]
    folded = first.lines[1:-2]
    assert len(folded) > 1
    assert all(len(line) <= 50 for line in folded)
    assert [line[:16] for line in folded[1:]] == ["E" + " " * 15] * (len(folded) - 1)
    assert all(line[16] != " " for line in folded[1:])
    assert " ".join(line[1:].strip() for line in folded) == long[1:].strip()
    second.lines[:] = [name]
    outcome._make_short(one, ClaimFailed("no", RESULT))
    assert "".join(second.lines).count(ClaimFailed.__module__) == 1, "the first alone is the name of the class"


def test_only_the_last_of_the_users_frames_is_shown() -> None:
    def frame(path: str) -> Any:
        return SimpleNamespace(path=path)

    class Frames(list[Any]):
        def filter(self, keep: Any) -> Frames:
            return Frames(one for one in self if keep(one))

    own, hooks, claims = (frame(str(one.__file__)) for one in (outcome, outcome.contextlib, context))
    mine, helper = frame("/user/test.py"), frame("/user/helper.py")
    for frames, shown in (
        ([mine, helper, own, hooks], [helper]),
        ([hooks, own], []),
        ([mine, claims], [mine]),
        ([], []),
        ([own, mine], [mine]),
    ):
        found = outcome._users_frames(SimpleNamespace(traceback=Frames(frames)))  # type: ignore[arg-type]
        assert (type(found), found) == (Frames, shown)


def test_without_frames_of_the_user_the_last_is_shown() -> None:
    kept: list[Any] = []

    class Frames(list[Any]):
        def filter(self, keep: Any) -> Frames:
            return Frames(one for one in self if keep(one))

        def __getitem__(self, place: Any) -> Any:
            return Frames(list(self)[place])

    frames = Frames([SimpleNamespace(path=one.__file__) for one in (context, outcome, context)])
    excinfo = SimpleNamespace(value=ModelError("x"), traceback=frames, getrepr=lambda **how: kept.append(how))
    report: Any = SimpleNamespace(when="call", failed=True, longrepr=None)
    outcome.attach(report, Context(test="t"), excinfo, properties=[], short_traceback=True)  # type: ignore[arg-type]
    (how,) = kept
    assert (how["style"], how["funcargs"]) == ("value", False)
    assert list(how["tbfilter"](excinfo)) == list(frames)[-1:]


def test_without_a_terminal_there_are_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError

    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(outcome.shutil.os, "get_terminal_size", none)
    assert outcome.columns() == 80


def test_what_is_listed_already_hides_no_other() -> None:
    passed, failed = RESULT.but(), RESULT.but(verdict=Verdict.FAILED)
    measured = RESULT.but(verdict=Verdict.INCONCLUSIVE, threshold=None)
    record = Context(test="t", results=[passed], ungated=[passed, measured, measured.but(), failed])
    outcome.list_measured(record)
    assert [(one.verdict, one.ruling.gated) for one in record.results] == [
        (Verdict.PASSED, True),
        (Verdict.INCONCLUSIVE, False),
        (Verdict.FAILED, False),
    ]


def attached(error: BaseException | None, *, when: str = "call", short: bool = True, text: Any = None) -> Any:
    report: Any = SimpleNamespace(when=when, failed=error is not None, longrepr=text)
    excinfo = None if error is None else raised(error)
    outcome.attach(report, Context(test="t"), excinfo, properties=[], short_traceback=short)
    return report


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (ClaimFailed(HOSTILE, RESULT), True),
        (ModelError(HOSTILE), True),
        (AttemptsFailed(HOSTILE), True),
        (AssertionError(HOSTILE), False),
    ],
    ids=["claim", "model", "attempts", "other"],
)
def test_the_traceback_of_a_claim_is_cut_to_the_line_that_made_it(error: BaseException, ours: bool) -> None:
    found = attached(error).longrepr
    assert (found is not None) is ours
    if ours:
        (entry,) = found.reprtraceback.reprentries
        assert "raise error" in text_of(found)
        assert entry.reprfuncargs is None, "tensors explain nothing"
        assert "\x1b" not in text_of(found)
    whole = raised(error).getrepr(style="long")
    left = attached(error, short=False, text=whole).longrepr
    assert left is whole
    assert ("\x1b" in text_of(left)) is not ours
