"""All results as one JSON file."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from robustest import Result, Settings, __version__
from robustest.account import Row, Session
from robustest.measure import measure_shift_accuracy
from robustest.reports.json_file import SCHEMA, write


def run(*results: Any, lost: tuple[str, ...] = (), exit_status: int = 0) -> Any:
    """What there is to tell of a run, without rows that reports show."""
    return SimpleNamespace(results=results, endings=(), session=Session(exit=exit_status), lost=lost, rows=())


def test_a_file_has_settings_results_and_what_was_lost(tmp_path: Path, toy: Any) -> None:
    result = measure_shift_accuracy(toy.model, (toy.x, toy.y), "rotation")
    path = tmp_path / "deep" / "results.json"
    settings = Settings(seed=7, suppress=("softmax_outputs",))
    write(str(path), run(Row("t", result), lost=("one is lost",), exit_status=3), settings)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["schema"] == SCHEMA == 5
    assert content["pytest"]["exit"] == 3
    assert content["robustest"] == __version__
    assert content["lost"] == ["one is lost"]
    assert set(content["settings"]) == {field.name for field in fields(Settings)}
    assert content["settings"]["seed"] == 7
    assert content["settings"]["suppress"] == ["softmax_outputs"]
    assert Result.from_dict(content["results"][0]["result"]) == result


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write(str(path), run(Row("fine", None)), Settings())
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write(str(path), run(Row("t", None, problem=object())), Settings())
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_any_language_survives(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write(str(path), run(Row("prüfung[猫]", None)), Settings())
    assert json.loads(path.read_text(encoding="utf-8"))["results"][0]["test"] == "prüfung[猫]"


def test_nothing_measured_is_a_file_too(tmp_path: Path) -> None:
    write(str(tmp_path / "r.json"), run(), Settings())
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["results"] == []
