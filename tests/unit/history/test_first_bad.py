"""The first bad commit: in histories made at random, it is what a search through the truth finds."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustest.history import BAD, GOOD, OPEN, ClaimId, HistoryEntry, claim_history, timeline_of
from robustest.store import history

Make = Callable[..., HistoryEntry]
CLAIM, OTHER = ClaimId("t::a", "k"), ClaimId("t::b", "k")


def place_of(entry: HistoryEntry) -> tuple[str, str]:
    """Place of an entry's commit."""
    return claim_history(CLAIM, [entry], []).points[0].place


def constructed(entry: Make, seed: int) -> tuple[list[HistoryEntry], list[HistoryEntry], dict[int, str]]:
    """A history of one claim beside another that is measured at every commit, and what is true at each commit.

    Commits turn good and bad at random. At some nothing is measured; some are measured again, long after, in any order;
    verdicts come early, without an estimate and the data's digest; runs are inconclusive, or could not measure; some
    are of a changed working tree, and say the contrary.
    """
    draw = random.Random(seed)  # noqa: S311 - a constructed history
    commits = draw.randint(4, 40)
    holds, known = draw.random() < 0.7, {}
    runs: list[tuple[int, str]] = []
    for at in range(commits):
        holds = holds if draw.random() < 0.85 else not holds
        kind = draw.choices(("gap", "open", "error", "once", "again"), (3, 1, 1, 6, 3))[0]
        if kind in ("open", "error"):
            runs.append((at, "inconclusive" if kind == "open" else ""))
        elif kind != "gap":
            known[at] = GOOD if holds else BAD
            verdict = "passed" if holds else "failed"
            repeats = draw.randint(1, 3) if kind == "again" else 0
            runs += [(at, verdict)] + [(at, draw.choice((verdict, "inconclusive", ""))) for _ in range(repeats)]
        if draw.random() < 0.1:
            runs.append((at, "dirty failed" if holds else "dirty passed"))
    draw.shuffle(runs)
    own = []
    for run, (at, verdict) in enumerate(runs):
        early = {"estimate": None, "data": "", "used": 64} if draw.random() < 0.4 and verdict else {}
        dirty = {"dirty": True} if verdict.startswith("dirty") else {}
        own.append(entry(at, verdict.removeprefix("dirty "), run=run, **early, **dirty))
    draw.shuffle(own)
    return own, [entry(at, run=at) for at in range(commits)], known


def expected_of(known: dict[int, str]) -> tuple[int | None, int | None, int]:
    """First bad, last good, and commits in between, by going through what is true of each commit."""
    decided = sorted(known)
    if not decided or known[decided[-1]] == GOOD:
        return None, None, 0
    first = decided[-1]
    for at in reversed(decided):
        if known[at] == GOOD:
            return first, at, first - at - 1
        first = at
    return first, None, first


@pytest.mark.parametrize("seed", range(60))
def test_it_is_right_with_gaps_runs_again_and_early_verdicts(entry: Make, seed: int) -> None:
    own, other, known = constructed(entry, seed)
    timeline = timeline_of({CLAIM: own, OTHER: other})
    course = claim_history(CLAIM, own, timeline)
    first, good, between = expected_of(known)
    if first is None:
        assert course.first_bad is None
        return
    assert course.first_bad is not None
    assert course.first_bad.point.place == place_of(entry(first))
    assert (course.first_bad.good and course.first_bad.good.place) == (None if good is None else place_of(entry(good)))
    assert course.first_bad.between == between


@pytest.mark.parametrize("seed", range(0, 60, 6))
def test_it_is_the_same_after_the_history_was_kept_in_two_halves(entry: Make, seed: int, tmp_path: Path) -> None:
    own, other, _ = constructed(entry, seed)
    half = len(own) // 2
    for number, (ones, others) in enumerate([(own[:half], other), (own[half:], ())]):
        history.add(tmp_path / str(number), {CLAIM: ones, OTHER: others})
    history.add_history(tmp_path / "0", tmp_path / "1")
    kept = history.read(tmp_path / "0")
    assert claim_history(CLAIM, kept[CLAIM], timeline_of(kept)) == claim_history(
        CLAIM, sorted(own), timeline_of({CLAIM: own, OTHER: other})
    )


def test_the_histories_are_of_every_sort(entry: Make) -> None:
    """None of what the test above is about is missing in what it looks at."""
    found = [expected_of(constructed(entry, seed)[2]) for seed in range(60)]
    assert sum(first is not None for first, *_ in found) >= 20
    assert sum(first is None for first, *_ in found) >= 10
    assert sum(good is not None and between > 0 for _, good, between in found) >= 5
    assert sum(first is not None and good is None for first, good, _ in found) >= 2


def _state(course_entries: list[HistoryEntry], timeline: Any = None) -> str:
    return claim_history(CLAIM, course_entries, timeline or timeline_of({CLAIM: course_entries})).state


def test_a_pass_in_another_run_of_the_same_commit_takes_no_failure_back(entry: Make) -> None:
    for runs in (("passed", "failed"), ("failed", "passed")):
        course = claim_history(CLAIM, [entry(0, verdict, run=run) for run, verdict in enumerate(runs)], [])
        assert (course.state, course.points[0].mixed) == (BAD, True)


def test_another_model_at_the_same_commit_is_another_point(entry: Make) -> None:
    runs = [entry(0, run=0), entry(0, "failed", run=1, model="c"), entry(0, run=2, model="d")]
    assert _state(runs) == GOOD
    bad = claim_history(CLAIM, runs[:2], timeline_of({CLAIM: runs})).first_bad
    assert bad is not None
    assert (bad.what, bad.between) == (("model",), 0)


def test_an_old_commit_that_is_measured_late_is_not_the_latest(entry: Make) -> None:
    runs = [entry(0, run=0), entry(5, "failed", run=1), entry(1, run=2)]
    course = claim_history(CLAIM, runs, timeline_of({CLAIM: runs}))
    assert course.state == BAD
    assert course.first_bad is not None
    assert course.first_bad.good is not None
    assert course.first_bad.good.commit == entry(1).commit


def test_what_is_not_settled_is_never_good(entry: Make) -> None:
    assert _state([entry(0, "inconclusive")]) == OPEN
    assert _state([entry(0), entry(1, "inconclusive")]) == OPEN
    assert _state([entry(0), entry(1, "")]) == OPEN
    assert _state([entry(0, "failed"), entry(1, "inconclusive")]) == BAD
    assert _state([entry(0, dirty=True)]) == OPEN


def test_a_test_that_could_not_measure_makes_its_claims_open(entry: Make) -> None:
    course = claim_history(CLAIM, [entry(0)], [], test_entries=[entry(1, "")])
    assert (course.state, course.last.state) == (OPEN, "error")
    failed_beside = entry(0, "", run=0, state="failed")
    assert claim_history(CLAIM, [entry(0)], [], test_entries=[failed_beside]).state == GOOD, (
        "the claim itself was measured"
    )


def test_changes_are_told_and_what_is_not_known_is_none(entry: Make) -> None:
    runs = [
        entry(0),
        entry(1, data="", model=""),
        entry(2, model="c"),
        entry(3, model="c", required=">= 0.3", threshold=0.3),
        entry(4, model="c", data="e", required=">= 0.3"),
    ]
    changes = claim_history(CLAIM, runs, []).changes
    assert [(one.what, one.before, one.after) for one in changes] == [
        (("model",), "", ""),
        (("threshold",), ">= 0.4", ">= 0.3"),
        (("data",), "", ""),
    ]


def test_commits_after_the_last_measured_are_counted(entry: Make) -> None:
    history = {CLAIM: [entry(0)], OTHER: [entry(at) for at in range(4)]}
    timeline = timeline_of(history)
    assert [claim_history(claim, runs, timeline).behind for claim, runs in history.items()] == [3, 0]


@pytest.mark.parametrize(
    ("changes", "slack"),
    [
        ({}, 0.05),
        ({"threshold": 0.5}, -0.05),
        ({"comparison": "<=", "threshold": 0.6}, 0.05),
        ({"bounds": "above", "low": 0.0, "left_low": 0.42, "left_high": 0.55}, 0.02),
        ({"threshold": None}, None),
    ],
)
def test_slack_is_the_distance_from_interval_to_threshold(
    entry: Make, changes: dict[str, Any], slack: float | None
) -> None:
    assert entry(0, **changes).slack == pytest.approx(slack)


def test_runs_of_no_known_commit_stand_alone_in_their_order(entry: Make) -> None:
    runs = [entry(0, verdict, run=run, commit="", committed="") for run, verdict in enumerate(("failed", "passed"))]
    course = claim_history(CLAIM, runs, timeline_of({CLAIM: runs}))
    assert (course.state, len(course.points)) == (GOOD, 2)
