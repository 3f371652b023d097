"""Hypothesis as the searcher: draw changes, steer towards harm, shrink to the mildest that breaks a claim."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256

import hypothesis
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis.database import ExampleDatabase
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy

from robustest.errors import ConfigError


class OutOfTime(BaseException):
    """Ends a search. No `Exception`: hypothesis would take that for a counterexample, and shrink it."""


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

    Settings that are not named here (examples, phases, database, verbosity) are those of hypothesis' current profile.
    There is no deadline, and no health check of how long drawing takes: it is the model that takes long.

    Args:
        strategy: draws changes.
        breaks: whether a change breaks the claim, the same for the same change; it may call `hypothesis.target`. An
            `Exception` from it counts as broken.
        seeded: seeds the search.
        max_examples: examples tried before shrinking, at most; None takes the profile's number.
        key: what examples are remembered by in hypothesis' database.
        remember: whether that database is used.
        replay_only: try what the database holds, and nothing else.

    Raises:
        ConfigError: the strategy draws nothing.
    """
    profile = hypothesis.settings()
    phases = [phase for phase in profile.phases if phase is not Phase.explain]  # it would vary the answer for prose
    database = None if profile.database is None or not remember else _Keyed(profile.database, key)
    found: list[object] = []

    @hypothesis.settings(
        max_examples=max_examples or profile.max_examples,
        database=database,
        phases=[Phase.reuse] if replay_only else phases,
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

    try:
        search()
    except _Broken:
        return found[-1]  # hypothesis ends by running the simplest once more
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
