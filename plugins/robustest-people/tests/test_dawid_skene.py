"""Dawid and Skene's labels beside those of crowd-kit (Ustalov, Pavlichenko and Tseitlin, JOSS 2024)."""

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
    import pandas as pd
    from crowdkit.aggregation import DawidSkene

    truth, item, who, answer = crowd(seed, bad)
    ours = aggregate(
        Responses.from_columns(item, answer, size=ITEMS, classes=CLASSES, annotator=who), "dawid-skene"
    ).labels
    table = pd.DataFrame({"task": item, "worker": who, "label": answer})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of crowd-kit, which calls what pandas deprecates
        theirs = DawidSkene(n_iter=100).fit_predict(table).reindex(range(ITEMS)).to_numpy()
    assert abs((ours == truth).mean() - (theirs == truth).mean()) <= 0.005
    assert (ours == theirs).mean() >= 0.99
