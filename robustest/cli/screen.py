"""Lines for a person, coloured where one is looking; with the few methods of pytest's reporter that reports use."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO

from robustest.reports.inert import inert

_CODES = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "bold": "1"}


class Screen:
    """Writes to a stream; test ids and file names are anybody's, and steer neither a terminal nor a log.

    Attributes:
        width: columns.
        coloured: whether colours are written: to a terminal that knows them, unless NO_COLOR is set
            (https://no-color.org).
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._at_start = True  # of a line
        self.width = shutil.get_terminal_size((100, 24)).columns
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self.coloured = self._stream.isatty() and not plain

    def write(self, text: str, **markup: bool) -> None:
        """Write text of one line; each markup is a colour or "bold"."""
        shown = inert(text, at_start=self._at_start)
        self._at_start = self._at_start and not text.strip()
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        shown = shown.encode(encoding, "backslashreplace").decode(encoding)
        codes = ";".join(_CODES[name] for name, on in markup.items() if on)
        self._stream.write(f"\x1b[{codes}m{shown}\x1b[0m" if codes and self.coloured else shown)

    def write_line(self, text: str = "", **markup: bool) -> None:
        """Write text and end the line."""
        self.write(text, **markup)
        self._stream.write("\n")
        self._at_start = True

    def write_sep(self, sep: str, title: str) -> None:
        """Write a title amid a rule across the screen."""
        self.write_line(f" {title} ".center(self.width, sep), bold=True)


def counted(n: int, what: str) -> str:
    """A number of things: "1 file", "2 files"."""
    return f"{n} {what}{'' if n == 1 else 's'}"
