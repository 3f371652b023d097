"""What makes two results results of the same claim."""

from __future__ import annotations

import re

from robustest.results import Result

_THRESHOLD = re.compile(r"\s*(>=|<=)\s*[-+.\deE]+")


def claim_of(test: str, result: Result) -> tuple[str, str, str]:
    """A test's claim: the test, the kind of claim, and its words without thresholds, which may change."""
    return test, result.claim, without_thresholds(result.statement)


def without_thresholds(statement: str) -> str:
    """A claim in words, without the numbers it claims."""
    return _THRESHOLD.sub("", statement)
