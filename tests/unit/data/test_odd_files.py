"""Files in every dialect are read; damaged and odd ones are errors that end with a call that works."""

from __future__ import annotations

import gzip
import json
import pathlib
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustest.claims.outcomes import measure_rate
from robustest.data import Outcomes
from robustest.errors import ConfigError, DataError

FILES = Path(__file__).with_name("outcomes")

ROWS = "item,score\nq1,0.9\nq2,0\nq3,1\n"
LINES = "".join(f"{json.dumps({'item': f'q{i}', 'score': i % 2})}\n" for i in range(4))
SCORES = [0.9, 0.0, 1.0]

DIALECTS: dict[str, bytes] = {
    "commas.csv": ROWS.encode(),
    "semicolons.csv": b"item;score\nq1;0,9\nq2;0\nq3;1\n",
    "semicolons in texts.csv": b'item;score;note\nq1;0,9;"a;b, c"\nq2;0,0;x\nq3;1,0;y\n',
    "tabs.tsv": ROWS.replace(",", "\t").encode(),
    "tabs.csv": ROWS.replace(",", "\t").encode(),
    "bars.csv": ROWS.replace(",", "|").encode(),
    "no suffix": ROWS.encode(),
    "quoted.csv": b'"item","score"\n"q1","0,9"\n"q2","0"\n"q3","1"\n',
    "a mark.csv": b"\xef\xbb\xbf" + ROWS.encode(),
    "utf-16.csv": ROWS.encode("utf-16"),
    "utf-16 without a mark.csv": ROWS.encode("utf-16-le"),
    "windows.csv": ROWS.replace("\n", "\r\n").encode(),
    "a code page.csv": "item;score;Größe\nq1;0,9;groß\nq2;0;klein\nq3;1;ß\n".encode("cp1252"),
    "a line of Excel's.csv": b"sep=;\nitem;score\nq1;0,9\nq2;0\nq3;1\n",
    "comments.csv": b"# of 2026\n\n" + ROWS.encode(),
    "empty fields at the end.csv": b"item,score,,\nq1,0.9,,\nq2,0,,\nq3,1,,\n",
    "spaces in the header.csv": b"item, score\nq1,0.9\nq2,0\nq3,1\n",
    "shares.csv": b"item,score\nq1,90%\nq2,0%\nq3,100%\n",
    "fractions.csv": b"item,score\nq1,9/10\nq2,0/10\nq3,10/10\n",
    "old lines.csv": ROWS.replace("\n", "\r").encode(),
    "commas at the ends.jsonl": (
        b'{"item": "q1", "score": 0.9},\n{"item": "q2", "score": 0},\n{"item": "q3", "score": 1},\n'
    ),
    "one line.jsonl": b'{"item": "q1", "score": 0.9}{"item": "q2", "score": 0} {"item": "q3", "score": 1}\n',
    "packed.csv.gz": gzip.compress(ROWS.encode()),
    "packed.jsonl.gz": gzip.compress(
        b'{"item": "q1", "score": 0.9}\n{"item": "q2", "score": 0}\n{"item": "q3", "score": 1}\n'
    ),
    "columns.json": json.dumps({"item": ["q1", "q2", "q3"], "score": SCORES}).encode(),
    "columns of pandas.json": json.dumps(
        {"item": {"0": "q1", "1": "q2", "2": "q3"}, "score": {"0": 0.9, "1": 0, "2": 1}}
    ).encode(),
    "split by pandas.json": json.dumps(
        {"columns": ["item", "score"], "index": [0, 1, 2], "data": [["q1", 0.9], ["q2", 0], ["q3", 1]]}
    ).encode(),
    "lines.json": b'{"item": "q1", "score": 0.9}\n{"item": "q2", "score": 0}\n{"item": "q3", "score": 1}\n',
    "a list.jsonl": b'[{"item": "q1", "score": 0.9}, {"item": "q2", "score": 0}, {"item": "q3", "score": 1}]',
    "lines.txt": b'{"item": "q1", "score": 0.9}\n{"item": "q2", "score": 0}\n{"item": "q3", "score": 1}\n',
}


@pytest.mark.parametrize("name", DIALECTS)
def test_rows_are_read_in_every_dialect(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(DIALECTS[name])
    found = Outcomes.read(tmp_path / name)
    assert found.item.tolist() == ["q1", "q2", "q3"]
    assert found.score.tolist() == pytest.approx(SCORES)


def tool(name: str, change: Callable[[Any], Any]) -> bytes:
    """The JSON document of a tool, changed."""
    return json.dumps(change(json.loads((FILES / name).read_text(encoding="utf-8")))).encode()


def part(name: str, share: float) -> bytes:
    content = (FILES / name).read_bytes()
    return content[: int(share * len(content))]


def archive(**members: str) -> bytes:
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for member, content in members.items():
            file.writestr(member.replace("__", "/").replace("_json", ".json"), content)
    return buffer.getvalue()


SAMPLE = json.dumps({"id": 1, "epoch": 1, "input": "in", "scores": {"m": {"value": "C"}}})

ODD: dict[str, bytes] = {
    # columns
    "other names.csv": b"question,grade\nWhat?,1\nWhy?,0\n",
    "other names and a range.csv": b"question;grade\nWhat?;4,5\nWhy?;1\n",
    "capitals.csv": b"ID,Score\na,1\nb,0\n",
    "no score.csv": b"item,answer,correct\na,x,1\nb,y,0\n",
    "no item.csv": b"score\n1\n0\n",
    "numbers alone.csv": b"correct,seconds\n1,2.5\n0,3.5\n",
    "nested.jsonl": b'{"sample_id": "a", "data": {"correct": true}}\n{"sample_id": "b", "data": {"correct": false}}\n',
    "a score with fields.json": (
        b'[{"item": "a", "score": {"value": 1, "why": "x"}}, {"item": "b", "score": {"value": 0}}]'
    ),
    "a list of scores.jsonl": b'{"item": "a", "score": [1, 0]}\n{"item": "b", "score": [1, 1]}\n',
    "an item without a name.csv": b"item,question,score\n,What?,1\nb,Why?,0\n",
    "another cluster.csv": ROWS.encode(),
    "one name twice.csv": b"item,score,score\na,1,0\n",
    "no header.csv": b"q1,1\nq2,0\nq3,1\n",
    "scores alone.txt": b"0\n1\n1\n",
    "spaces.txt": b"item score\na 1\nb 0\n",
    "lists.json": b'[["q1", 1], ["q2", 0]]',
    "scores alone.json": b"[1, 0, true]",
    # scores
    "marks.csv": b"name,verdict\na,A\nb,B\nc,C\nd,D\ne,E\n",
    "words.csv": b"item,score\na,PASS\nb,FAIL\nc,PASS\n",
    "letters.jsonl": b'{"item": "a", "score": "C"}\n{"item": "b", "score": "I"}\n',
    "one to ten.csv": b"item,score\na,7\nb,10\nc,1\n",
    "of a hundred.jsonl": b'{"item": "a", "score": 88.5}\n{"item": "b", "score": 12}\n',
    "below zero.csv": b"item,score\na,-0.5\nb,0.5\n",
    "thousands or decimals.csv": b'item,score\na,"1,234"\nb,"2,345"\n',
    "a range upside down.csv": ROWS.encode(),
    # rows
    "two scores of a run.csv": b"item,run,score\na,1,1\na,1,0\n",
    "two groups of an item.csv": b"item,group,score\na,x,1\na,y,0\nb,x,1\n",
    "two inputs of an item.csv": b"item,prompt,score\na,What?,1\na,Why?,0\n",
    "too many fields.csv": b"item,score\na,1\nb,0,5\nc,1\n",
    "too few fields.csv": b"item,score,note\na,1,x\nb,0\nc,1,z\n",
    "an open quote.csv": b'item,score\na,1\nb,0\n"c,1\n',
    "cut off.jsonl": LINES.encode()[:-8],
    "a damaged line.jsonl": LINES.encode() + b'{"item": "q9", "score": }\n{"item": "q10", "score": 1}\n',
    "a key twice.jsonl": LINES.encode() + b'{"item": "q9", "score": 1, "score": 0}\n',
    "cut off.json": json.dumps([{"item": f"q{i}", "score": i % 2} for i in range(5)]).encode()[:-12],
    "latin.jsonl": '{"item": "é", "score": 1}\n{"item": "b", "score": 0}\n'.encode("latin-1"),
    "damaged utf-8.csv": b"item,score\n\xc3\xa9,1\n\xe9,0\n",
    # documents
    "rows inside.json": json.dumps({"run": 1, "results": {"rows": [{"item": "a", "score": 1}]}}).encode(),
    "rows inside of others.json": json.dumps({"data": [{"id": "a", "grade": 3}, {"id": "b", "grade": 5}]}).encode(),
    "records by name.json": json.dumps({"q1": {"score": 1}, "q2": {"score": 0}}).encode(),
    "scores by name.json": json.dumps({"scores": {"q1": 1, "q2": 0}}).encode(),
    # tools
    "unfinished.json": tool("inspect.json", lambda log: {**log, "status": "cancelled", "samples": log["samples"][:3]}),
    "inspect, cut off.json": part("inspect.json", 0.7),
    "inspect, without a header.eval": archive(
        samples__1_json=SAMPLE, _journal__start_json='{"eval": {"task": "t", "dataset": {"sample_ids": [1, 2]}}}'
    ),
    "deepeval, cut off.json": part("deepeval.json", 0.5),
    "evals without a report.jsonl": part("openai-evals.jsonl", 0.99),
    "lerobot, fewer episodes.json": tool("lerobot.json", lambda info: {**info, "per_task": info["per_task"][:2]}),
    "promptfoo, two providers.json": tool(
        "promptfoo.json",
        lambda data: {
            "results": {
                "results": data["results"]["results"]
                + [{**one, "provider": {"id": "other"}} for one in data["results"]["results"]],
            }
        },
    ),
    "promptfoo, interrupted.json": tool(
        "promptfoo.json",
        lambda data: {"results": {**data["results"], "results": data["results"]["results"][:-2]}},
    ),
    "split by pandas, cut off.json": json.dumps(
        {"columns": ["item", "score"], "data": [["q1", 1], ["q2", 0], ["q3", 1]]}
    ).encode()[:-8],
    "junit, cut off.xml": part("junit.xml", 0.8),
    "ratings of choices.json": json.dumps(
        [
            {"id": i, "annotations": [{"id": i, "result": [{"from_name": "c", "value": {"choices": [word]}}]}]}
            for i, word in enumerate(("yes", "no"))
        ]
    ).encode(),
    # files that others read
    "numbers.npy": b"",  # written below
    "frame.pkl": b"",
    "rows.db": b"",
}
"""Odd files by name. Each is an error, and the call at its end gives outcomes."""

KEYWORDS: dict[str, dict[str, Any]] = {
    "another cluster.csv": {"cluster": "passage"},
    "a range upside down.csv": {"low": 1, "high": 0},
}


def executed(message: str) -> Outcomes | None:
    """Make the call at the end of a message, as a user would copy it; None if there is none."""
    start = max(message.rfind("Outcomes.read("), message.rfind("Outcomes.of("))
    if start < 0:
        return None
    names: dict[str, Any] = {"Outcomes": Outcomes, "pathlib": pathlib}
    if "pandas." in message[start:]:
        names["pandas"] = pytest.importorskip("pandas", reason="pandas reads this file")
    names |= {"numpy": np, "sqlite3": sqlite3}
    found = eval(message[start:], names)  # noqa: S307 - our own message
    assert isinstance(found, Outcomes)
    return found


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_an_error_whose_call_works(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(ODD[name])
    if name.endswith(".npy"):
        np.save(path, np.array([1.0, 0.0, 1.0]))
    if name.endswith(".pkl"):
        pandas = pytest.importorskip("pandas", reason="pandas writes this file")
        pandas.DataFrame({"item": ["a", "b"], "score": [1, 0]}).to_pickle(path)
    if name.endswith(".db"):
        path.unlink()
        with closing(sqlite3.connect(path)) as database:
            database.executescript("create table runs(item text, score real); insert into runs values ('a', 1)")
    with pytest.raises((DataError, ConfigError), match=r"Expected|Unknown") as refused:
        Outcomes.read(path, **KEYWORDS.get(name, {}))
    found = executed(str(refused.value))
    assert found is not None, str(refused.value)
    assert len(found.item) > 0


def test_rows_at_hand_are_read_as_files_are() -> None:
    """A list of mappings, columns and a frame: in `Outcomes.read`, and as the first argument of a claim."""
    rows = [{"item": f"q{i}", "score": i % 10 != 0} for i in range(200)]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    whole = Outcomes.of(rows).content()
    for given in (rows, tuple(rows), columns):
        assert Outcomes.read(given).content() == whole
        assert measure_rate(given, at_least=0.8).estimate == pytest.approx(0.9)
    named = [{"question": row["item"], "grade": row["score"]} for row in rows]
    assert Outcomes.read(named, item="question", score="grade").content() == whole
    with pytest.raises(DataError, match=r"For example: Outcomes\.of\(rows, item='question', score='grade'\)"):
        Outcomes.read(named)
    with pytest.raises(DataError, match=r"rows as mappings but got 3 \(int\)"):
        Outcomes.read([3])


def test_items_that_are_absent_have_no_score_and_count_as_wrong(tmp_path: Path) -> None:
    """What ended of an evaluation is no sample of it: an item that is absent may be one that crashed."""
    path = tmp_path / "cut.jsonl"
    path.write_text("".join(json.dumps({"item": f"q{i}", "score": 1}) + "\n" for i in range(90)) + '{"item"', "utf-8")
    with pytest.raises(DataError, match=r"line 91 .* planned=91\)$"):
        Outcomes.read(path)
    found = Outcomes.read(path, planned=100)
    assert len(found.items.name) == 100
    assert found.announced == 100
    assert measure_rate(found, at_least=0.5).estimate == pytest.approx(0.9)
    assert measure_rate(found, at_least=0.5, missing="drop").estimate == 1
    with pytest.raises(ConfigError, match=r"at least the 90 items .* but got 80.*planned=90\)$"):
        Outcomes.read(path, planned=80)
    for wrong in ("all", True, -1):
        with pytest.raises(ConfigError, match=r"planned= to be .*planned=90\)$"):
            Outcomes.read(path, planned=wrong)  # type: ignore[arg-type]


def test_absent_items_have_the_names_that_the_tool_planned(tmp_path: Path) -> None:
    """So that they are paired with those of another run."""
    log = json.loads((FILES / "inspect.json").read_text(encoding="utf-8"))
    names = Outcomes.read(FILES / "inspect.json", score="match").items.name
    path = tmp_path / "log.json"
    path.write_text(json.dumps({**log, "status": "error", "samples": log["samples"][:3]}), encoding="utf-8")
    found = Outcomes.read(path, score="match", planned=len(names)).items
    assert found.name.tolist() == names.tolist()
    assert found.runs.sum() == 3


def test_parts_of_an_evaluation_are_complete_together(tmp_path: Path) -> None:
    for part in (0, 1):
        rows = [json.dumps({"item": f"q{i}", "score": 1}) for i in range(10 * part, 10 * part + 9)]
        (tmp_path / f"{part}.jsonl").write_text("\n".join(rows) + '\n{"ite', encoding="utf-8")
    paths = [tmp_path / "0.jsonl", tmp_path / "1.jsonl"]
    assert len(Outcomes.read(paths, planned=20).items.name) == 20
    with pytest.raises(ConfigError, match=r"at least the 18 items .*planned=18\)$"):
        Outcomes.read(paths, planned=5)


def test_fields_inside_of_others_are_groups_and_clusters() -> None:
    found = Outcomes.read(FILES / "promptfoo-shared.json", group="metadata.level", cluster="vars.a")
    assert set(found.group) == {"easy", "hard"}
    assert set(found.cluster) == {"1", "2", "13", "20"}


def test_a_name_with_dots_is_a_column_before_it_is_a_path() -> None:
    rows = [{"item": "a", "x.y": 1, "x": {"y": 0, "z.w": 0.5}}]
    assert Outcomes.of(rows, score="x.y").score.tolist() == [1]
    assert Outcomes.of(rows, score="x.z.w").score.tolist() == [0.5]
    with pytest.raises(DataError, match=r"Expected a column 'x.q'"):
        Outcomes.of(rows, score="x.q")


def test_a_right_word_and_a_decimal_comma_are_told() -> None:
    rows = [{"item": "a", "score": "pass"}, {"item": "b", "score": "fail"}, {"item": "c", "score": None}]
    found = Outcomes.of(rows, correct="pass")
    assert found.score[:2].tolist() == [1, 0]
    assert np.isnan(found.score[2])
    with pytest.raises(ConfigError, match=r"correct= to be a value of the scores .* correct='fail'\)"):
        Outcomes.of(rows, correct="passed")
    texts = [{"item": "a", "score": "1,500"}, {"item": "b", "score": "2,250"}]
    assert Outcomes.of(texts, decimal=",", high=3).score.tolist() == [1.5, 2.25]
    assert Outcomes.of(texts, decimal=".", high=3000).score.tolist() == [1500, 2250]


def test_several_tests_of_one_description_are_several_items(tmp_path: Path) -> None:
    """In lines and in JSON their names are the same, so that one is compared with the other."""
    names = Outcomes.read(FILES / "promptfoo-shared.json").items.name.tolist()
    assert len(names) == 5
    assert names == Outcomes.read(FILES / "promptfoo.jsonl").items.name.tolist()
    assert names[0] == "large sums"
    assert sum(name.startswith("small sums ") for name in names) == 3


def test_a_provider_that_failed_has_no_score_in_any_form_of_promptfoo() -> None:
    for end in ("-shared.json", ".jsonl", ".csv"):
        assert np.isnan(Outcomes.read(FILES / f"promptfoo{end}").score).sum() == 2


def test_a_case_that_was_run_again_is_several_runs(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(
        '<testsuite tests="2">'
        '<testcase classname="a" name="flaky"><flakyFailure message="no"/></testcase>'
        '<testcase classname="a" name="graded">'
        '<properties><property name="grade" value="0.75"/></properties></testcase>'
        "</testsuite>",
        encoding="utf-8",
    )
    found = Outcomes.read(path)
    assert found.items.runs.tolist() == [2, 1]
    assert found.items.mean.tolist() == [0.5, 1]
    assert Outcomes.read(path, score="grade").items.mean[1] == 0.75


def test_scores_of_traces_in_any_form(tmp_path: Path) -> None:
    """Langfuse's scheduled exports, pages that overlap, and Phoenix's annotations: a row for each score."""
    rows = [
        {"id": f"s{i}{name}", "trace_id": f"t{i}", "name": name, "value": i % 2, "data_type": "NUMERIC"}
        for i in range(3)
        for name in ("exact", "tone")
    ]
    path = tmp_path / "scores.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, rows[0]]), encoding="utf-8")
    found = Outcomes.read(path, score="exact")
    assert found.item.tolist() == ["t0", "t1", "t2"]
    assert found.score.tolist() == [0, 1, 0]
    spans = [
        {"span_id": f"s{i}", "annotation_name": "tone", "annotator_kind": "LLM", "label": word, "score": None}
        for i, word in enumerate(("good", "bad"))
    ]
    (tmp_path / "spans.json").write_text(json.dumps(spans), encoding="utf-8")
    assert Outcomes.read(tmp_path / "spans.json", correct="good").score.tolist() == [1, 0]


def test_items_of_a_hosted_run_of_openai(tmp_path: Path) -> None:
    items = [
        {
            "object": "eval.run.output_item",
            "id": f"o{i}",
            "status": status,
            "datasource_item_id": i,
            "datasource_item": {"question": f"{i}?"},
            "results": [{"name": "grader", "passed": status == "pass", "score": i / 2}],
            "sample": {"input": [{"role": "user", "content": f"{i}?"}], "output": []},
        }
        for i, status in enumerate(("pass", "fail", "error"))
    ]
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"object": "list", "data": items}), encoding="utf-8")
    assert np.isnan(Outcomes.read(path).score).tolist() == [False, False, True]
    assert Outcomes.read(path, score="grader").score.tolist() == [0, 0.5, 1]


def test_a_folder_and_a_misspelt_path_are_told_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "candidate.jsonl").write_text(LINES, encoding="utf-8")
    for wrong in (tmp_path, tmp_path / "candidat.jsonl"):
        with pytest.raises(DataError) as refused:
            Outcomes.read(wrong)
        assert executed(str(refused.value)) is not None


def test_values_inside_of_events_of_openai_are_metrics_and_repeats_are_runs(tmp_path: Path) -> None:
    def event(sample: int, data: dict[str, Any], kind: str = "metrics") -> dict[str, Any]:
        return {"run_id": "r", "event_id": 0, "sample_id": f"s{sample}", "type": kind, "data": data}

    scored = [event(i, {"scores": {"accuracy": i % 2, "f1": i / 2}, "why": "x"}) for i in (0, 1)]
    twice = [event(3, {"scores": {"accuracy": value}}) for value in (0, 1)]
    rows = [
        {"spec": {"eval_name": "e"}},
        *scored,
        event(2, {"message": "crash"}, "error"),
        *twice,
        {"final_report": {}},
    ]
    path = tmp_path / "e.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    found = Outcomes.read(path, score="scores.accuracy").items
    assert found.runs.tolist() == [1, 1, 0, 2]
    assert found.mean[[0, 1, 3]].tolist() == [0, 1, 0.5]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows[:-1]), encoding="utf-8")
    with pytest.raises(DataError, match=r"no final report: it did not end.*planned=5\)$"):
        Outcomes.read(path, score="scores.accuracy")


def test_letters_of_inspect_are_shares_of_any_range(tmp_path: Path) -> None:
    samples = [
        {"id": i, "epoch": 1, "input": "q", "scores": {"g": {"value": value}}}
        for i, value in enumerate([9, "C", "I", "P"])
    ]
    path = tmp_path / "i.json"
    path.write_text(json.dumps({"status": "success", "eval": {"task": "t"}, "samples": samples}), encoding="utf-8")
    assert Outcomes.read(path, low=1, high=10).score.tolist() == [9, 10, 1, 5.5]
    with pytest.raises(DataError, match=r"For example: .*low=1, high=10\)$"):
        Outcomes.read(path)


def test_episodes_of_lerobot_before_tasks_have_their_seeds(tmp_path: Path) -> None:
    episodes = [
        {"episode_ix": i, "sum_reward": 10.0 * i, "max_reward": 1.0, "success": i % 2 == 0, "seed": 1000 + i}
        for i in range(4)
    ]
    path = tmp_path / "eval_info.json"
    path.write_text(json.dumps({"per_episode": episodes, "aggregated": {"pc_success": 50.0}}), encoding="utf-8")
    found = Outcomes.read(path)
    assert found.items.mean.tolist() == [1, 0, 1, 0]
    assert found.digest.tolist() == [f"seed {seed}" for seed in range(1000, 1004)]


def test_forms_of_promptfoo_without_types_are_written_again(tmp_path: Path) -> None:
    for name, text in (("a.xml", "<promptfoo>\n<evalId>e</evalId></promptfoo>"), ("a.yaml", "evalId: e\nresults:\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=r"Write it again: promptfoo export eval latest -o .*a\.json$"):
            Outcomes.read(tmp_path / name)


def test_keywords_of_other_types_are_errors_with_a_call(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(ROWS, encoding="utf-8")
    wrong: dict[str, Any] = {"item": 3, "score": ["a"], "low": "0", "high": float("inf"), "cluster": len}
    for name, value in wrong.items():
        with pytest.raises(ConfigError, match=rf"Expected .*{name}=.* to be .*For example: Outcomes\.read") as refused:
            Outcomes.read(path, **{name: value})
        assert executed(str(refused.value)) is not None


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("deepeval.json", '"conversationalTestCases": []', '"conversationalTestCases": 3'),
        ("promptfoo.json", '"promptIdx": 0', '"promptIdx": []'),
        ("label-studio.json", '"annotations": [', '"annotations": [{"id": 1, "result": 3}, '),
    ],
)
def test_a_value_of_another_type_is_an_error_of_ours(tmp_path: Path, name: str, before: str, after: str) -> None:
    text = json.dumps(json.loads((FILES / name).read_text(encoding="utf-8")))
    assert before in text
    (tmp_path / name).write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(DataError, match=r"^Expected .*TypeError: .*Write it again: "):
        Outcomes.read(tmp_path / name)


def test_a_call_is_shown_only_if_it_works(tmp_path: Path) -> None:
    """Where nothing helps nothing is shown: a wrong remedy costs more than none."""
    for name, content in (("a.csv", "item,score\na,inf\nb,1\n"), ("b.json", "3"), ("c.html", "<html></html>")):
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=r"^Expected") as refused:
            Outcomes.read(tmp_path / name)
        assert "For example" not in str(refused.value)


def test_rows_whose_place_is_named_are_read_whatever_wrote_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deepeval.json"
    path.write_bytes((FILES / "deepeval.json").read_bytes())
    found = Outcomes.read(path, rows="testCases", item="name", score="success")
    assert found.score.tolist() == [1, 1, 0, 0, 0, 0]
    assert Outcomes.read(path, rows="testCases", item="name", score="metricsData.0.score").items.runs.sum() == 5
    with pytest.raises(ConfigError, match=r"Unknown keyword for this file 'rows'"):
        Outcomes.read(path, reader="deepeval", rows="testCases")
