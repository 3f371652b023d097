"""Histories of runs: what a run found is added, and shown."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from robustest.cli.exits import Exit, missing, wrong
from robustest.cli.screen import Screen, counted
from robustest.history import Course, courses_of
from robustest.reports.history import terminal
from robustest.reports.history.words import word_of
from robustest.store import history as store


def add(folder: str, sources: Sequence[str]) -> int:
    """Add runs to a history, or other histories.

    Args:
        folder: the history's; made if absent.
        sources: files of --robust-json, and folders that are histories.

    Raises:
        Refused: a file is none, or does not say when and of what commit it is; what came before it was added.
        StoreError: a history is damaged.
    """
    from robustest.cli.runs import read_run  # here, as a history is shown without: it loads much
    from robustest.reports.history.entries import entries_of

    for source in map(Path, sources):
        if source.is_dir():
            store.add_history(Path(folder), source)
            continue
        run = read_run(source)
        if run.origin is None:
            raise missing(
                f"Expected a file of results that says when and at which commit it was measured but {source} does not. "
                "Write it anew with this version: pytest --robust --robust-json=FILE"
            )
        store.add(Path(folder), entries_of(run.account.rows, run.account.lost, run.origin))
    if not sources:  # what git joined is put in order
        store.add(Path(folder), {})
    return Exit.OK


def show(folder: str, only: str | None) -> int:
    """Print where each claim stands, and how it came there.

    Args:
        folder: the history's.
        only: a text that the test's id, or the claim's words, must contain; None prints all.

    Returns:
        0 where all claims hold at the latest commit, else 1.

    Raises:
        Refused: there is no such claim.
        StoreError: there is no history, or it is damaged.
    """
    screen = Screen()
    with _collecting_nothing():
        courses = _courses(folder, only)
        terminal.draw(screen, courses, bars=_has_blocks())
    counts = Counter(map(word_of, courses))
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    screen.write_line(f"{counted(len(courses), 'claim')}: {told}; {terminal.LEGEND}")
    return _ending(courses)


def page(folder: str, target: str) -> int:
    """Write a page of a history.

    Args:
        folder: the history's.
        target: the folder to write `index.html` to.

    Raises:
        StoreError: there is no history, or it is damaged.
        ConfigError: Jinja2 is not installed.
    """
    from robustest.reports.html import history

    if Path(target).is_file():
        raise wrong(f"Expected a folder to write the page to but got the file {target}.")
    with _collecting_nothing():
        history.write(target, _courses(folder, None))
    print(f"wrote {Path(target) / 'index.html'}")  # noqa: T201 - what was asked for
    return Exit.OK


@contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Look for no garbage inside: there are hundreds of thousands of small values, none of which refers back."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _courses(folder: str, only: str | None) -> list[Course]:
    found = courses_of(store.read(Path(folder)))
    kept = [one for one in found if only is None or only in one.claim.test or only in one.claim.key]
    if not kept:
        what = "runs" if only is None else f"a claim of {only!r}"
        raise missing(f"Expected {what} in {folder} but there is none.")
    return kept


def _ending(courses: Sequence[Course]) -> Exit:
    return Exit.OK if all(word_of(one) in ("passed", "measured") for one in courses) else Exit.NOT_PASSED


def _has_blocks() -> bool:
    try:
        "▁█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
