"""Guards of the start of a run: what is checked and taken back, what fixtures give, and what mistakes in markers do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from robustest import Settings, context
from robustest import pytest_plugin as plugin
from robustest.context import Context
from robustest.plain_run import PytestSession
from robustest.pytest_plugin import reports
from robustest.pytest_plugin.ledger import Ledger
from robustest.pytest_plugin.options import (
    CLAIMS,
    CONTEXT,
    DESELECTED,
    FOUND,
    LEDGER,
    LOADED,
    OTHERS,
    SESSION,
    SETTINGS,
    SILENT,
    WRONG,
)

Skipped = pytest.skip.Exception


def ended(hook: Any, value: Any = None) -> Any:
    """Run a hook around what returns a value; return the hook's own."""
    next(hook)
    with pytest.raises(StopIteration) as end:
        hook.send(value)
    return end.value.value


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"robust": True}, True),
        ({"robust": True, "help": False, "version": 0, "markers": False}, True),
        ({"robust": False}, False),
        ({"robust": True, "help": True}, False),
        ({"robust": True, "version": 1}, False),
        ({"robust": True, "markers": True}, False),
    ],
    ids=str,
)
def test_files_of_an_earlier_run_are_taken_back_where_a_run_begins(
    given: dict[str, Any], taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(reports, "take_back", lambda *about: calls.append(about))
    follows: list[Any] = []  # children of a conftest.py are children of the run
    monkeypatch.setattr(plugin, "_follow", follows.append)
    options = SimpleNamespace(**given)
    early: Any = SimpleNamespace(known_args_namespace=options, invocation_params=SimpleNamespace(dir=Path("/here")))
    plugin.pytest_load_initial_conftests(early)
    assert calls == ([(options, Path("/here"))] if taken else [])
    assert follows == ([early] if taken else [])


@pytest.mark.parametrize("worker", [True, False])
@pytest.mark.parametrize("on", [True, False])
def test_a_run_is_checked_before_it_begins(on: bool, worker: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    for name in ("check_ini", "check_packs", "check_reports", "shard_of"):
        monkeypatch.setattr(plugin.pytest_options, name, lambda *_, name=name: done.append(name))
    settings = Settings(seed=3)
    monkeypatch.setattr(plugin.pytest_options, "settings_of", lambda _: settings)

    @contextmanager
    def followed() -> Iterator[None]:
        done.append("followed")
        yield
        done.append("closed")

    monkeypatch.setattr(context, "followed", followed)
    cleanups: list[Callable[[], None]] = []
    registered: list[Any] = []
    lines: list[tuple[str, str]] = []
    run: Any = SimpleNamespace(
        stash={},
        rootpath=Path("/root"),
        getoption={"--robust": on}.get,
        addinivalue_line=lambda *line: lines.append(line),
        add_cleanup=cleanups.append,
        pluginmanager=SimpleNamespace(register=registered.append),
    )
    if worker:
        run.workerinput = {}
    plugin.pytest_configure(run)
    assert [name for name, _ in lines] == ["markers"]
    assert lines[0][1].startswith("robust(**settings): ")
    if not on:
        assert (done, run.stash, cleanups, registered) == (["check_ini"], {}, [], [])
        return
    assert done == ["check_ini", "check_packs", "shard_of", "followed", *([] if worker else ["check_reports"])]
    assert run.stash[SETTINGS] is settings
    assert isinstance(run.stash[LEDGER], Ledger)
    assert [(one._ledger, one._root) for one in registered] == ([] if worker else [(run.stash[LEDGER], Path("/root"))])
    for cleanup in cleanups:
        cleanup()
    assert done[-1] == "closed"


def test_every_option_and_key_of_an_ini_file_is_registered() -> None:
    added: dict[str, dict[str, Any]] = {}
    keys: dict[str, Any] = {}
    group = SimpleNamespace(addoption=lambda name, **how: added.update({name: how}))
    parser: Any = SimpleNamespace(
        getgroup=lambda *_: group, addini=lambda name, _, **how: keys.update({name: (how["type"], how["default"])})
    )
    nobody: Any = SimpleNamespace(get_plugin=lambda _: None)
    plugin.pytest_addoption(parser, nobody)
    switches = {name for name, how in added.items() if how.get("action") == "store_true"}
    assert switches == {f"--robust{name}" for name in ("", "-details", "-html-inline", *FLAGS)}
    others = {
        name.removeprefix("--robust-"): how.get("type", str) for name, how in added.items() if name not in switches
    }
    assert others == {
        **dict.fromkeys(("profile", "device", "engine", "address", "corpus", "shard", "json", "html"), str),
        **dict.fromkeys(("history", "junit", "badge", "track"), str),
        **dict.fromkeys(("seed", "max-samples", "workers"), int),
        "gpus-per-task": float,
    }
    names = {one.name for one in dataclasses.fields(Settings)} - {"audit_values", "replay_only", "update_baseline"}
    assert set(keys) == {f"robust_{name}" for name in (*names, "plain_runs")}
    assert {default for _, default in keys.values()} == {None}
    assert {kind for kind, _ in keys.values()} == {"string", "int", "float", "bool", "args"}


FLAGS = ("-exact", "-audit-values", "-no-cache", "-replay-only", "-update-baseline")


@pytest.mark.parametrize("attack", ["fast", "thorough"])
def test_the_attacks_of_profiles_are_not_looked_up(attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking one up loads torch."""

    def as_attack(_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("robustest.attacks.as_attack", as_attack)
    plugin.pytest_options.check_attack(SimpleNamespace(inipath=None), Settings(attack=attack))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        plugin.pytest_options.check_attack(SimpleNamespace(inipath=None), Settings(attack="pgd"))  # type: ignore[arg-type]


# Fixtures


def function_of(fixture: Any) -> Any:
    """The function of a fixture."""
    return fixture._get_wrapped_function() if hasattr(fixture, "_get_wrapped_function") else fixture.__wrapped__


def test_a_fixture_declares_a_robustness_test() -> None:
    record = Context(test="t")
    request = SimpleNamespace(node=SimpleNamespace(stash={CONTEXT: record}))
    assert function_of(plugin.robust)(request) is record
    assert (record.declared, record.claims) == (True, False)
    with pytest.raises(Skipped, match="run with --robust"):
        function_of(plugin.robust)(SimpleNamespace(node=SimpleNamespace(stash={})))


def test_the_file_of_the_baseline_is_that_of_the_settings() -> None:
    run = SimpleNamespace(stash={SETTINGS: Settings(baseline="mine.json")})
    assert function_of(plugin.robust_baseline)(run) == "mine.json"
    with pytest.raises(pytest.UsageError, match="--robust"):
        function_of(plugin.robust_baseline)(SimpleNamespace(stash={}))


@pytest.mark.parametrize("name", ["robust_model", "robust_data", "robust_responses"])
def test_a_fixture_that_the_project_does_not_define_says_how(name: str) -> None:
    with pytest.raises(pytest.UsageError, match=f"(?s)Expected a fixture '{name}'.*def {name}"):
        function_of(getattr(plugin, name))()


# Collection


def item(name: str, *, marked: bool = False, fixtures: tuple[str, ...] = ()) -> Any:
    """Stands in for a test, with markers that can be added."""
    marks: list[Any] = [pytest.mark.robust] if marked else []
    return SimpleNamespace(
        nodeid=name,
        stash={},
        obj=None,
        fixturenames=fixtures,
        marks=marks,
        get_closest_marker=lambda wanted: next((one for one in marks if one.name == wanted), None),
        add_marker=marks.append,
    )


@pytest.mark.parametrize("worker", [True, False])
def test_a_mistake_in_a_marker_ends_the_run_and_in_a_worker_the_test(
    worker: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = pytest.UsageError("odd")

    def context_of(one: Any, *_: object, declared: bool) -> Any:
        if one.nodeid == "wrong":
            raise error
        return Context(test=one.nodeid, declared=declared)

    monkeypatch.setattr(plugin, "context_of", context_of)
    checked: list[Any] = []
    for name, value in (("shard_of", None), ("skips_claims", False)):
        monkeypatch.setattr(plugin.pytest_options, name, lambda *_, value=value: value)
    monkeypatch.setattr(plugin.pytest_options, "check_attack", lambda *given: checked.append(given))
    run: Any = SimpleNamespace(stash={SETTINGS: Settings()})
    if worker:
        run.workerinput = {}
    plain, wrong, right = item("plain"), item("wrong", marked=True), item("right", fixtures=("robust_model",))
    hook = plugin.pytest_collection_modifyitems(run, [plain, wrong, right])
    next(hook)
    assert [len(one.marks) for one in (plain, wrong, right)] == [0, 1, 1], "a fixture marks its tests, once"
    assert (run.stash[DESELECTED], run.stash[OTHERS]) == (["wrong", "right"], [plain])
    if not worker:
        with pytest.raises(pytest.UsageError, match="odd"):
            hook.send(None)
        return
    with pytest.raises(StopIteration):
        hook.send(None)
    assert wrong.stash == {WRONG: error}
    assert [(one.test, one.declared) for one in right.stash.values()] == [("right", True)]
    assert (plain.stash, checked) == ({}, [])


def test_a_class_takes_the_place_of_its_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    class Item(SimpleNamespace):
        pass

    class Class(SimpleNamespace):
        pass

    monkeypatch.setattr(plugin, "pytest", SimpleNamespace(Item=Item, Class=Class, File=type("File", (), {})))
    run = SimpleNamespace(stash={CLAIMS: PytestSession(), SETTINGS: "s"}, getoption=lambda *_: False)
    module, klass = SimpleNamespace(config=run, nodeid="m"), Class(config=run, nodeid="m::C")
    ended(plugin.pytest_make_collect_report(module), SimpleNamespace(result=[Item(nodeid="m::t"), klass], passed=True))  # type: ignore[arg-type]
    assert list(run.stash[FOUND]) == ["m::t", "m::C"]
    parts = [Item(nodeid="m::C::a"), Item(nodeid="m::C::b")]
    ended(plugin.pytest_make_collect_report(klass), SimpleNamespace(result=parts, passed=True))  # type: ignore[arg-type]
    assert list(run.stash[FOUND]) == ["m::t", "m::C::a", "m::C::b"]
    other = Class(config=run, nodeid="m::D")  # left out by its name: its tests were never seen
    ended(plugin.pytest_make_collect_report(other), SimpleNamespace(result=[], passed=True))  # type: ignore[arg-type]
    assert list(run.stash[FOUND]) == ["m::t", "m::C::a", "m::C::b"]


@pytest.mark.parametrize("lf", [True, False])
@pytest.mark.parametrize("file", [True, False])
@pytest.mark.parametrize("passed", [True, False])
def test_tests_of_a_file_that_lf_skips_are_collected_once_more(
    lf: bool, file: bool, passed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Item(SimpleNamespace):
        pass

    class File(SimpleNamespace):
        pass

    fake = SimpleNamespace(Item=Item, Class=type("Class", (), {}), File=File)
    monkeypatch.setattr(plugin, "pytest", fake)
    run = SimpleNamespace(
        stash={CLAIMS: PytestSession(), SETTINGS: "s"}, getoption=lambda name, _: lf if name == "lf" else None
    )
    asked: list[int] = []

    def collect() -> list[Any]:
        asked.append(1)
        return [Item(nodeid="a")]

    collector: Any = (File if file else SimpleNamespace)(config=run, nodeid="f", collect=collect)
    ended(plugin.pytest_make_collect_report(collector), SimpleNamespace(result=[], passed=passed))
    expected = lf and file and passed
    assert (len(asked), list(run.stash[FOUND])) == ((1, ["a"]) if expected else (0, []))

    def breaks() -> list[Any]:
        raise ZeroDivisionError

    collector.collect = breaks
    ended(plugin.pytest_make_collect_report(collector), SimpleNamespace(result=[], passed=passed))
    collector.collect = collect
    run.getoption = lambda _, default: default  # without pytest's plugin of the cache there is no such option
    ended(plugin.pytest_make_collect_report(collector), SimpleNamespace(result=[], passed=passed))
    assert len(asked) == expected


# Workers of pytest-xdist


def test_files_that_workers_loaded_are_those_of_all() -> None:
    run = SimpleNamespace(stash={LEDGER: Ledger()})
    for loaded in (["a"], ["b", "a"], None):
        output = {} if loaded is None else {"robustest_loaded": loaded}
        node = SimpleNamespace(config=run, workeroutput=output, gateway=SimpleNamespace(id="gw0"))
        plugin.pytest_testnodedown(node, None)
    assert run.stash[LOADED] == {"a", "b"}


def test_a_worker_that_was_killed_has_not_said_what_it_loaded() -> None:
    run = SimpleNamespace(stash={LEDGER: Ledger()})
    nodes: list[Any] = [SimpleNamespace(config=run, gateway=SimpleNamespace(id=f"gw{k}")) for k in range(3)]
    for node in nodes:
        plugin.pytest_testnodeready(node)
    nodes[0].workeroutput = {"robustest_loaded": ["a"]}
    nodes[1].workeroutput = {}
    for node in nodes:
        plugin.pytest_testnodedown(node, None)
    assert run.stash[SILENT] == {"gw1", "gw2"}


# The place of each hook among those of other plugins

NOTHING: Any = SimpleNamespace(stash={}, getoption=lambda _, default=None: default, getini=lambda _: "run")
WHOLE: Any = SimpleNamespace(config=NOTHING, items=[])
CALL: Any = SimpleNamespace(when="call", excinfo=None)
PLAIN: Any = SimpleNamespace(stash={}, config=NOTHING)
REQUEST: Any = SimpleNamespace(config=NOTHING)
OFF: Any = SimpleNamespace(known_args_namespace=SimpleNamespace(robust=False))


@pytest.mark.parametrize(
    ("hook", "given", "options"),
    [
        (plugin.pytest_load_initial_conftests, (OFF,), {"tryfirst"}),  # before a conftest.py can end the run
        (plugin.pytest_xdist_auto_num_workers, (NOTHING,), {"optionalhook"}),  # pytest-xdist may be absent
        (plugin.pytest_xdist_setupnodes, (NOTHING, []), {"optionalhook"}),
        (plugin.pytest_xdist_node_collection_finished, (PLAIN, []), {"optionalhook"}),
        (plugin.pytest_testnodeready, (PLAIN,), {"optionalhook"}),
        (plugin.pytest_testnodedown, (PLAIN, None), {"optionalhook"}),
        (plugin.pytest_collection_modifyitems, (NOTHING, []), {"wrapper"}),
        (plugin.pytest_make_collect_report, (PLAIN,), {"wrapper", "trylast"}),  # innermost
        (plugin.pytest_runtestloop, (WHOLE,), {"tryfirst"}),
        (plugin.pytest_sessionfinish, (WHOLE,), {"wrapper"}),
        (plugin.pytest_runtest_setup, (PLAIN,), {"wrapper", "tryfirst"}),
        (plugin.pytest_runtest_protocol, (PLAIN,), {"wrapper"}),
        (plugin.pytest_runtest_call, (PLAIN,), {"wrapper"}),
        (plugin.pytest_runtest_teardown, (PLAIN,), {"wrapper"}),
        (plugin.pytest_fixture_setup, (SimpleNamespace(scope="session"), REQUEST), {"wrapper"}),
        (plugin.pytest_runtest_makereport, (PLAIN, CALL), {"wrapper"}),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_hook_does_nothing_without_the_option_and_has_its_place(
    hook: Any, given: tuple[Any, ...], options: set[str]
) -> None:
    assert {name for name, value in hook.pytest_impl.items() if value and name != "specname"} == options
    NOTHING.stash.clear()
    NOTHING.stash[CLAIMS] = PytestSession()
    report = "of others"
    if "wrapper" in options:
        assert ended(hook(*given), report) == (None if hook is plugin.pytest_collection_modifyitems else report)
    else:
        assert hook(*given) is None
    assert not set(NOTHING.stash) - {CLAIMS, DESELECTED, OTHERS, SESSION}
