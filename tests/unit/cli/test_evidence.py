"""`robustest evidence`: files by their formats' own validators, and a check that notices whatever was changed."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy
import pytest
import yaml
from safetensors import numpy as safetensors_numpy

from robustest.reports.evidence import documents, outcome
from robustest.reports.inert import visible
from robustest.results import Limit, Verdict
from robustest.settings import Settings
from robustest.words import interval_in_words

ROOT = Path(__file__).resolve().parents[3]
SARIF_SCHEMA = ROOT / "tests/browser/node_modules/@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json"
NASTY = "tests/test_a.py::test_<b>[x|y](z)\x1b[31m::error::{0}"
SOURCE = """
def helper(): pass

class TestIt:
    def test_in_class(self): pass

def test_x(): pass
"""


@pytest.fixture
def evidence(
    run_file: Callable[..., Path], row: Callable[..., Any], made: Callable[..., Any], robustest: Callable[..., Any]
) -> Callable[..., dict[str, Any]]:
    """Writes the evidence of a run of these rows; returns its files, read."""

    def write(*rows: Any, options: tuple[str, ...] = (), **run: Any) -> dict[str, Any]:
        given = rows or (
            row("test_a.py::test_x", made([True, True])),
            row("test_a.py::TestIt::test_in_class[1]", made([True, False, False, False])),
            row(NASTY),
        )
        done = robustest("evidence", "write", run_file("robust.json", given, **run), *options)
        assert done.code in (0, 1), done.err
        texts = {path.name: path.read_text(encoding="utf-8") for path in Path("evidence").iterdir()}
        read: dict[str, Callable[[str], Any]] = {".md": str, ".yaml": yaml.safe_load}
        return {name: read.get(Path(name).suffix, json.loads)(text) for name, text in texts.items()}

    Path("test_a.py").write_text(SOURCE, encoding="utf-8")
    return write


@pytest.fixture
def prepared(
    evidence: Callable[..., Any],
    run_file: Callable[..., Path],
    row: Callable[..., Any],
    made: Callable[..., Any],
    robustest: Callable[..., Any],
) -> SimpleNamespace:
    """The makers of evidence, files, rows and results, and the command."""
    return SimpleNamespace(evidence=evidence, run_file=run_file, row=row, made=made, robustest=robustest)


@pytest.fixture
def again(run_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets `replay` measure these rows, with tests that open these files and end with this code."""
    from robustest.cli import evidence as verb

    def measure(*rows: Any, opened: Sequence[str] = (), code: int = 0, arguments: list[str] | None = None) -> None:
        results = run_file("again.json", rows)

        def run(given: list[str]) -> int:
            options = dict(one.split("=", 1) for one in given if "=" in one)
            shutil.copy(results, options["--robust-json"])
            Path(f"{options['--robust-opened']}.1").write_text(json.dumps([os.path.realpath(one) for one in opened]))
            if arguments is not None:
                arguments[:] = given
            return code

        monkeypatch.setattr(verb, "run_pytest", run)

    return measure


def needed(name: str) -> Any:
    if os.environ.get("ROBUSTEST_LINTERS") == "required":
        return __import__(name, fromlist=["_"])
    return pytest.importorskip(name, reason="the format's own validator is not installed")


def test_in_toto_reads_the_statements(evidence: Callable[..., Any]) -> None:
    files = evidence(options=("--model", "test_a.py"))
    statement = needed("in_toto_attestation.v1.statement")
    pb2 = needed("in_toto_attestation.v1.statement_pb2")
    results = needed("in_toto_attestation.predicates.test_result.v0.test_result_pb2")
    json_format = needed("google.protobuf.json_format")
    for name in ("statement.json", "test-result.json"):
        text = json.dumps(files[name])
        statement.Statement.copy_from_pb(json_format.Parse(text, pb2.Statement())).validate()
    predicate = json_format.Parse(json.dumps(files["test-result.json"]["predicate"]), results.TestResult())
    assert predicate.result == "FAILED"
    assert list(predicate.passed_tests) == ["test_a.py::test_x"]
    assert len(predicate.failed_tests) == 2


def test_cyclonedx_accepts_the_bill_of_materials(evidence: Callable[..., Any]) -> None:
    files = evidence(options=("--model", "test_a.py"))
    json_validator = needed("cyclonedx.validation.json")
    version = needed("cyclonedx.schema").SchemaVersion.V1_7
    assert json_validator.JsonStrictValidator(version).validate_str(json.dumps(files["model.cdx.json"])) is None
    wrong = json.dumps(files["model.cdx.json"]).replace("performanceMetrics", "performance")
    assert json_validator.JsonStrictValidator(version).validate_str(wrong) is not None
    component = files["model.cdx.json"]["metadata"]["component"]
    assert component["hashes"][0]["content"] == files["statement.json"]["subject"][0]["digest"]["sha256"]
    first, second = component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert (first["value"], second["value"]) == ("0.25", "1.0")


BENCHMARK = ("--dataset-id", f"org/bench@{'a1' * 20}", "--task-id", "linf")


def test_files_have_one_interval_for_one_claim_and_what_it_requires(prepared: SimpleNamespace) -> None:
    """A search bounds the value on one side; all files have the interval of the value that it found."""
    outcomes = [True] * 9 + [False]
    plain = prepared.made(outcomes)
    left = prepared.made(
        outcomes,
        interval=(0.0, plain.interval[1]),
        bounds="above",
        limits=(Limit("at_least", ">=", 0.5),),
        details={"left_interval": [*plain.interval], "health": []},
    )
    files = prepared.evidence(prepared.row("test_a.py::test_x", left), options=BENCHMARK)
    card = files["model.cdx.json"]["metadata"]["component"]["modelCard"]
    (metric,) = card["quantitativeAnalysis"]["performanceMetrics"]
    ends = [float(metric["confidenceInterval"][name]) for name in ("lowerBound", "upperBound")]
    low, high = left.numbers.left_interval
    assert ends == [low, high] != list(left.interval)
    (claim,) = files["statement.json"]["predicate"]["claims"]
    assert claim["left_interval"] == ends
    shown = interval_in_words(low, high)
    assert shown in claim["sentence"]
    (score,) = files["eval-results.yaml"]
    assert score["value"] == float(metric["value"]) == claim["estimate"] == 0.9
    assert claim["sentence"] in score["notes"]
    assert "required >= 0.50" in score["notes"]
    assert shown in html.unescape(files["model-card.md"])
    required = [one["value"] for one in card["properties"] if one["name"] == "robustest:required:0"]
    assert required == [f"{one['name']} {one['comparison']} {one['value']}" for one in claim["limits"]] != []
    assert {"name": "robustest:bounds:0", "value": "above"} in card["properties"]


def test_sarif_accepts_the_log_which_names_the_line(evidence: Callable[..., Any]) -> None:
    log = evidence()["failed.sarif"]
    if not SARIF_SCHEMA.is_file():
        assert os.environ.get("ROBUSTEST_LINTERS") != "required", "npm install --prefix tests/browser jest-sarif"
        pytest.skip("@microsoft/jest-sarif (npm install --prefix tests/browser) is not installed")
    jsonschema.validate(log, json.loads(SARIF_SCHEMA.read_text(encoding="utf-8")))


def test_what_is_red_has_its_level_line_and_an_inert_message(evidence: Callable[..., Any]) -> None:
    log = evidence()["failed.sarif"]["runs"][0]
    failed, broken = sorted(log["results"], key=lambda one: one["ruleId"])
    assert (failed["level"], broken["level"]) == ("error", "error")
    place = failed["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "test_a.py"}, "region": {"startLine": 5}}
    assert "region" not in broken["locations"][0]["physicalLocation"], "its file is not here"
    text = broken["message"]["text"]
    assert "\x1b" not in text
    assert "{{0}}" in text, "a place for an argument, else"
    assert "\\[x|y\\](z)" in text, "a link, else"


def test_half_of_a_surrogate_pair_is_a_character_as_any_other(prepared: SimpleNamespace) -> None:
    row = prepared.row("test_\ud800.py::test_x", prepared.made([True, False, False], data="\ud800"))
    log = prepared.evidence(row)["failed.sarif"]["runs"][0]
    (place,) = (one["physicalLocation"]["artifactLocation"] for one in log["results"][0]["locations"])
    assert place == {"uri": "test_%ED%A0%80.py"}
    assert prepared.robustest("evidence", "verify").code == 0


def test_a_model_card_has_no_markup_from_elsewhere(evidence: Callable[..., Any]) -> None:
    card = evidence()["model-card.md"]
    assert "<b>" not in card
    assert "\x1b" not in card
    assert all(line.count("|") == 4 for line in card.splitlines() if line.startswith("|"))


@pytest.mark.parametrize(
    ("outcomes", "run", "result"),
    [
        ([True, True], {}, "PASSED"),
        ([True, False, False], {}, "FAILED"),
        ([True, True], {"lost": ["a result is lost"]}, "FAILED"),
        ([True, True], {"code": 2}, "FAILED"),  # interrupted
        ([True, True], {"code": 5}, "FAILED"),
    ],
)
def test_nothing_passes_but_a_whole_green_run(
    prepared: SimpleNamespace, outcomes: list[bool], run: dict[str, Any], result: str
) -> None:
    files = prepared.evidence(prepared.row("test_a.py::test_x", prepared.made(outcomes)), **run)
    assert files["test-result.json"]["predicate"]["result"] == result
    done = prepared.robustest("evidence", "verify")
    assert (done.code, f"the evidence agrees, and its result is {result}" in done.out) == (0, True)


def test_a_run_without_a_claim_is_no_pass(
    evidence: Callable[..., Any], row: Callable[..., Any], made: Callable[..., Any]
) -> None:
    measured = made([True, True], at_least=None, verdict=Verdict.INCONCLUSIVE)
    files = evidence(row("test_a.py::test_x", measured))
    assert files["test-result.json"]["predicate"]["result"] == "FAILED"


def test_evidence_is_about_a_model(
    run_file: Callable[..., Path], row: Callable[..., Any], made: Callable[..., Any], robustest: Callable[..., Any]
) -> None:
    """in-toto refuses a statement without a subject. A claim about an unknown model would pass for the named one."""
    known, unknown = (row(f"test_a.py::test_{one}", made([True, True], model=one)) for one in ("m" * 64, ""))
    run_file("robust.json", [unknown])
    done = robustest("evidence", "write", "robust.json")
    assert (done.code, "--model FILE" in done.err, Path("evidence").exists()) == (3, True, False)
    Path("weights").write_text("1", encoding="utf-8")
    for rows, options in (([unknown], ("--model", "weights")), ([known, unknown], ())):
        run_file("robust.json", rows)
        done = robustest("evidence", "write", "robust.json", *options)
        assert (done.code, "WARNED" in done.out) == (0, True)
    path = Path("evidence/statement.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["subject"].clear()
    for claim in content["predicate"]["claims"]:
        claim["model"] = ""
    for name, data in documents(content).items():
        (path.parent / name).write_bytes(data)
    done = robustest("evidence", "verify")
    assert (done.code, "no subject" in done.out) == (1, True)


def test_one_shard_is_no_run(
    run_file: Callable[..., Path], row: Callable[..., Any], made: Callable[..., Any], robustest: Callable[..., Any]
) -> None:
    path = run_file("robust.json", [row("test_a.py::test_x", made([True]))], shard=(1, 2, ["test_a.py::test_x"]))
    done = robustest("evidence", "write", path)
    assert (done.code, "robustest merge" in done.err) == (3, True)
    assert not Path("evidence").exists()


def test_the_digest_of_data_is_not_theirs_and_the_salt_stays_here(evidence: Callable[..., Any]) -> None:
    one = evidence()["statement.json"]
    salt = Path(".robustest/evidence-salt")
    assert salt.stat().st_mode & 0o077 == 0
    assert "d" * 64 not in json.dumps(one)
    assert evidence()["statement.json"] == one, "the same salt gives the same statement"
    salt.write_bytes(b"another salt of enough bytes")
    other = evidence()["statement.json"]
    assert other["predicate"]["claims"][0]["data"] != one["predicate"]["claims"][0]["data"]
    salt.write_bytes(b"short")
    assert "16 bytes" in refused(evidence)


def refused(evidence: Callable[..., Any]) -> str:
    with pytest.raises(AssertionError) as error:
        evidence()
    return str(error.value)


def scalars(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        places = value.items() if isinstance(value, dict) else enumerate(value)
        return [found for key, part in places for found in scalars(part, (*path, key))]
    return [path]


def altered(value: Any) -> Any:
    return not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else f"{value}0"


def test_every_change_of_one_value_is_noticed(evidence: Callable[..., Any], robustest: Callable[..., Any]) -> None:
    files = evidence()
    assert robustest("evidence", "verify").code == 0
    content = files["statement.json"]
    paths = scalars(content)
    assert len(paths) > 100
    for path in paths:
        changed = json.loads(json.dumps(content))
        inside = changed
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = altered(inside[path[-1]])
        Path("evidence/statement.json").write_text(json.dumps(changed, indent=1) + "\n", encoding="utf-8")
        assert robustest("evidence", "verify").code in (1, 3), path


@pytest.mark.parametrize("name", ["test-result.json", "model.cdx.json", "failed.sarif", "model-card.md"])
def test_a_file_that_the_statement_does_not_make_is_noticed(
    evidence: Callable[..., Any], robustest: Callable[..., Any], name: str
) -> None:
    evidence()
    path = Path("evidence") / name
    text = path.read_text(encoding="utf-8")
    for changed in (text.replace("1", "2", 1), f"{text}\n", text[:-2], ""):
        path.write_text(changed, encoding="utf-8")
        done = robustest("evidence", "verify")
        assert (done.code, done.out.startswith(f"{name}: ")) == (1, True)
    path.unlink()
    assert robustest("evidence", "verify").code == 1


def named(test: str, task: str = "linf") -> tuple[str, str]:
    return "--task-id", f"test_a.py::{test}={task}"


def test_scores_have_what_failed_and_nothing_that_was_not_decided(prepared: SimpleNamespace) -> None:
    made, row = prepared.made, prepared.row
    health = {"health": [{"name": "zero_gradient", "message": "m", "suppressed": True, "carried": False}]}
    rows = {
        "passed": made([True, True], details={"clean_accuracy": 1.0, **health}),
        "failed": made([True, False, False, False]),
        "inconclusive": made([True, True], verdict=Verdict.INCONCLUSIVE, rule="health check", reasons=("health:x",)),
        "measured": made([True, False], at_least=None, verdict=Verdict.INCONCLUSIVE),
        "unfit": made([True, False], at_least=None, verdict=Verdict.INCONCLUSIVE, reasons=("health:x",)),
        "early": made([True, True], estimate=None),
        "unnamed": made([True, True]),
        "broken": None,
    }
    tasks = [one for name in rows if name != "unnamed" for one in named(f"test_{name}", name)]
    given = [row(f"test_a.py::test_{name}", *([] if one is None else [one])) for name, one in rows.items()]
    files = prepared.evidence(*given, options=("--dataset-id", "org/bench", *tasks))
    scores = {one["dataset"]["task_id"]: one for one in files["eval-results.yaml"]}
    assert {task: one["value"] for task, one in scores.items()} == {"passed": 1.0, "failed": 0.25, "measured": 0.5}
    assert all(one["dataset"] == {"id": "org/bench", "task_id": task} for task, one in scores.items())
    assert "robust accuracy under Linf(eps=0.1), fast: failed; accuracy 0.250" in scores["failed"]["notes"]
    assert "zero_gradient spoke and was suppressed" in scores["passed"]["notes"]
    text = Path("evidence/eval-results.yaml").read_text(encoding="utf-8")
    left_out = [line.split(": ")[:2] for line in text.splitlines() if line.startswith("#")]
    assert left_out == [
        [f"# left out ({reason})", f"test_a.py::test_{name}"]
        for name, reason in sorted(
            {
                "inconclusive": "inconclusive",
                "unfit": "inconclusive",
                "early": "no finite estimate",
                "unnamed": "no dataset id and task id",
                "broken": "not measured",
            }.items()
        )
    ]
    done = prepared.robustest("evidence", "write", "robust.json", "--dataset-id", "org/bench", *tasks)
    assert "eval-results.yaml: 3 scores; left out, inconclusive: 2; " in done.out
    assert prepared.robustest("evidence", "verify").code == 0


def test_the_hub_reads_the_scores(prepared: SimpleNamespace) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the format's own reader is not installed")
    if not hasattr(hub, "parse_eval_result_entries"):
        pytest.skip("this version of huggingface_hub does not read the format")
    files = prepared.evidence(prepared.row("test_a.py::test_x", prepared.made([True, True])), options=BENCHMARK)
    (entry,) = hub.parse_eval_result_entries(files["eval-results.yaml"])
    assert (entry.dataset_id, entry.task_id, entry.value) == ("org/bench", "linf", 1.0)
    assert entry.dataset_revision == "a1" * 20
    assert hub.eval_result_entries_to_yaml([entry]) == files["eval-results.yaml"], "nothing was passed over"


@pytest.mark.parametrize(
    "statement",
    [
        *(
            'a "quoted" \\ one',
            "- value: 9",
            "# no comment",
            "x: [1, {y}]",
            "accuracy \U0001f600 \u00e9",
            "&a *a !!int",
        ),
        *("two\nlines\r\n- value: 9", "\x85\u2028\ufeff\x00\x1b[31m", "\ud83d", "%YAML 9", "..."),
    ],
)
def test_no_text_of_a_claim_is_structure_of_the_scores(prepared: SimpleNamespace, statement: str) -> None:
    """The statement stands in an entry's notes, and in the comment of a claim without one."""
    content = prepared.evidence(
        *(prepared.row(f"test_a.py::test_{one}", prepared.made([True, True])) for one in "xy"),
        options=("--dataset-id", "org/bench", *named("test_x")),
    )["statement.json"]
    for claim in content["predicate"]["claims"]:
        claim["statement"] = statement
    text = documents(content)["eval-results.yaml"].decode("ascii")
    assert text.isprintable() or set(text) - {"\n"} <= {chr(code) for code in range(32, 127)}
    assert text.count("\n#") + text.startswith("#") == 1
    (entry,) = yaml.safe_load(text)
    assert entry["notes"].startswith(f"{visible(statement)}: passed; ")
    assert entry["value"] == 1.0


@pytest.mark.parametrize("value", [1e-05, 2.5e-07, 1e16, 0.1 + 0.2, 0.0, 3.0])
def test_a_value_of_any_size_is_a_number(prepared: SimpleNamespace, value: float) -> None:
    content = prepared.evidence(prepared.row("test_a.py::test_x", prepared.made([True, True])), options=BENCHMARK)
    statement = content["statement.json"]
    statement["predicate"]["claims"][0]["estimate"] = value
    (entry,) = yaml.safe_load(documents(statement)["eval-results.yaml"])
    assert (type(entry["value"]), entry["value"]) == (float, value)


def test_a_list_without_scores_is_a_list(prepared: SimpleNamespace) -> None:
    open_ = prepared.made([True, True], verdict=Verdict.INCONCLUSIVE, reasons=("health:x",))
    assert prepared.evidence(prepared.row("test_a.py::test_x", open_), options=BENCHMARK)["eval-results.yaml"] == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--dataset-id", "org/bench"), "no test of the run has both"),
        (("--task-id", "linf"), "no test of the run has both"),
        (("--dataset-id", "org/bench", *named("test_z")), "Expected a test of the run in --task-id"),
        (named("test_x"), "Give the other: --dataset-id"),
        (("--dataset-id", "test_a.py::test_x=org/bench", *named("test_y")), "Give the other: --"),
        (("--dataset-id", "org/bench", "--task-id", "linf"), "2 claims for the task linf of org/bench"),
        ((*BENCHMARK, "--task-id", "l2"), "Expected one --task-id for all tests"),
        *(
            (("--dataset-id", name, *named("test_x")), "has not the form that the Hub expects")
            for name in (
                "a/b/c",
                "",
                "org/",
                ".a/b",
                "a--b/c",
                "a/b..c",
                "a b",
                "org/bench\n",
                "o/b@main",
                "o/b@",
                "x" * 97,
            )
        ),
        *((("--dataset-id", "o/b", *named("test_x", task)), "has not the form") for task in ("", "a b", "\u00e9")),
    ],
)
def test_a_benchmark_that_the_hub_would_refuse_is_none(
    prepared: SimpleNamespace, options: tuple[str, ...], told: str
) -> None:
    rows = [prepared.row(f"test_a.py::test_{one}", prepared.made([True, True])) for one in "xy"]
    file = prepared.run_file("robust.json", rows)
    done = prepared.robustest("evidence", "write", file, *options)
    assert (done.code, told in done.err, Path("evidence").exists()) == (2, True, False), done.err


def test_scores_that_no_statement_makes_are_noticed(prepared: SimpleNamespace) -> None:
    """Edited, deleted, or of an earlier run; and a statement that names one task twice."""
    rows = [prepared.row(f"test_a.py::test_{one}", prepared.made([True, True])) for one in "xy"]
    content = prepared.evidence(*rows, options=("--dataset-id", "org/bench", *named("test_x")))["statement.json"]
    path = Path("evidence/eval-results.yaml")
    text = path.read_text(encoding="utf-8")
    for changed in (text.replace("value: 1.0", "value: 1.1"), f"{text}\n", "[]\n"):
        assert changed != text
        path.write_text(changed, encoding="utf-8")
        done = prepared.robustest("evidence", "verify")
        assert (done.code, "eval-results.yaml: " in done.out) == (1, True)
    path.unlink()
    assert prepared.robustest("evidence", "verify").code == 1
    content["predicate"]["claims"][1]["benchmark"] = content["predicate"]["claims"][0]["benchmark"]
    rewrite(content)
    done = prepared.robustest("evidence", "verify")
    assert (done.code, "2 claims for the task linf of org/bench" in done.out) == (1, True)
    assert "eval-results.yaml" not in prepared.evidence(*rows), "the scores of the run before are gone"
    assert prepared.robustest("evidence", "verify").code == 0
    path.write_text(text, encoding="utf-8")
    done = prepared.robustest("evidence", "verify")
    assert (done.code, "expected no such file" in done.out) == (1, True)


@pytest.mark.parametrize(
    ("benchmark", "told"),
    [
        ({"id": "org/bench"}, "task_id: an unknown or missing field"),
        ({"id": "org/bench", "task_id": "linf", "verifyToken": "x"}, "verifyToken: an unknown or missing field"),
        ({"id": "org/bench", "task_id": "linf", "revision": "main"}, "revision: 'main' has not the form"),
    ],
)
def test_a_forged_benchmark_is_noticed(prepared: SimpleNamespace, benchmark: dict[str, str], told: str) -> None:
    content = prepared.evidence(prepared.row("test_a.py::test_x", prepared.made([True, True])), options=BENCHMARK)
    statement = content["statement.json"]
    statement["predicate"]["claims"][0]["benchmark"] = benchmark
    try:
        rewrite(statement)
    except KeyError:
        rewrite({**statement, "predicate": {**statement["predicate"], "claims": []}})
        Path("evidence/statement.json").write_text(json.dumps(statement), encoding="utf-8")
        assert prepared.robustest("evidence", "verify").code == 3
        return
    done = prepared.robustest("evidence", "verify")
    assert (done.code, told in done.out) == (1, True), done.out


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"interval": [0.0, 0.5]}, "outside of its interval"),
        ({"estimate": 0.5, "interval": [0.0, 1.0]}, "its counts give 1.0"),
        ({"n": 1}, "n=1 of 2, but 2 of 2 outcomes"),
        ({"threshold": 1.5}, "passed with accuracy 1.0, required >= 1.5"),
        (
            {"threshold_name": "at_least", "limits": [{"name": "at_least", "comparison": ">=", "value": 0.4}]},
            "at_least of 0.4 and of 0.5",
        ),
        ({"verdict": "failed"}, "passed, with a claim that is failed"),
        ({"state": "measured", "verdict": "perhaps"}, "'perhaps' is not a valid Verdict"),
        ({"state": "p\u0430ssed"}, "with a claim that is passed"),  # a Cyrillic letter
        ({"state": "fail\u0435d"}, "with a claim that is passed"),  # no state that is red
        ({"state": "tolerated"}, "tolerated, with a claim that is passed"),
        ({"comparison": "\u2265"}, "neither >= nor <="),
        ({"outcomes": ["11 "]}, "but 3 of 3 outcomes"),
        ({"approved": True}, "approved: an unknown or missing field"),
        ({"model": "e" * 64}, "the subject's models are not those of the claims"),
    ],
)
def test_numbers_that_contradict_each_other_are_noticed_though_all_files_agree(
    evidence: Callable[..., Any], robustest: Callable[..., Any], changes: dict[str, Any], told: str
) -> None:
    content = evidence()["statement.json"]
    content["predicate"]["claims"][1].update(changes)
    for name, data in documents(content).items():
        (Path("evidence") / name).write_bytes(data)
    done = robustest("evidence", "verify")
    assert (done.code in (1, 3), told in done.out + done.err) == (True, True), done.out


def unmeasured(content: dict[str, Any]) -> None:
    claim = content["predicate"]["claims"][1]
    content["predicate"]["claims"][1] = {**{name: claim[name] for name in ("test", "line", "state")}, "problem": ""}


FILE_OF_TWO_DIGESTS = {"name": "b", "digest": {"sha256": "e" * 64, "sha512": "f" * 128}}


@pytest.mark.parametrize(
    ("forge", "told"),
    [
        (lambda one: one.update(_type="https://in-toto.io/Statement/v0"), "expected the types"),
        (lambda one: one.update(predicateType=one["predicateType"][:-1] + "2"), "expected the types"),
        (lambda one: one.update(approved=True), "approved: an unknown or missing field"),
        (lambda one: one["predicate"].update(approved=True), "approved: an unknown or missing field"),
        (lambda one: one["predicate"]["settings"].pop("alpha"), "alpha: an unknown or missing field"),
        (lambda one: one["predicate"].pop("selection"), "selection: an unknown or missing"),
        (lambda one: one["predicate"].update(exit=0), "exit 0 of a run with a red test"),
        (lambda one: one["subject"].pop(), "the subject's models are not those of the claims"),
        (lambda one: one["subject"][0]["digest"].update(robustest="e" * 64), "the subject's models"),
        (lambda one: one["subject"].append({"name": "b", "digest": {"sha256": "e" * 64}}), "b: of the subject, with"),
        (lambda one: one["subject"][0].update(uri="https://elsewhere/model"), "more than its name and sha256"),
        (lambda one: one["subject"].insert(0, FILE_OF_TWO_DIGESTS), "more than its name and sha256"),
        (lambda one: one["subject"].insert(0, {"name": "model 1", "digest": {"sha256": "e" * 64}}), "of one name"),
        (lambda one: one["predicate"].update(time="2026-11-30T08:00:00.000Z, approved"), "Expected a time like"),
        (lambda one: one["predicate"].update(commit="e" * 40), "Expected a time like"),  # a run has both
        (lambda one: one["predicate"].update(claims={}), "the subject's models"),
        (unmeasured, "passed, with a claim that was not measured"),
    ],
)
def test_a_forged_statement_is_noticed_though_all_files_agree(
    evidence: Callable[..., Any], robustest: Callable[..., Any], forge: Callable[[Any], None], told: str
) -> None:
    content = evidence()["statement.json"]
    forge(content)
    try:
        made = documents(content)
    except (KeyError, TypeError):
        made = {"statement.json": json.dumps(content, indent=1).encode()}
    for name, data in made.items():
        (Path("evidence") / name).write_bytes(data)
    done = robustest("evidence", "verify")
    assert (done.code in (1, 3), told in done.out + done.err) == (True, True), done.out + done.err


def test_results_that_contradict_each_other_become_no_evidence(
    evidence: Callable[..., Any], row: Callable[..., Any], made: Callable[..., Any]
) -> None:
    failed = made([True, False, False], verdict=Verdict.PASSED)
    with pytest.raises(AssertionError, match=r"passed with accuracy 0\.333"):
        evidence(row("test_a.py::test_x", failed))
    assert not Path("evidence").exists()


def test_a_part_of_the_tests_is_no_pass(
    evidence: Callable[..., Any], row: Callable[..., Any], made: Callable[..., Any]
) -> None:
    content = evidence(row("test_a.py::test_x", made([True, True])))["statement.json"]
    parts = {"selection": "test_a.py", "deselected": ["test_b.py::test_y"], "not_run": 1, "changed": True}
    for name, value in parts.items():
        part = {**content["predicate"], name: value}
        assert (outcome(content["predicate"]), outcome(part)) == ("PASSED", "WARNED"), name


def test_a_suppressed_health_check_is_told_and_no_pass(prepared: SimpleNamespace) -> None:
    """Else evidence of a model that masks its gradients would be that of a robust one."""
    health = [
        {"name": "zero_gradient", "message": "m", "suppressed": True, "carried": False},
        {"name": "weak_search", "message": "m", "suppressed": False, "carried": True},
    ]
    details = {"clean_accuracy": 1.0, "health": health}
    files = prepared.evidence(prepared.row("test_a.py::test_x", prepared.made([True, True], details=details)))
    told = "the health check zero_gradient spoke and was suppressed"
    assert files["statement.json"]["predicate"]["claims"][0]["suppressed"] == ["zero_gradient"]
    assert files["test-result.json"]["predicate"]["result"] == "WARNED"
    card = files["model.cdx.json"]["metadata"]["component"]["modelCard"]
    assert told in card["considerations"]["technicalLimitations"]
    assert told in html.unescape(files["model-card.md"])
    assert "weak_search" not in json.dumps(files)


@pytest.mark.parametrize(
    ("changes", "result"),
    [({"suppress": ("weak_search",)}, "PASSED"), ({"update_baseline": True}, "WARNED")],
)
def test_settings_that_weaken_claims_are_stated(
    prepared: SimpleNamespace, changes: dict[str, Any], result: str
) -> None:
    row = prepared.row("test_a.py::test_x", prepared.made([True, True]))
    files = prepared.evidence(row, settings=Settings(**changes))
    assert files["test-result.json"]["predicate"]["result"] == result
    stated = files["statement.json"]["predicate"]["settings"]
    assert {name: stated[name] for name in changes} == json.loads(json.dumps(changes))


def test_a_changed_commit_is_not_that_commit(evidence: Callable[..., Any]) -> None:
    content = evidence()["statement.json"]
    content["predicate"].update(commit="e" * 40, changed=True)
    made = documents(content)
    configuration = json.loads(made["test-result.json"])["predicate"]["configuration"]
    assert [one["name"] for one in configuration if "gitCommit" in one.get("digest", {})] == ["changed from commit"]
    assert f"commit {'e' * 40}, with changes" in made["model-card.md"].decode()


def test_another_model_is_noticed(evidence: Callable[..., Any], robustest: Callable[..., Any]) -> None:
    Path("model.bin").write_bytes(b"weights")
    Path("other.bin").write_bytes(b"others")
    both = ("--model", "model.bin", "--model", "other.bin")
    evidence(options=both)
    assert robustest("evidence", "verify", *both).code == 0
    done = robustest("evidence", "verify", *both[:2])
    assert (done.code, "other.bin: of the subject, " in done.out) == (1, True)
    Path("model.bin").rename("third.bin")
    Path("other.bin").rename("model.bin")
    Path("third.bin").rename("other.bin")  # each is under the other's name
    assert robustest("evidence", "verify", *both).code == 1
    Path("model.bin").write_bytes(b"weightz")
    done = robustest("evidence", "verify", *both)
    assert (done.code, "model.bin: expected one of the subject's files" in done.out) == (1, True)


@pytest.mark.parametrize(
    "selection",
    [
        *("/elsewhere/evil.py::test_x", "../evil.py::test_x", "-p evil::x", "@evil::x", "'a\nb::c'", "-pevil", "--lf"),
        *("a.py --confcutdir=/", "-k x --rootdir=/", "-k", "'", "--deselect", "a.py; -pevil"),
    ],
)
def test_a_statement_from_elsewhere_runs_nothing_else(
    evidence: Callable[..., Any], robustest: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, selection: str
) -> None:
    from robustest.cli import evidence as verb

    monkeypatch.setattr(verb, "run_pytest", lambda _: pytest.fail("it ran"))
    content = evidence()["statement.json"]
    content["predicate"]["selection"] = selection
    for name, data in documents(content).items():
        (Path("evidence") / name).write_bytes(data)
    assert robustest("evidence", "replay").code == 3


def test_a_selection_is_run_again_as_it_was() -> None:
    from robustest.cli.evidence import _selected

    given = "a.py 'b c.py::test_x[1]' -k 'x and not y' -m '-p evil' --deselect a.py::test_z"
    assert list(_selected(given)) == [
        *("a.py", "b c.py::test_x[1]", "-kx and not y", "-m-p evil", "--deselect=a.py::test_z")
    ]
    assert list(_selected("")) == []


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", '{"predicate": 3}', '{"predicate": {"claims": [3]}}', "[" * 100_000, "\xff"),
        *('{"predicate": {}, "predicate": {"claims": []}}', '{"predicate": {"claims": [], "exit": NaN}}'),
        *('{"predicate": {"claims": [], "exit": 1e400}}', f'{{"predicate": {"[" * 40 + "]" * 40}}}'),
    ],
    ids=range(11),
)
def test_what_is_no_statement_is_refused(robustest: Callable[..., Any], content: str) -> None:
    Path("evidence").mkdir()
    Path("evidence/statement.json").write_text(content, encoding="latin-1")
    assert robustest("evidence", "verify").code == 3


def test_a_name_twice_in_one_object_is_refused(evidence: Callable[..., Any], robustest: Callable[..., Any]) -> None:
    evidence()
    path = Path("evidence/statement.json")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"verdict": "failed"', '"verdict": "passed",\n"verdict": "failed"'), encoding="utf-8")
    done = robustest("evidence", "verify")
    assert (done.code, "'verdict' twice" in done.err) == (3, True), done.err


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        ({"model": "e" * 64}, f"model: {'m' * 64} in the evidence, {'e' * 64} now"),
        ({"data": "e" * 64}, "data: "),
        ({"threshold": 0.4}, "threshold: 0.5 in the evidence, 0.4 now"),
        ({"held": [True, False]}, "outcomes: ['11'] in the evidence, ['10'] now"),
        ({"counterexamples": ()}, "counterexamples: "),
        ({"seed": 1}, "seed: 0 in the evidence, 1 now"),
    ],
)
def test_a_new_measurement_is_compared(
    prepared: SimpleNamespace, again: Callable[..., None], changes: dict[str, Any], told: str
) -> None:
    given: list[str] = []
    others = {name: value for name, value in changes.items() if name != "held"}
    held = changes.get("held", [True, True])
    again(prepared.row("test_a.py::test_x", prepared.made(held, **others)), arguments=given)
    prepared.evidence(prepared.row("test_a.py::test_x", prepared.made([True, True])))
    done = prepared.robustest("evidence", "replay")
    assert (done.code, told in done.out) == (int(bool(changes)), True), done.out
    assert not any("test_a.py" in one for one in given), "a test that was left out would not run"
    assert {"--robust-no-cache", "--robust-seed=0", "--robust-profile=dev"} <= set(given)
    if "data" in changes:  # without the salt two digests cannot be compared
        Path(".robustest/evidence-salt").unlink()
        done = prepared.robustest("evidence", "replay")
        assert (done.code, "the owner's salt is needed" in done.out) == (0, True)


def test_data_of_two_claims_that_differed_are_not_the_same_now(
    prepared: SimpleNamespace, again: Callable[..., None]
) -> None:
    """Without the salt, which data are equal can be compared, and no more."""

    def rows(*data: str) -> list[Any]:
        return [
            prepared.row(f"test_a.py::test_{i}", prepared.made([True], data=64 * one)) for i, one in enumerate(data)
        ]

    prepared.evidence(*rows("a", "b", "a"))
    Path(".robustest/evidence-salt").unlink()
    for data, code in (("cdc", 0), ("ccc", 1), ("cdd", 1), ("abc", 1)):
        again(*rows(*data))
        assert prepared.robustest("evidence", "replay").code == code, data


@pytest.mark.parametrize(
    ("settings", "seed", "told"),
    [
        ({}, 0, ["--robust-seed=0"]),
        ({"seed": 3}, 3, ["--robust-seed=3"]),
        ({"seed": 3}, 5, ["--override-ini=robust_seed=3"]),  # a marker's, which the command line would override
        ({"exact": True, "max_samples": 50}, 0, ["--robust-seed=0", "--robust-exact", "--robust-max-samples=50"]),
    ],
)
def test_a_run_has_the_settings_that_its_command_line_gave(
    prepared: SimpleNamespace, again: Callable[..., None], settings: dict[str, Any], seed: int, told: list[str]
) -> None:
    given: list[str] = []
    row = prepared.row("test_a.py::test_x", prepared.made([True, True], seed=seed))
    again(row, arguments=given)
    prepared.evidence(row, settings=Settings(**settings))
    prepared.robustest("evidence", "replay")
    options = ("--robust-seed", "--override-ini", "--robust-exact", "--robust-max-samples")
    assert [one for one in given if one.startswith(options)] == told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("versions", "robustest 0.0.1"), ("commit", "e" * 40), ("changed", True), ("exit", 5), ("not_run", 2)),
        *(("deselected", ["test_b.py::test_y"]), ("lost", ["a result"]), ("exit", False), ("not_run", 0.0)),
    ],
)
def test_a_run_that_ended_otherwise_is_noticed(
    prepared: SimpleNamespace, again: Callable[..., None], name: str, value: object
) -> None:
    rows = [prepared.row("test_a.py::test_x", prepared.made([True, True]))]
    again(*rows)
    content = prepared.evidence(*rows)["statement.json"]
    content["predicate"][name] = value
    rewrite(content)
    done = prepared.robustest("evidence", "replay")
    assert (done.code, f"run: {name}: {value} in the evidence" in done.out) == (1, True), done.out
    assert "1 verdict as in the evidence" in done.out
    elsewhere = name in ("versions", "commit", "changed")
    assert ("replay it with these" in done.out) == elsewhere


@pytest.mark.parametrize(("missing", "told"), [(True, "not measured now"), (False, "and not in the evidence")])
def test_a_claim_more_or_less_is_noticed(
    prepared: SimpleNamespace, again: Callable[..., None], missing: bool, told: str
) -> None:
    two = [prepared.row("test_a.py::test_x", prepared.made([True, True])) for _ in range(2)]
    again(*two[: 1 if missing else 2])
    prepared.evidence(*two[: 2 if missing else 1])
    done = prepared.robustest("evidence", "replay")
    assert (done.code, told in done.out) == (1, True), done.out
    assert "the verdicts are not those of the evidence" in done.out


@pytest.mark.parametrize(("code", "swapped", "told"), [(1, False, "exit code 1, which"), (0, True, "in another order")])
def test_the_exit_code_and_the_order_of_claims_are_compared(
    prepared: SimpleNamespace, again: Callable[..., None], code: int, swapped: bool, told: str
) -> None:
    """A hook may fail after the results were written."""
    rows = [prepared.row(f"test_a.py::test_{one}", prepared.made([True, True])) for one in "xy"]
    again(*rows, code=code)
    content = prepared.evidence(*rows)["statement.json"]
    if swapped:
        content["predicate"]["claims"].reverse()
    rewrite(content)
    done = prepared.robustest("evidence", "replay")
    assert (done.code, told in done.out, "checked" in done.out) == (1, True, True), done.out


def rewrite(content: dict[str, Any], names: Sequence[str] | None = None) -> None:
    """Write the files of the evidence, or these of them, as they would be made from an edited statement."""
    for name, data in documents(content).items():
        if names is None or name in names:
            (Path("evidence") / name).write_bytes(data)


def edited(value: Any) -> Any:
    """Return another value of the same form: a number nearby, another digest, a text of one more character."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, float):
        return value * 0.99 if value else 0.01
    if isinstance(value, int):
        return value + 1
    if isinstance(value, list):
        numbers = value and isinstance(value[0], float)
        return [edited(value[0]), *value[1:]] if numbers else value[:-1] or [1]
    return f"{'0' if value[0] != '0' else '1'}{value[1:]}" if len(value) == 64 else f"{value}0"


# Fields of the statement by their path; of a list its first item that has the field.
FIELDS = (
    *("_type", "subject", "subject.name", "subject.digest.sha256", "subject.digest.robustest", "predicateType"),
    *(f"predicate.{name}" for name in ("time", "commit", "changed", "versions", "exit", "selection", "deselected")),
    *("predicate.not_run", "predicate.lost", "predicate.claims"),
    *(
        f"predicate.settings.{name}"
        for name in (
            *("profile", "seed", "attack", "certify", "scope", "alpha", "family_size", "precision", "exact"),
            *("max_samples", "time_budget", "inconclusive", "attempts", "suppress", "replay_only", "update_baseline"),
        )
    ),
    *(
        f"predicate.claims.{name}"
        for name in (
            *("test", "line", "state", "problem", "kind", "claim", "statement", "verdict", "quantity", "estimate"),
            *("interval", "left_interval", "limits", "limits.name", "limits.comparison", "limits.value", "comparison"),
            *("threshold", "threshold_name", "n", "n_total", "counts", "rule", "alpha", "at_alpha", "scope", "bounds"),
            *("method", "varied", "setting", "seed", "model", "caveats", "reasons", "axis", "at", "sentence"),
            *("suppressed", "outcomes", "data", "counterexamples", "counts.events", "counts.n", "counts.gained"),
            *("benchmark", "benchmark.id", "benchmark.task_id", "benchmark.revision"),
            *(f"counterexamples.{name}" for name in ("index", "label", "clean", "predicted", "size", "unit", "pixels")),
        )
    ),
)


def owners(value: Any, path: Sequence[str]) -> list[tuple[dict[str, Any], str]]:
    """Return every object that has the field at the end of a path, and the field's name."""
    name, *rest = path
    if isinstance(value, list):
        return [found for one in value for found in owners(one, path)]
    if not isinstance(value, dict) or name not in value:
        return []
    return owners(value[name], rest) if rest else [(value, name)]


def fields_of(value: Any, path: str = "") -> set[str]:
    if isinstance(value, list):
        return set().union(*(fields_of(one, path) for one in value))
    if isinstance(value, dict):
        parts = ((f"{path}.{name}".lstrip("."), one) for name, one in value.items())
        return set().union(*({name} | fields_of(one, name) for name, one in parts))
    return set()


@pytest.fixture
def replayed(prepared: SimpleNamespace, again: Callable[..., None]) -> dict[str, Any]:
    """The statement of true evidence, which `replay` accepts."""
    Path("model.bin").write_bytes(b"weights")
    limits = {"limits": (Limit("at_least", ">=", 0.5),), "threshold_name": "at_least"}
    rows = [
        prepared.row("test_a.py::TestIt::test_in_class[1]", prepared.made([True, False, False, False], **limits)),
        prepared.row("test_a.py::test_x", prepared.made([True, True, False])),
        prepared.row("test_a.py::test_y"),
    ]
    again(*rows, opened=["model.bin"], code=1)
    benchmark = (*BENCHMARK[:2], *named("test_x"), *named("TestIt::test_in_class[1]", "other"))
    content = prepared.evidence(*rows, options=(*MODEL, *benchmark))["statement.json"]
    assert prepared.robustest("evidence", "replay").code == 0
    return dict(content)


def test_every_field_of_a_statement_is_edited(replayed: dict[str, Any]) -> None:
    assert fields_of(replayed) - {"subject.digest", "predicate", "predicate.settings"} == set(FIELDS)


def fields_on(page: str) -> list[str]:
    """Return the fields in the first column of a page's tables, each below the path in its heading."""
    named = []
    for section in re.split(r"^## ", page, flags=re.MULTILINE):
        heading, _, text = section.partition("\n")
        if heading.startswith(("Fields", "Settings")):
            path = "".join(f"{one}." for one in re.findall(r"`(.+?)`", heading))
            cells = re.findall(r"^\| (`.+?) \|", text, flags=re.MULTILINE)
            named += [f"{path}{name}" for cell in cells for name in re.findall(r"`(.+?)`", cell)]
    return named


def test_the_page_for_auditors_has_every_field_and_no_other(replayed: dict[str, Any]) -> None:
    named = fields_on((ROOT / "docs" / "auditors.md").read_text(encoding="utf-8"))
    # An object is named by its parts.
    fields = fields_of(replayed)
    whole = {field for field in fields if any(other.startswith(f"{field}.") for other in fields)}
    assert sorted(named) == sorted(set(named)), "a field has one row"
    assert fields - whole <= set(named) <= fields


@pytest.mark.parametrize("field", FIELDS)
def test_an_edit_is_refused_in_one_file_and_alike_in_all(
    prepared: SimpleNamespace, replayed: dict[str, Any], field: str
) -> None:
    """Each file that shows the field is edited alone, as an edited statement would make it; then all of them are."""
    content = json.loads(json.dumps(replayed))
    owner, name = owners(content, field.split("."))[0]
    owner[name] = edited(owner[name])
    # No measurement repeats these: they are the writer's word.
    words = {"predicate.time": "2020-01-31T12:00:00.000Z", "predicate.claims.benchmark.revision": "b2" * 20}
    words |= {f"predicate.claims.benchmark.{part}": "other" for part in ("id", "task_id")}
    words["predicate.claims.benchmark.task_id"] = "third"
    owner[name] = words.get(field, owner[name])
    true = documents(replayed)
    try:
        false = [file for file, data in documents(content).items() if data != true[file]]
    except (KeyError, TypeError, AttributeError):  # a statement that makes no files: it is edited alone
        Path("evidence/statement.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        assert prepared.robustest("evidence", "replay").code == 3
        return
    assert "statement.json" in false
    for edits in [*([one] for one in false), false] if len(false) > 1 else [false]:
        rewrite(replayed)
        rewrite(content, edits)
        done = prepared.robustest("evidence", "replay")
        alike = edits == false
        assert (done.code == 0) == (field in words and alike), (edits, done.out)
        assert done.code in (0, 1, 3)
    rewrite(replayed)
    assert prepared.robustest("evidence", "replay").code == 0


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("deleted", [False, True])
def test_a_claim_that_was_deleted_or_added_is_refused(
    prepared: SimpleNamespace, replayed: dict[str, Any], deleted: bool, place: int, alike: bool
) -> None:
    content = json.loads(json.dumps(replayed))
    claims = content["predicate"]["claims"]
    if deleted:
        del claims[place]
    else:
        claims.insert(place, {**claims[place], "test": "test_a.py::test_added"})
    rewrite(content, None if alike else ["statement.json"])
    done = prepared.robustest("evidence", "replay")
    assert done.code == 1
    told = "measured now, and not in the evidence" if deleted else "in the evidence, and not measured now"
    assert told in done.out


def test_evidence_is_not_replayed_where_its_tests_are_not(
    prepared: SimpleNamespace, replayed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from robustest.cli import evidence as verb

    monkeypatch.setattr(verb, "run_pytest", lambda _: pytest.fail("it ran"))
    Path("test_a.py").unlink()
    done = prepared.robustest("evidence", "replay")
    assert (done.code, "there is no test_a.py. Replay it in a checkout" in done.err) == (3, True)


def test_the_order_in_which_tests_were_collected_does_not_matter(prepared: SimpleNamespace) -> None:
    rows = [prepared.row(f"test_a.py::test_{one}", prepared.made([True, True], seed=one)) for one in (3, 1, 2)]
    one, other = (prepared.evidence(*order)["statement.json"] for order in (rows, rows[::-1]))
    assert one == other
    assert len(one["predicate"]["claims"]) == 3


def test_files_of_one_name_are_no_subject(
    run_file: Callable[..., Path], row: Callable[..., Any], made: Callable[..., Any], robustest: Callable[..., Any]
) -> None:
    Path("other").mkdir()
    for name in ("model.bin", "other/model.bin"):
        Path(name).write_text(name, encoding="utf-8")
    file = run_file("robust.json", [row("test_a.py::test_x", made([True, True]))])
    done = robustest("evidence", "write", file, "--model", "model.bin", "--model", "other/model.bin")
    assert (done.code, "different names" in done.err, Path("evidence").exists()) == (2, True, False)


def test_a_run_that_writes_no_results_is_a_difference(
    evidence: Callable[..., Any],
    row: Callable[..., Any],
    made: Callable[..., Any],
    robustest: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from robustest.cli import evidence as verb

    monkeypatch.setattr(verb, "run_pytest", lambda _: 3)
    evidence(row("test_a.py::test_x", made([True, True])))
    done = robustest("evidence", "replay")
    assert (done.code, "pytest wrote no results" in done.out) == (1, True)


MODEL = ("--model", "model.bin")


@pytest.mark.parametrize(
    ("opened", "given", "told"),
    [
        (["model.bin"], MODEL, ""),
        (["model.bin"], (), ""),
        (["copy.bin"], MODEL, ""),  # of its content, under another name
        (["copy.bin"], (), "no such file. If it has another name: --model FILE"),
        (["other.bin"], MODEL, "one with sha256 77231fd145"),
        (["elsewhere/model.bin"], (), "one with sha256 77231fd145"),
        (["elsewhere/model.bin", "model.bin"], (), ""),
        (["absent.bin"], MODEL, "no such file"),
        ([], MODEL, "no such file"),
    ],
)
def test_a_file_that_the_tests_do_not_open_is_no_subject(
    prepared: SimpleNamespace, again: Callable[..., None], opened: list[str], given: tuple[str, ...], told: str
) -> None:
    Path("elsewhere").mkdir()
    contents = {"model.bin": b"weights", "copy.bin": b"weights", "other.bin": b"weightz"}
    for name, content in {**contents, "elsewhere/model.bin": b"weightz"}.items():
        Path(name).write_bytes(content)
    rows = [prepared.row("test_a.py::test_x", prepared.made([True, True]))]
    again(*rows, opened=opened)
    prepared.evidence(*rows, options=MODEL)
    done = prepared.robustest("evidence", "replay", *given)
    assert (done.code, told in done.out) == (int(bool(told)), True), done.out
    assert ("model.bin: expected the tests to open it" in done.out) == bool(told)


def test_a_run_notes_the_files_that_it_opens() -> None:
    """In a fixture, as conftest.py is imported, by the reader in Rust that raises no event, and one written before."""
    safetensors_numpy.save_file({"w": numpy.ones(2)}, "w.safetensors")
    for name in ("a.bin", "b.bin", "c.bin", "d.bin"):
        Path(name).write_bytes(b"weights")
    Path("conftest.py").write_text(
        "import os, pathlib, pytest, safetensors.numpy\npathlib.Path('a.bin').read_bytes()\n"
        "@pytest.fixture\ndef model():\n    os.close(os.open('b.bin', os.O_RDONLY))\n"
        "    open('d.bin', 'wb').close()\n    open('e.bin', 'wb').close()\n    open('e.bin', 'rb').close()\n"
        "    return safetensors.numpy.load_file('w.safetensors')\n"
    )
    Path("test_it.py").write_text("def test_it(model): pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "robustest.cli.opened", "--robust-opened=opened"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own command line
    assert done.returncode == 0, done.stdout + done.stderr
    (written,) = Path().glob("opened.*")
    names = {Path(one).name for one in json.loads(written.read_text(encoding="utf-8"))}
    assert names & {"a.bin", "b.bin", "c.bin", "d.bin", "e.bin", "w.safetensors"} == {
        *("a.bin", "b.bin", "e.bin", "w.safetensors")
    }


PROJECT = {
    "conftest.py": """
import pytest, torch
from torch import nn

class Bright(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, x):
        z = self.scale * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-z, z], 1)

@pytest.fixture
def robust_model():
    return Bright()

@pytest.fixture
def robust_data():
    value = torch.tensor([0.25, 0.3, 0.44, 0.56, 0.7, 0.75]).repeat(4)
    return value.view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous(), (value > 0.5).long()
""",
    "test_it.py": """
from robustest import Linf, assert_robust_accuracy

def test_attack(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.6, attack="fgsm")
""",
}


@pytest.mark.slow
def test_tests_are_run_anew(monkeypatch: pytest.MonkeyPatch, robustest: Callable[..., Any]) -> None:
    """A run twice; then with another threshold, and with another weight."""
    from robustest.cli.screen import run_pytest

    for name, text in PROJECT.items():
        Path(name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = ("--robust-json=robust.json", "--robust-seed=3", "-q")
    statements = []
    for _ in range(2):  # the second recalls what the first stored
        assert run_pytest(run) == 0
        assert robustest("evidence", "write", "robust.json").code == 0
        statements.append(json.loads(Path("evidence/statement.json").read_text(encoding="utf-8")))
        statements[-1]["predicate"].pop("time")
    assert statements[0] == statements[1]
    assert robustest("evidence", "replay").code == 0
    for name, old, new, told in (
        ("test_it.py", "at_least=0.6", "at_least=0.55", "limits"),
        ("conftest.py", "tensor(10.0)", "tensor(10.1)", "model"),
    ):
        Path(name).write_text(PROJECT[name].replace(old, new), encoding="utf-8")
        done = robustest("evidence", "replay")
        assert (
            done.code,
            f"test_it.py::test_attack: robust accuracy under Linf(eps=0.1), fgsm: {told}: " in done.out,
        ) == (1, True)
        Path(name).write_text(PROJECT[name], encoding="utf-8")
        shutil.rmtree("__pycache__", ignore_errors=True)


@pytest.mark.slow
def test_a_claim_that_failed_cannot_be_left_out(monkeypatch: pytest.MonkeyPatch, robustest: Callable[..., Any]) -> None:
    """The evidence without the failed test, as a green run would have written it; and a run of one file alone."""
    from robustest.cli.screen import run_pytest

    for name, text in PROJECT.items():
        Path(name).write_text(text, encoding="utf-8")
    broken = PROJECT["test_it.py"].replace("at_least=0.6", "at_least=1.0").replace("test_attack", "test_broken")
    Path("test_more.py").write_text(broken, encoding="utf-8")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = ("--robust-json=robust.json", "-q")
    assert run_pytest(run) == 1
    assert robustest("evidence", "write", "robust.json").code == 1
    assert robustest("evidence", "replay").code == 0, "red, and true"
    content = json.loads(Path("evidence/statement.json").read_text(encoding="utf-8"))
    content["predicate"].update(exit=0, claims=content["predicate"]["claims"][:1])
    assert outcome(content["predicate"]) == "PASSED"
    for name, data in documents(content).items():
        (Path("evidence") / name).write_bytes(data)
    done = robustest("evidence", "replay")
    assert (done.code, "test_more.py::test_broken: " in done.out) == (1, True), done.out
    assert run_pytest((*run, "test_it.py")) == 0
    done = robustest("evidence", "write", "robust.json")
    assert (done.code, "WARNED" in done.out) == (0, True)
    assert robustest("evidence", "replay").code == 0


OF_FILES = {
    "conftest.py": """
import pytest, torch
from safetensors.torch import load_file
from torch import nn

@pytest.fixture
def robust_model():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    model.load_state_dict(load_file("weights.safetensors"))
    return model

@pytest.fixture
def robust_data():
    read = load_file("data.safetensors")
    return read["x"], read["y"]
""",
    "test_it.py": """
import pytest
from robustest import Linf, assert_accuracy, assert_robust_accuracy

@pytest.mark.robust(seed=5)
def test_attack(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.6, attack="fgsm")

def test_clean(robust_model, robust_data):
    assert_accuracy(robust_model, robust_data, at_least=0.9)
""",
}


@pytest.mark.slow
def test_a_stranger_replays_it(monkeypatch: pytest.MonkeyPatch, robustest: Callable[..., Any], tmp_path: Path) -> None:
    """Elsewhere, with the model, the data, the tests and the folder; then with another weight, and another sample."""
    from robustest.cli.screen import run_pytest

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    here, there = tmp_path / "here", tmp_path / "elsewhere" / "there"
    here.mkdir()
    monkeypatch.chdir(here)
    weights = {"1.weight": numpy.array([[-2.5] * 4, [2.5] * 4], "f4"), "1.bias": numpy.array([5.0, -5.0], "f4")}
    value = numpy.array([0.25, 0.3, 0.44, 0.56, 0.7, 0.75] * 4, "f4")
    samples = {"x": numpy.broadcast_to(value[:, None, None, None], (24, 1, 2, 2)).copy(), "y": (value > 0.5) * 1}
    safetensors_numpy.save_file(weights, "weights.safetensors")
    safetensors_numpy.save_file(samples, "data.safetensors")
    for name, text in OF_FILES.items():
        Path(name).write_text(text, encoding="utf-8")
    assert run_pytest(("--robust-json=robust.json", "-q")) == 0
    assert robustest("evidence", "write", "robust.json", "--model", "weights.safetensors").code == 0
    salt = here / ".robustest" / "evidence-salt"
    shutil.copytree(here, there, ignore=shutil.ignore_patterns(".*", "__pycache__", "robust.json"))
    monkeypatch.chdir(there)
    done = robustest("evidence", "replay")
    assert (done.code, "2 verdicts as in the evidence; its result is PASSED" in done.out) == (0, True), done.out
    assert not list(there.glob(".robustest/*")), "it wrote to the store of this folder"

    shifted = {**weights, "1.bias": numpy.array([6.6, -6.6], "f4")}
    safetensors_numpy.save_file(shifted, "weights.safetensors")
    done = robustest("evidence", "replay", "--salt", salt)
    assert done.code == 1
    assert "weights.safetensors: expected the tests to open it" in done.out
    told = (
        "verdict: passed in the evidence, failed now",
        "the verdicts are not those",
        ": model: ",
        ": interval: ",
        ": sentence: ",
    )
    assert [one for one in told if one not in done.out] == [], done.out
    assert ": data: " not in done.out

    safetensors_numpy.save_file(weights, "weights.safetensors")
    samples["x"] += 0.001  # no verdict becomes another
    safetensors_numpy.save_file(samples, "data.safetensors")
    done = robustest("evidence", "replay", "--salt", salt)
    assert (done.code, ": data: " in done.out, "2 verdicts as in the evidence" in done.out) == (1, True, True), done.out
