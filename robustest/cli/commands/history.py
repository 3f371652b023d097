"""`robustest history`: add runs to a history, print it, or write it as a page."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from robustest.cli.screen import Exit, Screen, counted, missing, wrong
from robustest.history import ClaimHistory, claim_histories
from robustest.reports.history import LEGEND, draw, state_of
from robustest.store import history as store


def add(folder: str, sources: Sequence[str]) -> int:
    """Add runs, or other histories, to a history.

    Args:
        folder: folder of the history, made if absent.
        sources: files of --robust-json, and folders of histories.

    Raises:
        Refused: a file has no results, or no time and commit; earlier sources stay added.
        StoreError: a history is damaged.
    """
    from robustest.cli.results_file import read_results  # loads much, which the other actions do without
    from robustest.reports.history import entries_of

    for source in map(Path, sources):
        if source.is_dir():
            store.add_history(Path(folder), source)
            continue
        run = read_results(source)
        if run.origin is None:
            raise missing(
                f"Expected a file of results that says when and at which commit it was measured but {source} does not. "
                "Write it again with this version: pytest --robust --robust-json=FILE"
            )
        store.add(Path(folder), entries_of(run.account.rows, run.account.lost, run.origin))
    if not sources:
        # Adding nothing sorts the lines that a merge of git joined.
        store.add(Path(folder), {})
    return Exit.OK


def show(folder: str, only: str | None) -> int:
    """Print the state of each claim, its first bad commit and its changes; return 1 unless all claims hold.

    Args:
        folder: folder of the history.
        only: text that the test's id or the claim's key must contain; None prints all.

    Raises:
        Refused: there is no such claim.
        StoreError: there is no history, or it is damaged.
    """
    screen = Screen()
    histories = _read(folder, only)
    try:
        "▁█".encode(sys.stdout.encoding or "ascii")
        bars = True
    except UnicodeEncodeError:
        bars = False
    draw(screen, histories, bars=bars)
    states = ", ".join(f"{count} {word}" for word, count in Counter(map(state_of, histories)).items())
    screen.write_line(f"{counted(len(histories), 'claim')}: {states}")
    screen.write_line(LEGEND)
    holding = all(state_of(one) in ("passed", "measured") for one in histories)
    return Exit.OK if holding else Exit.NOT_PASSED


def write_page(folder: str, target: str) -> int:
    """Write `index.html` of a history into the folder `target`.

    Raises:
        Refused: the target is a file.
        StoreError: there is no history, or it is damaged.
        ConfigError: Jinja2 is not installed.
    """
    from robustest.reports.html import history

    if Path(target).is_file():
        raise wrong(f"Expected a folder for the page but got the file {target}. Name a folder: -o DIR")
    history.write(target, _read(folder, None))
    print(f"wrote {Path(target) / 'index.html'}")  # noqa: T201 - the command's output
    return Exit.OK


def _read(folder: str, only: str | None) -> list[ClaimHistory]:
    on = gc.isenabled()
    gc.disable()  # there are hundreds of thousands of small values, none of which refers back
    try:
        found = claim_histories(store.read(Path(folder)))
    finally:
        if on:
            gc.enable()
    kept = [one for one in found if only is None or only in one.claim.test or only in one.claim.key]
    if not kept:
        what, remedy = ("runs", "Add one") if only is None else (f"a claim that contains {only!r}", "See all")
        command = f"robustest history {'add FILE' if only is None else 'show'} --history={folder}"
        raise missing(f"Expected {what} in {folder} but there is none. {remedy}: {command}")
    return kept
