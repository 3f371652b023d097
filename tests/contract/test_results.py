"""The result of every kind of claim: its form, its name, and the one sentence that every report prints of it."""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import fields
from functools import cache
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from accounts import account_of

from robustest import Cost, Counterexample, Linf, Result, Settings, Verdict
from robustest.account import Account, Ending, Row, Session
from robustest.cli import main
from robustest.cli.results_file import check_result
from robustest.history import Origin
from robustest.kinds import Quantity
from robustest.measure import measure_robust_accuracy
from robustest.reports import evidence, github, json_file, junit
from robustest.reports.html import page as pages
from robustest.reports.text import Chance, failure_text, measured
from robustest.results import (
    REASONS,
    Captions,
    Counts,
    Fact,
    KeptEvidence,
    Limit,
    Numbers,
    Pairing,
    Ruling,
    Subject,
    Variation,
    Words,
)
from robustest.run import measurement
from robustest.threats.threat import _Ball

sys.path.insert(0, str(Path(__file__).parent))
from kinds import CLASSES, KINDS, Net, samples

sys.path.pop(0)

SCHEMA = json.loads((files("robustest.reports") / "result.schema.json").read_text(encoding="utf-8"))
RESULT = {"$ref": "#/$defs/result", "$defs": SCHEMA["$defs"]}


@cache
def result_of_kind(name: str) -> Result:
    return KINDS[name].result()


@pytest.fixture(params=KINDS)
def of_kind(request: pytest.FixtureRequest) -> Result:
    """The result of one kind of claim."""
    return result_of_kind(request.param)


# The form


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema"] == {"const": json_file.SCHEMA}


def test_a_result_has_the_form_that_the_schema_says(of_kind: Result) -> None:
    plain = json.loads(json.dumps(of_kind.to_dict()))
    jsonschema.validate(plain, RESULT)
    read = Result.from_dict(plain)
    check_result(read)
    assert read == of_kind


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "maybe"},
        {"limits": [{"name": "at_least", "comparison": ">=", "value": "high"}]},
        {"at": "0.1"},
        {"surplus": 1},
        {"varied": [{"name": "Linf", "parameters": {"eps": 0.1}, "axis": 3}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_form_is_refused(change: Mapping[str, Any]) -> None:
    plain = result_of_kind("robust accuracy").to_dict()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**plain, **change}, RESULT)
    with pytest.raises((TypeError, ValueError)):
        Result.from_dict({**plain, **change})


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("result", Result),
        ("cost", Cost),
        ("counterexample", Counterexample),
        ("fact", Fact),
        ("captions", Captions),
        ("counts", Counts),
        ("pairing", Pairing),
        ("variation", Variation),
        ("limit", Limit),
        ("ending", Ending),
        ("session", Session),
        ("origin", Origin),
        ("chance", Chance),
    ],
)
def test_the_schema_has_the_fields_of_the_classes(name: str, form: Any) -> None:
    names = {field.name for field in fields(form)}
    if form is Result:  # its parts' fields stand side by side
        names = {field.name for part in (Subject, Ruling, Numbers, KeptEvidence, Words) for field in fields(part)}
    about = SCHEMA["$defs"][name]
    assert set(about["properties"]) == set(about["required"]) == names
    assert about["additionalProperties"] is False


def test_a_file_of_results_has_the_form_that_the_schema_says(tmp_path: Path) -> None:
    rows = [row_of(name) for name in ("accuracy", "robust accuracy", "accuracy drop")]
    rows.append(Row(test="t::broken", result=None, problem="ModelError: NaN", replay="", ending=None))
    origin = Origin(time="2026-01-31T12:00:00.000Z", versions="robustest 0.1.0")
    account = Account(
        results=tuple(rows),
        endings=tuple(one.ending for one in rows if one.ending),
        session=Session(exit=1, collected=4),
    )
    shard = {"index": 1, "count": 2, "tests": ["t"], "reported": ["t"]}
    for number, more in enumerate([{"origin": origin, "shard": shard}, {}]):
        path = tmp_path / f"{number}.json"
        json_file.write(str(path), account, Settings(), **more)
        jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), SCHEMA)


# The name


class _Named(Exception):
    """Carries the name that a measurement was about to give, in place of measuring."""


def name_of(monkeypatch: pytest.MonkeyPatch, measure: Callable[[], object]) -> Any:
    """The name of the claim of a call, which is not measured."""

    def stop(name: object) -> Iterator[None]:
        raise _Named(name)

    with monkeypatch.context() as patched:
        patched.setattr(measurement, "named", stop)
        with pytest.raises(_Named) as raised:
            measure()
    return raised.value.args[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_claim_has_one_name_whatever_its_threshold_and_its_words(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known, measured_claim = KINDS[kind], result_of_kind(kind)
    others = [name_of(monkeypatch, lambda at=at: known.result(threshold=at)) for at in (known.easy, known.hard)]
    monkeypatch.setattr(Quantity, "state", lambda *_: "reworded")
    monkeypatch.setattr(_Ball, "__str__", lambda _: "a reworded threat")
    others.append(name_of(monkeypatch, known.result))
    assert {one.claim for one in others} == {measured_claim.subject.claim}
    assert {(one.axis, one.at) for one in others} == {(measured_claim.subject.axis, measured_claim.subject.at)}
    assert measured_claim.subject.claim.startswith(measured_claim.subject.kind)
    assert measured_claim.ruling.threshold_name == known.argument
    assert measured_claim.subject.claim.endswith(f" {known.argument}")


def test_every_claim_has_a_name_of_its_own() -> None:
    names = [result_of_kind(kind).subject.claim for kind in KINDS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kind", KINDS)
def test_every_reason_is_one_that_is_described(kind: str) -> None:
    for value in (KINDS[kind].easy, KINDS[kind].hard):
        found = result_of_kind(kind) if value == KINDS[kind].easy else KINDS[kind].result(threshold=value)
        assert {reason.partition(":")[0] for reason in found.ruling.reasons} <= set(REASONS)
        assert found.ruling.reasons or found.verdict is not Verdict.INCONCLUSIVE, found.rule


# The sentence

BASELINE = {"file": "b.json", "key": "k", "tolerance": 0.01}
COMPARED = {
    "lost": 30,
    "gained": 10,
    "p": 0.0011,
    "drop": 0.02,
    "drop_interval": [0.01, 0.07],
    "accuracy": 0.95,
    "date": "2026-11-25",
    "commit": "1a2b3c4",
}


def row_of(kind: str, **changes: Any) -> Row:
    result = result_of_kind(kind).but(**changes)
    test = f"test_a.py::test_{kind.replace(' ', '_')}_{len(changes)}"
    outcome = "passed" if result.verdict is Verdict.PASSED else "failed"
    ending = Ending(test=test, phase="call", outcome=outcome, claimed=outcome != "passed")
    return Row(test=test, result=result, problem="", replay="", ending=ending)


def rows_of(kind: str) -> list[Row]:
    """A claim that passed, failed or was left open, early or of all samples, and compared with a baseline."""
    found = result_of_kind(kind)
    n, total = max(1, found.numbers.n_total // 2), max(2, found.numbers.n_total)
    outcomes = (*[True] * n, *[None] * (total - n)) if found.outcomes else ()
    early = {"estimate": None, "n": n, "n_total": total, "outcomes": outcomes}
    compared = {**found.details, "baseline": {**BASELINE, **COMPARED}}
    return [
        row_of(kind),
        row_of(kind, verdict=Verdict.FAILED),
        row_of(kind, verdict=Verdict.INCONCLUSIVE, rule="budget", reasons=("budget",)),
        row_of(kind, **early),
        row_of(kind, **early, verdict=Verdict.FAILED),
        row_of(
            kind, details=compared, verdict=Verdict.PASSED, rule="no worse", reasons=("baseline",), cached="", model=""
        ),
    ]


def without_tags(page: str) -> str:
    return " ".join(
        html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"<(style|script).*?</\1>", "", page, flags=re.S))).split()
    )


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The texts of the reports of one run with the rows of every kind."""
    folder, rows = tmp_path_factory.mktemp("reports"), [row for kind in KINDS for row in rows_of(kind)]
    endings = tuple(row.ending for row in rows if row.ending is not None)
    account = Account(results=tuple(rows), endings=endings, session=Session(exit=1, collected=len(rows), ran=len(rows)))
    json_file.write(str(folder / "run.json"), account, Settings())
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as terminal:
        patch.setenv("COLUMNS", "10000")  # what is folded is found in no line
        main(["show", str(folder / "run.json")])  # by the function that prints the section of the terminal
    pages.write(str(folder / "page"), account_of(rows), Settings())
    junit.write(str(folder / "junit.xml"), rows)
    return {
        "terminal": terminal.getvalue(),
        "page": without_tags((folder / "page" / "index.html").read_text(encoding="utf-8")),
        "junit": html.unescape((folder / "junit.xml").read_text(encoding="utf-8")),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_all_reports_print_the_same_sentence(kind: str, reports: dict[str, str]) -> None:
    rows = rows_of(kind)
    reports = {**reports, "summary": without_tags(github.summary(account_of(rows)))}
    for row in rows:
        assert row.result is not None
        words = row.result.sentence
        assert row.result.numbers.quantity in words
        assert ", required " in words
        for name, text in reports.items():
            assert words in text, name
        assert words in failure_text(row.result, replay="")
        assert measured(row.result).startswith(words)
        assert words in repr(row.result)
        card = row.result._repr_html_()
        assert card is not None
        assert words in without_tags(html.unescape(card))


def test_an_early_verdict_and_a_whole_one_read_without_a_riddle() -> None:
    data = samples(0)
    found = measure_robust_accuracy(Net(good=True), data, Linf(0.1), attack="fgsm", at_least=0.5, exact=True)
    assert re.fullmatch(
        r"robust accuracy 0\.\d{3} \[0\.\d{3}, (\d\.\d{3})\] after attack \(true value at most \1\), required >= 0\.50",
        found.sentence,
    )
    early = measure_robust_accuracy(Net(good=True), samples(0, 2000), Linf(0.01), attack="fgsm", at_least=0.2)
    assert early.estimate is None
    assert re.fullmatch(
        r"robust accuracy in \[0\.\d{3}, (\d\.\d{3})\] after attack \(true value at most \1\), required >= 0\.20",
        early.sentence,
    )
    assert CLASSES == 4


def test_no_kind_s_own_numbers_contradict_each_other(of_kind: Result) -> None:
    """`robustest evidence verify` takes such a contradiction for a changed number."""
    row = Row("test_a.py::test_x", of_kind)
    account = Account(results=(row,), endings=(), session=None)
    content = evidence.statement(account, {}, None, subject=[("weights", "0" * 64)], salt=b"", lines={})
    assert list(evidence.contradictions(json.loads(json.dumps(content)))) == []
