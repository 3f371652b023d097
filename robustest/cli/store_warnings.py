"""What the store warns of, told as lines instead of as warnings with lines of code."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def telling() -> Iterator[list[str]]:
    """Gather what the store warns of inside the block: files that are damaged, folders that cannot be read."""
    problems: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield problems
    problems += [str(warning.message) for warning in caught]
