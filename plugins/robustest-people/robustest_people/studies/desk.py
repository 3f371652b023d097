"""The desk of a study: checks forms, and takes answered pages into the journal."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from urllib.parse import parse_qsl

from robustest_people.studies.journal import Journal, Progress
from robustest_people.studies.study import NO, YES, Study, Task


class Outcome(Enum):
    """The result of handing a page in.

    Attributes:
        STORED: now kept.
        SAME: kept before, with the same answers.
        OTHER: kept before, with other answers; those count.
        GONE: given up before.
    """

    STORED = auto()
    SAME = auto()
    OTHER = auto()
    GONE = auto()


@dataclass(frozen=True, slots=True)
class Place:
    """The position of an annotator in a study."""

    annotator: int  # position among the annotators
    link: str  # the end of the annotator's link
    page: int | None  # number of the first unanswered page; None for none
    done: int  # answered pages
    pages: int  # all pages
    stopped: bool  # True if the annotator gave up the rest


class Desk:
    """Stores pages one at a time, and finds the next one of an annotator.

    Args:
        journal: the study's journal, which the caller closes.
    """

    def __init__(self, study: Study, journal: Journal) -> None:
        self.study = study
        self.signer = Signer(study.keys.forms)
        self._journal = journal
        self._progress = Progress(study)
        self._by_link = {link: annotator for annotator, link in enumerate(study.keys.links)}
        self._seen: dict[int, tuple[int, frozenset[int]]] = {}
        self._lock = asyncio.Lock()
        self._follow()

    def _follow(self) -> None:
        self._progress.follow(self._journal.read(self._progress.last))

    async def find(self, link: str) -> Place | None:
        """Return the position of the annotator of a link; None for an unknown link."""
        annotator = self._by_link.get(link)
        if annotator is None:
            return None
        # Events of other processes are read first: a command beside the server, or a second server, may have added
        # some.
        async with self._lock:
            self._follow()
        waiting = self._progress.open_pages(annotator)
        pages = len(self._progress.pages[annotator])
        done = sum((annotator, n) in self._progress.stored for n in range(pages))
        stopped = annotator in self._progress.stopped
        return Place(annotator, link, min(waiting, default=None), done, pages, stopped)

    def entries(self, place: Place, page: int) -> tuple[int, ...]:
        own = self._progress.pages[place.annotator]
        if not 0 <= page < len(own):
            raise Malformed(404, "There is no such page.")
        return own[page]

    def may_see(self, link: str, number: int) -> bool:
        annotator = self._by_link.get(link)
        if annotator is None:
            return False
        pages = self._progress.pages[annotator]
        count, seen = self._seen.get(annotator, (-1, frozenset()))
        if count != len(pages):  # pages are only ever added
            seen = frozenset(self.study.numbers[e] for page in pages for e in page)
            self._seen[annotator] = (len(pages), seen)
        return number in seen

    def token(self, place: Place, use: object) -> str:
        """Return a token for a form of an annotator: a page by number, or "stop"."""
        return self.signer.sign(f"{place.annotator} {use}")

    async def hand_in(self, place: Place, page: int, fields: dict[str, str]) -> Outcome:
        """Store the answers of a page; STORED means that they are on the disk.

        Raises:
            Malformed: the form is not of this page.
            Unfinished: answers are missing.
        """
        entries = self.entries(place, page)
        seconds = self.signer.seconds(f"{place.annotator} {page}", fields.pop("token", ""))
        answers = self._answers(entries, fields)
        content = {"entries": list(entries), "answers": list(answers), "seconds": seconds}
        # A cancelled request must not release the journal while its thread still writes.
        return await asyncio.shield(asyncio.ensure_future(self._store(place.annotator, page, content)))

    async def _store(self, annotator: int, page: int, content: dict[str, Any]) -> Outcome:
        def unless_given_up() -> dict[str, Any] | None:
            self._follow()
            return None if annotator in self._progress.stopped else content

        async with self._lock:  # in a thread: waiting for the disk must not keep others waiting for their images
            added = await asyncio.to_thread(self._journal.append_after, "page", annotator, page, unless_given_up)
            self._follow()
            # No reader will count these answers, so others are asked.
            if added and self._progress.has_failed(annotator):
                await asyncio.to_thread(give_up, self._journal, self._progress, annotator)
        if added:
            return Outcome.STORED
        stored = self._progress.stored.get((annotator, page))
        if stored is None:
            return Outcome.GONE
        return Outcome.SAME if list(stored.answers) == content["answers"] else Outcome.OTHER

    def _answers(self, entries: tuple[int, ...], fields: dict[str, str]) -> tuple[str, ...]:
        if self.study.task is Task.CONTAINS:
            return tuple(YES if ticked else NO for ticked in box_answers(fields, len(entries)))
        return choice_answers(fields, [self.study.choices(e) for e in entries])

    async def give_up(self, place: Place, fields: dict[str, str]) -> None:
        self.signer.seconds(f"{place.annotator} stop", fields.pop("token", ""))
        if fields:
            raise Malformed(400, "The form has fields that this page has not.")
        async with self._lock:
            give_up(self._journal, self._progress, place.annotator)


def give_up(journal: Journal, progress: Progress, annotator: int) -> bool:
    """Hand an annotator's open pages on to others, and the answered ones of who failed the attention checks.

    Returns:
        False if that was done before.
    """

    def content() -> dict[str, Any]:
        progress.follow(journal.read(progress.last))
        return progress.give_up(annotator)

    added = journal.append_after("stop", annotator, -1, content)
    progress.follow(journal.read(progress.last))
    return added


# Forms: anybody may send anything, so every field is checked against the page that was served.


# The box of a page in `contains` for "no image shows it".
NONE = "none"
_SIGNED = re.compile(r"(\d{1,15})-([0-9a-f]{64})")
_YEAR = 366 * 24 * 3600


class Malformed(Exception):
    """A request that none of the study's pages makes, refused with an HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Unfinished(Exception):
    """Incomplete answers: the page is shown again, with a message."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs forms by HMAC-SHA-256 (RFC 2104), so that their annotator, page and time are authentic."""

    key: bytes

    def sign(self, use: str, now: float | None = None) -> str:
        shown = int(1000 * (time.time() if now is None else now))
        return f"{shown}-{self._code(use, shown)}"

    def seconds(self, use: str, token: str, now: float | None = None) -> float:
        """Return the seconds since a form was shown. Raises Malformed for a token of another use or study."""
        found = _SIGNED.fullmatch(token)
        if found is None or not hmac.compare_digest(self._code(use, int(found[1])), found[2]):
            raise Malformed(403, "This form is not of this page.")
        seconds = (time.time() if now is None else now) - int(found[1]) / 1000
        return round(min(max(seconds, 0.0), _YEAR), 3)  # a clock that was set back makes no time negative

    def _code(self, use: str, shown: int) -> str:
        return hmac.new(self.key, f"{use}\n{shown}".encode(), hashlib.sha256).hexdigest()


def read_form(body: bytes, content_type: str, *, most: int) -> dict[str, str]:
    """Return the fields of a form (application/x-www-form-urlencoded).

    Args:
        most: fields that the form may have.

    Raises:
        Malformed: another type, too many fields, a repeated name, or no UTF-8.
    """
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise Malformed(415, "Only forms are taken.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=most,
        )
    except ValueError:  # too many fields, no form, or no UTF-8
        raise Malformed(400, "The form cannot be read.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Malformed(400, "The form has a field twice.")
    return fields


def box_answers(fields: dict[str, str], entries: int) -> tuple[bool, ...]:
    """Return True for each ticked box of a page.

    Raises:
        Malformed: a field is not of this page.
        Unfinished: neither an image nor "none" is ticked, or both are.
    """
    names = _named(entries)
    _only(fields, {*names, NONE}, {"on"})
    ticked = tuple(name in fields for name in names)
    if any(ticked) and NONE in fields:
        raise Unfinished("You chose images, and said that none is right. Untick one or the other.")
    if not any(ticked) and NONE not in fields:
        raise Unfinished("You chose no image. If none is right, tick the box below the images.")
    return ticked


def choice_answers(fields: dict[str, str], choices: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the label chosen for each entry of a page, by numbers of choices in the fields.

    Raises:
        Malformed: a field is not of this page, or names no choice.
        Unfinished: an entry has no answer.
    """
    names = _named(len(choices))
    _only(fields, set(names), {str(n) for own in choices for n in range(len(own))})
    answers, missing = [], []
    for number, (name, own) in enumerate(zip(names, choices, strict=True), 1):
        at = int(fields.get(name, -1))
        if at >= len(own):
            raise Malformed(400, "The form names a choice that is not there.")
        if at < 0:
            missing.append(number)
        answers.append(own[at])
    if missing:
        raise Unfinished(f"Choose an answer for each image. Missing: {', '.join(map(str, missing))}.")
    return tuple(answers)


def _named(entries: int) -> list[str]:
    return [f"a{n}" for n in range(1, entries + 1)]


def _only(fields: dict[str, str], names: set[str], values: set[str]) -> None:
    if not (fields.keys() <= names and set(fields.values()) <= values):
        raise Malformed(400, "The form has fields that this page has not.")
