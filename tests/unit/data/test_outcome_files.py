"""Readers of outcomes, on files that the tools made: whole, in another order, written twice, cut off and damaged.

`outcomes/README.md` says how the files there were made.
"""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustest.data.outcomes import Outcomes, read_file
from robustest.data.readers import document
from robustest.errors import ConfigError, DataError, UnknownNameError

FILES = Path(__file__).with_name("outcomes")
SUMS = "samples_sums_2026-11-29T02-02-01.174683.jsonl"

LABELS = "label-studio.json"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Return a folder with a copy of each file."""
    shutil.copytree(FILES, tmp_path / "files")
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
    LABELS: {},
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
    with pytest.raises(ConfigError, match=r"provider= to be one of 'echo-a', 'echo-b'"):
        Outcomes.read(there / "promptfoo.json")
    assert Outcomes.read(there / "promptfoo.json", provider="echo-b").items.runs.tolist() == [2] * 3


def test_cases_of_a_test_runner(there: Path) -> None:
    found = Outcomes.read(there / "junit.xml")
    by_name = dict(zip(found.items.name, found.items.mean, strict=True))
    assert by_name["test_j::test_sum[1]"] == 1
    assert by_name["test_j::test_sum[2]"] == 0
    assert np.isnan(by_name["test_j::test_left"])  # skipped: no score


def test_ratings_of_label_studio_are_runs_of_their_task(there: Path) -> None:
    """Five tasks were rated, once or twice, the last one of them also skipped, and a sixth was not rated."""
    stars, right = Outcomes.read(there / LABELS), Outcomes.read(there / LABELS, correct="right")
    assert (stars.low, stars.high) == (1, 5)
    assert stars.items.mean[:5].tolist() == [0.875, 0.125, 0.5, 0.5, 0.75]
    assert stars.items.runs.tolist() == [2, 2, 2, 1, 1, 0]
    assert right.items.mean[:5].tolist() == [1, 0, 0.5, 1, 1]
    assert right.items.runs.tolist() == [2, 2, 2, 2, 1, 0]
    assert stars.items.planned[5] == 1  # a task that nobody rated is not left out
    assert any("<script>alert(1)</script>" in text for text in stars.texts["prompt"])


def test_tasks_of_label_studio_in_another_order_or_twice_are_the_same(there: Path) -> None:
    tasks = json.loads((there / LABELS).read_text(encoding="utf-8"))
    whole = Outcomes.read(there / LABELS).items
    backwards = [{**task, "annotations": task["annotations"][::-1]} for task in tasks[::-1]]
    for changed in (backwards, tasks + tasks[:5]):
        (there / LABELS).write_text(json.dumps(changed), encoding="utf-8")
        found = Outcomes.read(there / LABELS).items
        for name in ("name", "mean", "runs", "planned", "digest"):
            np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


def test_an_annotation_that_label_studio_counted_is_missed(there: Path) -> None:
    tasks = json.loads((there / LABELS).read_text(encoding="utf-8"))
    tasks[1]["annotations"].pop()
    (there / LABELS).write_text(json.dumps(tasks), encoding="utf-8")
    with pytest.raises(DataError, match=r"Expected 2 annotations of task \d+ in .* got 1: not whole"):
        Outcomes.read(there / LABELS)


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


def test_a_line_of_the_harness_that_is_there_twice_is_no_run(there: Path) -> None:
    """Two equal runs of each item would be consistent, and a mean of runs has other bounds than a share."""
    lines = (there / SUMS).read_text(encoding="utf-8").splitlines()
    (there / SUMS).write_text("\n".join(lines + lines[3:7]), encoding="utf-8")
    assert Outcomes.read(there / SUMS).items.runs.tolist() == [1] * 12


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"item": "a", "score": 1}\n{"item": "b", "score": 0, "score": 1}\n'),
        ("a.json", '[{"item": "a", "score": 1}, {"item": "b", "score": 0, "score": 1}]'),
        ("b.jsonl", '{"item": "a", "score": %s}' % ("1" * 5000)),
        ("b.json", '[{"item": "a", "score": %s}]' % ("1" * 5000)),
        ("c.jsonl", '{"item": "a", "score": %s}' % ("1" * 400)),
        ("d.jsonl", '{"item": "a", "score": 1.0e400}'),
        ("e.jsonl", '{"item": "a", "score": "1.0e400"}'),
        ("f.csv", "item,score\na,0_1\n"),
        ("g.jsonl", '{"item": 1e400, "score": 1}\n{"item": 2e400, "score": 1}'),
    ],
)
def test_a_number_that_is_none_and_a_key_that_is_there_twice(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(DataError, match="Expected"):
        Outcomes.read(write(tmp_path, name, text.encode()))


def test_a_field_of_a_table_may_be_long(tmp_path: Path) -> None:
    before, prompt = csv.field_size_limit(), "a" * 200_000
    found = Outcomes.read(write(tmp_path, "a.csv", f"item,score,prompt\nx,1,{prompt}\n".encode()))
    assert found.texts["prompt"][0] == prompt
    assert csv.field_size_limit() == before


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


@pytest.mark.parametrize("text", ["<!DOCTYPE a><testsuite/>", '<!ENTITY b "c"><testsuite/>'])
def test_a_document_type_and_an_entity_are_each_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="without a document type"):
        Outcomes.read(write(tmp_path, "a.xml", text.encode()))


def suite(announced: int | None, cases: int, inner: str = "") -> str:
    said = "" if announced is None else f' tests="{announced}"'
    case = '<testcase classname="c" name="n"/>'
    return f"<testsuite{said}>{case * cases}{inner}</testsuite>"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (suite(2, 2), True),
        (suite(3, 2), False),
        (suite(1, 2), True),
        (suite(None, 2), True),
        (suite(5, 1, suite(2, 2)), True),  # it counts those of the suites inside
        (suite(5, 1, suite(3, 2)), False),
    ],
)
def test_a_suite_with_fewer_cases_than_it_says_is_not_whole(tmp_path: Path, text: str, whole: bool) -> None:
    path = write(tmp_path, "a.xml", text.encode())
    if whole:
        assert set(Outcomes.read(path).item) == {"c::n"}
    else:
        with pytest.raises(DataError, match=r"Expected \d test cases in a suite of .* got 2: not whole"):
            Outcomes.read(path)


def test_a_case_that_failed_has_the_message_as_its_answer(tmp_path: Path) -> None:
    cases = [
        '<testcase classname="a" name="right"/>',
        '<testcase classname="a" name="wrong"><failure message="no"/></testcase>',
        '<testcase classname="a" name="broken"><system-out/><error/></testcase>',
        '<testcase name="skipped"><skipped/></testcase>',
    ]
    found = Outcomes.read(write(tmp_path, "a.xml", f"<testsuite>{''.join(cases)}</testsuite>".encode()))
    assert found.item.tolist() == ["a::right", "a::wrong", "a::broken", "::skipped"]
    assert found.score[:3].tolist() == [1, 0, 0]
    assert np.isnan(found.score[3])
    assert list(found.texts["answer"]) == ["", "no", "", ""]


def result_of(score: Any = 1.0, **changes: Any) -> dict[str, Any]:
    """A result of promptfoo."""
    case = {"vars": {"a": 1}, "assert": [{"type": "contains", "value": "3"}]}
    fields = {"score": score, "success": bool(score), "promptIdx": 0, "provider": "p", "vars": {"a": 1}}
    return {**fields, "testCase": case, "prompt": {"raw": "1 + 2?"}, "response": {"output": "3"}, **changes}


def promptfoo(folder: Path, results: list[Any], **stats: Any) -> Path:
    data = {"results": {"results": results, "stats": stats}}
    return write(folder, "p.json", json.dumps(data).encode())


def test_a_result_of_promptfoo_has_its_texts_and_its_group(tmp_path: Path) -> None:
    named = result_of(testCase={"description": "sum", "metadata": {"group": "g"}}, response={"output": [1, 2]})
    several = result_of(vars={"a": 2}, testCase={"assert": [{"value": "x"}, {"value": "y"}, "no object"]})
    found = Outcomes.read(promptfoo(tmp_path, [result_of(), named, several, result_of(prompt=None, response=None)]))
    assert [name.startswith("test ") for name in found.item] == [True, False, True, True]
    assert found.item[1] == "sum"
    assert found.item[0] == found.item[3] != found.item[2]
    assert found.group.tolist() == ["", "g", "", ""]
    assert list(found.texts["prompt"]) == ["1 + 2?", "1 + 2?", "1 + 2?", ""]
    assert list(found.texts["answer"]) == ["3", "[1, 2]", "3", ""]
    assert list(found.texts["expected"]) == ["3", "[]", '["x", "y"]', "3"]
    assert len({len(digest) for digest in found.digest}) == 1


def test_a_provider_that_failed_gave_no_answer_and_an_assertion_that_failed_did(tmp_path: Path) -> None:
    graded = result_of(0.0, error="assertion", gradingResult={"pass": False})
    found = Outcomes.read(promptfoo(tmp_path, [result_of(0.5), result_of(0.0, error="timeout"), graded]))
    assert found.score[0] == 0.5
    assert np.isnan(found.score[1])
    assert found.score[2] == 0


@pytest.mark.parametrize(
    ("stats", "whole"),
    [
        ({}, True),
        ({"successes": 1, "failures": 1, "errors": 1}, True),
        ({"successes": 3}, True),
        ({"successes": 2}, False),
        ({"successes": 2, "failures": 1, "errors": 1}, False),
        ({"successes": 0, "failures": 0}, True),
        ({"successes": 3, "failures": "many"}, True),
    ],
)
def test_statistics_of_promptfoo_count_its_results(tmp_path: Path, stats: dict[str, Any], whole: bool) -> None:
    path = promptfoo(tmp_path, [result_of(vars={"a": i}) for i in range(3)], **stats)
    if whole:
        assert len(Outcomes.read(path).item) == 3
    else:
        with pytest.raises(DataError, match="not whole"):
            Outcomes.read(path)


def test_prompts_and_providers_of_promptfoo_are_chosen(tmp_path: Path) -> None:
    results = [
        result_of(promptIdx=prompt, provider=provider, vars={"a": i})
        for prompt in (0, 1)
        for provider in ({"id": "x"}, {"id": "x", "label": "y"}, "z")
        for i in range(2)
    ]
    path = promptfoo(tmp_path, results)
    for provider in "xyz":
        assert len(Outcomes.read(path, provider=provider, prompt=1).item) == 2
    with pytest.raises(ConfigError, match=r"provider= to be one of 'x', 'y', 'z' .* but got None"):
        Outcomes.read(path)
    with pytest.raises(ConfigError, match=r"prompt= to be one of 0, 1 .* but got 2"):
        Outcomes.read(path, provider="z", prompt=2)
    for wrong in ([result_of(), result_of("much")], [result_of(), 1]):
        with pytest.raises(DataError, match=r"Expected a result with 'score' in .* but number 2 has none"):
            Outcomes.read(promptfoo(tmp_path, wrong))
    with pytest.raises(ConfigError, match="Unknown keyword for this file 'colour'"):
        Outcomes.read(promptfoo(tmp_path, [result_of()]), colour=1)


def test_annotations_become_choices_or_ratings(tmp_path: Path) -> None:
    def told(value: dict[str, Any], name: str = "stars", **more: Any) -> dict[str, Any]:
        return {"result": [{"from_name": name, "value": value}], **more}

    tasks = [
        {"id": 7, "data": {"text": "a"}, "annotations": [told({"rating": 4}, id=1), told({"rating": 2}, id=2)]},
        {"data": {"text": "b"}, "annotations": [told({"rating": 5}, completed_by=3), told({"rating": 1}, "other")]},
    ]
    path = write(tmp_path, "l.json", json.dumps(tasks).encode())
    found = Outcomes.read(path, score="stars")
    assert found.item.tolist() == ["7", "7", "1"]
    assert found.run.tolist() == ["1", "2", "3"]
    assert found.score.tolist() == [4, 2, 5]
    assert (found.low, found.high) == (1, 5)
    assert list(found.texts["prompt"]) == ['{"text": "a"}'] * 2 + ['{"text": "b"}']
    assert list(found.texts["answer"]) == ["4", "2", "5"]
    with pytest.raises(ConfigError, match=r"score= to be one of other, stars .* none is named"):
        Outcomes.read(path)
    assert Outcomes.read(path, score="stars", low=0, high=10).items.mean.tolist() == pytest.approx([0.5, 0.3])
    chosen = [{"annotations": [told({"choices": [choice]}, id=i)]} for i, choice in enumerate(("cat", "dog"))]
    by_choice = Outcomes.read(write(tmp_path, "c.json", json.dumps(chosen).encode()), correct="cat")
    assert by_choice.score.tolist() == [1, 0]
    assert (by_choice.low, by_choice.high) == (0, 1)
    assert list(by_choice.texts["answer"]) == ["cat", "dog"]
    broken = write(tmp_path, "d.json", json.dumps([chosen[0], {"annotations": 1}]).encode())
    with pytest.raises(DataError, match=r"a task with annotations in .* but number 2 has none"):
        Outcomes.read(broken)
    with pytest.raises(DataError, match="Expected a list of tasks"):
        read_file(write(tmp_path, "e.json", b"{}"), "label-studio", {})


def sample(doc: int, **changes: Any) -> dict[str, Any]:
    """A sample of lm-evaluation-harness."""
    more = {"filter": "none", "target": f"{doc}", "filtered_resps": [f"{doc}"], "doc_hash": "d" * 20 + str(doc)}
    arguments = {"gen_args_0": {"arg_0": f"{doc}?"}}
    return {"doc_id": doc, "metrics": ["acc"], "acc": 1, "arguments": arguments, "prompt_hash": "p", **more, **changes}


def harness(folder: Path, rows: list[Any], effective: Any = None) -> Path:
    if effective is not None:
        results = {"n-samples": {"my_task": {"effective": effective}}}
        write(folder, "results_2026.json", json.dumps(results).encode())
    return write(folder, "samples_my_task_2026.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows).encode())


def test_a_sample_of_the_harness_has_its_texts(tmp_path: Path) -> None:
    bare = sample(1, arguments=[["text", {}]], filtered_resps=[["a", "b"]], target=None)
    found = Outcomes.read(harness(tmp_path, [sample(0), bare], effective=2))
    assert found.item.tolist() == ["my_task/0", "my_task/1"]
    assert found.digest[0] == "d" * 16 + "p"
    assert list(found.texts["prompt"]) == ["0?", ""]
    assert list(found.texts["answer"]) == ["0", '["a", "b"]']
    assert list(found.texts["expected"]) == ["0", ""]
    assert found.announced == 2
    with pytest.raises(DataError, match="Expected 3 items"):
        Outcomes.read(harness(tmp_path, [sample(0), bare], effective=3))
    assert Outcomes.read(harness(tmp_path, [sample(0), bare], effective="many")).announced is None


def test_filters_of_the_harness_are_metrics(tmp_path: Path) -> None:
    assert Outcomes.read(harness(tmp_path, [sample(0, filter="strict"), sample(1, filter="strict")])).score.sum() == 2
    both = [sample(i, filter=name, acc=float(name == "strict")) for i in range(3) for name in ("strict", "loose")]
    with pytest.raises(ConfigError, match="one of acc,loose, acc,strict"):
        Outcomes.read(harness(tmp_path, both))
    assert Outcomes.read(tmp_path / "samples_my_task_2026.jsonl", score="acc,strict").items.mean.tolist() == [1] * 3
    assert Outcomes.read(tmp_path / "samples_my_task_2026.jsonl", score="acc,loose").items.mean.tolist() == [0] * 3
    for wrong in ({"metrics": "acc"}, {"metrics": None}):
        with pytest.raises(DataError, match=r"in line 2 of .* lacks doc_id or metrics"):
            Outcomes.read(harness(tmp_path, [sample(0), sample(1, **wrong)]))


def inspect_log(folder: Path, samples: Any, ids: Any = None, **changes: Any) -> Path:
    log = {"status": "success", "eval": {"task": "t", "dataset": {"sample_ids": ids}}, "samples": samples, **changes}
    return write(folder, "i.json", json.dumps(log).encode())


def test_a_sample_of_inspect_has_its_texts_and_its_letter(tmp_path: Path) -> None:
    def one(value: Any, **changes: Any) -> dict[str, Any]:
        scores = {"m": {"value": value, "answer": "a"}}
        return {"id": "q", "epoch": 2, "input": "in", "target": ["out"], "scores": scores, **changes}

    samples = [one(v, id=f"q{i}") for i, v in enumerate(("C", "P", "I", "N", 0.25, None, "0.75"))]
    found = Outcomes.read(inspect_log(tmp_path, [*samples, one(1, id="z", scores=None, epoch=1)]))
    assert found.item.tolist() == [f"t/q{i}" for i in range(7)] + ["t/z"]
    assert found.run.tolist() == ["epoch 2"] * 7 + ["epoch 1"]
    assert [None if np.isnan(v) else v for v in found.score.tolist()] == [1, 0.5, 0, 0, 0.25, None, 0.75, None]
    assert [found.texts[name][0] for name in ("prompt", "answer", "expected")] == ["in", "a", "out"]
    assert found.texts["answer"][-1] == ""
    assert found.announced is None
    whole = [one("C", id=i) for i in range(3)]
    assert Outcomes.read(inspect_log(tmp_path, whole, ids=[0, 1, 2])).announced == 3
    with pytest.raises(DataError, match="Expected 4 items"):
        Outcomes.read(inspect_log(tmp_path, whole, ids=[0, 1, 2, 3]))
    for wrong in (None, {}, [1]):
        with pytest.raises(DataError, match="a log of Inspect with its samples"):
            Outcomes.read(inspect_log(tmp_path, wrong))


def test_an_archive_that_is_stored_or_deflated_is_read(tmp_path: Path) -> None:
    one = {"id": 1, "epoch": 1, "input": "in", "scores": {"m": {"value": "C"}}}
    header = {"status": "success", "eval": {"task": "t"}}
    members = {"header.json": header, "samples/1.json": one, "journal/x.json": {}}
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "a.eval", "w", kind) as archive:
            for name, content in members.items():
                archive.writestr(name, json.dumps(content))
        assert Outcomes.read(tmp_path / "a.eval").item.tolist() == ["t/1"]
    for left_out, words in (
        ({"header.json": None}, "has no header"),
        ({"samples/1.json": [1]}, "Expected a JSON object"),
    ):
        with zipfile.ZipFile(tmp_path / "b.eval", "w") as archive:
            for name, content in {**members, **left_out}.items():
                if content is not None:
                    archive.writestr(name, json.dumps(content))
        with pytest.raises(DataError, match=words):
            Outcomes.read(tmp_path / "b.eval")


def test_formats_are_recognised_by_suffix_and_content(tmp_path: Path) -> None:
    rows = [{"item": "a", "score": 1}, {"item": "b", "score": 0}]
    for name, content in (
        ("a.json", json.dumps(rows)),
        ("b.tsv", "item\tscore\na\t1\nb\t0\n"),
        ("c.JSONL", "\n".join(map(json.dumps, rows))),
    ):
        found = Outcomes.read(write(tmp_path, name, content.encode()))
        assert (found.item.tolist(), found.score.tolist()) == (["a", "b"], [1, 0])
    for content in (
        {"eval": 1},
        {"samples": 1},
        {"results": {}},
        {"results": []},
        [],
        [1],
        3,
        [[1], {"annotations": []}],
    ):
        with pytest.raises(DataError, match=r"Expected (?:rows|at least one row|a column|a log of Inspect)"):
            Outcomes.read(write(tmp_path, "d.json", json.dumps(content).encode()))


def test_lines_and_fields_that_are_wrong_are_named_by_number(tmp_path: Path) -> None:
    good = '{"item": "a", "score": 1}\n'
    for bad, words in (("{\n", "line 3 of .* damaged"), ("[1]\n", "a JSON object in line 3")):
        with pytest.raises(DataError, match=words):
            Outcomes.read(write(tmp_path, "a.jsonl", (good + "\n" + bad).encode()))
    some = write(tmp_path, "b.jsonl", b'{"item": "a", "score": 1}\n{"item": "b", "score": 0, "group": "g"}\n')
    assert Outcomes.read(some).group.tolist() == ["", "g"]
    for bad, words in (
        ("a,1\n\nb\n", "fields in line 4"),
        ('a,1\n"b', "damaged in line 3"),
        ("a,1\nb,0,2\n", "fields in line 3"),
    ):
        with pytest.raises(DataError, match=words):
            Outcomes.read(write(tmp_path, "c.csv", f"item,score\n{bad}".encode()))
    assert Outcomes.read(write(tmp_path, "d.csv", b"\xef\xbb\xbfitem,score\na,1\n\nb,0\n")).score.tolist() == [1, 0]
    with pytest.raises(DataError, match=r"columns item \(1\), item \(2\), score"):
        Outcomes.read(write(tmp_path, "e.csv", b"item,item,score\na,b,1\n"))


def test_a_larger_file_is_split_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a.csv", b"item,score\na,1\n")
    monkeypatch.setattr(document, "LARGEST", path.stat().st_size)
    assert Outcomes.read(path).score.tolist() == [1]
    monkeypatch.setattr(document, "LARGEST", path.stat().st_size - 1)
    with pytest.raises(DataError, match="Split it"):
        Outcomes.read(path)


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
