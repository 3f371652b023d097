"""Responses: read from everywhere alike, each counted once, and refused by the name of the item they are wrong of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from robustest_people.annotations import Annotations
from robustest_people.responses import Responses

from robustest import ConfigError, DataError

NAMES = ("cat", "dog", "frog")
ROWS: list[dict[str, Any]] = [
    {"item": 0, "annotator": "ann", "answer": "cat", "time": 1.5},
    {"item": 0, "annotator": "bob", "answer": "dog"},
    {"item": 2, "annotator": "ann", "answer": "frog"},
    {"item": 2, "annotator": "bob", "answer": "frog"},
]


def recorded(rows: list[dict[str, Any]], **changes: Any) -> Responses:
    return Responses.from_records(rows, **({"size": 3, "classes": NAMES} | changes))


def alike(a: Responses, b: Responses) -> bool:
    return a.digest == b.digest and (a.annotators, a.repeats, a.dropped) == (b.annotators, b.repeats, b.dropped)


def test_choices_are_counted_by_item_and_class() -> None:
    says = recorded(ROWS)
    selected, shown = says.counts()
    assert selected.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 2]]
    assert shown.tolist() == [[2, 2, 2], [0, 0, 0], [2, 2, 2]]
    assert (says.chosen, len(says), says.annotators) == (True, 4, ("ann", "bob"))
    assert says.time[0] == 1.5
    assert np.isnan(says.time[1:]).all()


def test_labels_asked_about_are_counted_as_often_as_they_were_shown() -> None:
    rows = [
        {"item": 1, "annotator": "ann", "label": "cat", "answer": True},
        {"item": 1, "annotator": "ann", "label": "dog", "answer": "No"},
        {"item": 1, "annotator": "bob", "label": "cat", "answer": 0},
    ]
    selected, shown = recorded(rows).counts()
    assert (selected[1].tolist(), shown[1].tolist()) == ([1, 0, 0], [2, 1, 0])
    assert not recorded(rows).chosen


def test_a_file_of_values_holds_what_records_hold(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(
        "item,annotator,label,answer,time,check\n0,ann,,cat,1.5,\n0,bob,,dog,,\n2,ann,,2,,\n2,bob,,frog,,\n"
    )
    assert alike(Responses.from_csv(path, size=3, classes=NAMES), recorded(ROWS))


def test_a_file_of_a_study_says_the_same_in_its_words(tmp_path: Path) -> None:
    path = tmp_path / "study.csv"
    rows = ["0,ann,cat,yes,1.5,,", "2,ann,frog,no,2.0,,dog", ",ann,dog,yes,1.0,passed,", "2,bob,frog,no,2.0,,dog"]
    path.write_text("item,annotator,asked,answer,seconds,check,truth\n" + "\n".join(rows) + "\n")
    says = Responses.from_csv(path, size=3, classes=NAMES)
    assert (says.asked.tolist(), says.answer.tolist()) == ([0, 2, 2], [1, 0, 0])
    assert (says.time.tolist(), says.checks.tolist(), says.passed.tolist()) == ([1.5, 2.0, 2.0], [1, 0], [1, 0])
    assert says.truth is not None
    assert says.truth.tolist() == [-1, -1, 1]
    named = [{"item": 0, "annotator": "ann", "asked": "cat", "answer": "yes", "seconds": 1.5}]
    assert recorded(named).asked.tolist() == [0]


def task(item: int | None, *annotations: dict[str, Any], **about: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"item": item, **about}, "annotations": list(annotations), "predictions": []}


def choice(who: object, *choices: str, **more: Any) -> dict[str, Any]:
    result = [{"type": "choices", "from_name": "answer", "to_name": "image", "value": {"choices": list(choices)}}]
    return {"completed_by": who, "was_cancelled": False, "result": result, **more}


def test_label_studio_holds_what_records_hold_and_predictions_are_not_answers(tmp_path: Path) -> None:
    tasks = [
        task(
            0, choice(1, "cat", lead_time=1.5), choice({"id": 2, "email": "b@b"}, "dog"), choice(3, was_cancelled=True)
        ),
        task(2, choice(1, "frog"), choice({"email": "b@b"}, "frog")),
    ]
    tasks[0]["predictions"] = [{"result": choice(9, "frog")["result"], "score": 0.9}]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    by_path, by_tasks = (Responses.from_label_studio(source, size=3, classes=NAMES) for source in (path, tasks))
    assert alike(by_path, by_tasks)
    skipped = {"item": 0, "annotator": "cid", "answer": None}
    assert by_path.digest == recorded([*ROWS, skipped]).digest != recorded(ROWS).digest
    assert by_path.annotators == ("1", "b@b", "3")
    assert by_path.time[0] == 1.5


def test_label_studio_tells_checks_by_their_right_answer() -> None:
    tasks = [task(None, choice("ann", "cat"), choice("bob", "dog"), check="cat") for _ in range(5)]
    tasks.append(task(0, choice("ann", "cat"), choice("bob", "dog"), truth="frog"))
    says = Responses.from_label_studio(tasks, size=1, classes=NAMES)
    assert (says.passed.tolist(), says.checks.tolist(), says.inattentive) == ([5, 0], [5, 5], ("bob",))
    assert (len(says), says.dropped) == (1, 1)
    assert says.truth is not None
    assert says.truth.tolist() == [2]


def test_counts_hold_what_records_hold_but_who_answered() -> None:
    selected, _ = recorded(ROWS).counts()
    table = Responses.from_counts(selected, classes=NAMES)
    assert table.counts()[0].tolist() == selected.tolist()
    assert table.chosen
    with pytest.raises(DataError, match=r"for clusters, but of item 0 nobody says who did"):
        table.known_annotators("clusters")
    asked = Responses.from_counts([[1, 0], [2, 1]], shown=[[3, 0], [2, 2]])
    yes, of = asked.counts()
    assert (yes.tolist(), of.tolist()) == ([[1, 0], [2, 1]], [[3, 0], [2, 2]])


def test_an_annotator_counts_once_for_an_item_and_a_label() -> None:
    thrice = recorded([*ROWS, ROWS[0], ROWS[0] | {"time": 9.0}])
    assert (len(thrice), thrice.repeats) == (4, 2)
    assert thrice.digest == recorded(ROWS).digest
    numbers = [{"item": 0, "annotator": who, "answer": "cat"} for who in (7, "7")]
    assert len(recorded(numbers)) == 1, "the same annotator, written in two ways"
    nobody = [{"item": 0, "answer": "cat"}] * 3
    assert len(recorded(nobody)) == 3, "who answered is not known: it may be three"
    other_label = [{"item": 0, "annotator": "ann", "label": name, "answer": "yes"} for name in ("cat", "dog")]
    assert len(recorded(other_label)) == 2


def test_whoever_contradicts_himself_is_refused() -> None:
    with pytest.raises(DataError, match=r"'ann' gave two of item 0"):
        recorded([*ROWS, ROWS[0] | {"answer": "frog"}])


@pytest.mark.parametrize(
    ("passed", "of", "kept"),
    [(5, 5, True), (7, 10, True), (6, 10, False), (3, 5, False), (0, 4, True), (10, 10, True)],
)
def test_annotators_are_judged_by_five_checks_or_more(passed: int, of: int, kept: bool) -> None:
    checks = [{"item": "", "annotator": "bob", "answer": "cat", "check": at < passed} for at in range(of)]
    says = recorded([*ROWS, *checks])
    assert (says.inattentive == ()) is kept
    assert (len(says), says.dropped) == ((4, 0) if kept else (2, 2))
    assert len(recorded([*ROWS, *checks], checks_at_least=None)) == 4


def test_one_slip_drops_nobody() -> None:
    """40 annotators who are right on 95 % of 10 checks: hardly any is dropped, where once 16 were."""
    random = np.random.default_rng(0)
    rows = [
        {"item": 0, "annotator": who, "answer": "cat", "check": bool(random.random() < 0.95)}
        for who in range(40)
        for _ in range(10)
    ]
    items = [row | {"item": at % 10} for at, row in enumerate(rows)]
    says = recorded(items, size=10)
    assert len(says.annotators) - len(says.inattentive) >= 39
    counted = Annotations.from_records(
        [row["item"] for row in items],
        [True] * len(items),
        size=10,
        matching=None,
        annotators=[row["annotator"] for row in items],
        attentive=[row["check"] for row in items],
    )
    assert counted.shown.tolist() == [40 - len(says.inattentive)] * 10


def test_annotations_are_made_of_responses() -> None:
    says = Annotations.of(recorded([*ROWS, ROWS[0]]), [0, 1, 2], independent=True)
    assert (says.selected.tolist(), says.shown.tolist(), says.dropped) == ([1, 0, 2], [2, 0, 2], 1)
    three = Annotations.from_records([0] * 3, [True] * 3, size=1, matching=None, annotators=["ann"] * 3)
    assert (three.selected.tolist(), three.shown.tolist(), three.dropped) == ([1], [1], 2)
    with pytest.raises(DataError, match="gave two of item 0"):
        Annotations.from_records([0, 0], [True, False], size=1, matching=None, annotators=["ann", "ann"])
    for labels, message in (([0, 1], "labels of the 3 items but got 2"), ([0, 1, 3], "item 2 has 3")):
        with pytest.raises(DataError, match=message):
            Annotations.of(recorded(ROWS), labels, independent=True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"item": 3, "answer": "cat"}, r"items in 0\.\.2 but row 4 is about item 3"),
        ({"item": "x", "answer": "cat"}, "items as positions"),
        ({"item": -2, "answer": "cat"}, "items as positions"),
        ({"item": 1.5, "answer": "cat"}, "items as positions"),
        ({"item": 1, "answer": "bird"}, "the answer of item 1 to be one of cat, dog, frog"),
        ({"item": 1, "answer": 3}, "the answer of item 1"),
        ({"item": 1, "answer": True}, "the answer of item 1"),
        ({"item": 1, "label": "bird", "answer": "yes"}, "the label of item 1"),
        ({"item": 1, "label": "cat", "answer": "maybe"}, "the answer of item 1"),
        ({"item": 1, "label": "cat", "answer": "yes"}, "one of item 0 is not"),
        ({"item": 1, "answer": "cat", "time": "soon"}, "the time of item 1"),
        ({"item": 1, "answer": "cat", "time": -1}, "one of item 1 is -1"),
        ({"item": 1, "answer": "cat", "check": "perhaps"}, "the check of item 1"),
        ({"item": None, "answer": "cat"}, "row 4 has neither"),
        ({"item": 1, "answer": "cat", "truth": "bird"}, "the truth of item 1"),
        ({"answer": "cat"}, "record 4 to have an item"),
        ({"item": 1, "answer": "cat", "mood": "bad"}, "record 4 has 'mood'"),
    ],
)
def test_what_cannot_be_an_answer_is_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        recorded([*ROWS, row])


def test_an_item_has_one_truth() -> None:
    rows = [row | {"truth": "cat"} for row in ROWS]
    says = recorded(rows)
    assert says.truth is not None
    assert says.truth.tolist() == [0, -1, 0]
    with pytest.raises(DataError, match="item 2 has two"):
        recorded([*rows[:3], rows[3] | {"truth": "dog"}])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'item' is not there"),
        ("item,annotator\n0,ann\n", "'answer' is not there"),
        ("item,answer,answer\n", "has 'answer'"),
        ("item,answer,mood\n", "has 'mood'"),
        ("item,answer\n0\n", "row 1 has 1"),
        ('item,answer\n0,"cat', "comma-separated"),
    ],
)
def test_files_of_values_that_are_none_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        Responses.from_csv(path, size=3, classes=NAMES)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (binary, tmp_path, tmp_path / "absent.csv"):
        with pytest.raises(DataError, match="Expected answers in UTF-8"):
            Responses.from_csv(path, size=3, classes=NAMES)
    broken = tmp_path / "broken.json"
    broken.write_text("[" * 100_000)
    with pytest.raises(DataError, match="tasks as JSON"):
        Responses.from_label_studio(broken, size=3, classes=NAMES)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"data": {}}, "list of tasks"),
        ([7], "task 0 to have data"),
        ([{"data": {}, "annotations": 3}], "task 0 to have a list"),
        ([task(1, choice("ann", "cat", "dog"))], "one choice in each annotation of item 1"),
        ([task(1, choice("ann"))], "one choice in each annotation of item 1"),
        ([task(1, {"completed_by": 1, "result": []})], "one choice in each annotation of item 1"),
        ([task(1, {"completed_by": 1, "result": [{"type": "choices", "value": 7}]})], "one choice"),
    ],
)
def test_exports_that_are_none_are_refused(tasks: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Responses.from_label_studio(tasks, size=3, classes=NAMES)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: recorded(ROWS, classes=("a", "a")), ConfigError, "classes to be names"),
        (lambda: recorded(ROWS, classes=0), ConfigError, "classes to be names"),
        (lambda: recorded(ROWS, size=0), ConfigError, "size"),
        (lambda: recorded(ROWS, checks_at_least=1.5), ConfigError, "checks_at_least"),
        (lambda: Responses.from_columns([0, 1], [0], size=2, classes=2), DataError, "2 values of 'answer'"),
        (lambda: Responses.from_columns([0], np.array([True]), size=2, classes=2), DataError, "the answer of item 0"),
        (lambda: Responses.from_counts([1, 2]), DataError, "selected to be whole numbers"),
        (lambda: Responses.from_counts([[1, -2]]), DataError, "item 0 has -2"),
        (lambda: Responses.from_counts([[0.5]]), DataError, "selected to be whole numbers"),
        (lambda: Responses.from_counts([[1]], classes=2), DataError, "2 classes but got 1"),
        (lambda: Responses.from_counts([[1], [3]], shown=[[1], [2]]), DataError, "item 1 has more of class 0"),
        (lambda: Responses.from_counts([[1]], shown=[[1, 2]]), DataError, "shown to be"),
    ],
)
def test_arguments_out_of_range_are_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
