"""Guards of claims on cues: the parts of a claim, the cue that leads, and the most that a cue may still reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustest.decisions.cues import CLASSES, CuePairs, CueRule, off_column, on_column, worst_of
from robustest.decisions.rate import RateRule
from robustest.decisions.rule import Terms
from robustest.decisions.share import ShareRule
from robustest.results import Verdict

K = 3
LABEL = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 1])
OFF = np.array([0, 0, 1, 0, 1, 1, 2, 2, 2, 0])
ON = np.array([0, 1, 0, 0, 0, 1, 0, 2, 0, 0])


def columns(*cues: tuple[Any, Any], label: NDArray[np.int64] = LABEL) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {"label": label, CLASSES: np.full(len(label), K)}
    for cue, (on, off) in enumerate(cues):
        found |= {on_column(cue): np.asarray(on), off_column(cue): np.asarray(off)}
    return found


def rule(*targets: int | None, flips: float | None = None, drop: float | None = None, **terms: Any) -> CueRule:
    given = Terms(**{"scope": "set", "alpha": 0.02, "fail_alpha": 0.01, **terms})
    return CueRule(targets=targets, max_flip_rate=flips, max_recall_drop=drop, terms=given)


@pytest.mark.parametrize("target", [None, 0, 1, 2])
def test_counts_of_a_cue_are_those_of_its_samples(target: int | None) -> None:
    found = CuePairs.count(columns((ON, OFF)), 0, target)
    rows = list(zip(LABEL.tolist(), ON.tolist(), OFF.tolist(), strict=True))
    asked = [row for row in rows if target is None or row[0] != target]
    flips = [row for row in asked if row[1] != row[2] and (target is None or row[1] == target)]
    assert (found.flips, found.of, found.flip_rate) == (len(flips), len(asked), len(flips) / len(asked))
    for k in range(K):
        mine = [row for row in rows if row[0] == k]
        right_on, right_off = (sum(row[at] == k for row in mine) for at in (1, 2))
        assert (int(found.members[k]), int(found.hits[k])) == (len(mine), right_on)
        assert found.recall_drop(k) == pytest.approx((right_on - right_off) / len(mine))
        assert found.recall_on(k) == right_on / len(mine)
        drawn = sum(row[1] == k != row[2] for row in rows)
        driven = sum(row[2] == k != row[1] for row in rows)
        before = sum(row[2] == k for row in rows)
        assert found.shares_moved(k) == (drawn / (len(rows) - before), driven / before)
    assert found.accuracy == (np.mean(ON == LABEL), np.mean(OFF == LABEL))
    assert found.classes == ([0, 1, 2] if target is None else [target])


@pytest.mark.parametrize("target", [None, 0, 1])
def test_a_claim_on_flips_counts_those_to_the_class_of_the_cue(target: int | None) -> None:
    made = rule(target, flips=0.25)
    part, values = made._flips(columns((ON, OFF)), 0, made.terms)
    if target is None:
        assert isinstance(part, ShareRule)
        assert values["held"].tolist() == (ON == OFF).tolist()
        return
    assert isinstance(part, RateRule)
    assert (part.threshold, part.signed) == (0.25, False)
    rows = zip(LABEL.tolist(), ON.tolist(), OFF.tolist(), strict=True)
    assert values["event"].tolist() == [int(label != target and on == target != off) for label, on, off in rows]
    assert values["counts"].tolist() == (target != LABEL).tolist()


@pytest.mark.parametrize("k", [0, 1, 2])
def test_a_claim_on_recall_counts_what_a_class_gains_by_the_cue(k: int) -> None:
    made = rule(None, drop=0.25)
    part, values = made._recall(columns((ON, OFF)), 0, k, made.terms)
    rows = zip(LABEL.tolist(), ON.tolist(), OFF.tolist(), strict=True)
    assert values["event"].tolist() == [(on == k) - (off == k) if label == k else 0 for label, on, off in rows]
    assert values["counts"].tolist() == (k == LABEL).tolist()
    assert part.threshold == 0.25


@pytest.mark.parametrize(
    ("targets", "flips", "drop", "parts", "share"),
    [
        ((None,), 0.1, None, 1, 1),
        ((0,), 0.1, None, 1, 1),
        ((None,), None, 0.1, 3, 3),
        ((1,), None, 0.1, 1, 1),
        ((None, 1), 0.1, 0.1, 6, 6),
        ((None, None), None, 0.1, 6, 6),
    ],
)
def test_each_part_has_its_share_of_the_error(
    targets: Any, flips: float | None, drop: float | None, parts: int, share: int
) -> None:
    given = columns(*[(ON, OFF)] * len(targets))
    found = list(rule(*targets, flips=flips, drop=drop)._parts(given))
    assert len(found) == parts
    assert [part.terms for part, _ in found] == [Terms(scope="set", alpha=0.02, fail_alpha=0.01 / share)] * parts
    some = columns(*[(ON[:4], OFF[:4])] * len(targets), label=LABEL[:4])  # of one class, so far
    fewer = list(rule(*targets, flips=flips, drop=drop)._parts(some))
    assert {part.terms.fail_alpha for part, _ in fewer} == {0.01 / share}, "also of classes without samples so far"


@pytest.mark.parametrize(
    ("target", "label", "moved", "flips", "drop", "worst"),
    [
        (None, [0, 0, 1, 1], [1, 0, 0, 0], 0.1, None, 0.25),
        (None, [0, 0, 1, 1], [1, 0, 0, 0], None, 0.1, 0.5),
        (0, [0, 0, 0, 1], [0, 0, 0, 1], 0.1, None, 1.0),  # one other sample
        (0, [0, 0, 0, 1], [1, 1, 0, 0], 0.1, None, 0.0),
        (0, [0, 0, 0, 0], [1, 1, 0, 0], 0.1, None, 0.0),  # no other sample
        (0, [0, 0, 0, 1], [1, 0, 0, 1], None, 0.1, 1 / 3),
        (1, [0, 0, 0, 0], [1, 1, 0, 0], None, 0.1, 0.0),  # none of the class
        (None, [0, 0, 1, 1], [1, 0, 0, 0], 0.1, 0.5, 0.25),  # at the drop that is allowed
        (None, [0, 0, 1, 1], [1, 0, 0, 0], 0.1, 0.49, np.inf),
        (None, [0, 0, 1, 1], [0, 0, 0, 0], 0.1, 0.0, 0.0),
    ],
)
def test_the_most_that_a_cue_may_reach_counts_all_that_can_be_flips(  # noqa: PLR0917
    target: int | None, label: list[int], moved: list[int], flips: Any, drop: Any, worst: float
) -> None:
    given = {"label": np.array(label)}
    assert rule(target, flips=flips, drop=drop).worst(given, 0, np.array(moved, dtype=bool)) == pytest.approx(worst)


def pair(flips: int, drops: int) -> tuple[list[int], list[int]]:
    """Predictions of ten samples of class 0: so many flips between the others, so many right with the cue alone."""
    on, off = [1] * 10, [1] * 10
    for at in range(flips):
        on[at] = 2
    for at in range(flips, flips + drops):
        on[at] = 0
    return on, off


@pytest.mark.parametrize(
    ("one", "other", "flips", "drop", "lead"),
    [
        # flips between other classes, and right with the cue alone (which are flips, too), of ten samples
        ((1, 0), (3, 0), 0.2, None, 1),
        ((3, 0), (1, 0), None, None, 0),
        ((5, 1), (0, 2), None, 0.1, 1),  # by recall
        ((0, 2), (5, 2), None, 0.1, 1),  # by recall, then by flips
        ((0, 3), (5, 1), 0.5, 0.0, 0),  # 0.3 beyond no drop; 0.1 and 0.1
        ((5, 0), (0, 2), 0.2, 0.0, 0),  # 0.3 beyond flips; 0.2 beyond no drop
        ((5, 0), (0, 4), 0.0, 0.3, 0),  # 0.5 beyond no flips; 0.4
        ((2, 0), (0, 3), 0.0, 0.0, 1),
        ((4, 0), (0, 3), 0.0, 0.0, 0),
    ],
)
def test_the_cue_furthest_beyond_the_claim_leads(one: Any, other: Any, flips: Any, drop: Any, lead: int) -> None:
    given = columns(pair(*one), pair(*other), label=np.zeros(10, dtype=np.int64))
    made = rule(None, None, flips=flips, drop=drop)
    assert made.lead(given) == lead
    assert [made.lead(given, [cue]) for cue in (0, 1)] == [0, 1]


@pytest.mark.parametrize("scope", ["set", "population"])
@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize(("flips", "drop"), [(0.9, None), (None, 0.9), (0.9, 0.9), (None, 0.0)])
def test_a_class_without_samples_may_have_lost_all_of_its_recall(
    flips: float | None, drop: float | None, empty: bool, scope: str
) -> None:
    label = np.arange(600) % (2 if empty else 3)
    on, off = label.copy(), label.copy()
    off[:60] = (label[:60] + 1) % 3
    made = rule(None, flips=flips, drop=drop, scope=scope)
    counted = CuePairs.count(columns((on, off), label=label), 0, None)
    found = made.of_cue(counted)
    flip, drops, worst = made.judge(counted)
    part = drops[worst] if drop is not None and flips is None else flip
    unknown = empty and drop is not None and scope == "population"
    assert found.interval == (part.interval[0], 1.0 if unknown and flips is None else part.interval[1])
    assert 0 < part.interval[0] < part.interval[1] < 1
    verdicts = (
        {part.verdict} if flips is None or drop is None else {flip.verdict, *(one.verdict for one in drops.values())}
    )
    assert found.verdict is (
        Verdict.INCONCLUSIVE if unknown and verdicts == {Verdict.PASSED} else worst_of([*verdicts])
    )


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [("", "i"), ("p", "p"), ("pp", "p"), ("pi", "i"), ("ip", "i"), ("pif", "f"), ("fp", "f"), ("f", "f"), ("i", "i")],
)
def test_claims_that_must_all_hold_are_as_good_as_the_worst(verdicts: str, worst: str) -> None:
    named = {"p": Verdict.PASSED, "i": Verdict.INCONCLUSIVE, "f": Verdict.FAILED}
    assert worst_of([named[one] for one in verdicts]) is named[worst]
