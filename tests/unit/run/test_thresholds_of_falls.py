"""A fall that could not have been larger than what is allowed does not pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import Verdict
from robustest.measure import measure_corruption_robustness, measure_shift_accuracy, measure_transfer_accuracy

N = 40
X = torch.linspace(0, 1, N).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).clone()
RIGHT = (X.flatten(1).mean(1) > 0.5).long()
POOR = torch.where(torch.arange(N) % 4 == 0, RIGHT, 1 - RIGHT)
"""Labels that the model has right for one sample in four."""


def model(x: Tensor) -> Tensor:
    return torch.stack([0.5 - x.flatten(1).mean(1), x.flatten(1).mean(1) - 0.5], 1)


def dark(x: Tensor, severity: int, key: Tensor) -> Tensor:
    return x * 0 + 0.1  # not 0: what is cut off at a bound says nothing


FALLS = {
    "shift": lambda y, **o: measure_shift_accuracy(model, (X, y), dark, **o),
    "corruptions": lambda y, **o: measure_corruption_robustness(
        model, (X, y), corruptions=["brightness"], severities=[3], **o
    ),
    "transfer": lambda y, **o: measure_transfer_accuracy(model, (X, y), (X * 0, y), **o),
}


@pytest.mark.parametrize("measure", FALLS.values(), ids=FALLS)
@pytest.mark.parametrize("scope", ["set", "population"])
@pytest.mark.parametrize("exact", [True, False])
def test_a_model_that_has_nothing_to_lose_does_not_pass(measure: Any, scope: str, exact: bool) -> None:
    result = measure(POOR, max_drop=0.5, scope=scope, exact=exact)
    assert result.verdict is Verdict.INCONCLUSIVE
    if scope == "set":
        assert result.rule == "nothing could have failed it: only 0.250 held before, and a fall of 0.5 is allowed"
    assert measure(RIGHT, max_drop=0.45, exact=exact).verdict is not Verdict.INCONCLUSIVE
    stopped = measure(RIGHT, max_drop=0.9, exact=True)  # of two classes, saying one loses half
    assert stopped.verdict is Verdict.INCONCLUSIVE
    assert stopped.rule.startswith("a model that stopped looking would keep it: 1.000 were right before, 0.500 are")
