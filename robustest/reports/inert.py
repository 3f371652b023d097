"""Text from anywhere, made so that no terminal and no log of a CI service takes it for a command."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that steer a terminal instead of showing something."""

_ANYWHERE = re.compile(r"#(?=#(?:\[|vso\[|teamcity\[))")
"""Commands of GitHub's older kind, of Azure and of TeamCity, which are looked for inside lines too."""

_AT_START = re.compile(r"^(\s*):(?=:)")
"""Workflow commands of GitHub, before which blanks do not count."""


def visible(text: str) -> str:
    """Text of one line whose control characters are spelled out, line ends among them."""
    return "".join(
        c.encode("unicode_escape").decode("ascii") if unicodedata.category(c) in _HIDDEN else c for c in text
    )


def inert(text: str, *, at_start: bool = True) -> str:
    """Text of one line that steers neither a terminal nor a log: what would is spelled out.

    Args:
        text: anything.
        at_start: whether a line begins with it.
    """
    shown = _ANYWHERE.sub(r"\\x23", visible(text))
    return _AT_START.sub(r"\1\\x3a", shown) if at_start else shown


def inert_lines(text: str) -> str:
    """The same for text of several lines, which stay lines; tabs stay too."""
    return "\n".join("\t".join(inert(part) for part in line.split("\t")) for line in text.split("\n"))


class Inert:
    """A reporter, pytest's or the command's own, that is given inert lines alone."""

    def __init__(self, reporter: Any) -> None:
        self._reporter = reporter
        self._at_start = True

    def write(self, text: str, **markup: bool) -> None:
        """Write text of one line."""
        self._reporter.write(inert(text, at_start=self._at_start), **markup)
        self._at_start = self._at_start and not text.strip()

    def write_line(self, text: str = "", **markup: bool) -> None:
        """Write text and end the line."""
        self._reporter.write_line(inert(text, at_start=self._at_start), **markup)
        self._at_start = True

    def write_sep(self, sep: str, title: str) -> None:
        """Write a title amid a rule across the screen."""
        self._reporter.write_sep(sep, inert(title))
        self._at_start = True
