"""Labels by models of annotators beside those of crowd-kit (Ustalov, Pavlichenko and Tseitlin, JOSS 2024)."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import pytest
from robustest_people import Responses, aggregate

if os.environ.get("ROBUSTEST_PARITY") != "required":
    pytest.importorskip("crowdkit", reason="crowd-kit is not installed: tox -e parity-labels")

ITEMS, CLASSES, ANNOTATORS = 2000, 10, 50
SEEDS = range(4)


def theirs(model: str, item: Any, who: Any, answer: Any, items: int) -> Any:
    import pandas as pd
    from crowdkit import aggregation

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of crowd-kit, which calls what pandas deprecates
        fitted = getattr(aggregation, model)(n_iter=100)
        labels = fitted.fit_predict(pd.DataFrame({"task": item, "worker": who, "label": answer}))
    return labels.reindex(range(items)).to_numpy()


def crowd(seed: int, bad: str) -> Any:
    """5 answers an item; 20 of 50 annotators are bad, the others right in 80 to 95 %."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, CLASSES, ITEMS)
    skill = random.uniform(0.8, 0.95, ANNOTATORS)
    item = np.repeat(np.arange(ITEMS), 5)
    who = np.concatenate([random.choice(ANNOTATORS, 5, replace=False) for _ in range(ITEMS)])
    right = random.random(len(item)) < skill[who]
    answer = np.where(right, truth[item], (truth[item] + random.integers(1, CLASSES, len(item))) % CLASSES)
    worse = np.zeros_like(answer) if bad == "always class 0" else random.integers(0, CLASSES, len(item))
    return truth, item, who, np.where(who < 20, worse, answer)


@pytest.mark.parametrize("bad", ["always class 0", "random"])
@pytest.mark.parametrize("seed", range(3))
def test_both_are_as_often_right(bad: str, seed: int) -> None:
    """Labels of a few items differ, because crowd-kit does not smooth error rates."""
    truth, item, who, answer = crowd(seed, bad)
    ours = aggregate(
        Responses.from_columns(item, answer, size=ITEMS, classes=CLASSES, annotator=who), "dawid-skene"
    ).labels
    labels = theirs("DawidSkene", item, who, answer, ITEMS)
    assert abs((ours == truth).mean() - (labels == truth).mean()) <= 0.005
    assert (ours == labels).mean() >= 0.99


# Answers of GLAD's own model, 5 an item: classes, items, annotators, and the abilities and log-eases.
SIMULATED: dict[str, Any] = {
    "spam": (5, 200, 20, lambda random, a: np.where(np.arange(a) < a // 2, 0.0, random.normal(1.5, 0.5, a)), 0.3, 0.5),
    "hard": (5, 200, 20, lambda random, a: random.normal(1.2, 0.6, a), -0.3, 1.0),
    "adversaries": (2, 200, 20, lambda random, a: np.where(np.arange(a) < 5, -1.5, random.normal(2, 0.5, a)), 0.0, 0.5),
    "few": (5, 150, 75, lambda random, a: random.normal(1.2, 1.0, a), 0.0, 0.7),
    "two classes": (2, 200, 20, lambda random, a: random.normal(1.2, 0.8, a), 0.3, 0.7),
}


def simulated(name: str, seed: int) -> Any:
    classes, items, annotators, abilities, mean, deviation = SIMULATED[name]
    random = np.random.default_rng(seed)
    truth, ability = random.integers(0, classes, items), abilities(random, annotators)
    ease = np.exp(random.normal(mean, deviation, items))
    item = np.repeat(np.arange(items), 5)
    who = np.concatenate([random.choice(annotators, 5, replace=False) for _ in range(items)])
    chance = 1 / (1 + np.exp(-ability[who] * ease[item]))
    # Who has no ability guesses among all classes: with GLAD's own probability of 1/2 it would be right too often.
    right = random.random(len(item)) < np.where(ability[who] == 0, 1 / classes, chance)
    answer = np.where(right, truth[item], (truth[item] + random.integers(1, classes, len(item))) % classes)
    return truth, item, who, answer


@pytest.mark.parametrize(("method", "model"), [("glad", "GLAD"), ("dawid-skene", "DawidSkene")])
@pytest.mark.parametrize("name", SIMULATED)
def test_labels_are_no_less_often_right(name: str, method: str, model: str) -> None:
    ours, others, majority = [], [], []
    for seed in SEEDS:
        truth, item, who, answer = simulated(name, seed)
        says = Responses.from_columns(item, answer, size=len(truth), classes=SIMULATED[name][0], annotator=who)
        ours.append((aggregate(says, method).labels == truth).mean())
        majority.append((aggregate(says).labels == truth).mean())
        others.append((theirs(model, item, who, answer, len(truth)) == truth).mean())
    assert np.mean(ours) >= np.mean(others) - 0.01
    if name in ("spam", "adversaries"):  # where the majority errs, so that equal labels say something
        assert np.mean(ours) >= np.mean(majority) + 0.05
