"""The journal of a study: an append-only SQLite file; and the progress computed from it.

An event is a single row: it is there whole or not at all, and `append` returns once it is on the disk.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from robustest.errors import StoreError
from robustest_people.responses import fails_checks
from robustest_people.studies.plan import Pages, hand_on, strangers
from robustest_people.studies.study import Study

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
    """One row of the journal."""

    id: int  # position, rising
    at: float  # seconds since 1970
    kind: str  # "study", the study of the journal; "page", answers; "stop", an annotator gave up the rest, or failed
    annotator: int  # position among the annotators; -1 for none
    page: int  # number of the annotator's page; -1 for none
    content: dict[str, Any]  # plain JSON values


class Journal:
    """An open journal, for one thread at a time. A journal of another study (by its digest) is refused.

    Raises:
        StoreError: the journal is damaged, or of another study.
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
            raise StoreError(
                f"Expected the journal of this study at {self._path} but it is another study's. Restore the right one, "
                "or create this study in another folder."
            )

    def append(self, kind: Kind, annotator: int, page: int, content: dict[str, Any]) -> bool:
        """Add an event, and return once it is on the disk; False if one of this kind, annotator and page exists."""
        row = (time.time(), kind, annotator, page, json.dumps(content, separators=(",", ":")))
        query = "INSERT INTO events (at, kind, annotator, page, content) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        with self._errors_named():
            return self._file.execute(query, row).rowcount == 1

    def append_after(self, kind: Kind, annotator: int, page: int, content: Callable[[], dict[str, Any] | None]) -> bool:
        """Add an event whose content is made from all events before, under an exclusive lock; None adds nothing."""
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
        query = "SELECT id, at, kind, annotator, page, content FROM events WHERE id > ? ORDER BY id"
        with self._errors_named():
            for row in self._file.execute(query, (after,)).fetchall():
                yield Event(row[0], row[1], row[2], row[3], row[4], json.loads(row[5]))

    def close(self) -> None:
        self._file.close()

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(
                f"Expected a journal that can be read and written at {self._path} but got: {error}."
            ) from error


# Progress: the state of a study, computed from its plan and its journal.


@dataclass(frozen=True, slots=True)
class Stored:
    """An answered page."""

    at: float  # seconds since 1970
    seconds: float  # from showing to sending
    answers: tuple[str, ...]  # one per entry, in the order shown


class Progress:
    """The state of a study after the events of its journal.

    Attributes:
        pages: all pages of each annotator, pages handed on last.
        stored: answers by annotator and page number.
        stopped: annotators who stopped.
        last: id of the last event applied.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.pages: list[Pages] = list(study.plan.pages)
        self.stored: dict[tuple[int, int], Stored] = {}
        self.stopped: set[int] = set()
        self.last = 0

    def follow(self, events: Iterable[Event]) -> None:
        """Apply events.

        Raises:
            StoreError: an event does not fit the study.
        """
        for event in events:
            try:
                if event.kind == "page":
                    self._page(event)
                elif event.kind == "stop":
                    self._stop(event)
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                raise StoreError(
                    f"Expected a journal of this study but event {event.id} does not fit: {error!r}. Restore it from a "
                    "backup."
                ) from error
            self.last = event.id

    def _page(self, event: Event) -> None:
        answers = tuple(event.content["answers"])
        shown = self.pages[event.annotator][event.page]
        if list(shown) != event.content["entries"] or len(answers) != len(shown):
            raise ValueError("another page")
        stored = Stored(event.at, float(event.content["seconds"]), answers)
        self.stored[event.annotator, event.page] = stored

    def _stop(self, event: Event) -> None:
        self.stopped.add(event.annotator)
        for annotator, pages in event.content["to"]:
            self.pages[annotator] += tuple(map(tuple, pages))

    def open_pages(self, annotator: int) -> list[int]:
        if annotator in self.stopped:
            return []
        return [n for n in range(len(self.pages[annotator])) if (annotator, n) not in self.stored]

    def give_up(self, annotator: int) -> dict[str, Any]:
        """Return the content of a stop: to whom an annotator's open pages go, and the answered ones of who failed."""
        items = self.study.items
        again = range(len(self.pages[annotator])) if self.has_failed(annotator) else self.open_pages(annotator)
        # Attention checks are dropped: other annotators have their own.
        left = [e for n in again for e in self.pages[annotator][n] if not items[e].expected]
        goes_on = [a for a in range(len(self.pages)) if a not in self.stopped and a != annotator]
        held = {a: frozenset(e for page in self.pages[a] for e in page) for a in goes_on}
        seed = self.study.seed * 1009 + annotator
        to, nobody = hand_on(left, held, page=self.study.page, seed=seed)
        return {"to": [[a, [list(page) for page in pages]] for a, pages in to.items()], "nobody": list(nobody)}

    def checks(self, annotator: int) -> tuple[int, int]:
        items, passed, count = self.study.items, 0, 0
        for number, page in enumerate(self.pages[annotator]):
            stored = self.stored.get((annotator, number))
            for entry, answer in zip(page, stored.answers if stored else (), strict=False):
                if items[entry].expected:
                    count, passed = count + 1, passed + (answer == items[entry].expected)
        return passed, count

    def is_dropped(self, annotator: int) -> bool:
        """Return True if a reader leaves the annotator's answers out, by the attention checks up to now."""
        return bool(fails_checks(*self.checks(annotator)))

    def has_failed(self, annotator: int) -> bool:
        """Return True if a reader leaves them out, and would even if all checks of the open pages were passed."""
        passed, seen = self.checks(annotator)
        items, own = self.study.items, self.pages[annotator]
        left = sum(bool(items[e].expected) for n in self.open_pages(annotator) for e in own[n])
        # With few checks up to now a reader keeps the answers, and nobody else need give them.
        return self.is_dropped(annotator) and bool(fails_checks(passed + left, seen + left))

    def lacking(self) -> dict[int, tuple[int, int]]:
        """Return, for each incomplete entry that is no check, the numbers of missing and of pending answers.

        Answers that a reader leaves out are missing.
        """
        have, coming = Counter[int](), Counter[int]()
        for annotator, own in enumerate(self.pages):
            waiting, dropped = set(self.open_pages(annotator)), self.is_dropped(annotator)
            for number, page in enumerate(own):
                if (annotator, number) in self.stored and not dropped:
                    have.update(page)
                elif number in waiting:
                    coming.update(page)
        entries = [entry for entry, item in enumerate(self.study.items) if not item.expected]
        return {e: (self.study.each - have[e], coming[e]) for e in entries if have[e] < self.study.each}

    def apart(self) -> tuple[int, int]:
        """Return the number of annotator pairs without a common item, and of all pairs."""
        items = self.study.items
        given = []
        for annotator, own in enumerate(self.pages):
            kept = {*self.open_pages(annotator), *(n for n in range(len(own)) if (annotator, n) in self.stored)}
            given.append(frozenset(e for n in kept for e in own[n] if not items[e].expected))
        return strangers(given), len(given) * (len(given) - 1) // 2
