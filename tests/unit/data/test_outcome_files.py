"""Readers of outcomes, on files that the tools made: whole, in another order, written twice, cut off and damaged.

The files in `outcomes/` were written by lm-evaluation-harness 0.4.13, Inspect 0.3.285 (its traces are left out of the
JSON log), promptfoo and pytest 9; the one of Label Studio follows its export format.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustest.data.outcomes import READERS, Outcomes, read_file
from robustest.errors import ConfigError, DataError, UnknownNameError

FILES = Path(__file__).with_name("outcomes")
SUMS = "samples_sums_2026-11-29T02-02-01.174683.jsonl"

LABEL_STUDIO = [
    {
        "id": task,
        "data": {"text": f"text {task}"},
        "annotations": [
            {
                "id": 10 * task + k,
                "was_cancelled": k == 2,
                "result": [{"from_name": "stars", "value": {"rating": 1 + (task + k) % 5}}],
            }
            for k in range(3)
        ],
    }
    for task in range(4)
]


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Return a folder with a copy of each file."""
    shutil.copytree(FILES, tmp_path / "files")
    (tmp_path / "files" / "label.json").write_text(json.dumps(LABEL_STUDIO), encoding="utf-8")
    rows = [{"item": f"q{i}", "score": i % 2, "note": "a, b\nc"} for i in range(5)]
    (tmp_path / "files" / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    with (tmp_path / "files" / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "files"


CASES: dict[str, dict[str, Any]] = {
    SUMS: {},
    "inspect.json": {"score": "match"},
    "promptfoo.json": {},
    "junit.xml": {},
    "label.json": {},
    "rows.jsonl": {},
    "rows.csv": {},
}


def test_samples_of_the_harness(there: Path) -> None:
    found = Outcomes.read(there / SUMS)
    assert len(found.items.name) == 12
    assert float(found.items.mean.mean()) == pytest.approx(0.25)  # what the harness itself reports
    assert found.announced == 12
    assert found.texts["prompt"][0] == "What is 0+1?"


def test_a_log_of_inspect(there: Path) -> None:
    found = Outcomes.read(there / "inspect.json", score="match")
    assert found.items.runs.tolist() == [2] * 4
    log = json.loads((there / "inspect.json").read_text(encoding="utf-8"))
    right = [one["scores"]["match"]["value"] == "C" for one in log["samples"]]
    assert found.score.mean() == pytest.approx(np.mean(right))
    assert "several" not in found.source
    closeness = Outcomes.read(there / "inspect.json", score="closeness")
    assert not closeness.binary


def test_an_archive_of_inspect(there: Path) -> None:
    pytest.importorskip("zstandard", reason="Inspect compresses its archives by Zstandard")
    found = Outcomes.read(there / "inspect.eval", score="match")
    assert found.items.runs.tolist() == [2] * 4


def test_results_of_promptfoo_have_repeats_as_runs(there: Path) -> None:
    found = Outcomes.read(there / "promptfoo.json")
    assert sorted(found.items.mean.tolist()) == [0, 0.5, 1]
    assert found.items.runs.tolist() == [2] * 3
    passed = Outcomes.read(there / "promptfoo.json", score="success")
    assert sorted(passed.items.mean.tolist()) == [0, 0, 1]


def test_two_providers_are_two_systems(there: Path) -> None:
    data = json.loads((there / "promptfoo.json").read_text(encoding="utf-8"))
    more = [{**one, "provider": {"id": "echo", "label": "echo-b"}} for one in data["results"]["results"]]
    data["results"]["results"] += more
    data["results"]["stats"]["successes"] += len(more)
    (there / "promptfoo.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError, match="provider= to be one of 'echo-a', 'echo-b'"):
        Outcomes.read(there / "promptfoo.json")
    assert Outcomes.read(there / "promptfoo.json", provider="echo-b").items.runs.tolist() == [2] * 3


def test_cases_of_a_test_runner(there: Path) -> None:
    found = Outcomes.read(there / "junit.xml")
    by_name = dict(zip(found.items.name, found.items.mean, strict=True))
    assert by_name["test_j::test_sum[1]"] == 1
    assert by_name["test_j::test_sum[2]"] == 0
    assert np.isnan(by_name["test_j::test_left"])  # skipped: no score


def test_ratings_of_label_studio_are_runs_of_their_task(there: Path) -> None:
    found = Outcomes.read(there / "label.json")
    assert found.items.runs.tolist() == [2] * 4  # a cancelled annotation is none
    assert (found.low, found.high) == (1, 5)


def test_a_metric_is_named_where_there_are_several(there: Path) -> None:
    with pytest.raises(ConfigError, match=r"score= to be one of closeness, match .* none is named"):
        Outcomes.read(there / "inspect.json")
    with pytest.raises(ConfigError, match=r"one of acc .* score='f1'"):
        Outcomes.read(there / SUMS, score="f1")


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_is_cut_off_is_an_error(there: Path, name: str) -> None:
    raw = (there / name).read_bytes()
    whole = Outcomes.read(there / name, **CASES[name]).content()
    for share in (0.1, 0.35, 0.6, 0.8, 0.97):
        cut = raw[: int(share * len(raw))]
        (there / name).write_bytes(cut)
        if name.startswith(
            "rows"
        ):  # lines alone do not say how many there should be: cut at a line's end it is a shorter file
            with suppress(DataError):
                assert Outcomes.read(there / name).content() != whole
        else:
            with pytest.raises((DataError, ConfigError), match="Expected"):
                Outcomes.read(there / name, **CASES[name])


@pytest.mark.parametrize("name", [SUMS, "rows.jsonl"])
def test_lines_in_another_order_or_twice_are_the_same(there: Path, name: str) -> None:
    lines = (there / name).read_text(encoding="utf-8").splitlines()
    whole = Outcomes.read(there / name).items
    for changed in (lines[::-1], lines + lines):
        (there / name).write_text("\n".join(changed), encoding="utf-8")
        found = Outcomes.read(there / name).items
        assert found.name.tolist() == whole.name.tolist()
        assert found.mean.tolist() == whole.mean.tolist()


def test_samples_without_the_last_lines_are_not_whole(there: Path) -> None:
    lines = (there / SUMS).read_text(encoding="utf-8").splitlines()
    (there / SUMS).write_text("\n".join(lines[:-2]), encoding="utf-8")
    with pytest.raises(DataError, match=r"Expected 12 items .* got 10"):
        Outcomes.read(there / SUMS)


def test_an_evaluation_that_failed_is_no_evidence(there: Path) -> None:
    log = json.loads((there / "inspect.json").read_text(encoding="utf-8"))
    for status in ("error", "cancelled", "started", None):
        (there / "inspect.json").write_text(json.dumps({**log, "status": status}), encoding="utf-8")
        with pytest.raises(DataError, match="evaluation that succeeded"):
            Outcomes.read(there / "inspect.json", score="match")


def test_a_sample_that_inspect_did_not_log_is_missed(there: Path) -> None:
    log = json.loads((there / "inspect.json").read_text(encoding="utf-8"))
    log["samples"] = [one for one in log["samples"] if one["id"] != "q1"]
    (there / "inspect.json").write_text(json.dumps(log), encoding="utf-8")
    with pytest.raises(DataError, match="Expected 4 items"):
        Outcomes.read(there / "inspect.json", score="match")


def test_results_that_promptfoo_counted_are_missed(there: Path) -> None:
    data = json.loads((there / "promptfoo.json").read_text(encoding="utf-8"))
    data["results"]["results"].pop()
    (there / "promptfoo.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DataError, match="not whole"):
        Outcomes.read(there / "promptfoo.json")


def test_entities_of_xml_are_refused(there: Path) -> None:
    (there / "junit.xml").write_text(
        '<!DOCTYPE a [<!ENTITY b "c">]><testsuite><testcase name="&b;"/></testsuite>', encoding="utf-8"
    )
    with pytest.raises(DataError, match="document type"):
        Outcomes.read(there / "junit.xml")


def write(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "nothing": lambda folder: write(folder, "a.jsonl", b""),
    "not text": lambda folder: write(folder, "a.jsonl", b'{"item": "\xff\xfe"}'),
    "deep": lambda folder: write(folder, "a.json", b"[" * 100_000),
    "a list": lambda folder: write(folder, "a.jsonl", b"[1, 2]"),
    "an empty list": lambda folder: write(folder, "a.json", b"[]"),
    "another object": lambda folder: write(folder, "a.json", b'{"results": {"a": 1}}'),
    "a zip that is none": lambda folder: write(folder, "a.eval", b"PK\x03\x04" + b"\0" * 100),
    "a header alone": lambda folder: write(folder, "a.csv", b"item,score\n"),
    "too many fields": lambda folder: write(folder, "a.csv", b"item,score\na,1,2\n"),
    "too few fields": lambda folder: write(folder, "a.csv", b"item,score\na\n"),
    "no suffix": lambda folder: write(folder, "a", b"{}"),
    "xml of another kind": lambda folder: write(folder, "a.xml", b"<html></html>"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_whatever_is_no_file_of_outcomes_is_an_error(tmp_path: Path, case: str) -> None:
    with pytest.raises((DataError, ConfigError), match="Expected"):
        Outcomes.read(HOSTILE[case](tmp_path))


def test_an_unknown_reader_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'inspect'\?"):
        read_file(FILES / "inspect.json", "inspekt", {})


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(DataError, match="but there is none"):
        Outcomes.read("nowhere.jsonl")
    with pytest.raises(DataError, match="at least one file"):
        Outcomes.read([])


@pytest.mark.parametrize("reader", READERS)
def test_an_option_that_a_reader_does_not_take_is_an_error(there: Path, reader: str) -> None:
    if reader == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet is read by pyarrow")
    names = {
        "lm-eval": SUMS,
        "inspect": "inspect.json",
        "promptfoo": "promptfoo.json",
        "junit": "junit.xml",
        "label-studio": "label.json",
    }
    path = there / names.get(reader, f"rows.{reader}")
    if reader == "parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"item": ["a"], "score": [1.0]}), path)
    with pytest.raises(ConfigError, match=r"Expected .*"):
        read_file(path, reader, {"colour": "red"})
