"""Guards of what pytest hides: files outside of the command line, fixtures that are missing, results made fuller."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accounts import RESULT

from robustest import pytest_plugin as plugin
from robustest.account import Account, Ending, Session
from robustest.context import Context, _may_claim, _send, current, followed, lost_claims, receive
from robustest.plain_run import PytestSession
from robustest.pytest_plugin import reports
from robustest.pytest_plugin.ledger import Ledger, _missing_fixture
from robustest.pytest_plugin.options import ACCOUNT, CLAIMS, COLLECTED, CONTEXT, DESELECTED, LEDGER, OTHERS, SETTINGS
from robustest.pytest_plugin.outcome import FixtureScope, fixture_scopes
from robustest.reports import github, terminal

ARGS = pytest.Config.ArgsSource


def config(root: Path, *args: str, here: str = "", source: Any = ARGS.ARGS, testpaths: Any = (), **given: Any) -> Any:
    ini = {"testpaths": list(testpaths), "python_files": ["test_*.py", "*_test.py"], "norecursedirs": [".*", "venv"]}
    return SimpleNamespace(
        invocation_params=SimpleNamespace(dir=root / here),
        args_source=source,
        args=[*args] or [str(root / here)],
        rootpath=root,
        getoption=lambda name, default=None: given.get(name, default),
        getini=ini.get,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five files of tests, two of which lie in an environment and in a folder that pytest leaves out."""
    files = ("test_a.py", "a_test.py", "in/test_b.py", "in/deeper/test_c.py", "in/helpers.py", "other/test_d.py")
    for name in (
        *files,
        ".hidden/test_e.py",
        "made/pyvenv.cfg",
        "made/test_f.py",
        "made/lib/test_g.py",
        "venv/test_h.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("args", "given", "left_out"),
    [
        ((), {}, 0),
        (("test_a.py",), {}, 4),
        (("test_a.py::test_it", "in"), {}, 2),
        (("in/deeper",), {}, 4),
        (("in", "other", "test_a.py", "a_test.py"), {}, 0),
        ((), {"here": "in", "source": ARGS.INVOCATION_DIR}, 3),
        (("deeper",), {"here": "in"}, 4),
        ((), {"ignore": ["in"]}, 2),
        ((), {"ignore_glob": ["*/test_b.py"]}, 1),
        (("test_a.py",), {"ignore": ["test_a.py"]}, 5),
        (("in", "other"), {"testpaths": ["in", "other"], "source": ARGS.TESTPATHS}, 0),
        (("in", "other"), {"testpaths": ["in", "other"], "source": ARGS.TESTPATHS, "ignore": ["in/deeper"]}, 1),
        (("in", "other"), {"testpaths": ["in", "other"], "source": ARGS.TESTPATHS, "ignore_glob": ["*/test_d.py"]}, 1),
        (("in",), {"testpaths": ["in", "other"]}, 1),
    ],
)
def test_files_of_tests_outside_of_what_is_named_are_counted(
    args: tuple[str, ...], given: dict[str, Any], left_out: int, root: Path
) -> None:
    assert plugin._files_left_out(config(root, *args, **given)) == left_out


@pytest.mark.parametrize(("most", "found"), [(10, 4), (9, 3), (0, 1)])
def test_where_there_is_too_much_to_look_at_some_file_counts_as_left_out(
    most: int, found: int, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are ten files and folders, without those that are not entered."""
    monkeypatch.setattr(plugin, "_MOST_LOOKED_AT", most)
    assert plugin._files_left_out(config(root, "test_a.py")) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file a.py, line 3\n  def test(model): ...", "file a.py, line 3\n  def test(model): ..."),
        (
            "file a.py\nE       fixture 'modle' not found\n>       available fixtures: cache, model, tmp_path",
            "fixture 'modle' not found. Did you mean 'model'?",
        ),
        (
            "file a.py\nE       fixture 'zzz' not found\n>       available fixtures: cache, model",
            "fixture 'zzz' not found. Define it in conftest.py.",
        ),
        ("file a.py\nE       fixture 'cache' not found", "fixture 'cache' not found. Define it in conftest.py."),
    ],
)
def test_a_missing_fixture_is_named_with_the_nearest(text: str, words: str) -> None:
    assert _missing_fixture(text) == words


@pytest.mark.parametrize(
    ("longrepr", "text", "names", "kept"),
    [
        (("a.py", 3, "Skipped: no GPU"), "long", b"import robustest", "no GPU"),
        ("odd", "Skipped: in words", b"import robustest", "in words"),
        (("a.py", 3, "Skipped: no GPU"), "long", b"import other", None),
        (("a.py", 3, "Skipped: no GPU"), "long", None, None),
    ],
)
def test_a_file_that_skips_itself_has_its_reason(
    longrepr: Any, text: str, names: bytes | None, kept: str | None, tmp_path: Path
) -> None:
    if names is not None:
        (tmp_path / "a.py").write_bytes(names)
    ledger = Ledger()
    report: Any = SimpleNamespace(failed=False, skipped=True, nodeid="a.py", longrepr=longrepr, longreprtext=text)
    plugin._Intake(ledger, tmp_path).pytest_collectreport(report)
    assert [(one.outcome, one.reason) for one in ledger.endings()] == ([] if kept is None else [("skipped", kept)])
    report.failed, report.skipped = False, False
    plugin._Intake(ledger, tmp_path).pytest_collectreport(report)
    assert len(ledger.endings()) == (kept is not None)


@pytest.mark.parametrize(
    ("file", "below"),
    [
        ("{}/helpers.py", True),
        ("{}/inner/helpers.py", True),
        ("/elsewhere/helpers.py", False),
        ("{}/env/site-packages/helpers.py", False),
        (None, False),
    ],
)
def test_helpers_below_a_folder_are_the_users(
    file: str | None, below: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helpers = SimpleNamespace(__file__=None if file is None else file.format(tmp_path))
    monkeypatch.setitem(plugin.sys.modules, "acme_helpers", helpers)  # type: ignore[arg-type]
    assert plugin._is_below("acme_helpers", tmp_path) is below
    assert plugin._is_below("acme_nowhere", tmp_path) is False


def test_a_fixture_is_known_by_name_place_and_parameter() -> None:
    nodes = [SimpleNamespace(nodeid=name) for name in ("", "a.py", "a.py::test")]
    item: Any = SimpleNamespace(
        fixturenames=["model", "data"],
        funcargs={"request": SimpleNamespace(fixturenames=["late"])},
        callspec=SimpleNamespace(indices={"model": 2}),
        listchain=lambda: nodes,
    )
    assert fixture_scopes(item) == {
        FixtureScope(name, node.nodeid, 2 if name == "model" else 0)
        for name in ("model", "data", "late")
        for node in nodes
    }


# The record of a test


def test_a_result_is_made_fuller_where_it_is_and_nowhere_else() -> None:
    one, other, fuller = RESULT, RESULT.but(), RESULT.but(notes=("more",))
    context = Context(test="t", results=[other, one], ungated=[one, other])
    context.amend(one, fuller)
    assert [id(held) for held in (*context.results, *context.ungated)] == [
        id(held) for held in (other, fuller, fuller, other)
    ]
    context.gate(fuller)
    assert [id(held) for held in context.ungated] == [id(other)]


def test_a_context_begins_with_nothing() -> None:
    one = Context()
    assert (one.declared, one.claims, one.over, one.forgiven, one.robust) == (False,) * 5
    assert (one.measured, one.sent, one.results, one.claimant) == (0, 0, [], "")
    one.note(RESULT)
    one.note(None)
    assert (one.measured, one.ungated) == (2, [RESULT])
    one.sent = 3
    one.forget()
    assert (one.measured, one.sent, one.ungated) == (0, 0, [])
    assert current().test == ""


def frame(values: dict[str, Any], back: Any = None) -> Any:
    return SimpleNamespace(f_globals=values, f_back=back)


@pytest.mark.parametrize(
    ("values", "may"),
    [
        ({}, False),
        ({"a": 1, "b": "robustest"}, False),
        ({"a": plugin}, True),
        ({"a": Context}, True),
        ({"a": Path, "b": pytest}, False),
        ({"a": SimpleNamespace(__module__="robustest_people.claims")}, False),
        ({"a": SimpleNamespace(__module__="robustest.claims")}, True),
        ({"a": SimpleNamespace(__module__=3)}, False),
    ],
)
def test_code_that_imports_robustest_may_claim_and_no_other(values: dict[str, Any], may: bool) -> None:
    assert _may_claim(frame(values)) is may
    assert _may_claim(frame({}, frame(values))) is may
    assert _may_claim(None) is False


def test_claims_that_nobody_recorded_are_named_once() -> None:
    with followed():
        assert lost_claims() == []


@pytest.mark.parametrize("line", [{"begun": "1", "words": "w"}, {"result": RESULT.to_dict()}])
def test_a_test_claims_as_soon_as_another_process_does(line: dict[str, Any]) -> None:
    with followed():
        one = Context(test="t")
        folder = Path(os.environ["ROBUSTEST_CLAIMS"].partition(":")[2])
        _send(folder, {"test": "t", **line})
        receive(one)
        assert (one.claims, one.robust, lost_claims()) == (True, True, [])
        assert (len(one.results), list(one.under_way.values())) == ((1, []) if "result" in line else (0, ["w"]))


# The end of a run


@pytest.mark.parametrize(
    ("actions", "has_plugin", "lost", "no_summary", "written"),
    [
        ("", False, (), False, ["summary"]),
        ("true", False, (), False, ["summary", "::error::x"]),
        ("true", True, (), False, ["summary"]),
        ("", True, (), True, []),
        ("", False, ("a file",), True, ["summary"]),  # a loss is shown regardless
        ("true", False, (), True, ["::error::x"]),
    ],
)
def test_the_end_of_a_run_is_shown_and_annotated_on_github_alone(  # noqa: PLR0917
    actions: str,
    has_plugin: bool,
    lost: tuple[str, ...],
    no_summary: bool,
    written: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(plugin.pytest_options, "unused", lambda _: [])
    monkeypatch.setattr(terminal, "summary", lambda *_, **__: lines.append("summary"))
    monkeypatch.setattr(github, "annotation_commands", lambda *_, **__: ["::error::x"])
    monkeypatch.setenv("GITHUB_ACTIONS", actions)
    reporter = SimpleNamespace(stats={}, verbosity=0, write_line=lambda line, **_: lines.append(line))
    options = {"no_summary": no_summary, "--robust-details": False}
    ended: Any = SimpleNamespace(
        stash={ACCOUNT: Account(results=(), endings=(), session=None, lost=lost), LEDGER: Ledger()},
        getoption=options.get,
        pluginmanager=SimpleNamespace(has_plugin=lambda _: has_plugin),
        rootpath=Path(),
    )
    plugin.pytest_terminal_summary(reporter, ended)
    assert lines == written
    lines.clear()
    plugin.pytest_terminal_summary(reporter, SimpleNamespace(stash={}))  # type: ignore[arg-type] - without --robust
    assert lines == []


@pytest.mark.parametrize(("skipped", "line"), [(0, []), (1, ["1 robustness test "]), (2, ["2 robustness tests "])])
def test_tests_that_were_skipped_for_lack_of_the_option_are_counted(
    skipped: int, line: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin.pytest_options, "unused", lambda _: ["unused"])
    lines: list[str] = []
    reports = [SimpleNamespace(longrepr=("a", 1, f"Skipped: {plugin.SKIPPED}"))] * skipped
    others = [SimpleNamespace(longrepr=("a", 1, "Skipped: no GPU")), SimpleNamespace(longrepr=plugin.SKIPPED)]
    markup: list[Any] = []

    def write_line(line: str, **how: Any) -> None:
        lines.append(line)
        markup.append(how)

    reporter = SimpleNamespace(stats={"skipped": [*reports, *others]}, write_line=write_line)
    plugin.pytest_terminal_summary(reporter, SimpleNamespace(stash={}))  # type: ignore[arg-type]
    assert markup == [{"yellow": True}] * len(lines)
    assert lines == [f"{one}skipped: add --robust" for one in line] + ["unused"]


@pytest.mark.parametrize("with_option", [True, False])
@pytest.mark.parametrize("worker", [True, False])
@pytest.mark.parametrize("marked", [True, False])
def test_an_attack_is_checked_where_a_robustness_test_will_run(
    with_option: bool, worker: bool, marked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Any] = []
    for name, value in (("shard_of", None), ("skips_claims", False), ("settings_for", None)):
        monkeypatch.setattr(plugin.pytest_options, name, lambda *_, value=value: value)
    monkeypatch.setattr(plugin.pytest_options, "check_attack", lambda *given: checked.append(given))
    monkeypatch.setattr(plugin, "context_of", lambda *_, declared: ("context", declared))
    added: list[Any] = []
    one: Any = SimpleNamespace(
        nodeid="a.py::test",
        stash={},
        obj=lambda: None,
        fixturenames=(),
        get_closest_marker=lambda _: marked,
        add_marker=added.append,
    )
    run: Any = SimpleNamespace(stash={SETTINGS: "settings"} if with_option else {})
    if worker:
        run.workerinput = {}
    hook = plugin.pytest_collection_modifyitems(run, [one])
    next(hook)
    with pytest.raises(StopIteration):
        hook.send(None)
    assert checked == ([(run, "settings")] if with_option and marked and not worker else [])
    assert one.stash == ({CONTEXT: ("context", True)} if with_option and marked else {})
    assert bool(added) is (marked and not with_option), "without --robust it is skipped"
    assert run.stash[DESELECTED] == (["a.py::test"] if marked else [])
    assert run.stash.get(COLLECTED) == ((["a.py::test"] if marked else []) if with_option else None)


RED = Ending(test="t", phase="call", outcome="failed", robust=True)


@pytest.mark.parametrize(
    ("how", "ends"),
    [
        # (baselines updated, endings remembered, exit status, reason of a stop)
        ({}, (False, False, 0, "")),
        ({"update": True}, (True, False, 0, "")),
        ({"update": True, "lost": ("a",)}, (False, False, 0, "")),
        ({"update": True, "error": OSError("full")}, (False, False, 0, "")),
        ({"store": "s"}, (False, True, 0, "")),
        ({"endings": (RED,)}, (False, False, 1, "")),
        ({"endings": (RED,), "status": 1}, (False, False, 1, "")),
        ({"endings": (RED,), "status": 5}, (False, False, 5, "")),
        ({"shouldstop": "stopped"}, (False, False, 0, "stopped")),
        ({"shouldfail": "failed"}, (False, False, 0, "failed")),
        ({"status": 2}, (False, False, 2, "interrupted")),
    ],
)
def test_a_run_that_lost_results_updates_no_baseline_and_one_with_a_red_row_is_not_green(
    how: dict[str, Any], ends: tuple[bool, bool, int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    updated, remembered, written, asked = [], [], [], []  # type: ignore[var-annotated]
    monkeypatch.setattr(reports, "update_baselines", lambda rows: updated.append(rows) or [])
    monkeypatch.setattr(reports, "remember_endings", lambda *given: remembered.append(given))
    monkeypatch.setattr(plugin, "_write", lambda _, account: written.append(account))
    monkeypatch.setattr(plugin, "_selection", lambda _: "")
    monkeypatch.setattr(plugin, "_files_left_out", lambda _: 0)

    class Fake(Ledger):
        def account(self, status: int, **given: Any) -> Account:
            asked.append(given)
            endings = how.get("endings", ())
            return Account(results=(), endings=endings, session=Session(exit=status)).with_lost(how.get("lost", ()))

    settings = SimpleNamespace(update_baseline=how.get("update", False), store=how.get("store"), service="")
    status = pytest.ExitCode(how.get("status", 0))
    session: Any = SimpleNamespace(
        config=SimpleNamespace(stash={CLAIMS: PytestSession(), LEDGER: Fake(), SETTINGS: settings, DESELECTED: ["d"]}),
        exitstatus=status,
        shouldstop=how.get("shouldstop", False),
        shouldfail=how.get("shouldfail", False),
        items=[],
    )
    hook = plugin.pytest_sessionfinish(session)
    next(hook)
    with pytest.raises(StopIteration):
        hook.throw(how["error"]) if "error" in how else hook.send(None)
    (account,), (given,) = written, asked
    assert (bool(updated), bool(remembered), int(session.exitstatus), given["stopped"]) == ends
    assert account.session.exit == (3 if account.lost else ends[2])
    assert account.lost == (
        *how.get("lost", ()),
        *(["a plugin could not end: OSError: full"] if "error" in how else ()),
    )
    assert (given["collected"], given["deselected"]) == ([], ["d"])


@pytest.mark.parametrize("with_option", [True, False])
@pytest.mark.parametrize("skips", [True, False])
def test_texts_are_read_with_the_option_and_where_claims_are_skipped_without_it(
    with_option: bool, skips: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bool] = []
    monkeypatch.setattr(plugin.pytest_options, "shard_of", lambda _: None)
    monkeypatch.setattr(plugin.pytest_options, "skips_claims", lambda _: skips)
    monkeypatch.setattr(plugin, "_is_robust", lambda _, by_text: bool(read.append(by_text)))
    one: Any = SimpleNamespace(nodeid="a.py::test", stash={}, get_closest_marker=lambda _: None)
    run: Any = SimpleNamespace(stash={SETTINGS: "settings"} if with_option else {})
    next(plugin.pytest_collection_modifyitems(run, [one]))
    assert set(read) == {with_option or skips}
    assert (run.stash[DESELECTED], run.stash[OTHERS]) == ([], [one])
