"""Verbs about files that runs keep: the corpus, the baseline, the history, and the pages of several runs."""

# Each verb imports what it needs alone, since all are in one module that the command loads.

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robustest.cli.screen import Exit, Screen, counted, exit_of_pytest, missing, run_pytest, store_warnings, wrong
from robustest.words import number

if TYPE_CHECKING:
    from robustest.history import ClaimHistory
    from robustest.store.corpus import Corpus

# Modules that load torch, or much else, are imported by the verbs that need them.

_MB = 1e6


# ---- the corpus: counterexamples that are kept for replay


def list_corpus(corpus: str) -> int:
    """Print counts, bytes and median size of perturbations of each claim; return 3 if a file was damaged."""
    opened, screen = _corpus(corpus), Screen()
    with store_warnings() as problems:
        rows = [(row, opened.load(row.name)) for row in opened.listing()]
    width = max((len(row.name) for row, _ in rows), default=0)
    for row, kept in rows:
        size = "" if kept is None else f"  median size {float(kept.sizes.median()):.4g}"
        counts = f"{row.inputs:>5} inputs of {row.samples:>5} samples"
        disk = f"{row.size / _MB:>8.3f} MB in {counted(row.files, 'file')}"
        screen.write_line(f"{row.name:<{width}}  {counts}  {disk}{size}")
    total = sum(row.size for row, _ in rows)
    screen.write_line(f"{counted(len(rows), 'claim')}, {total / _MB:.3f} MB" if rows else "no counterexamples are kept")
    return _print_problems(screen, problems)


def verify_corpus(corpus: str) -> int:
    """Check every file without changing it; return 3 if one is damaged."""
    _corpus(corpus)
    screen = Screen()
    files = sorted(path for path in Path(corpus).rglob("*") if path.is_file() and not path.name.endswith(".tmp"))
    bad = 0
    for path in files:
        if problem := problem_of(path):
            bad += 1
            screen.write_line(f"{path}: {problem}", red=True)
    screen.write_line(f"{counted(len(files), 'file')}, {f'{bad} damaged' if bad else 'all whole'}")
    return Exit.MISSING if bad else Exit.OK


def prune_corpus(corpus: str, max_mb: float) -> int:
    """Remove counterexamples, superseded and old ones first, until `max_mb` million bytes are left."""
    opened, screen = _corpus(corpus), Screen()
    with store_warnings() as problems:
        done = opened.prune(max_mb)
    screen.write_line(
        f"removed {counted(done.files, 'file')}, {done.freed / _MB:.3f} MB; {done.left / _MB:.3f} MB remain"
    )
    return _print_problems(screen, problems)


def problem_of(path: Path) -> str:
    """Return the damage of a file of the corpus; empty if it is whole."""
    from robustest.store.entries import unpack
    from robustest.store.files import Damaged

    try:
        _, arrays, meta = unpack("corpus", None, path.read_bytes())
    except (OSError, Damaged) as error:
        return f"got {getattr(error, 'strerror', None) or error}"
    low, high = meta["bounds"]
    exact, free, sizes = arrays["x8"], arrays["x32"], arrays["sizes"]
    n, shape = len(exact) + len(free), exact.shape[1:]
    if free.shape[1:] != shape or any(arrays[name].shape != (n,) for name in ("ids", "y", "sizes")):
        return f"got other shapes than {n} inputs {tuple(shape)} with an id, a label and a size each"
    if not (free.isfinite().all() and sizes.isfinite().all()):
        return "got values that are not finite"
    # An input outside of the bounds of images is no counterexample to any claim.
    if ((free < low) | (free > high)).any():
        return f"got inputs outside [{low:g}, {high:g}]: {float(free.min()):.4g} to {float(free.max()):.4g}"
    negative = any(bool((arrays[name] < 0).any()) for name in ("ids", "y", "sizes"))
    return "got negative sizes, ids or labels" if negative else ""


def _corpus(folder: str) -> Corpus:
    from robustest.store.corpus import Corpus

    path = Path(folder)
    if not path.is_dir():
        raise missing(
            f"Expected a corpus at {path} but there is none. Name its folder with --corpus; pytest --robust "
            "writes it, by default to .robustest/corpus."
        )
    return Corpus(path, max_mb=1.0)  # the limit is for additions, and there are none


def _print_problems(screen: Screen, problems: list[str]) -> int:
    for problem in problems:
        screen.write_line(problem, red=True)
    return Exit.MISSING if problems else Exit.OK


# ---- the baseline: the file of committed outcomes


def show_baseline(file: str) -> int:
    """Print the entries of a baseline."""
    from robustest.store.baselines import read

    path = Path(file)
    if not path.is_file():
        raise missing(f"Expected a baseline at {path} but there is none. Write one: robustest baseline update")
    entries = read(path)
    screen = Screen()
    for entry in sorted(entries.values(), key=lambda entry: (entry.test, entry.claim)):
        held, n = sum(entry.outcomes), entry.n
        share = f"{number(held / n)} ({held} of {n} hold)" if n else "no samples"
        if entry.scores:
            share = f"mean score {number(sum(entry.scores) / n)} of {n}"
        commit = f", commit {entry.commit}" if entry.commit else ""
        data = f"  data {entry.data[:12]}" if entry.data else ""
        model = f"  model {entry.model[:12]}" if entry.model else ""
        screen.write_line(f"{entry.test}  {entry.claim}")
        screen.write_line(f"    {share}  {entry.date}{commit}  seed {entry.seed}{data}{model}")
    screen.write_line(f"{counted(len(entries), 'claim')} in {path}")
    return Exit.OK


def update_baseline(rest: Sequence[str]) -> int:
    """Run the tests and write their outcomes to the baseline; refused where CI is set."""
    from robustest.pytest_plugin.options import in_ci

    if in_ci():
        raise wrong(
            "Expected `robustest baseline update` on a developer's machine but the environment variable CI is set. A "
            "gate that rewrites its own baseline never fails. Update the baseline locally and commit it."
        )
    return exit_of_pytest(run_pytest(["--robust-update-baseline", *rest]))


# ---- the history: results of many runs


def add_history(history: str, sources: Sequence[str]) -> int:
    """Add files of --robust-json and folders of histories; where one is refused, earlier ones stay added."""
    from robustest.cli.results_file import read_results
    from robustest.reports.history import entries_of
    from robustest.store import history as store

    for source in map(Path, sources):
        if source.is_dir():
            store.add_history(Path(history), source)
            continue
        run = read_results(source)
        if run.origin is None:
            raise missing(
                f"Expected a file of results that says when and at which commit it was measured but {source} does not. "
                "Write it again with this version: pytest --robust --robust-json=FILE"
            )
        store.add(Path(history), entries_of(run.account, run.origin))
    if not sources:
        # Adding nothing sorts the lines that a merge of git joined.
        store.add(Path(history), {})
    return Exit.OK


def show_history(history: str, only: str | None) -> int:
    """Print the state of each claim, its first bad commit and its changes; return 1 unless all claims hold."""
    from robustest.reports.history import LEGEND, draw, state_of

    screen = Screen()
    histories = _histories(history, only)
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


def _histories(folder: str, only: str | None) -> list[ClaimHistory]:
    from robustest.history import claim_histories
    from robustest.store.history import read

    on = gc.isenabled()
    gc.disable()  # there are hundreds of thousands of small values, none of which refers back
    try:
        found = claim_histories(read(Path(folder)))
    finally:
        if on:
            gc.enable()
    kept = [one for one in found if only is None or only in one.claim.shown or only in one.claim.key]
    if not kept:
        what, remedy = ("runs", "Add one") if only is None else (f"a claim that contains {only!r}", "See all")
        command = f"robustest history {'add FILE' if only is None else 'show'} --history={folder}"
        raise missing(f"Expected {what} in {folder} but there is none. {remedy}: {command}")
    return kept


# ---- pages of several runs


def write_history_page(history: str, output: str) -> int:
    """Write `index.html` of a history into a folder."""
    from robustest.reports.html.several import write_history

    if Path(output).is_file():
        raise wrong(f"Expected a folder for the page but got the file {output}. Name a folder: -o DIR")
    write_history(output, _histories(history, None))
    Screen().write_line(f"wrote {Path(output) / 'index.html'}")
    return Exit.OK


def write_index(folder: str) -> int:
    """Write an index over the pages of runs, which lie one folder below."""
    from robustest.reports.html.several import write_index

    path = Path(folder)
    if not path.is_dir():
        raise wrong(f"Expected a folder with the pages of runs but there is none at {path}. Name another folder.")
    Screen().write_line(f"wrote {path / 'index.html'}: {len(write_index(path))} runs")
    return Exit.OK
