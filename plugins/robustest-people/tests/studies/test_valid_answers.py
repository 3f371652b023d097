"""An item has as many answers as a reader keeps: those of annotators who failed their checks are asked again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from robustest_people import Responses
from robustest_people.measure import measure_label_quality
from robustest_people.studies import Study, rows_of
from robustest_people.studies.export import as_csv, as_tasks, unanswered_rows
from robustest_people.studies.journal import Progress
from robustest_people.studies.serve import open_journal

pytest.importorskip("starlette", reason="studies are served by the extra `study`")
pytest.importorskip("jinja2", reason="studies are served by the extra `study`")

Make = Callable[..., Any]
ITEMS, EACH = 20, 5


def progress_of(study: Study) -> Progress:
    journal, progress = open_journal(study), Progress(study)
    progress.follow(journal.read())
    journal.close()
    return progress


def read(progress: Progress, tmp_path: Path, form: str = "csv") -> Responses:
    """What a reader keeps of an export."""
    given: dict[str, Any] = {"size": ITEMS, "classes": ["cat", "dog"]}
    if form == "csv":
        (tmp_path / "a.csv").write_text(as_csv(rows_of(progress) + unanswered_rows(progress)))
        return Responses.from_csv(tmp_path / "a.csv", **given)
    (tmp_path / "a.json").write_text(json.dumps(as_tasks(progress)))
    return Responses.from_label_studio(tmp_path / "a.json", **given)


def agrees(progress: Progress, tmp_path: Path) -> None:
    """The status and a reader say the same of each item."""
    valid = np.full(ITEMS, EACH)
    for entry, (missing, _) in progress.lacking().items():
        valid[entry] -= missing
    for form in ("csv", "tasks"):
        says = read(progress, tmp_path, form)
        kept = np.bincount(says.item, minlength=ITEMS)
        assert np.minimum(kept, EACH).tolist() == valid.tolist()
        assert np.bincount(says.unanswered.item, minlength=ITEMS).tolist() == (EACH - valid).tolist()
        assert set(says.inattentive) == {n for a, n in enumerate(progress.study.annotators) if progress.is_dropped(a)}


class Crowd:
    """Annotators who answer a page at a time; some of them fail every check."""

    def __init__(self, study: Study, visitor: Any, read_form: Make, failing: int) -> None:
        self.study, self.visitor, self.read_form, self.failing = study, visitor, read_form, failing

    def answers_a_page(self, annotator: int) -> bool:
        """Answer the next page; False if none waits."""
        link = f"/a/{self.study.keys.links[annotator]}"
        form = self.read_form(self.visitor.get(link))
        if not form.action:
            return False
        entries = [self.study.numbers.index(int(image.rsplit("/", 1)[1])) for image in form.images]
        right = [item.expected or item.truth for item in (self.study.items[e] for e in entries)]
        said = ["dog" if one == "cat" else "cat" for one in right] if annotator < self.failing else right
        fields = {f"a{n}": str(("cat", "dog").index(one)) for n, one in enumerate(said, 1)}
        assert self.visitor.post(form.action, {**form.hidden, **fields}).status == 303
        return True

    def answers_until_nothing_waits(self) -> None:
        waiting = True
        while waiting:
            waiting = False
            for annotator in range(len(self.study.annotators)):
                waiting |= self.answers_a_page(annotator)


@pytest.fixture
def crowd(study: Make, visit: Make, read_form: Make) -> Callable[..., Crowd]:
    def make(annotators: int, failing: int) -> Crowd:
        made = study("classify", annotators=annotators, each=EACH, page=5, checks=5)
        return Crowd(made, visit(made), read_form, failing)

    return make


def test_of_twenty_people_fourteen_fail_and_every_item_has_five_answers(crowd: Make, tmp_path: Path) -> None:
    people = crowd(20, failing=14)
    people.answers_until_nothing_waits()
    progress = progress_of(people.study)
    assert progress.lacking() == {}
    agrees(progress, tmp_path)
    says = read(progress, tmp_path)
    assert Counter(says.item.tolist()) == dict.fromkeys(range(ITEMS), EACH)
    assert len(says.inattentive) == 14
    labels = np.array([n % 2 for n in range(ITEMS)])
    assert measure_label_quality(labels, says).estimate == 0


def test_the_status_says_what_a_reader_keeps_at_every_step(crowd: Make, tmp_path: Path) -> None:
    people = crowd(8, failing=2)
    for step in range(40):
        people.answers_a_page(step % 8)
        if step % 5 == 0:
            agrees(progress_of(people.study), tmp_path)
    agrees(progress_of(people.study), tmp_path)


def test_items_that_nobody_is_left_for_are_named_and_exported_as_missing(crowd: Make, tmp_path: Path) -> None:
    people = crowd(8, failing=5)
    people.answers_until_nothing_waits()
    progress = progress_of(people.study)
    lacking = progress.lacking()
    assert len(lacking) == ITEMS
    assert {coming for _, coming in lacking.values()} == {0}
    agrees(progress, tmp_path)
    result = measure_label_quality(
        np.array([n % 2 for n in range(ITEMS)]), read(progress, tmp_path), max_error_rate=0.0
    )
    assert result.details["unanswered"] == sum(missing for missing, _ in lacking.values())


def test_who_can_still_pass_the_checks_goes_on(crowd: Make) -> None:
    """Nobody is stopped by a share of checks that further ones may raise."""
    people = crowd(6, failing=0)
    people.answers_until_nothing_waits()
    assert progress_of(people.study).stopped == set()
