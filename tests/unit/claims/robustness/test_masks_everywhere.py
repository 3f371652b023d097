"""A claim on masks finds the same from the store and by counterexamples that are known."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from robustest import Factory, Linf, Result, Segmentation
from robustest.context import Context, running
from robustest.measure import measure_robust_accuracy, measure_robust_score
from robustest.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[3]))
import shapes

TASK = Segmentation(shapes.CLASSES, floor=0.9)
MODEL, DATA = Factory("shapes:trained", steps=60), shapes.drawn(16, seed=12)
EXACT = Settings(exact=True, attack="fast", recheck=0.0)


def measured(settings: Settings) -> Result:
    with running(Context(settings=settings, test="t")):
        return measure_robust_accuracy(MODEL, DATA, Linf(2 / 255), task=TASK)


@pytest.fixture(scope="module")
def here() -> Result:
    found = measured(EXACT)
    assert {True, False} == set(found.outcomes)
    return found


def test_what_the_store_remembers_is_what_was_measured(here: Result, tmp_path: Path) -> None:
    kept = replace(EXACT, store=str(tmp_path / "store"))
    first, again = measured(kept), measured(kept)
    assert not first.evidence.cached
    assert again.evidence.cached
    assert again.outcomes == first.outcomes == here.outcomes
    assert again.estimate == here.estimate
    x, y = DATA
    with running(Context(settings=kept, test="t")):  # one pixel of one mask is another sample
        other = y.clone()
        other[0, 0, 0] = (other[0, 0, 0] + 1) % shapes.CLASSES
        changed = measure_robust_accuracy(MODEL, (x, other), Linf(2 / 255), task=TASK)
    assert changed.evidence.data != again.evidence.data
    assert changed.cost.forward > 0


def test_known_counterexamples_decide_what_they_decided(here: Result, tmp_path: Path) -> None:
    kept = replace(EXACT, corpus=str(tmp_path / "corpus"))
    first, again = measured(kept), measured(kept)
    assert first.outcomes == again.outcomes == here.outcomes
    assert first.evidence.replayed == 0
    assert again.evidence.replayed == here.outcomes.count(False) - round(16 * (1 - here.details["clean_accuracy"]))
    assert again.evidence.replayed > 0


def test_mean_scores_of_any_batch_size() -> None:
    x, y = (part[:6] for part in DATA)
    with running(Context(settings=EXACT, test="t")):
        scores = [
            measure_robust_score(MODEL, (x, y), Linf(2 / 255), task=TASK, batch_size=size).estimate
            for size in (1, 4, 6)
        ]
    assert scores[0] == scores[1] == scores[2]
