"""Parts of the input that a search by gradients never moved: found where the model reads them, and there alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robustest import L0, L1, L2, Linf, Verdict
from robustest.attacks import PGD, Searcher, SigmaZero
from robustest.measure import measure_min_perturbation, measure_no_universal_perturbation, measure_robust_accuracy
from robustest.threats import Threat

N, D = 96, 40


def data() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(N, D, generator=rng)
    return x, (x.sum(1) > D / 2).long()


class Sum(nn.Module):
    """Right on every sample: the sum of what a part lets through, against its middle."""

    def __init__(self, part: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.part = part
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        lead = self.scale * (self.part(x).sum(1) - D / 2)
        return torch.stack([-lead, lead], 1)


def cut(first: int) -> Callable[[Tensor], Tensor]:
    """The first columns have no gradient, and count as the others do."""
    return lambda x: torch.cat([x[:, :first].detach(), x[:, first:]], 1)


def unread(first: int) -> Callable[[Tensor], Tensor]:
    """The first columns are not read: the others count for them."""
    return lambda x: x[:, first:] * (D / (D - first)) - 0 * x[:, first:]


def spoke(model: nn.Module, threat: Threat, attack: str | Searcher) -> bool:
    result = measure_robust_accuracy(model, data(), threat, attack=attack, at_least=0.01, exact=True, cache=False)
    speaks = "unreached_input" in {one["name"] for one in result.details["health"]}
    assert not (speaks and result.verdict is Verdict.PASSED)
    assert speaks == any("of the input had no gradient anywhere" in note for note in result.words.notes)
    return speaks


ATTACKS = [
    (Linf(0.01), "pgd"),
    (Linf(0.01), "fgsm"),
    (Linf(0.01), "fast"),
    (L2(0.05), "pgd"),
    (L2(0.05), "fast"),
    (L1(0.2), "apgd-margin"),
    (L0(1), SigmaZero(steps=20)),
]


@pytest.mark.parametrize(("threat", "attack"), ATTACKS, ids=str)
def test_a_part_that_is_read_without_a_gradient_is_found(threat: Threat, attack: str | Searcher) -> None:
    assert spoke(Sum(cut(10)), threat, attack)


@pytest.mark.parametrize(("threat", "attack"), ATTACKS, ids=str)
def test_a_part_that_is_not_read_does_not_matter(threat: Threat, attack: str | Searcher) -> None:
    assert not spoke(Sum(unread(10)), threat, attack)


@pytest.mark.parametrize(("threat", "attack"), ATTACKS, ids=str)
def test_nothing_is_found_where_every_part_has_a_gradient(threat: Threat, attack: str | Searcher) -> None:
    assert not spoke(Sum(lambda x: x), threat, attack)


class Places(nn.Module):
    """Each class has elements of its own, of which the first `hidden` are read without a gradient."""

    def __init__(self, hidden: int = 0) -> None:
        super().__init__()
        self.hidden = hidden
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        own = x.view(len(x), 4, D // 4)
        own = torch.cat([own[..., : self.hidden].detach(), own[..., self.hidden :]], 2)
        return self.scale * own.sum(2)


@pytest.mark.parametrize(
    ("threat", "attack"), [(L2(0.05), "pgd"), (L2(0.05), "fast"), (L1(0.2), "fast"), (L0(1), "fast")], ids=str
)
def test_elements_of_other_classes_are_not_hidden(threat: Threat, attack: str) -> None:
    """The loss follows two classes alone; the elements that the other two read have gradients of their own."""
    x, _ = data()
    y = torch.arange(N) % 4
    x[torch.arange(N)[:, None], y[:, None] * (D // 4) + torch.arange(D // 4)] += 1
    for model, speaks in ((Places(), False), (Places(hidden=4), True)):
        result = measure_robust_accuracy(
            model, (x / 2, y), threat, attack=attack, at_least=0.01, exact=True, cache=False
        )
        assert ("unreached_input" in {one["name"] for one in result.details["health"]}) is speaks


def test_the_share_is_told() -> None:
    model = Sum(cut(10))
    result = measure_robust_accuracy(model, data(), Linf(0.01), attack="pgd", at_least=0.1, cache=False)
    assert any(note.startswith("25% of the input had no gradient") for note in result.words.notes)
    assert result.verdict is Verdict.INCONCLUSIVE


def test_a_search_for_the_smallest_perturbation_says_it_too() -> None:
    result = measure_min_perturbation(Sum(cut(10)), data(), "linf", cache=False)
    assert "unreached_input" in {one["name"] for one in result.details["health"]}
    sound = measure_min_perturbation(Sum(lambda x: x), data(), "linf", cache=False)
    assert "unreached_input" not in {one["name"] for one in sound.details["health"]}


def test_a_search_for_one_perturbation_of_all_says_it_too() -> None:
    rng = torch.Generator().manual_seed(1)
    x = 0.4 + 0.2 * torch.rand(N, D, generator=rng)
    for model, speaks in ((Sum(cut(10)), True), (Sum(lambda x: x), False)):
        result = measure_no_universal_perturbation(model, (x, data()[1]), Linf(0.001), iterations=10)
        assert ("unreached_input" in {one["name"] for one in result.details["health"]}) is speaks


def test_a_flat_part_that_the_attack_leaves_is_searched() -> None:
    """Signs of gradients stay where they start; `fast` leaves the flat part, and has then searched it."""
    model = Sum(lambda x: x.clamp(0.3, 0.7) * 1.2 - 0.1)
    assert spoke(model, Linf(0.05), PGD(steps=10))
    assert not spoke(model, Linf(0.05), "fast")
