"""What one run found of one claim. There are as many entries as claims times runs, so that one is a flat tuple."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from robustest.errors import expected

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", re.ASCII).fullmatch
_DIGEST = re.compile("[0-9a-zA-Z]{0,64}").fullmatch
_LONGEST = 60
_DIGEST_KEPT = 12
"""Characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """When and of what a run was.

    Attributes:
        time: its end, in UTC: "2026-01-31T12:00:00.000Z".
        commit: the full name of the commit that was checked out; empty where none is known.
        committed: when that was committed, in UTC: the order of a history. Empty where no commit is known.
        dirty: whether tracked files differed from the commit, so that what was found is not of it.
        versions: of robustest, torch and Python, in words.

    Raises:
        TypeError: a field is of another type or form.
    """

    time: str
    commit: str = ""
    committed: str = ""
    dirty: bool = False
    versions: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.time, str) or not _TIME(self.time):
            raise TypeError(expected('a time like "2026-01-31T12:00:00.000Z"', self.time))
        if not isinstance(self.commit, str) or not _DIGEST(self.commit):
            raise TypeError(expected("the name of a commit", self.commit))
        if self.committed != "" and not (isinstance(self.committed, str) and _TIME(self.committed)):
            raise TypeError(expected('a time like "2026-01-31T12:00:00Z"', self.committed))
        if type(self.dirty) is not bool:
            raise TypeError(expected("dirty to be true or false", self.dirty))
        if not isinstance(self.versions, str) or len(self.versions) > _LONGEST:
            raise TypeError(expected(f"versions in at most {_LONGEST} characters", self.versions))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "time": self.time,
            "commit": self.commit,
            "committed": self.committed,
            "dirty": self.dirty,
            "versions": self.versions,
        }

    @classmethod
    def from_dict(cls, data: object) -> Origin:
        """The origin that `to_dict` wrote.

        Raises:
            TypeError: it is none.
        """
        names = {"time", "commit", "committed", "dirty", "versions"}
        if not isinstance(data, dict) or set(data) != names:
            raise TypeError(expected("time, commit, committed, dirty and versions of a run", data))
        return cls(**data)


class Entry(NamedTuple):
    """What one run found of one claim.

    Attributes:
        time: when the run ended, as of `Origin`.
        commit: first characters of the commit's name; empty where none is known.
        committed, dirty: as of `Origin`.
        state: the word of the reports, one of `robustest.reports.states.STATES`.
        verdict: "passed", "failed" or "inconclusive"; empty where nothing was measured.
        estimate: the measured value; None where the verdict came early, or none was measured.
        low, high: ends of the value's interval; None where nothing was measured.
        left_low, left_high: ends of what this very search left, where a search only bounds the value; None elsewhere.
        bounds: "above" or "below", where the value is such a bound; else empty.
        used, total: samples evaluated, and all.
        threshold: the value claimed, or None.
        comparison: ">=" or "<="; empty where nothing was measured.
        asked: all that was claimed, with the scope, to see whether it changed.
        seconds: what it cost, in seconds of the clock.
        seed: the run's.
        cached: whether all of it was remembered from an earlier run.
        model, data: first characters of their digests; empty where not known, as of the data of an early verdict.
        versions: what it ran on, in words.
        problem: why nothing was measured, in a line.
    """

    time: str
    commit: str
    committed: str
    dirty: bool
    state: str
    verdict: str = ""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    left_low: float | None = None
    left_high: float | None = None
    bounds: str = ""
    used: int = 0
    total: int = 0
    threshold: float | None = None
    comparison: str = ""
    asked: str = ""
    seconds: float = 0.0
    seed: int = 0
    cached: bool = False
    model: str = ""
    data: str = ""
    versions: str = ""
    problem: str = ""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of what this search left, where it only bounds the value; else of the value; None where there is none."""
        low, high = (self.low, self.high) if self.left_low is None else (self.left_low, self.left_high)
        return None if low is None or high is None else (low, high)

    @property
    def slack(self) -> float | None:
        """How far the interval's end lies on the good side of the threshold; below 0 where it reaches over it.

        Where a search only bounds the value, of the interval of what the search left: a stronger one may leave less.
        """
        interval = self.interval
        if interval is None or self.threshold is None:
            return None
        return interval[0] - self.threshold if self.comparison == ">=" else self.threshold - interval[1]


def short(digest: str) -> str:
    """What is kept of a digest, or of a commit's name."""
    return digest[:_DIGEST_KEPT]
