"""Claims on cues, where a budget makes a smaller sample of a population."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from robustest import Verdict
from robustest.decisions import clopper_pearson
from robustest.decisions.cues import CLASSES, CueRule, off_column, on_column
from robustest.decisions.rule import Decision, Terms

POPULATION = Terms(scope="population", alpha=0.01, fail_alpha=0.01)


def test_a_part_of_the_samples_settles_every_cue_or_none() -> None:
    """The first cue moves one of 297 to its class; of the second, three samples are of another class than its own."""
    label = np.array([1] * 297 + [0] * 3)
    still = {name(cue): label for name in (on_column, off_column) for cue in (0, 1)}
    moved = np.where(np.arange(300) == 0, 0, label)
    columns = {"label": label, CLASSES: np.full(300, 2), **still, on_column(0): moved}
    rule = CueRule(targets=(0, 1), max_flip_rate=0.1, max_recall_drop=None, terms=POPULATION)
    decision = rule.decide(columns, 1000, None)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.interval == (clopper_pearson(1, 297, 0.005)[0], clopper_pearson(0, 3, 0.01)[1])
    alone = CueRule(targets=(0,), max_flip_rate=0.1, max_recall_drop=None, terms=POPULATION)
    assert alone.decide(columns, 1000, None).verdict is Verdict.PASSED


def test_a_class_without_samples_may_lose_its_recall_in_the_population() -> None:
    """Four classes, of which the data hold two: nothing is known of the others, whatever the cue does to these."""
    label = np.arange(400) % 2
    columns = {
        "label": label,
        CLASSES: np.full(400, 4),
        **{name(cue): label for name in (on_column, off_column) for cue in (0, 1)},
    }

    def decided(scope: str, **claim: Any) -> Decision:
        asked: dict[str, Any] = {"targets": (None,), "max_flip_rate": None, "max_recall_drop": 0.5} | claim
        return CueRule(terms=Terms(scope=scope, alpha=0.01, fail_alpha=0.01), **asked).decide(columns, 400, None)

    found = decided("population")
    assert (found.verdict, found.interval[1]) == (Verdict.INCONCLUSIVE, 1.0)
    assert "2 of 4 classes have no samples, the first is 2" in found.rule
    assert decided("set").verdict is Verdict.PASSED
    assert decided("population", targets=(0,)).verdict is Verdict.PASSED
    assert decided("population", max_flip_rate=0.1, max_recall_drop=None).verdict is Verdict.PASSED
    both = decided("population", targets=(0, None))  # of two cues
    assert both.verdict is Verdict.INCONCLUSIVE
    assert "have no samples" in both.rule


@pytest.mark.parametrize("lost", [0.0, 0.02, 0.5])
def test_a_claim_for_every_class_fails_where_one_of_its_parts_fails_first(lost: float) -> None:
    """Parts without an event are not asked: they would have said nothing."""
    random = np.random.default_rng(0)
    label = random.integers(0, 5, 400)
    on, off = (np.where((random.random(400) < share) & (label < 3), (label + 1) % 5, label) for share in (0.02, lost))
    columns = {"label": label, CLASSES: np.full(400, 5), on_column(0): on, off_column(0): off}
    rule = CueRule(
        targets=(None,), max_flip_rate=0.3, max_recall_drop=0.1, terms=Terms(scope="set", alpha=0.01, fail_alpha=0.01)
    )
    each = [part.settle(values, 1000) for part, values in rule._parts(columns)]
    failed = [one for one in each if one is not None and one.verdict is Verdict.FAILED]
    assert bool(failed) is (lost == 0.5)
    assert rule.settle(columns, 1000) == min(failed, key=lambda one: one.after, default=None)
