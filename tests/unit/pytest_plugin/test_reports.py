"""The files of a run: an older one never stays, one that cannot be written costs no other, and baselines are whole."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accounts
import pytest

from robustest.account import Account, Ending, Row, Session
from robustest.pytest_plugin import reports
from robustest.pytest_plugin.reports import remember_endings, take_back, update_baselines, write
from robustest.results import Verdict
from robustest.settings import Settings
from robustest.store import baselines
from robustest.store.files import load_records

RESULT = accounts.RESULT.but(seed=3, method="by hand", data="d")


def ending(test: str, outcome: str = "passed", *, robust: bool = True) -> Ending:
    return Ending(test=test, phase="call", outcome=outcome, robust=robust)


# Files of an earlier run


@pytest.mark.parametrize("option", ["robust_json", "robust_junit", "robust_html"])
def test_files_of_an_earlier_run_are_taken_back_and_no_others(option: str, tmp_path: Path) -> None:
    options: Any = SimpleNamespace(robust_json=None, robust_junit=None, robust_html=None, robust_badge=None)
    place = "out" if option == "robust_html" else "out/file"
    setattr(options, option, place)
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out" / ("index.html" if option == "robust_html" else "file")
    other = tmp_path / "out" / "other"
    for path in (mine, other):
        path.touch()
    take_back(options, tmp_path)
    assert (mine.exists(), other.exists()) == (False, True)
    take_back(options, tmp_path)  # there is none
    mine.symlink_to(other)
    take_back(options, tmp_path)
    assert (mine.is_symlink(), other.exists()) == (True, True), "a link, such as /dev/stdout"
    mine.unlink()
    mine.mkdir()
    take_back(options, tmp_path)
    assert mine.is_dir()


def test_the_badge_of_an_earlier_run_turns_grey(tmp_path: Path) -> None:
    options: Any = SimpleNamespace(robust_json=None, robust_junit=None, robust_html=None, robust_badge="badge.json")
    (tmp_path / "badge.json").write_text("green")
    take_back(options, tmp_path)
    assert json.loads((tmp_path / "badge.json").read_text())["message"]
    options.robust_badge = "badge.png"
    take_back(options, tmp_path)  # the end of the run says that it cannot be written
    assert not (tmp_path / "badge.png").exists()


# Files of this run


def config(here: Path, **given: Any) -> Any:
    def getoption(name: str, default: Any = None) -> Any:
        return given.get(name.removeprefix("--robust-").replace("-", "_"), default)

    return SimpleNamespace(
        getoption=getoption,
        invocation_params=SimpleNamespace(dir=here),
        rootpath=here,
        inipath=None,
        stash={},
        pluginmanager=SimpleNamespace(get_plugins=list),
    )


@pytest.fixture
def account() -> Account:
    row = Row("t", RESULT, ending=ending("t"))
    return Account(results=(row,), endings=(ending("t"),), session=Session(exit=0, collected=1, ran=1))


def test_only_the_files_that_were_asked_for_are_written(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert write(config(tmp_path), account, Settings(), shard=None) is account
    assert list(tmp_path.iterdir()) == []
    given = {"json": "a.json", "junit": "a.xml", "badge": "a.svg", "history": "h"}
    assert write(config(tmp_path, **given), account, Settings(), shard=None) is account
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.svg", "a.xml", "h"]
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["pytest"]["exit"] == 0
    assert len(list((tmp_path / "h").glob("runs-*.jsonl"))) == 1


def test_a_file_that_cannot_be_written_is_named_in_all_others(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    (tmp_path / "in_the_way").touch()
    given = {"json": "a.json", "junit": "in_the_way/a.xml", "history": "h"}
    found = write(config(tmp_path, **given), account, Settings(), shard=None)
    (lost,) = found.lost
    assert lost.startswith("the JUnit file could not be written to in_the_way/a.xml")
    assert found.session is not None
    assert found.session.exit == 3
    assert json.loads((tmp_path / "a.json").read_text())["lost"] == [lost]
    summary = (tmp_path / "summary.md").read_text()
    assert summary.count("the JUnit file could not be written") == 1
    assert len(list((tmp_path / "h").glob("runs-*.jsonl"))) == 1
    monkeypatch.delenv("GITHUB_ACTIONS")
    (tmp_path / "summary.md").unlink()
    write(config(tmp_path), account, Settings(), shard=None)
    assert not (tmp_path / "summary.md").exists()


# Endings that `show` reads


def remembered(store: Path) -> dict[str, list[str]]:
    return {one["test"]: [each["outcome"] for each in one["endings"]] for one in load_records(store)}


def test_endings_are_remembered_where_something_went_wrong_or_did_before(tmp_path: Path) -> None:
    failed = RESULT.but(verdict=Verdict.FAILED)
    rows = (
        Row("good", RESULT, ending=ending("good")),
        Row("caught", failed, ending=ending("caught")),
        Row("odd", None, "why", ending=ending("odd")),
    )
    endings = (
        *(ending("good"), ending("caught"), ending("odd"), ending("bad", "failed"), ending("bad", "error")),
        *(ending("other", "failed", robust=False), ending("skipped", "skipped")),
    )
    one = Account(results=rows, endings=endings, session=None)
    remember_endings(one, str(tmp_path))
    assert list(tmp_path.iterdir()) == [], "nothing was stored of these tests"
    (tmp_path / "results").mkdir()
    remember_endings(one, str(tmp_path))
    assert remembered(tmp_path) == {
        "caught": ["passed"],
        "odd": ["passed"],
        "bad": ["failed", "error"],
        "skipped": ["skipped"],
    }
    mended = Account(results=(), endings=(ending("bad"), ending("new")), session=None)
    remember_endings(mended, str(tmp_path))
    assert remembered(tmp_path)["bad"] == ["passed"], "the ending of the last run"
    assert "new" not in remembered(tmp_path)


# Baselines


def test_what_was_measured_for_a_baseline_is_written_to_its_file(tmp_path: Path) -> None:
    files = [str(tmp_path / f"{name}.json") for name in "ab"]
    about = {"update": True, "file": files[0], "key": "k1", "data": "of these", "measured_by": "so"}
    start = {"update": True, "file": files[1], "key": "k2", "cells": baselines.packed([True, True, False])}
    start["cells"] = {"n": 3, "outcomes": baselines.packed([True, True, False])["outcomes"]}
    scored = {**about, "key": "k3", "scores": baselines.packed_scores([0.25, 0.75, 0.5, 0.5])}
    rows = [
        Row("t", RESULT.but(details={"baseline": {**about, "start": start}})),
        Row("u", RESULT.but(details={"baseline": scored}, model="m")),
        Row("s", RESULT.but(details={"baseline": {"update": False, "start": {**start, "key": "k5"}}})),
        Row("v", RESULT.but(details={"baseline": {**about, "update": False, "key": "k4"}})),
        Row("w", RESULT),
        Row("x", None),
    ]
    assert update_baselines(rows) == []
    first, second = (baselines.read(Path(file)) for file in files)
    assert set(first) == {"k1", "k3"}
    assert set(second) == {"k2", "k5"}, "the start alone, of a fall whose end is compared elsewhere"
    entry = first["k1"]
    assert (entry.test, entry.claim, entry.quantity, entry.data) == ("t", RESULT.subject.claim, "accuracy", "of these")
    assert (entry.model, entry.seed, entry.method, entry.measured_by) == (None, 3, "by hand", "so")
    assert (entry.outcomes, entry.estimate, entry.interval) == (RESULT.outcomes, 0.5, (0.25, 0.75))
    assert (second["k2"].outcomes, second["k2"].data) == ((True, True, False), "d")
    assert (first["k3"].scores, first["k3"].model) == ((0.25, 0.75, 0.5, 0.5), "m")
    assert entry.scores is None


def test_a_baseline_that_cannot_be_written_is_lost_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("no JSON")
    rows = [
        Row("t", RESULT.but(details={"baseline": {"update": True, "file": str(tmp_path / name), "key": "k"}}))
        for name in ("bad.json", "good.json")
    ]
    (problem,) = update_baselines(rows)
    assert "bad.json" in problem
    assert set(baselines.read(tmp_path / "good.json")) == {"k"}
    assert reports.update_baselines([]) == []
