"""Where a study stands: its plan, and what its journal says happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from robustest.errors import StoreError
from robustest_people.studies.journal import Event
from robustest_people.studies.plan import Pages, hand_on, strangers
from robustest_people.studies.study import Study


@dataclass(frozen=True, slots=True)
class Stored:
    """A page that was answered.

    Attributes:
        at: when it was stored, in seconds since 1970.
        seconds: from showing to sending.
        answers: one an entry, in the order shown.
    """

    at: float
    seconds: float
    answers: tuple[str, ...]


class Progress:
    """Follows the events of a journal, in their order.

    Attributes:
        pages: for each annotator all pages, those handed on to them last.
        stored: answers by annotator and number of the page.
        stopped: annotators who gave the rest up.
        last: id of the last event seen.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.pages: list[Pages] = list(study.plan.pages)
        self.stored: dict[tuple[int, int], Stored] = {}
        self.stopped: set[int] = set()
        self.last = 0

    def follow(self, events: Iterable[Event]) -> None:
        """Take events in.

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
                    f"Expected a journal of this study but event {event.id} does not fit: {error!r}."
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
        """Numbers of an annotator's pages that wait for answers."""
        if annotator in self.stopped:
            return []
        return [n for n in range(len(self.pages[annotator])) if (annotator, n) not in self.stored]

    def give_up(self, annotator: int) -> dict[str, Any]:
        """What a "stop" event says: who takes what an annotator leaves open, attention checks aside."""
        items = self.study.items
        left = [e for n in self.open_pages(annotator) for e in self.pages[annotator][n] if not items[e].expected]
        goes_on = [a for a in range(len(self.pages)) if a not in self.stopped and a != annotator]
        held = {a: frozenset(e for page in self.pages[a] for e in page) for a in goes_on}
        seed = self.study.seed * 1009 + annotator
        to, nobody = hand_on(left, held, page=self.study.page, seed=seed)
        return {"to": [[a, [list(page) for page in pages]] for a, pages in to.items()], "nobody": list(nobody)}

    def checks(self, annotator: int) -> tuple[int, int]:
        """Attention checks that an annotator passed, and all that were answered."""
        items, passed, count = self.study.items, 0, 0
        for number, page in enumerate(self.pages[annotator]):
            stored = self.stored.get((annotator, number))
            for entry, answer in zip(page, stored.answers if stored else (), strict=False):
                if items[entry].expected:
                    count, passed = count + 1, passed + (answer == items[entry].expected)
        return passed, count

    def lacking(self) -> dict[int, tuple[int, int]]:
        """For each entry without all its answers, how many it lacks, and how many are still to come; checks aside."""
        have, coming = Counter[int](), Counter[int]()
        for annotator, own in enumerate(self.pages):
            waiting = set(self.open_pages(annotator))
            for number, page in enumerate(own):
                if (annotator, number) in self.stored:
                    have.update(page)
                elif number in waiting:
                    coming.update(page)
        entries = [entry for entry, item in enumerate(self.study.items) if not item.expected]
        return {e: (self.study.each - have[e], coming[e]) for e in entries if have[e] < self.study.each}

    def apart(self) -> tuple[int, int]:
        """Pairs of annotators without an item in common, and all pairs; neither checks nor what was given up count."""
        items = self.study.items
        given = []
        for annotator, own in enumerate(self.pages):
            kept = {*self.open_pages(annotator), *(n for n in range(len(own)) if (annotator, n) in self.stored)}
            given.append(frozenset(e for n in kept for e in own[n] if not items[e].expected))
        return strangers(given), len(given) * (len(given) - 1) // 2
