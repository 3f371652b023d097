"""What may be asked about: tables, Label Studio's tasks, and checks that nothing tells from the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from robustest_people.studies.export import read_items
from robustest_people.studies.study import QUESTIONS, Item, Task, fit, read_table

from robustest.errors import DataError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", "\ufeffitem,image,asked,choices,expected\n3,a/b.png,cat, cat | dog ,\nc,c.png,,,dog\n"
    )
    assert read_table(path) == [
        Item(item="3", image="a/b.png", asked="cat", choices=("cat", "dog")),
        Item(item="c", image="c.png", expected="dog"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "image\na.png\n",
        "item,image,colour\n1,a.png,red\n",
        "item,image\n1\n",
        "item,image\n1,a.png,more\n",
        "item,image\n,a.png\n",
        "item,image\n1,\n",
        'item,image\n1,"a.png\n',
        "item,image,asked\n1,a.png,ca\u202et\n",
        f"item,image,asked\n1,a.png,{'x' * 201}\n",
        f"item,image,choices\n1,a.png,{'|'.join(map(str, range(101)))}\n",
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="Expected"):
        read_table(write(tmp_path / "a.csv", text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"item,image\n\xff,a.png\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_table(tmp_path / "a.csv")


def test_an_error_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 3"):
        read_table(write(tmp_path / "a.csv", "item,image\n1,a.png\n2,\n"))


A, B = Item(item="1", image="a.png", asked="cat"), Item(item="2", image="b.png", asked="dog")
C = Item(item="1", image="a.png")


@pytest.mark.parametrize(
    ("items", "task", "labels", "told"),
    [
        ([], Task.CONTAINS, (), "beside the attention checks"),
        (
            [Item(item="c", image="c.png", asked="cat", expected="yes")],
            Task.CONTAINS,
            (),
            "beside the attention checks",
        ),
        ([A, A], Task.CONTAINS, (), "is twice"),
        ([Item(item="1", image="a.png")], Task.CONTAINS, (), "a label asked"),
        ([A], Task.CLASSIFY, ("cat", "dog"), "no label asked"),
        ([Item(item="1", image="a.png", asked="cat", truth="cat")], Task.CONTAINS, (), "neither choices nor a truth"),
        ([C], Task.CLASSIFY, (), "'1' has \\[\\]"),
        ([C], Task.CLASSIFY, ("cat",), "two different labels"),
        ([C], Task.SIMULATE, ("cat", "cat"), "two different labels"),
        ([C, Item(item="c", image="c.png", expected="cow")], Task.CLASSIFY, ("cat", "dog"), "'expected' of item 'c'"),
        ([Item(item="1", image="a.png", truth="cow")], Task.SIMULATE, ("cat", "dog"), "'truth' of item '1'"),
        ([A, Item(item="c", image="c.png", asked="cat", expected="cat")], Task.CONTAINS, (), "but got 'cat'"),
    ],
)
def test_items_that_a_task_cannot_be_set_with_are_named(
    items: list[Item], task: Task, labels: tuple[str, ...], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        fit(items, task, labels, QUESTIONS[task])


@pytest.mark.parametrize(
    "check",
    [
        Item(item="c", image="c.png", asked="truck", expected="yes"),  # nothing else asks about trucks
        Item(item="c", image="a.png", asked="cat", expected="yes"),  # the same image would be asked about twice
    ],
)
def test_a_check_that_could_be_recognised_is_refused(check: Item) -> None:
    with pytest.raises(DataError, match="Expected check 'c' to"):
        fit([A, B, check], Task.CONTAINS, (), QUESTIONS[Task.CONTAINS])
    fit([A, B, Item(item="c", image="c.png", asked="cat", expected="yes")], Task.CONTAINS, (), QUESTIONS[Task.CONTAINS])


@pytest.mark.parametrize(
    ("task", "question"), [(Task.CLASSIFY, "Is it {label}?"), (Task.CONTAINS, ""), (Task.CONTAINS, "a\nb")]
)
def test_a_question_that_cannot_be_asked_is_refused(task: Task, question: str) -> None:
    with pytest.raises(DataError, match="question"):
        fit([A if task is Task.CONTAINS else C], task, ("cat", "dog"), question)


def test_a_check_with_choices_that_no_item_has_is_refused() -> None:
    check = Item(item="c", image="c.png", choices=("cat", "frog"), expected="frog")
    with pytest.raises(DataError, match="could recognise it"):
        fit([C, check], Task.CLASSIFY, ("cat", "dog"), "Which?")


def answer(label: str, **more: object) -> dict[str, object]:
    return {"result": [{"type": "choices", "value": {"choices": [label]}}], **more}


def test_tasks_of_label_studio_are_items_and_predictions_are_no_answers(tmp_path: Path) -> None:
    tasks = [
        {
            "id": 7,
            "data": {"image": "a.png", "label": "cat"},
            "predictions": [answer("yes")],
            "annotations": [answer("no")],
        },
        {"id": 8, "data": {"image": "c.png", "item": 0, "choices": ["a", "b"], "truth": "a"}},
        {"id": 9, "data": {"image": "d.png", "check": "a"}, "predictions": [answer("a")]},
    ]
    items, ignored = read_items(write(tmp_path / "a.json", json.dumps(tasks)))
    assert items == [
        Item(item="7", image="a.png", asked="cat"),
        Item(item="0", image="c.png", choices=("a", "b"), truth="a"),
        Item(item="9", image="d.png", expected="a"),
    ]
    assert ignored == 3


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[1]",
        "[{}]",
        "no",
        "[" * 100_000,
        '[{"id": 1, "data": {"image": ["a"]}}]',
        '[{"data": {"image": "a.png"}}]',
        '[{"id": 1, "data": {"image": "a.png", "choices": "ab"}}]',
        '[{"id": 1, "data": {"image": "a.png", "check": ["a"]}}]',
        '[{"id": 1, "data": {"image": "a.png"}, "annotations": 3}]',
    ],
    ids=lambda text: text[:40],
)
def test_what_is_no_list_of_tasks_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="Expected"):
        read_items(write(tmp_path / "a.json", text))
