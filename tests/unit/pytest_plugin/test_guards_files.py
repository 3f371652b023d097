"""Guards of the files of a run: which code it ran, which files are written twice, and what is sent to trackers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import accounts
import pytest

from robustest.account import Account, Ending, Row, Session
from robustest.history import Origin
from robustest.pytest_plugin import reports
from robustest.pytest_plugin.options import LOADED, SILENT
from robustest.reports import badge, github, json_file, junit, trackers
from robustest.reports.html import page
from robustest.settings import Settings
from robustest.store import provenance

RESULT = accounts.RESULT
NOW = Origin(time="2026-01-02T03:04:05.678Z", commit="", committed="", dirty=False, versions="")


def config(root: Path, *, loaded: set[str] | None = None, inipath: Path | None = None, **given: Any) -> Any:
    reporter = given.pop("reporter", None)
    return SimpleNamespace(
        getoption=lambda name, default=None: given.get(name.removeprefix("--robust-").replace("-", "_"), default),
        invocation_params=SimpleNamespace(dir=root),
        rootpath=root,
        inipath=inipath,
        stash={} if loaded is None else {LOADED: loaded},
        pluginmanager=SimpleNamespace(
            get_plugins=lambda: [SimpleNamespace(__file__="/of/a/plugin.py"), SimpleNamespace()],
            get_plugin={"terminalreporter": reporter}.get,
        ),
    )


def account_of(*tests: str) -> Account:
    endings = tuple(Ending(test=test, phase="call", outcome="passed") for test in tests)
    rows = tuple(Row(one.test, RESULT, ending=one) for one in endings)
    return Account(results=rows, endings=endings, session=Session(exit=0))


# The code of a run


def test_files_of_modules_and_of_plugins_are_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, odd, bare = ModuleType("acme_named"), ModuleType("acme_odd"), ModuleType("acme_bare")
    named.__file__, odd.__file__ = "/of/a/module.py", tmp_path  # type: ignore[assignment]
    monkeypatch.setattr(reports.sys, "modules", {"acme_named": named, "acme_odd": odd, "acme_bare": bare})
    assert reports.loaded_code(config(tmp_path)) == {"/of/a/module.py", "/of/a/plugin.py"}


@pytest.mark.parametrize("workers", [None, {"/of/a/worker.py"}])
@pytest.mark.parametrize("ini", [None, Path("/root/tox.ini")])
def test_the_code_of_a_run_is_that_of_its_tests_and_of_all_its_processes(
    workers: set[str] | None, ini: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "loaded_code", lambda _: {"/of/this.py"})
    run = config(Path("/root"), loaded=workers, inipath=ini)
    found = reports._code_of(run, account_of("in/test_a.py::test_one", "in/test_a.py::test_two", "test_b.py::C::test"))
    assert found["used"] == {"/of/this.py"} | (workers or set())
    assert found["known"] is True
    conftests = {"/conftest.py", "/root/conftest.py", "/root/in/conftest.py"}
    files = {"/root/in/test_a.py", "/root/test_b.py"}
    assert found["tests"] == conftests | files | ({str(ini)} if ini else set())


def test_code_of_a_worker_that_said_nothing_is_not_known(tmp_path: Path) -> None:
    run, known = config(tmp_path), []
    for silent in ({"gw0"}, set[str]()):
        run.stash[SILENT] = silent
        known.append(reports._code_of(run, account_of())["known"])
    assert known == [False, True]


# Files


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[str, ...]]]:
    """Which files were written, in order, each with the losses that it shows; those in `REFUSED` cannot be."""
    found: list[tuple[str, tuple[str, ...]]] = []

    def note(name: str, lost: tuple[str, ...]) -> None:
        found.append((name, lost))
        if name in REFUSED:
            raise OSError(28, "full")

    monkeypatch.setattr(badge, "badge_of", lambda account: account)
    monkeypatch.setattr(badge, "write", lambda _, account, __: note("badge", account.lost))
    monkeypatch.setattr(page, "write", lambda _, account, *__, **___: note("page", account.lost))
    monkeypatch.setattr(junit, "write", lambda _, __, lost: note("junit", lost))
    monkeypatch.setattr(json_file, "write", lambda _, account, *__, **___: note("json", account.lost))
    monkeypatch.setattr(reports, "_add_to_history", lambda _, account, __: note("history", account.lost))
    monkeypatch.setattr(github, "add_summary", lambda _, account: note("step", account.lost))
    monkeypatch.setattr(provenance, "origin", lambda **_: NOW)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    REFUSED.clear()
    return found


REFUSED: set[str] = set()
ALL = {"badge": "a.svg", "html": "a", "junit": "a.xml", "json": "a.json", "history": "h"}


@pytest.mark.parametrize(
    ("given", "step", "refused", "names"),
    [
        ({}, False, set(), ""),
        ({"badge": "a.svg"}, False, set(), "badge"),
        ({"html": "a"}, False, set(), "page"),
        ({"junit": "a"}, False, set(), "junit"),
        ({"json": "a"}, False, set(), "json"),
        ({"history": "a"}, False, set(), "history"),
        ({}, True, set(), "step"),
        (ALL, True, set(), "badge page junit json history step"),
        (ALL, True, {"json"}, "badge page junit json badge page junit json history step"),
        (ALL, True, {"history"}, "badge page junit json history badge page junit json history step"),
        (ALL, True, {"step"}, "badge page junit json history step badge page junit json history step"),
        ({"history": "a"}, False, {"history"}, "history history"),
    ],
    ids=str,
)
def test_every_file_is_written_once_more_where_another_could_not_be(  # noqa: PLR0917
    given: dict[str, Any],
    step: bool,
    refused: set[str],
    names: str,
    written: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    REFUSED.update(refused)
    if step:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    account = account_of("t.py::t")
    found = reports.write(config(tmp_path, **given), account, Settings(), shard=None)
    assert [name for name, _ in written] == names.split()
    assert (len(found.lost), found is account) == (len(refused), not refused)
    last = dict(written)
    assert {last[name] for name in last if name != "step"} <= {found.lost}, "what is written last shows the loss"


@pytest.mark.parametrize(("actions", "summary"), [("", "s.md"), ("true", ""), ("", "")])
def test_the_summary_is_written_in_a_step_of_github_alone(
    actions: str, summary: str, written: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", actions)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", summary)
    reports.write(config(tmp_path), account_of("t"), Settings(), shard=None)
    assert written == []


@pytest.mark.parametrize(("given", "asked"), [({}, 0), ({"json": "a"}, 1), ({"history": "h"}, 1), (ALL, 1)])
def test_commit_and_time_are_read_once_where_a_file_has_them(
    given: dict[str, Any], asked: int, written: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[dict[str, Any]] = []

    def origin(**about: Any) -> Origin:
        times.append(about)
        return NOW

    monkeypatch.setattr(provenance, "origin", origin)
    REFUSED.add("badge")
    reports.write(config(tmp_path, **given), account_of("t"), Settings(), shard=None)
    assert len(times) == asked
    about = {"apart", "used", "tests", "known"}
    assert all(set(one) == about and one["apart"] == given.get("history") for one in times)


@pytest.mark.parametrize(("given", "commit"), [("", None), ("abc", "abc")])
def test_a_page_names_the_commit_if_there_is_one(
    given: str, commit: str | None, written: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    abouts: list[dict[str, Any]] = []
    origin = replace(NOW, commit=given)
    monkeypatch.setattr(provenance, "origin", lambda **_: origin)
    monkeypatch.setattr(page, "write", lambda *_, about, **__: abouts.append(about))
    reports.write(config(tmp_path, html="a"), account_of("t"), Settings(), shard=None)
    (about,) = abouts
    assert set(about) == {"date", "machine"} | ({"commit"} if commit else set())
    assert about.get("commit") == (origin.shown if commit else None)
    (_, _, write_page), *others = reports._files(config(tmp_path, html="a"), account_of("t"), Settings(), None, None)
    write_page()
    assert (set(abouts[1]), others, written) == ({"date", "machine"}, [], [])


def test_files_lie_where_the_run_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[Any] = []
    monkeypatch.setattr(badge, "badge_of", lambda _: "made")
    monkeypatch.setattr(badge, "write", lambda *given: places.append(given))
    reports.write(config(tmp_path, badge="in/a.svg"), account_of("t"), Settings(), shard=None)
    assert places == [(tmp_path / "in/a.svg", "made", "")]


# Trackers


@pytest.mark.parametrize("shown", [True, False])
def test_a_run_is_sent_and_each_tracker_has_a_line(
    shown: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[tuple[str, bool]] = []
    reporter = SimpleNamespace(write_line=lambda text, *, red: lines.append((text, red)))
    sent: list[Any] = []
    abouts: list[Any] = []
    monkeypatch.setattr(provenance, "origin", lambda **about: abouts.append(about) or NOW)
    monkeypatch.setattr(trackers, "targets_of", lambda text: (text,))
    deliveries = [trackers.Delivery(True, "there"), trackers.Delivery(False, "not there")]
    monkeypatch.setattr(trackers, "send", lambda *given: sent.append(given) or deliveries)
    account, settings = account_of("t"), Settings()
    run = config(tmp_path, track="mlflow", history="h", reporter=reporter if shown else None)
    reports.track(run, account, settings)
    assert sent == [(("mlflow",), account, settings, NOW)]
    assert (set(abouts[0]), abouts[0]["apart"]) == ({"apart", "used", "tests", "known"}, "h")
    assert lines == ([("there", False), ("not there", True)] if shown else [])
