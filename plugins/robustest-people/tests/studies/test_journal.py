"""The journal: added to and never changed, whole rows, and of one study."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from robustest_people.studies.journal import Journal

from robustest.errors import StoreError

PAGE = {"entries": [1, 2], "answers": ["yes", "no"], "seconds": 3.5}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    """Opens journals; they are closed after the test."""
    journals: list[Journal] = []

    def make(study: str = "s", name: str = "j.sqlite") -> Journal:
        journals.append(Journal(tmp_path / name, study))
        return journals[-1]

    yield make
    for journal in journals:
        journal.close()


def pages(journal: Journal) -> list[Any]:
    return [(e.annotator, e.page, e.content) for e in journal.read() if e.kind == "page"]


def test_what_was_added_is_read_in_its_order(opened: Callable[..., Journal]) -> None:
    journal = opened()
    assert journal.append("page", 3, 1, PAGE)
    assert journal.append("page", 0, 0, PAGE)
    assert journal.append("stop", 3, -1, {})
    events = list(journal.read())
    assert [(e.kind, e.annotator, e.page) for e in events] == [
        ("study", -1, -1),
        ("page", 3, 1),
        ("page", 0, 0),
        ("stop", 3, -1),
    ]
    assert list(journal.read(events[1].id)) == events[2:]
    assert [e.id for e in events] == sorted({e.id for e in events})


def test_a_second_page_adds_nothing(opened: Callable[..., Journal]) -> None:
    journal = opened()
    assert journal.append("page", 0, 0, PAGE)
    assert not journal.append("page", 0, 0, PAGE)
    assert not journal.append("page", 0, 0, {"other": True})
    assert pages(journal) == [(0, 0, PAGE)]


@pytest.mark.parametrize("command", ["UPDATE events SET content = '{}'", "DELETE FROM events"])
def test_the_database_itself_refuses_to_change_a_row(
    opened: Callable[..., Journal], tmp_path: Path, command: str
) -> None:
    journal = opened()
    journal.append("page", 0, 0, PAGE)
    file = sqlite3.connect(tmp_path / "j.sqlite")
    try:
        with pytest.raises(sqlite3.IntegrityError, match="append only"):
            file.execute(command)
    finally:
        file.close()
    assert pages(journal) == [(0, 0, PAGE)]


def test_two_processes_hear_of_each_other(opened: Callable[..., Journal]) -> None:
    one, two = opened(), opened()
    one.append("page", 0, 0, PAGE)
    assert not two.append("page", 0, 0, PAGE)
    two.append("page", 0, 1, PAGE)
    assert pages(one) == pages(two) == [(0, 0, PAGE), (0, 1, PAGE)]


def test_content_that_depends_on_what_is_there_is_made_alone(opened: Callable[..., Journal]) -> None:
    one, two = opened(), opened()

    def content() -> dict[str, Any]:
        two._file.execute("PRAGMA busy_timeout=10")
        with pytest.raises(StoreError, match="locked"):
            two.append("page", 9, 9, {})
        return {"seen": len(list(one.read()))}

    assert one.append_after("stop", 0, -1, content)
    assert [e.content for e in two.read()][-1] == {"seen": 1}
    assert not one.append_after("stop", 1, -1, lambda: None)
    with pytest.raises(ZeroDivisionError):
        one.append_after("stop", 1, -1, lambda: {"no": 1 // 0})
    assert two.append("stop", 1, -1, {})


def test_a_journal_of_another_study_is_refused(opened: Callable[..., Journal]) -> None:
    opened("one")
    with pytest.raises(StoreError, match="another study"):
        opened("two")


@pytest.mark.parametrize("content", [b"no database at all, but long enough to look like one" * 40, b""])
def test_a_damaged_file_is_told_of(opened: Callable[..., Journal], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j.sqlite").write_bytes(content)
    if content:
        with pytest.raises(StoreError, match="not a database"):
            opened()
    else:
        assert pages(opened()) == []


def test_a_folder_that_is_not_there_is_told_of(opened: Callable[..., Journal]) -> None:
    with pytest.raises(StoreError, match="unable to open"):
        opened(name="none/j.sqlite")


def test_a_row_is_on_the_disk_before_it_is_told_of(opened: Callable[..., Journal]) -> None:
    file = opened()._file
    assert file.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: each commit waits for the disk
    assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
