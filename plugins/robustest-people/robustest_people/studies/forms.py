"""What a browser sends, taken apart with care: anybody may send anything."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

NONE = "none"
"""The box that says of a page in `contains` that no image shows what is asked."""
_SIGNED = re.compile(r"(\d{1,15})-([0-9a-f]{64})")
_YEAR = 366 * 24 * 3600


class Malformed(Exception):
    """A request that no page of ours makes.

    Attributes:
        status: the HTTP status that it is refused with.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Unfinished(Exception):
    """Answers that are not whole: the page is shown again, with what is missing."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs forms, so that only a form of ours, for its own annotator and page, is taken, and its time believed.

    Attributes:
        key: of HMAC-SHA-256 (RFC 2104).
    """

    key: bytes

    def sign(self, use: str, now: float | None = None) -> str:
        """A token for one use (an annotator's page, say) of a form that is shown now."""
        shown = int(1000 * (time.time() if now is None else now))
        return f"{shown}-{self._code(use, shown)}"

    def seconds(self, use: str, token: str, now: float | None = None) -> float:
        """Seconds since a form was shown.

        Raises:
            Malformed: the token is not of this use, or not ours.
        """
        found = _SIGNED.fullmatch(token)
        if found is None or not hmac.compare_digest(self._code(use, int(found[1])), found[2]):
            raise Malformed(403, "This form is not of this page.")
        seconds = (time.time() if now is None else now) - int(found[1]) / 1000
        return round(min(max(seconds, 0.0), _YEAR), 3)  # a clock that was set back makes no time negative

    def _code(self, use: str, shown: int) -> str:
        return hmac.new(self.key, f"{use}\n{shown}".encode(), hashlib.sha256).hexdigest()


def read_form(body: bytes, content_type: str, *, most: int) -> dict[str, str]:
    """Fields of a form as browsers send it (application/x-www-form-urlencoded).

    Args:
        body: as it came.
        content_type: the header.
        most: fields it may have.

    Raises:
        Malformed: another type, too many fields, a name twice, or no UTF-8.
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
    """Which boxes of a page are ticked.

    Raises:
        Malformed: a field is none of the page's.
        Unfinished: no box is, and none of them is not said either; or both are.
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
    """The label chosen for each entry of a page.

    Args:
        fields: numbers of choices, by the names of a page's fields.
        choices: the labels of each entry.

    Raises:
        Malformed: a field is none of the page's, or names no choice.
        Unfinished: an entry has none.
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
