"""Output of the command line: exit codes, refusals, coloured lines, and the table of a run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from typing import TextIO

from robustest.account import STATES, Account, Row, Session
from robustest.reports.inert import inert
from robustest.reports.terminal import summary

_CODES = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "bold": "1"}
# Words of states in the line that counts them.
_COUNTED = {"error": "not measured", "measured": "without a claim"}


class Exit(IntEnum):
    """Exit code of a command."""

    OK = 0  # success
    NOT_PASSED = 1  # a claim did not pass, or a comparison is worse
    USAGE = 2  # the arguments are wrong
    MISSING = 3  # results are lost, missing or damaged, so there is no answer


class Refused(Exception):
    """A command stops; the message has expectation, cause and remedy, `code` is the exit code."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.code = code


def wrong(message: str) -> Refused:
    """Return a refusal of wrong arguments."""
    return Refused(message, Exit.USAGE)


def missing(message: str) -> Refused:
    """Return a refusal for results that are absent or unreliable."""
    return Refused(message, Exit.MISSING)


class Screen:
    """Writer of lines to a stream; all text is made inert, since test ids and file names may come from anywhere.

    Attributes:
        width: columns.
        is_terminal: True if somebody looks at the stream, False for a pipe or a file.
        coloured: True if colours are written.
        folding: width at which lines of a report are folded.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._at_start = True  # of a line
        self.width = shutil.get_terminal_size((100, 24)).columns
        # See https://no-color.org.
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self.is_terminal = self._stream.isatty()
        self.coloured = self.is_terminal and not plain
        # Lines into a pipe or a file stay whole, for other programs to search.
        self.folding = self.width if self.is_terminal else 10_000

    def write(self, text: str, **markup: bool) -> None:
        """Write text of one line; each markup is a colour or "bold"."""
        shown = inert(text, at_start=self._at_start)
        self._at_start = self._at_start and not text.strip()
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        # Not every stream can encode every character; an error here would hide a red result.
        shown = shown.encode(encoding, "backslashreplace").decode(encoding)
        codes = ";".join(_CODES[name] for name, on in markup.items() if on)
        self._stream.write(f"\x1b[{codes}m{shown}\x1b[0m" if codes and self.coloured else shown)

    def write_line(self, text: str = "", **markup: bool) -> None:
        self.write(text, **markup)
        self._stream.write("\n")
        self._at_start = True

    def write_sep(self, sep: str, title: str) -> None:
        """Write a title in the middle of a rule across the screen."""
        self.write_line(f" {title} ".center(self.width, sep), bold=True)


def counted(n: int, what: str) -> str:
    """Return a number of things: "1 file", "2 files"."""
    return f"{n} {what}{'' if n == 1 else 's'}"


@contextmanager
def store_warnings() -> Iterator[list[str]]:
    """Collect the warnings of the store inside the block: damaged files, folders that cannot be read."""
    problems: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield problems
    problems += [str(warning.message) for warning in caught]


def show_account(screen: Screen, account: Account, *, details: bool, verbose: bool = False) -> Exit:
    """Print the section `robustness` and a line that counts the states; return the exit code."""
    rows, left_out = account.rows, account.left_out
    if not left_out and account.session is not None and account.session.selection:
        left_out = f"selected by {account.session.selection}: tests in other files were not collected"
    # Lines into a pipe or a file are for other programs to search: each claim has its own.
    each = verbose or not screen.is_terminal
    summary(screen, account, details=details, left_out=left_out, stated=True, verbose=each)
    counts = dict.fromkeys(reversed(STATES), 0)
    for row in rows:
        counts[row.state] += 1
    states = ", ".join(f"{count} {_COUNTED.get(name, name)}" for name, count in counts.items() if count)
    screen.write_line(f"{counted(len(rows), 'result')}: {states}" if rows else "no results")
    return exit_code(rows, account.lost, account.session)


def exit_code(rows: Sequence[Row], lost: Sequence[str], session: Session | None) -> Exit:
    """Return the exit code for the worst row; a run without results, or one that was cut short, is no success."""
    # pytest's exit codes 2, 3 and 4: interrupted, internal error, wrong usage.
    if lost or (session is not None and session.exit not in (0, 1, 5, 6)):
        return Exit.MISSING
    if any(row.red for row in rows):
        return Exit.NOT_PASSED
    return Exit.OK if any(row.result is not None for row in rows) else Exit.MISSING


_PYTEST_CODES = {0: Exit.OK, 1: Exit.NOT_PASSED, 3: Exit.MISSING, 5: Exit.MISSING}


def run_pytest(arguments: Sequence[str]) -> int:
    """Run `pytest --robust` in another process; return pytest's exit code.

    If this process is interrupted or terminated meanwhile, that process ends first.
    """
    sys.stdout.flush()
    # The tests of a project may change the process, so they never run in this one.
    command = [sys.executable, "-m", "pytest", "--robust", *arguments]
    with terminable(), subprocess.Popen(command) as child:  # noqa: S603 - the user's own arguments, and no shell
        try:
            return child.wait()
        except BaseException:
            # On a terminal Ctrl-C has reached pytest too, which then writes what it has.
            with suppress(subprocess.TimeoutExpired):
                child.wait(1)
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(5)
            child.kill()
            raise


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise SystemExit inside the block."""

    def ended(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, ended)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_of_pytest(code: int) -> Exit:
    """Return the exit code for one of pytest's: 3 is an internal error or a lost result, 5 that no test ran."""
    return _PYTEST_CODES.get(code, Exit.USAGE)


def write_new(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all.

    Raises:
        FileExistsError: there is one, which stays as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not collected by pytest if the process is killed before the file has its name.
    number, name = tempfile.mkstemp(prefix=".robustest-", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        temporary.chmod(0o666 & ~_umask())
        try:
            os.link(temporary, path)  # unlike a rename it never overwrites
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
