"""A whole history: the course of every claim, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robustest.history.claim import Claim
from robustest.history.course import BAD, OPEN, Course, course_of, moment_of, timeline_of
from robustest.history.entry import Entry

_ORDER = {BAD: 0, OPEN: 1}


def courses_of(history: Mapping[Claim, Sequence[Entry]]) -> list[Course]:
    """The course of every claim: those that do not hold first, then what is open, then what is not measured any more.

    A test has one of its own only where its last run failed beside its claims, or it has no claim: what kept claims
    from being measured is told in their own courses.

    Args:
        history: the entries of each claim, in any order.
    """
    timeline = timeline_of(history)
    claims: dict[str, list[Claim]] = {}
    for claim in history:
        if claim.key:
            claims.setdefault(claim.test, []).append(claim)
    courses = []
    for claim, entries in history.items():
        beside = history.get(Claim(claim.test), ()) if claim.key else ()
        if entries and (claim.key or _stands(entries, [history[one] for one in claims.get(claim.test, history)])):
            courses.append(course_of(claim, entries, timeline, beside))
    return sorted(courses, key=lambda course: (_ORDER.get(course.state, 2), not course.behind, course.claim))


def _stands(own: Sequence[Entry], others: Sequence[Sequence[Entry]]) -> bool:
    """Whether what a test's run came to, beside its claims, is its last word: none of the others is later."""
    return max(map(moment_of, own)) == max(moment_of(entry) for entries in (own, *others) for entry in entries)
