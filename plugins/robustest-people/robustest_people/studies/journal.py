"""What happened in a study: one SQLite file, to which lines are added and of which none is ever changed.

An event is a single row, so it is there whole or not at all, and `append` returns once it is on the disk
(write-ahead log, `synchronous=FULL`). The database itself refuses to change or remove a row, and to take a second page
of the same annotator with the same number.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from robustest.errors import StoreError

Kind = Literal["study", "page", "stop"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('study', 'page', 'stop')),
    annotator INTEGER NOT NULL,
    page INTEGER NOT NULL,
    content TEXT NOT NULL,
    UNIQUE (kind, annotator, page)
);
CREATE TRIGGER IF NOT EXISTS unchanged BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the journal is append only'); END;
CREATE TRIGGER IF NOT EXISTS kept BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the journal is append only'); END;
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One row.

    Attributes:
        id: its place, rising.
        at: when, in seconds since 1970.
        kind: "study", which study the journal is of; "page", answers; "stop", an annotator gave the rest up.
        annotator: position among the annotators; -1 for none.
        page: number of the annotator's page; -1 for none.
        content: plain JSON values.
    """

    id: int
    at: float
    kind: str
    annotator: int
    page: int
    content: dict[str, Any]


class Journal:
    """An open journal; to be used by one thread at a time.

    Args:
        path: the file, made where it is absent.
        study: digest of the study. A journal of another study is refused.

    Raises:
        StoreError: it is damaged, or of another study.
    """

    def __init__(self, path: Path, study: str) -> None:
        self._path = path
        with self._errors_named():
            self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        try:
            with self._errors_named():
                self._file.execute("PRAGMA journal_mode=WAL")
                self._file.execute("PRAGMA synchronous=FULL")
                self._file.executescript(_SCHEMA)
            self._belong(study)
        except BaseException:
            self._file.close()
            raise

    def _belong(self, study: str) -> None:
        self.append("study", -1, -1, {"study": study})
        first = next(self.read(), None)
        if first is None or first.kind != "study" or first.content.get("study") != study:
            raise StoreError(f"Expected the journal of this study at {self._path} but it is another study's.")

    def append(self, kind: Kind, annotator: int, page: int, content: dict[str, Any]) -> bool:
        """Add an event, and return once it is kept whatever happens to this process or machine.

        Returns:
            False where there is one of this kind, annotator and page already; nothing is added then.
        """
        row = (time.time(), kind, annotator, page, json.dumps(content, separators=(",", ":")))
        query = "INSERT INTO events (at, kind, annotator, page, content) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        with self._errors_named():
            return self._file.execute(query, row).rowcount == 1

    def append_after(self, kind: Kind, annotator: int, page: int, content: Callable[[], dict[str, Any] | None]) -> bool:
        """The same, with content that depends on all events before: nobody else writes meanwhile.

        Args:
            content: makes it, after reading what there is; None adds nothing.
        """
        with self._errors_named():
            self._file.execute("BEGIN IMMEDIATE")
        try:
            made = content()
            added = made is not None and self.append(kind, annotator, page, made)
            with self._errors_named():
                self._file.execute("COMMIT")
        except BaseException:
            if self._file.in_transaction:  # a commit that failed may have ended it
                self._file.execute("ROLLBACK")
            raise
        return added

    def read(self, after: int = 0) -> Iterator[Event]:
        """Events in their order, those after one of them.

        Raises:
            StoreError: the file is damaged.
        """
        query = "SELECT id, at, kind, annotator, page, content FROM events WHERE id > ? ORDER BY id"
        with self._errors_named():
            for row in self._file.execute(query, (after,)).fetchall():
                yield Event(row[0], row[1], row[2], row[3], row[4], json.loads(row[5]))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(
                f"Expected a journal that can be read and written at {self._path} but got: {error}."
            ) from error
