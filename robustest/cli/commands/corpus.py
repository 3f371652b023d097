"""The counterexamples kept for replay: what there is, whether it is whole, and making room."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustest.cli.exits import Exit, missing
from robustest.cli.screen import Screen, counted
from robustest.cli.store_warnings import telling

if TYPE_CHECKING:
    from torch import Tensor

    from robustest.store.corpus import Corpus

_MB = 1e6


def ls(folder: str) -> int:
    """Print what is kept of each claim: inputs, samples, files, bytes, and the median size of the perturbations.

    Args:
        folder: the corpus.

    Returns:
        0, or 3 where a file was damaged; it is set aside then.

    Raises:
        Refused: there is no such folder.
    """
    corpus, screen = _open(folder), Screen()
    with telling() as problems:
        rows = [(row, corpus.load(row.name)) for row in corpus.listing()]
    width = max((len(row.name) for row, _ in rows), default=0)
    for row, kept in rows:
        size = "" if kept is None else f"  median size {float(kept.sizes.median()):.4g}"
        counts = f"{row.inputs:>5} inputs of {row.samples:>5} samples"
        disk = f"{row.size / _MB:>8.3f} MB in {counted(row.files, 'file')}"
        screen.write_line(f"{row.name:<{width}}  {counts}  {disk}{size}")
    total = sum(row.size for row, _ in rows)
    screen.write_line(f"{counted(len(rows), 'claim')}, {total / _MB:.3f} MB" if rows else "no counterexamples are kept")
    return _print_problems(screen, problems)


def verify(folder: str) -> int:
    """Read every file and check it, changing nothing: integrity, shapes, finite values inside their bounds.

    Args:
        folder: the corpus.

    Returns:
        0 where all is whole, else 3.

    Raises:
        Refused: there is no such folder.
    """
    _open(folder)
    screen = Screen()
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file() and not path.name.endswith(".tmp"))
    bad = 0
    for path in files:
        if problem := problem_of(path):
            bad += 1
            screen.write_line(f"{path}: {problem}", red=True)
    screen.write_line(f"{counted(len(files), 'file')}, {f'{bad} damaged' if bad else 'all whole'}")
    return Exit.MISSING if bad else Exit.OK


def prune(folder: str, max_mb: float) -> int:
    """Remove counterexamples, superseded and old ones first, until the rest fits.

    Args:
        folder: the corpus.
        max_mb: millions of bytes that may stay, > 0.

    Returns:
        0, or 3 where a file was damaged, or could not be removed.

    Raises:
        Refused: there is no such folder.
    """
    corpus, screen = _open(folder), Screen()
    with telling() as problems:
        done = corpus.prune(max_mb)
    screen.write_line(
        f"removed {counted(done.files, 'file')}, {done.freed / _MB:.3f} MB; {done.left / _MB:.3f} MB are left"
    )
    return _print_problems(screen, problems)


def problem_of(path: Path) -> str:
    """What is wrong with a file of the corpus; empty where it is whole."""
    from robustest.store.entries import unpack
    from robustest.store.files import Damaged

    try:
        _, arrays, meta = unpack("corpus", None, path.read_bytes())
    except (OSError, Damaged) as error:
        return f"got {getattr(error, 'strerror', None) or error}"
    return _wrong(arrays, meta)


def _wrong(arrays: Mapping[str, Tensor], meta: Mapping[str, Any]) -> str:
    low, high = meta["bounds"]
    exact, free, sizes = arrays["x8"], arrays["x32"], arrays["sizes"]
    n, shape = len(exact) + len(free), exact.shape[1:]
    if free.shape[1:] != shape or any(arrays[name].shape != (n,) for name in ("ids", "y", "sizes")):
        return f"got other shapes than {n} inputs {tuple(shape)} with as many ids, labels and sizes"
    if not (free.isfinite().all() and sizes.isfinite().all()):
        return "got values that are not finite"
    if ((free < low) | (free > high)).any():
        return f"got inputs outside [{low:g}, {high:g}]: {float(free.min()):.4g} to {float(free.max()):.4g}"
    negative = any(bool((arrays[name] < 0).any()) for name in ("ids", "y", "sizes"))
    return "got negative sizes, ids or labels" if negative else ""


def _open(folder: str) -> Corpus:
    from robustest.store.corpus import Corpus

    path = Path(folder)
    if not path.is_dir():
        raise missing(
            f"Expected a corpus at {path} but there is none. Name it: --corpus DIR; pytest --robust makes one, in "
            ".robustest/corpus unless told otherwise."
        )
    return Corpus(path, max_mb=1.0)  # a limit for what is added, and nothing is


def _print_problems(screen: Screen, problems: list[str]) -> int:
    for problem in problems:
        screen.write_line(problem, red=True)
    return Exit.MISSING if problems else Exit.OK
