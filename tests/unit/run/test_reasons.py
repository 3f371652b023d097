"""Why a verdict is not what the value alone would make it, as data: each reason where it comes from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import Linf, Regression, Result
from robustest.measure import (
    measure_accuracy,
    measure_calibrated,
    measure_ood_rejected,
    measure_robust_accuracy,
    measure_shift_accuracy,
    measure_transfer_accuracy,
    measure_worst_group_accuracy,
)
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


def times(x: Tensor, y: Tensor, count: int) -> tuple[Tensor, Tensor]:
    return x.repeat(count, 1, 1, 1), y.repeat(count)


class Brighter(Reads):
    """The same answers, of other scores."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


SOME = Y ^ (torch.arange(N) % 5 == 0)  # a fifth is wrong, of any 30 in a row as well
MANY = torch.rand(1500, 1, 4, 4, generator=torch.Generator().manual_seed(1))
OTHERS = torch.rand(1500, 1, 4, 4, generator=torch.Generator().manual_seed(3))
SOURCE, TARGET = ((x, (x.flatten(1)[:, 0] > 0.5).long() ^ (torch.arange(1500) % 5 == 0)) for x in (OTHERS, MANY))


def surely(x: Tensor) -> Tensor:
    """Be certain, and right; images of plain grey are of no class."""
    first = x.flatten(1)[:, 0]
    return torch.stack([0.5 - first, first - 0.5], 1) * 1000


def transfer(source: tuple[Tensor, Tensor], scope: str = "population") -> Result:
    return measure_transfer_accuracy(Reads(), source, TARGET, max_drop=0.1, scope=scope)


def rejected(inside: Tensor, outside: Tensor) -> Result:
    known = inside, torch.zeros(len(inside), dtype=torch.int64)
    return measure_ood_rejected(surely, known, outside, max_fpr=0.1, scope="population")


def of_groups(count: int, at_least: float) -> Result:
    x, y = times(X, Y, count)
    groups = ["first" if k % N < 60 else "second" for k in range(len(x))]
    return measure_worst_group_accuracy(Reads(), (x, y), groups, at_least=at_least, scope="population")


def beside(tolerance: float, groups: bool = False) -> Result:
    x, y = times(X, Y, 9)
    how: dict[str, Any] = {"no_worse_than": Brighter(), "tolerance": tolerance, "scope": "population"}
    if groups:
        names = ["first" if k % N < 60 else "second" for k in range(len(x))]
        return measure_worst_group_accuracy(Reads(), (x, y), names, **how)
    return measure_accuracy(Reads(), (x, y), **how)


GREY = 0.5 + 1e-4 * torch.rand(500, 1, 4, 4, generator=torch.Generator().manual_seed(2))


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
    "copies in the source of a fall": (lambda: transfer(times(X[:30], SOME[:30], 50)), ("copies",), "inconclusive"),
    "as many images of their own": (lambda: transfer(SOURCE), (), "passed"),
    "no images of its own in the other set": (lambda: transfer(TARGET), ("unchanged",), "inconclusive"),
    "copies in the source of a fall of these sets": (
        lambda: transfer(times(X[:30], SOME[:30], 50), "set"),
        (),
        "passed",
    ),
    "copies in a calibration error": (
        lambda: measure_calibrated(surely, times(X[:30], Y[:30], 50), max_ece=0.1),
        ("copies",),
        "inconclusive",
    ),
    "a calibration error of as many images": (
        lambda: measure_calibrated(surely, (MANY, (MANY.flatten(1)[:, 0] > 0.5).long()), max_ece=0.1),
        (),
        "passed",
    ),
    "copies inside": (lambda: rejected(X[:9].repeat(60, 1, 1, 1), GREY), ("copies",), "inconclusive"),
    "copies outside": (lambda: rejected(MANY, GREY[:9].repeat(60, 1, 1, 1)), ("copies",), "inconclusive"),
    "enough inside and outside": (lambda: rejected(MANY, GREY), (), "passed"),
    "copies in groups": (lambda: of_groups(9, 0.98), ("copies",), "inconclusive"),
    "copies in groups, but enough images": (lambda: of_groups(9, 0.9), (), "passed"),
    "copies beside another model": (lambda: beside(0.02), ("copies",), "inconclusive"),
    "copies beside another model, but enough images": (lambda: beside(0.06), ("baseline",), "passed"),
    "copies beside another model by group": (lambda: beside(0.02, groups=True), ("copies",), "inconclusive"),
    "copies by group, but enough images": (lambda: beside(0.12, groups=True), ("baseline",), "passed"),
    "copies with other targets": (
        lambda: measure_accuracy(
            lambda x: x.flatten(1)[:, :1],
            (X[:30].repeat(50, 1, 1, 1), X[:30, 0, 0, 0].repeat(50) + torch.linspace(0, 1e-3, 1500)),
            at_least=0.9,
            task=Regression(0.1),
            scope="population",
        ),
        ("copies",),
        "inconclusive",
    ),
    "copies of images of whole numbers": (
        lambda: measure_accuracy(
            lambda x: torch.stack([128.0 - x[:, 0, 0, 0], x[:, 0, 0, 0] - 128.0], 1),
            times((255 * X[:30]).long(), (255 * X[:30, 0, 0, 0]).long() // 128, 50),
            at_least=0.9,
            bounds=(0, 255),
            scope="population",
        ),
        ("copies",),
        "inconclusive",
    ),
    "equal rows of tokens": (
        lambda: measure_accuracy(
            lambda x: torch.stack([0.5 - x[:, 0], x[:, 0] - 0.5], 1),
            (torch.arange(1500).view(-1, 1) % 2, torch.arange(1500) % 2),
            at_least=0.9,
            bounds=(0, 1),
            scope="population",
        ),
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
        assert set(reasons) <= set(found.ruling.reasons)
        named = ", ".join(reason.removeprefix("health:") for reason in found.ruling.reasons)
        assert found.rule == f"health check: {named}"
    else:
        assert found.ruling.reasons == reasons, found.rule
    assert {reason.partition(":")[0] for reason in reasons} <= set(REASONS)
