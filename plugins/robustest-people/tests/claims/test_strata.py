"""A mean over unlike samples does not pass where it hides a number of objects, or of classes that people select."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from core_tests import load
from robustest_people import Responses
from robustest_people.measure import measure_label_agreement, measure_multilabel_accuracy
from torch import nn

from robustest import ConfigError, Verdict
from robustest.reports.text import measured

core = load("unit/claims/robustness/test_strata_everywhere.py")
SETS, Sees, X = core.SETS, core.Sees, core.X


def test_by_is_one_of_two_words() -> None:
    for wrong in ("boxes", None, True):
        with pytest.raises(ConfigError, match="by to be"):
            measure_multilabel_accuracy(Sees(), (X, SETS), at_least=0.5, by=wrong)  # type: ignore[arg-type]


def test_multi_label_accuracy_is_judged_by_the_number_of_objects() -> None:
    how: dict[str, Any] = {"at_least": 0.7, "metric": "exact-set"}
    hidden = measure_multilabel_accuracy(Sees(), (X, SETS), **how)
    assert hidden.verdict is Verdict.INCONCLUSIVE
    assert "2 objects" in hidden.rule
    assert measure_multilabel_accuracy(Sees(), (X, SETS), by="overall", **how).verdict is Verdict.PASSED
    assert measure_multilabel_accuracy(Sees(0.0), (X, SETS), **how).verdict is Verdict.PASSED


def test_agreement_with_people_is_told_by_how_many_classes_they_see() -> None:
    """Right on what people call one thing, wrong on what they call two."""
    n = 120
    label, two = torch.arange(n) % 3, torch.arange(n) % 4 == 0
    counts = np.zeros((n, 4), dtype=int)
    counts[np.arange(n), label] = np.where(two, 25, 50)
    counts[np.arange(n), (label + 1) % 3] += np.where(two, 25, 0)
    says = torch.where(two, 3, label)
    x = nn.functional.one_hot(says, 4).float().view(n, 1, 2, 2)
    result = measure_label_agreement(
        lambda batch: 5 * batch.flatten(1),
        (x, label),
        Responses.from_counts(counts),
        min_contained=0.7,
        exact=True,
    )
    assert result.verdict is Verdict.PASSED
    assert [(row["part"], row["samples"]) for row in result.details["strata"]] == [
        ("1 class selected", 90),
        ("2 classes selected", 30),
    ]
    assert "2 classes selected" in measured(result)
