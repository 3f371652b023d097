"""Guards of the hooks of a whole run: what is counted, written, sent, and by which process."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from robustest import context, extensions
from robustest import pytest_plugin as plugin
from robustest.account import Account, Session
from robustest.plain_run import PytestSession
from robustest.pytest_plugin import reports, xdist
from robustest.pytest_plugin.ledger import Ledger
from robustest.pytest_plugin.options import (
    ACCOUNT,
    CLAIMS,
    COLLECTED,
    CONTEXT,
    DESELECTED,
    FOUND,
    LEDGER,
    OTHERS,
    SESSION,
    SETTINGS,
)


class Heard(Ledger):
    """A ledger that notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[str, Any] = {}

    def expect(self, tests: list[str], *, calls: bool) -> None:
        self.heard["expect"] = (tests, calls)

    def add_robust(self, tests: Any) -> None:
        self.heard["robust"] = list(tests)

    def add_sent(self, count: int) -> None:
        self.heard["sent"] = count

    def add_problems(self, problems: Any) -> None:
        self.heard["problems"] = list(problems)


def config(stash: dict[Any, Any] | None = None, **given: Any) -> Any:
    held = {CLAIMS: PytestSession(), **(stash or {})}
    return SimpleNamespace(stash=held, getoption=lambda name, default=None: given.get(name, default))


@pytest.mark.parametrize(
    ("on", "given", "expected"),
    [
        (True, {}, (["a"], True)),
        (True, {"setuponly": True}, (["a"], False)),
        (True, {"collectonly": True}, None),
        (False, {}, None),
    ],
)
def test_tests_that_will_run_must_report(on: bool, given: dict[str, Any], expected: Any) -> None:
    ledger = Heard()
    run = config({LEDGER: ledger, COLLECTED: ["r"]} if on else {}, **given)
    plugin.pytest_runtestloop(SimpleNamespace(config=run, items=[SimpleNamespace(nodeid="a")]))  # type: ignore[arg-type]
    assert ledger.heard.get("expect") == expected
    assert ledger.heard.get("robust") == (["r"] if expected else None)
    ledger.heard.clear()
    plugin.pytest_xdist_node_collection_finished(SimpleNamespace(config=run), ["b"])
    calls = not given.get("setuponly", False)
    assert ledger.heard == ({"expect": (["b"], calls)} if on else {})


@pytest.mark.parametrize(
    ("output", "heard", "collected"),
    [
        (None, {}, None),
        ({}, {"sent": 0, "problems": []}, None),
        ({"robustest_recorded": 3, "robustest_lost": ["x"]}, {"sent": 3, "problems": ["x"]}, None),
        (
            {"robustest_collected": ["a"], "robustest_deselected": ["b"]},
            {"sent": 0, "problems": [], "robust": ["a"]},
            (["a"], ["b"]),
        ),
    ],
)
def test_what_a_worker_sends_at_its_end_is_counted(output: Any, heard: Any, collected: Any) -> None:
    ledger = Heard()
    run = config({LEDGER: ledger})
    node = SimpleNamespace(config=run, workeroutput=output)
    plugin.pytest_testnodedown(node, None)
    assert ledger.heard == heard
    assert (run.stash.get(COLLECTED), run.stash.get(DESELECTED)) == (collected or (None, None))
    plugin.pytest_testnodedown(SimpleNamespace(config=config(), workeroutput=output), None)  # without --robust
    plugin.pytest_testnodedown(SimpleNamespace(config=run), None)  # it died
    assert ledger.heard == heard


@pytest.mark.parametrize("collected", [True, False])
def test_a_worker_sends_what_its_tests_recorded(collected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "lost_claims", lambda: ["lost"])
    monkeypatch.setattr(reports, "loaded_code", lambda _: {"/b.py", "/a.py"})
    stash: dict[Any, Any] = {LEDGER: Heard(), DESELECTED: ["d"]}
    run = config(stash | ({COLLECTED: ["c"]} if collected else {}))
    run.workerinput, run.workeroutput = {}, {}
    items = [SimpleNamespace(stash={CONTEXT: SimpleNamespace(results=[1, 2])}), SimpleNamespace(stash={})]
    hook = plugin.pytest_sessionfinish(SimpleNamespace(config=run, items=items))  # type: ignore[arg-type]
    next(hook)
    with pytest.raises(StopIteration):
        hook.send(None)
    more = {"robustest_collected": ["c"], "robustest_deselected": ["d"]} if collected else {}
    more["robustest_loaded"] = ["/a.py", "/b.py"]
    assert run.workeroutput == {"robustest_recorded": 2, "robustest_lost": ["lost"], **more}


@pytest.mark.parametrize(
    ("recorded", "ended", "given", "written", "tracked"),
    [
        (0, 0, {}, [], False),
        (0, 1, {}, [1], False),
        (1, 1, {}, [], False),
        (None, 1, {}, [], False),
        (0, 0, {"--robust-track": "mlflow"}, [], True),
        (0, 0, {"--robust-track": "mlflow", "collectonly": True}, [], False),
    ],
)
def test_a_run_ends_with_the_exit_status_that_is_in_its_files(  # noqa: PLR0917
    recorded: int | None,
    ended: int,
    given: dict[str, Any],
    written: list[int],
    tracked: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accounts, tracks, over = [], [], []  # type: ignore[var-annotated]
    monkeypatch.setattr(context, "over", lambda: over.append(1))
    monkeypatch.setattr(plugin, "_write", lambda _, account: accounts.append(account.session.exit))
    monkeypatch.setattr(reports, "track", lambda *about: tracks.append(about))
    session = None if recorded is None else Session(exit=recorded)
    account = Account(results=(), endings=(), session=session)
    run = config(
        {LEDGER: Heard(), ACCOUNT: account, SESSION: SimpleNamespace(exitstatus=ended), SETTINGS: "s"}, **given
    )
    plugin.pytest_unconfigure(run)
    assert (accounts, bool(tracks), over) == (written, tracked, [1])
    plugin.pytest_unconfigure(config())
    assert over == [1]


@pytest.mark.parametrize("lost", [(), ("a file",)])
@pytest.mark.parametrize("shard", [None, (2, 3)])
def test_files_name_the_shard_and_a_loss_ends_the_run_in_an_error(
    lost: tuple[str, ...], shard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def write(run: Any, account: Account, settings: Any, *, shard: Any) -> Account:
        given.append(shard)
        return account.with_lost(lost)

    monkeypatch.setattr(plugin.pytest_options, "shard_of", lambda _: shard)
    monkeypatch.setattr(reports, "write", write)
    ledger = SimpleNamespace(tests=lambda: {"a", "x"})
    run = config({LEDGER: ledger, COLLECTED: ["a", "b"], SETTINGS: "s"})
    session: Any = SimpleNamespace(config=run, exitstatus=0)
    plugin._write(session, Account(results=(), endings=(), session=Session(exit=0)))
    expected = {"index": 2, "count": 3, "tests": ["a", "b"], "reported": ["a"]}
    assert given == [None if shard is None else expected]
    assert session.exitstatus == (3 if lost else 0)
    assert (run.stash[ACCOUNT].lost, run.stash[SESSION]) == (lost, session)


def test_workers_are_counted_and_given_their_share_with_the_option_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[Any] = []
    monkeypatch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)
    monkeypatch.setattr(plugin.pytest_options, "settings_of", lambda _: "s")
    monkeypatch.setattr(xdist, "process_count", lambda _: 5)
    monkeypatch.setattr(xdist, "share_machine", lambda *given: shares.append(given))
    assert plugin.pytest_xdist_auto_num_workers(config(**{"--robust": True})) == 5
    assert plugin.pytest_xdist_auto_num_workers(config()) is None
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "2")
    assert plugin.pytest_xdist_auto_num_workers(config(**{"--robust": True})) is None
    plugin.pytest_xdist_setupnodes(config(), [1])
    plugin.pytest_xdist_setupnodes(config({SETTINGS: "s"}), [2])
    assert shares == [([2], "s")]


@pytest.mark.parametrize("packs", [[], ["acme"]])
def test_the_header_names_settings_and_packs(packs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from robustest.reports import terminal

    monkeypatch.setattr(extensions, "names", lambda: packs)
    monkeypatch.setattr(terminal, "header", lambda *_: ["header"])
    run = config({SETTINGS: "s"})
    run.get_terminal_writer = lambda: SimpleNamespace(fullwidth=80)
    assert plugin.pytest_report_header(run) == ["header", *(["robustest packs: acme"] if packs else [])]
    assert plugin.pytest_report_header(config()) is None


def test_tests_that_were_left_out_last_are_deselected_too(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other, mine = (SimpleNamespace(nodeid=name) for name in ("one", "other", "mine"))
    monkeypatch.setattr(plugin, "_is_robust", lambda item, by_text, **_: by_text and item is one)
    for robust, left in ((True, ["gone", "one"]), (False, ["gone"])):
        stash: dict[Any, Any] = {DESELECTED: ["gone", "mine", "gone"], OTHERS: [one, other, mine]}
        run = config(stash | ({SETTINGS: "s"} if robust else {}))
        run.rootpath = Path()
        plugin.pytest_collection_finish(SimpleNamespace(config=run, items=[mine]))  # type: ignore[arg-type]
        assert run.stash[DESELECTED] == left
    plugin.pytest_collection_finish(SimpleNamespace(config=config(), items=[]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("held", "passed", "last_failed", "found"),
    [
        (["a"], True, False, ["a"]),
        ([], True, False, []),
        ([], True, True, ["b"]),  # --lf skips whole files without collecting them
        ([], False, True, []),
        (["a"], True, True, ["a"]),
    ],
)
@pytest.mark.parametrize("on", [True, False])
def test_tests_that_are_left_out_by_name_are_found(  # noqa: PLR0917
    held: list[str], passed: bool, last_failed: bool, found: list[str], on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Item(SimpleNamespace):
        pass

    class File(SimpleNamespace):
        def collect(self) -> list[Any]:
            return [Item(nodeid="b"), SimpleNamespace(nodeid="no test")]

    fake = SimpleNamespace(Item=Item, Class=type("Class", (), {}), File=File)
    monkeypatch.setattr(plugin, "pytest", fake)
    run = config({SETTINGS: "s"} if on else {}, lf=last_failed)
    report = SimpleNamespace(result=[Item(nodeid=name) for name in held], passed=passed)
    hook = plugin.pytest_make_collect_report(File(config=run, nodeid="f"))  # type: ignore[arg-type]
    next(hook)
    with pytest.raises(StopIteration) as end:
        hook.send(report)  # type: ignore[arg-type]
    assert end.value.value is report
    assert list(run.stash.get(FOUND, {})) == (found if on else [])
