"""Reading what --robust-json wrote: only a whole file is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustest import Settings
from robustest.cli.results_file import read_results
from robustest.cli.screen import Exit, Refused

Make = Callable[..., Any]


def test_what_was_written_is_read_back(made: Make, row: Make, account: Make, run_file: Make) -> None:
    rows = account([row("a::one", made([True, False])), row("a::two")]).results
    run = read_results(run_file("a.json", rows, lost=["something"], settings=Settings(seed=4)))
    assert run.account.results == rows
    assert run.account.lost == ("something",)
    assert run.settings["seed"] == 4
    assert run.shard is None


def test_a_shard_is_read_back(run_file: Make) -> None:
    shard = read_results(run_file("a.json", [], shard=(2, 3, ["t::a", "t::b"]), reported=["t::b"])).shard
    assert shard is not None
    assert (shard.index, shard.count, shard.tests, shard.reported) == (2, 3, ("t::a", "t::b"), frozenset({"t::b"}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema": 6}, "Expected schema 5 but got 6 (int). Install the version that wrote it"),
        ({"schema": 4}, "Expected schema 5 but got 4 (int). Run the tests again with this version"),
        ({"schema": True}, "schema of the file to be a whole number"),
        ({"results": {}}, "results of the file to be a list"),
        ({"results": [{}]}, "no field 'test'"),
        (
            {"results": [{"test": "t", "problem": "", "replay": "", "result": None, "ending": None}]},
            "a result or a problem of t but got neither",
        ),
        (
            {"results": [{"test": "t", "problem": "", "replay": "", "result": [], "ending": None}]},
            "fields of result of",
        ),
        ({"lost": [1]}, "an entry of lost of the file to be text"),
        ({"shard": {"index": 3, "count": 2, "tests": [], "reported": None}}, "a shard of 1..2"),
        ({"shard": {"index": 1}}, "no field 'count'"),
        (
            {"shard": {"index": 1, "count": 1, "tests": [], "reported": "all"}},
            "reported of shard of the file to be",
        ),
        ({"settings": None}, "settings of the file to be an object"),
    ],
)
def test_a_file_of_another_shape_is_refused(run_file: Make, edit: Make, changes: dict[str, Any], told: str) -> None:
    path = edit(run_file("a.json", []), **changes)
    with pytest.raises(Refused, match="Expected a whole file") as caught:
        read_results(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.code is Exit.MISSING


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "maybe"},
        {"estimate": "0.5"},
        {"estimate": True},
        {"interval": [0.5]},
        {"interval": ["a", "b"]},
        {"interval": 1},
        {"outcomes": [2]},
        {"n": 1.5},
        {"statement": None},
        {"details": []},
        {"cost": {"passes": 3}},
        {"counterexamples": [{"index": 1}]},
        {"surplus": 1},
    ],
    ids=str,
)
def test_a_result_of_another_shape_is_refused(
    made: Make, row: Make, run_file: Make, edit: Make, changes: dict[str, Any]
) -> None:
    result = {**made([True, False]).to_dict(), **changes}
    rows = [{"test": "t", "problem": "", "replay": "", "result": result}]
    with pytest.raises(Refused, match="Expected a whole file"):
        read_results(edit(run_file("a.json", []), results=rows))


@pytest.mark.parametrize("name", ["statement", "outcomes", "cost", "data", "claim", "limits"])
def test_a_result_without_a_field_is_refused(made: Make, run_file: Make, edit: Make, name: str) -> None:
    result = made([True]).to_dict()
    with pytest.raises(Refused, match=r"no field|missing"):
        read_results(edit(run_file("a.json", []), results=[_plain(_without(result, name))]))


PASSED = {
    "attempt": 0,
    "test": "t",
    "phase": "call",
    "outcome": "passed",
    "reason": "",
    "robust": True,
    "claimed": False,
    "replay": "",
}


def _without(result: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != name}


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    return {"test": "t", "problem": "", "replay": "", "result": result, "ending": PASSED}


def test_the_version_that_wrote_it_is_named_where_it_is_another(run_file: Make, edit: Make) -> None:
    with pytest.raises(Refused, match=r"written by robustest 99\.0"):
        read_results(edit(run_file("a.json", []), robustest="99.0", schema=7))


@pytest.mark.parametrize("text", ["", "{", "[NaN]", '{"schema": Infinity}', "\ufeff{}", "[" * 100_000])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Refused, match="damaged"):
        read_results(path)


def test_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Refused, match="damaged"):
        read_results(path)


def test_a_file_cut_short_anywhere_is_refused(made: Make, row: Make, run_file: Make) -> None:
    path = run_file("a.json", [row("t", made([True]))])
    text = path.read_text(encoding="utf-8")
    for end in range(0, len(text), 97):
        path.write_text(text[:end], encoding="utf-8")
        with pytest.raises(Refused):
            read_results(path)


def test_an_absent_file_says_how_to_write_it(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"No such file.*pytest --robust --robust-json="):
        read_results(tmp_path / "a.json")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no regular file"):
        read_results(tmp_path)


def test_the_same_content_has_the_same_digest_however_it_is_written(made: Make, row: Make, run_file: Make) -> None:
    path = run_file("a.json", [row("t", made([True]))])
    first = read_results(path)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=4), encoding="utf-8")
    assert read_results(path).content == first.content
    other = run_file("b.json", [row("t", made([False]))])
    assert read_results(other).content != first.content
