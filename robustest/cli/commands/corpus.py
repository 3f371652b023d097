"""`robustest corpus`: list the counterexamples that are kept for replay, check their files, or remove some."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robustest.cli.screen import Exit, Screen, counted, missing, store_warnings

if TYPE_CHECKING:
    from robustest.store.corpus import Corpus

_MB = 1e6


def ls(folder: str) -> int:
    """Print counts and bytes of each claim, and the median size of its perturbations; return 3 if a file was damaged.

    Raises:
        Refused: there is no such folder.
    """
    corpus, screen = _open(folder), Screen()
    with store_warnings() as problems:
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
    """Check every file without changing it; return 3 if one is damaged.

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
        folder: folder of the corpus.
        max_mb: size limit in millions of bytes, > 0.

    Returns:
        0, or 3 if a file was damaged or could not be removed.

    Raises:
        Refused: there is no such folder.
    """
    corpus, screen = _open(folder), Screen()
    with store_warnings() as problems:
        done = corpus.prune(max_mb)
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


def _open(folder: str) -> Corpus:
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
