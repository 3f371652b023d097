"""`robustest study`: planned, told of, answered, exported, and handed on, as a user types it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from robustest_people.studies import open_study
from robustest_people.studies.serve import open_journal

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test in an empty folder, on a wide screen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of twelve items and two checks, with their images beside it."""
    lines = ["item,image,asked,expected"]
    for number in range(14):
        noise = np.random.default_rng(number).integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        lines.append(f"{number},{number}.png,{'cat' if number % 2 else 'dog'},{'yes' if number > 11 else ''}")
    (tmp_path / "items.csv").write_text("\n".join(lines))
    return tmp_path / "items.csv"


NEW = [
    "study",
    "new",
    "s",
    "--task",
    "contains",
    "--items",
    "items.csv",
    "--annotators",
    "4",
    "--each",
    "2",
    "--page",
    "4",
]


def answer(folder: Path, annotator: int, page: int) -> None:
    """A page in the journal, as a server writes it."""
    study = open_study(folder)
    entries = study.plan.pages[annotator][page]
    journal = open_journal(study)
    content = {"entries": list(entries), "answers": ["yes"] * len(entries), "seconds": 8.0}
    assert journal.append("page", annotator, page, content)
    journal.close()


def test_a_study_from_its_plan_to_its_answers(robustest: Make, table: Path, tmp_path: Path) -> None:
    done = robustest(*NEW)
    assert done.code == 0
    assert "12 items, 2 checks, 4 annotators, 2 pages each" in done.out
    answer(Path("s"), 0, 0)
    status = robustest("study", "status", "s")
    assert status.code == 0
    assert "annotator-1     1 of    2 pages" in status.out
    assert "0 of 12 items have all 2 answers" in status.out
    assert "0 of 6 pairs of annotators have no item in common" in status.out
    exported = robustest("study", "export", "s", "-o", "answers.csv")
    rows = list(csv.DictReader(Path("answers.csv").read_text(encoding="utf-8").splitlines()))
    missing = [row for row in rows if not row["answer"]]
    given = sum(bool(row["item"]) for row in rows) - len(missing)
    assert len(rows) - len(missing) == 4
    assert len(missing) == 12 * 2 - given
    assert f"{len(missing)} planned answers missing, which claims take at their worst" in exported.out
    assert robustest("study", "export", "s").out == Path("answers.csv").read_text()
    tasks = json.loads(robustest("study", "export", "s", "--format", "label-studio").out)
    assert sum(not one["was_cancelled"] for task in tasks for one in task["annotations"]) == 4
    assert robustest("study", "new", "t", *NEW[3:5], "--items", "items.csv", *NEW[7:]).code == 0


def test_an_annotator_who_is_gone_is_replaced(robustest: Make, table: Path) -> None:
    robustest(*NEW)
    answer(Path("s"), 0, 0)
    assert robustest("study", "release", "s", "annotator-1").out == "annotator-1's open pages went to others\n"
    assert robustest("study", "release", "s", "annotator-1").out == "annotator-1's open pages went to others before\n"
    status = robustest("study", "status", "s").out
    assert "stopped" in status.splitlines()[0]
    assert "fewer" not in status
    for name in ("annotator-2", "annotator-3", "annotator-4"):
        robustest("study", "release", "s", name)
    assert "items will have fewer: no annotator is left for them" in robustest("study", "status", "s").out
    assert robustest("study", "release", "s", "nobody").code == 2


def test_names_of_annotators_come_from_a_file(robustest: Make, table: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Ada\n\n Grace \nMary\n", encoding="utf-8")
    assert robustest(*[word if word != "4" else "names.txt" for word in NEW[:-2]]).code == 0
    assert open_study(Path("s")).annotators == ("Ada", "Grace", "Mary")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["study", "status", "none"], 3, "robustest study new"),
        (["study", "serve", "none"], 3, "robustest study new"),
        (["study", "export", "none"], 3, "robustest study new"),
        ([*NEW, "--each", "9"], 2, "annotators an item"),
        ([*NEW, "--annotators", "0"], 2, "1 to 10,000 annotators"),
        ([*NEW, "--annotators", "none.txt"], 2, "none.txt"),
        ([*NEW, "--items", "none.csv"], 2, "none.csv"),
        ([*NEW, "--images", "none"], 2, "image"),
        ([*NEW, "--checks", "3"], 2, "at most 2 attention checks"),
        ([*NEW, "--task", "draw"], 2, "invalid choice"),
        (["study"], 2, "ACTION"),
    ],
)
def test_what_cannot_be_done_is_said(robustest: Make, table: Path, arguments: list[str], code: int, told: str) -> None:
    done = robustest(*arguments)
    assert done.code == code
    assert told in done.err
    assert "Traceback" not in done.err


def test_serving_to_the_world_needs_a_name(robustest: Make, table: Path) -> None:
    for module in ("starlette", "uvicorn", "jinja2"):
        pytest.importorskip(module, reason="studies are served by the extra `study`")
    robustest(*NEW)
    done = robustest("study", "serve", "s", "--host", "0.0.0.0")  # noqa: S104 - what is refused
    assert (done.code, done.out) == (2, "")
    assert "Expected --public" in done.err
    assert robustest("study", "serve", "s", "--port", "70000").code == 2


def test_annotations_and_predictions_of_label_studio_are_no_answers(
    robustest: Make, table: Path, tmp_path: Path
) -> None:
    one = {"id": 1, "data": {"image": "0.png", "label": "cat"}, "predictions": [{"result": []}], "annotations": [{}]}
    other = {"id": 2, "data": {"image": "1.png", "label": "cat"}}
    (tmp_path / "tasks.json").write_text(json.dumps([one, other]))
    done = robustest(*[word if word != "items.csv" else "tasks.json" for word in NEW])
    assert "2 annotations and predictions of the file are no answers" in done.out
    names, *rows = robustest("study", "export", "s").out.splitlines()
    assert names == "item,annotator,asked,answer,seconds,check"
    assert set(rows) == {"1,,cat,,,", "2,,cat,,,"}  # no answer, only what was planned
