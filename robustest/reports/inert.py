"""Text from elsewhere, escaped so that no terminal and no log of a CI service takes it for a command."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

# Unicode categories of characters that control a terminal instead of showing something.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Commands of GitHub's older form, of Azure and of TeamCity, which are recognised anywhere in a line.
_ANYWHERE = re.compile(r"#(?=#(?:\[|vso\[|teamcity\[))")
# Workflow commands of GitHub, which may follow blanks at the start of a line.
_AT_START = re.compile(r"^(\s*):(?=:)")


def visible(text: str) -> str:
    """Return one line of text with control characters and line ends spelled out."""
    return "".join(
        c.encode("unicode_escape").decode("ascii") if unicodedata.category(c) in _HIDDEN else c for c in text
    )


def inert(text: str, *, at_start: bool = True) -> str:
    """Return one line of text with everything spelled out that would control a terminal or a log."""
    shown = _ANYWHERE.sub(r"\\x23", visible(text))
    return _AT_START.sub(r"\1\\x3a", shown) if at_start else shown


def inert_lines(text: str) -> str:
    """Apply `inert` to every line and every tab-separated part of a text."""
    return "\n".join("\t".join(inert(part) for part in line.split("\t")) for line in text.split("\n"))


class Inert:
    """A reporter, pytest's or the command line's, that receives inert lines only."""

    def __init__(self, reporter: Any) -> None:
        self._reporter = reporter
        self._at_start = True

    def write(self, text: str, **markup: bool) -> None:
        self._reporter.write(inert(text, at_start=self._at_start), **markup)
        # Text after nothing but blanks is still at the start of the line.
        self._at_start = self._at_start and not text.strip()

    def write_line(self, text: str = "", **markup: bool) -> None:
        self._reporter.write_line(inert(text, at_start=self._at_start), **markup)
        self._at_start = True

    def write_sep(self, sep: str, title: str) -> None:
        self._reporter.write_sep(sep, inert(title))
        self._at_start = True
