"""A badge of a run: an SVG picture, or the JSON that shields.io draws as one."""

# A badge is looked at without its run, so it is green only for a whole run in which every claim holds: pytest ended
# with 0, nothing was lost, no robustness test and no file was left out, each claim passed, and there is at least one.

from __future__ import annotations

import html
import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from robustest.account import Account
from robustest.checks import require
from robustest.safe_files import write_atomic

LABEL = "robustness"
SUFFIXES = (".svg", ".json")
"""Suffixes of a badge's file: a picture, or shields.io's endpoint schema."""

_GREEN, _YELLOW, _RED, _GREY, _BLUE = "brightgreen", "yellow", "red", "lightgrey", "blue"
# Colours of shields.io.
_HEX = {_GREEN: "#4c1", _YELLOW: "#dfb317", _RED: "#e05d44", _GREY: "#9f9f9f", _BLUE: "#007ec6"}
# Pixels of characters in 11 px Verdana, and around a text; `textLength` fits another font to them.
_WIDTHS = {" ": 3.9, ".": 4.0, "|": 5.0, "f": 3.9, "i": 3.0, "l": 3.0, "m": 10.7, "r": 4.7, "t": 4.3}
_WIDTH, _AROUND = 6.7, 10


class Badge(NamedTuple):
    """The right half of a badge."""

    message: str
    color: str  # a name of shields.io

    @property
    def green(self) -> bool:
        return self.color == _GREEN


UNFINISHED = Badge("unfinished", _GREY)
"""The badge of a run that has not ended: it takes the place of an older one, which could be green."""


def check_path(path: str) -> None:
    """Raise ConfigError unless the file's suffix names a form."""
    require(Path(path).suffix in SUFFIXES, "the file of a badge to end in .svg or .json", path)


def badge_of(account: Account) -> Badge:
    """Return the badge of a run."""
    rows, session = account.rows, account.session
    counts = Counter(row.state for row in rows)
    # A bare measurement claims nothing. A row without a result is a test whose claim was not measured.
    total = len(rows) - counts["measured"]
    if account.lost:
        return Badge("results lost", _RED)
    if counts["failed"]:
        return Badge(f"{counts['failed']} of {total} failed", _RED)
    if counts["error"]:
        return Badge(f"{counts['error']} of {total} not measured", _RED)
    if counts["inconclusive"]:
        return Badge(f"{counts['inconclusive']} of {total} inconclusive", _YELLOW)
    if counts["unfinished"] or session is None:
        return UNFINISHED
    if session.deselected or session.ran < session.collected:
        left_out = len(session.deselected) + session.collected - session.ran
        return Badge(f"{left_out} test{'' if left_out == 1 else 's'} left out", _GREY)
    if files := session.files_left_out:
        return Badge(f"{files} file{'' if files == 1 else 's'} left out", _GREY)
    if not counts["passed"]:
        return Badge("no claim holds" if total else "no claim", _GREY)
    if any(row.result is not None and (row.result.details.get("baseline") or {}).get("update") for row in rows):
        return Badge("baseline made, not compared", _GREY)
    # Expected failures, skipped tests, repeated tests, and failures that a test caught keep pytest green.
    if counts["passed"] < total:
        return Badge(f"{counts['passed']} of {total} hold", _YELLOW)
    return Badge("1 claim holds" if total == 1 else f"{total} claims hold", _GREEN)


def label_of(service: str) -> str:
    """Return the left half of a badge."""
    return f"{LABEL} {service}" if service else LABEL


def write(path: str | Path, badge: Badge, service: str = "") -> None:
    """Write a badge whole or not at all, in the form that the suffix names; folders are made.

    Raises:
        ConfigError: the suffix names no form.
    """
    check_path(str(path))
    label = label_of(service)
    text = drawn(badge, label) if Path(path).suffix == ".svg" else _endpoint(badge, label)
    write_atomic(Path(path), text.encode())


def _endpoint(badge: Badge, label: str) -> str:
    """Return the badge in the endpoint schema of https://shields.io/badges/endpoint-badge."""
    # `isError` keeps an address with `?color=green` from recolouring it.
    content = {"schemaVersion": 1, "label": label, "message": badge.message, "color": badge.color}
    return f"{json.dumps(content | {'isError': not badge.green})}\n"


def drawn(badge: Badge, label: str = LABEL) -> str:
    """Return the badge as an SVG picture, as shields.io draws its flat style."""
    left, right = (round(sum(_WIDTHS.get(one, _WIDTH) for one in text)) + _AROUND for text in (label, badge.message))
    title, message = html.escape(f"{label}: {badge.message}"), html.escape(badge.message)
    label = html.escape(label)
    texts = "".join(
        f'<text x="{x:g}" y="14" textLength="{width - _AROUND}">{text}</text>'
        for x, width, text in ((left / 2, left, label), (left + right / 2, right, message))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{title}">'
        f'<title>{title}</title><clipPath id="r"><rect width="{left + right}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#555"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{_HEX[badge.color]}"/></g>'
        f'<g fill="#fff" text-anchor="middle" font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="11">'
        f"{texts}</g></svg>\n"
    )
