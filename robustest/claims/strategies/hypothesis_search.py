"""Hypothesis as the searcher: draw changes, steer towards harm, shrink to the mildest that breaks a claim.

Packs shrink with it too, whatever they draw: `hunt` knows nothing of data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any
from unittest import SkipTest

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed
from hypothesis.database import ExampleDatabase, InMemoryExampleDatabase
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy

from robustest.errors import ConfigError

EXAMPLES = 100
"""Tried before shrinking where nothing else is said."""


def hunt(
    strategy: SearchStrategy[object],
    breaks: Callable[[object], bool],
    *,
    seeded: int,
    max_examples: int | None,
    key: str,
    remember: bool,
    replay_only: bool = False,
) -> object | None:
    """The simplest change that hypothesis finds to break a claim; None where it finds none.

    What is remembered is tried first, and only what breaks counts. The search itself starts from nothing, in a database
    of its own, so that it depends on the strategy, the seed and `breaks` alone: hypothesis searches otherwise without a
    database, which its profile for CI has not. Neither that profile nor `--hypothesis-seed` changes it.

    Args:
        strategy: draws changes.
        breaks: whether a change breaks the claim, the same for the same change; it may call `hypothesis.target`. An
            `Exception` from it counts as broken.
        seeded: seeds the search.
        max_examples: examples tried before shrinking, at most; None tries 100.
        key: what examples are remembered by in the database of hypothesis' current profile.
        remember: whether that database is used.
        replay_only: try what the database holds, and nothing else.

    Raises:
        ConfigError: the strategy draws nothing.
    """
    most = max_examples or EXAMPLES
    database = hypothesis.settings().database if remember else None
    kept = None if database is None else _Keyed(database, key)
    if kept is not None:
        phases = [Phase.reuse] if replay_only else [Phase.reuse, Phase.shrink]
        known = _search(strategy, breaks, seeded=seeded, most=most, database=kept, phases=phases)
        if known is not None:
            return known
    if replay_only:
        return None
    fresh = InMemoryExampleDatabase()
    found = _search(strategy, breaks, seeded=seeded, most=most, database=fresh, phases=_PHASES)
    if found is not None and kept is not None:
        for name, values in fresh.data.items():
            for value in values:
                kept.save(name, value)
    return found


_PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink]
"""All but `explain`, which would vary the answer for prose."""


def _search(
    strategy: SearchStrategy[object],
    breaks: Callable[[object], bool],
    *,
    seeded: int,
    most: int,
    database: ExampleDatabase,
    phases: Sequence[Phase],
) -> object | None:
    """The simplest change found. Every setting is given, as the current profile's would be taken else.

    There is no deadline, and no health check of how long drawing takes: it is the model that takes long.
    """
    found: list[object] = []

    @hypothesis.settings(
        max_examples=most,
        database=database,
        phases=phases,
        derandomize=False,
        backend="hypothesis",
        verbosity=Verbosity.normal,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    @seed(seeded)
    @given(strategy)
    def search(change: object) -> None:
        if breaks(change):
            found.append(change)
            raise _Broken

    named: Any = search
    named._hypothesis_internal_database_key = b"robustest"  # else --hypothesis-seed leaves it without a database
    try:
        search()
    except _Broken:
        return found[-1]  # hypothesis ends by running the simplest once more
    except SkipTest:  # it had nothing to try: nothing is remembered
        return None
    except Unsatisfiable as error:
        raise ConfigError(f"Expected a strategy that draws changes but hypothesis says: {error}") from error
    return None


class _Broken(Exception):
    """The claim does not hold under a change."""


class _Keyed(ExampleDatabase):
    """A part of a database for one claim: else all claims, which hypothesis sees as one test, would share theirs."""

    def __init__(self, whole: ExampleDatabase, key: str) -> None:
        super().__init__()
        self._whole = whole
        self._prefix = sha256(f"robustest {key}".encode()).digest()

    def save(self, key: bytes, value: bytes) -> None:
        self._whole.save(self._prefix + key, value)

    def fetch(self, key: bytes) -> Iterable[bytes]:
        return self._whole.fetch(self._prefix + key)

    def delete(self, key: bytes, value: bytes) -> None:
        self._whole.delete(self._prefix + key, value)
