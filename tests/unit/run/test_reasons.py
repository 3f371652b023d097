"""Why a verdict is not what the value alone would make it, as data: each reason where it comes from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import Linf, Result
from robustest.measure import measure_accuracy, measure_robust_accuracy, measure_shift_accuracy
from robustest.results import REASONS

N = 120
X = torch.rand(N, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = (X.flatten(1)[:, 0] > 0.5).long()
CHANCE = torch.arange(N) % 2


class Reads(nn.Module):
    """Reads the first pixel, smoothly or in steps that have no gradient."""

    def __init__(self, *, steps: bool = False) -> None:
        super().__init__()
        self.weight, self.steps = nn.Parameter(torch.ones(1)), steps

    def forward(self, x: Tensor) -> Tensor:
        first = x.flatten(1)[:, 0]
        seen = (first > 0.5).float() - 0.5 + 0.0 * first if self.steps else first - 0.5
        return torch.stack([-self.weight * seen, self.weight * seen], 1)


def same(x: Tensor) -> Tensor:
    return x


def accuracy(y: Tensor = Y, **options: Any) -> Result:
    return measure_accuracy(Reads(), (X, y), **options)


CASES: dict[str, tuple[Any, tuple[str, ...], str]] = {
    "a value that decides": (lambda: accuracy(at_least=0.9, exact=True), (), "passed"),
    "a value that fails": (lambda: accuracy(CHANCE, at_least=0.9, exact=True), (), "failed"),
    "nothing is claimed": (accuracy, ("no_threshold",), "inconclusive"),
    "too few samples": (lambda: accuracy(CHANCE, at_least=0.45, scope="population"), ("undecided",), "inconclusive"),
    "copies of few images": (
        lambda: measure_accuracy(Reads(), (X.repeat(9, 1, 1, 1), Y.repeat(9)), at_least=0.98, scope="population"),
        ("copies",),
        "inconclusive",
    ),
    "copies, but enough images": (
        lambda: measure_accuracy(Reads(), (X.repeat(9, 1, 1, 1), Y.repeat(9)), at_least=0.95, scope="population"),
        (),
        "passed",
    ),
    "equal rows, as tables have them": (
        lambda: measure_accuracy(Reads(), (X.flatten(1).repeat(9, 1), Y.repeat(9)), at_least=0.98, scope="population"),
        (),
        "passed",
    ),
    "copies in a claim about them": (
        lambda: measure_accuracy(Reads(), (X.repeat(9, 1, 1, 1), Y.repeat(9)), at_least=0.98, exact=True),
        (),
        "passed",
    ),
    "a limit of samples": (lambda: accuracy(CHANCE, at_least=0.45, max_samples=20), ("budget",), "inconclusive"),
    "a change that changes nothing": (
        lambda: measure_shift_accuracy(Reads(), (X, Y), same, at_least=0.9),
        ("unchanged",),
        "inconclusive",
    ),
    "a fall from chance": (
        lambda: measure_shift_accuracy(Reads(), (X, CHANCE), lambda x: 0.9 * x, max_drop=0.4, exact=True),
        ("no_fall",),
        "inconclusive",
    ),
    "no gradient": (
        lambda: measure_robust_accuracy(Reads(steps=True), (X, Y), Linf(0.001), attack="pgd", at_least=0.5, exact=True),
        ("health:zero_gradient",),
        "inconclusive",
    ),
}


@pytest.mark.filterwarnings("ignore::robustest.HealthWarning")
@pytest.mark.parametrize("case", CASES)
def test_a_verdict_has_its_reasons(case: str) -> None:
    measure, reasons, verdict = CASES[case]
    found = measure()
    assert str(found.verdict) == verdict, found.rule
    if reasons and reasons[0].startswith("health:"):  # one of several that speak here
        assert set(reasons) <= set(found.reasons)
        named = ", ".join(reason.removeprefix("health:") for reason in found.reasons)
        assert found.rule == f"health check: {named}"
    else:
        assert found.reasons == reasons, found.rule
    assert {reason.partition(":")[0] for reason in reasons} <= set(REASONS)
