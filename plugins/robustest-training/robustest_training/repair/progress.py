"""Progress of a training, in one line of a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, mean loss of this epoch so far)."""

# Seconds between two lines.
_PAUSE = 0.2


@contextmanager
def screen(progress: Progress | None, name: str) -> Iterator[Progress]:
    """Yield the caller's callback; else one that writes a line on stderr if that is a terminal."""
    if progress is not None:
        yield progress
    elif not sys.stderr.isatty():
        yield _silent
    else:
        try:
            yield _Line(name)
        finally:
            sys.stderr.write("\n")


def _silent(done: int, total: int, loss: float) -> None:
    pass


class _Line:
    def __init__(self, name: str) -> None:
        self._name, self._started, self._told, self._first = name, time.monotonic(), 0.0, 0

    def __call__(self, done: int, total: int, loss: float) -> None:
        now = time.monotonic()
        if not self._first:
            self._first = done
        if now - self._told < _PAUSE and done < total:
            return
        self._told = now
        each = (now - self._started) / max(1, done - self._first + 1)  # a run that was resumed did the rest before
        left = each * (total - done)
        text = f"{self._name}: {done} of {total} steps, loss {loss:.3f}, {left:.0f} s left"
        sys.stderr.write(f"\r{text:<79}")
        sys.stderr.flush()
