"""Branches behind gates, which only a move of all elements together reaches, are found by the default attacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L0, L1, L2, Linf, Patch, Snr, Verdict, find_adversarial, scores_model
from robustest.attacks import Evaluation, Problem
from robustest.attacks.coherent import CoherentMoves, CoherentStarts, direction, moved
from robustest.measure import measure_robust_accuracy
from robustest.threats import Spatial, Unbounded, within

N, EPS = 60, 0.1
SHAPES = {"images": (1, 8, 8), "series": (1, 48), "table": (12,)}
Quantity = Callable[[Tensor], Tensor]


def line(x: Tensor) -> Tensor:
    return (x * torch.linspace(-1, 1, x.shape[-1])).flatten(1).mean(1)


QUANTITIES: dict[str, tuple[Quantity, float]] = {  # and the share of what a coherent move changes that passes the gate
    "dark": (lambda x: -x.flatten(1).mean(1), 0.4),
    "bright": (lambda x: x.flatten(1).mean(1), 0.4),
    "contrast": (lambda x: x.flatten(1).std(1), 0.4),
    "little contrast": (lambda x: -x.flatten(1).std(1), 0.4),
    "first half": (lambda x: x[..., : x.shape[-1] // 2].flatten(1).mean(1), 0.4),
    "rising": (line, 0.4),
    "falling": (lambda x: -line(x), 0.4),
}
CASES = [(kind, name) for kind in SHAPES for name in QUANTITIES if kind != "table" or "ing" not in name]


class Gated(nn.Module):
    """Class 1 where one element is above a half, by far; behind the gate eps / 10 along a fine pattern turns that."""

    def __init__(self, quantity: Quantity, edge: float, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.quantity, self.edge = quantity, edge
        self.fine = nn.Buffer(torch.randn(shape, generator=torch.Generator().manual_seed(1)).sign())

    def forward(self, x: Tensor) -> Tensor:
        sure = x.flatten(1)[:, 0] - 0.5
        weak = 0.1 * EPS * sure.sign() + (self.fine * (x - x.mean())).flatten(1).mean(1)
        lead = self.scale * torch.where(self.quantity(x) > self.edge, weak, sure)
        return torch.stack([-lead, lead], 1)


def gated(kind: str, name: str) -> tuple[Gated, Tensor, Tensor]:
    """Samples all of which stay before the gate where random signs move them, and pass it where a move is coherent."""
    quantity, share = QUANTITIES[name]
    draw = torch.Generator().manual_seed(0)
    x = 0.35 + 0.3 * torch.rand(N, *SHAPES[kind], generator=draw)
    y = torch.arange(N) % 2
    x.flatten(1)[:, 0] = 0.2 + 0.6 * y
    # The steepest move of the quantity, by its gradient.
    point = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(quantity(point).sum(), point)
    reach = (quantity(x + EPS * slope.sign()) - quantity(x)).min()
    x = x[quantity(x).argsort()][-N // 2 :]  # nearly equal values
    y = (x.flatten(1)[:, 0] > 0.5).long()
    model = Gated(quantity, float(quantity(x).max() + share * reach), SHAPES[kind])
    model.eval()
    return model, x, y


def measured(kind: str, name: str, attack: str = "fast", **options: Any) -> Any:
    model, x, y = gated(kind, name)
    # With so few samples the larger class is near the claim.
    options["suppress"] = ("constant_answer",)
    return measure_robust_accuracy(model, (x, y), Linf(EPS), attack=attack, at_least=0.6, cache=False, **options)


def few_a_day() -> list[Any]:
    """Each case with each attack; all but a few of them are slow."""
    return [
        pytest.param(kind, name, attack, marks=() if kept else pytest.mark.slow)
        for place, (kind, name) in enumerate(CASES)
        for attack in ("fast", "standard")
        for kept in (place % 5 == 0 and (attack == "fast" or place == 0),)
    ]


@pytest.mark.parametrize(("kind", "name", "attack"), few_a_day())
def test_no_claim_on_a_gated_model_passes(kind: str, name: str, attack: str) -> None:
    found = measured(kind, name, attack, exact=True)
    assert found.verdict is not Verdict.PASSED, (found.estimate, found.details.get("audit"))


def test_a_model_without_a_gate_passes() -> None:
    model, x, y = gated("images", "dark")
    model.edge = 1e9
    for attack in ("fast", "standard"):
        found = measure_robust_accuracy(model, (x, y), Linf(EPS), attack=attack, at_least=0.9, cache=False, exact=True)
        assert found.verdict is Verdict.PASSED
        assert found.details["audit"]["broken"] == 0
        assert any("of the others at most" in note for note in found.words.notes)


def test_coherent_moves_need_labels_alone() -> None:
    """Where the branch itself is wrong no gradient is needed; a model that gives scores is searched by them too."""
    model, x, y = gated("series", "rising")

    def wrong_behind(z: Any) -> Any:
        z = torch.as_tensor(z)
        with torch.no_grad():
            sure = z.flatten(1)[:, 0] - 0.5
            lead = torch.where(model.quantity(z) > model.edge, -sure, sure)
            return torch.stack([-lead, lead], 1)

    found = measure_robust_accuracy(
        scores_model(wrong_behind), (x, y), Linf(EPS), attack=CoherentMoves(), cache=False, exact=True
    )
    assert found.estimate is not None
    assert found.estimate < 0.2


THREATS = [Linf(0.1), L2(0.5), L1(2.0), L0(3), Snr(20), Patch(3, 3), Unbounded(), Spatial(rotation=10.0)]


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_moves_are_inside_the_threat_and_change_the_sample(threat: Any) -> None:
    x = 0.1 + 0.8 * torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    key = torch.arange(4)
    region = threat.region(x, (0.0, 1.0))
    problem = Problem(threat, region, torch.zeros(4, dtype=torch.int64), 2, (0.0, 1.0))
    for number in range(24):
        z = moved(problem, torch.full((4,), number), key)
        assert within(threat.size(z, region), threat).all()
        assert (threat.render(z, region) != x).flatten(1).any(1).all(), number


@pytest.mark.parametrize("shape", [(12,), (1, 48), (3, 8, 8), (3, 2, 6, 6)])
def test_a_direction_does_not_depend_on_its_neighbours(shape: tuple[int, ...]) -> None:
    x = torch.rand(5, *shape, generator=torch.Generator().manual_seed(0))
    number, key = torch.tensor([0, 3, 5, 9, 20]), torch.arange(5)
    together = direction(x, number, key)
    for row in range(5):
        part = slice(row, row + 1)
        assert torch.equal(direction(x[part], number[part], key[part]), together[part])


def test_starts_evaluate_the_sample_and_then_each_move() -> None:
    attack = CoherentStarts(starts=3, kept=1, steps_each=2)
    assert attack.steps == 3 + 2 * 2
    x = torch.full((2, 1, 4, 4), 0.5)
    region = Linf(0.1).region(x, (0.0, 1.0))
    problem = Problem(Linf(0.1), region, torch.tensor([0, 1]), 2, (0.0, 1.0))
    state = attack.init(problem, torch.arange(2))
    assert torch.equal(state["z"], x)
    zeros = torch.zeros_like(x)
    state = attack.tell(problem, state, Evaluation(x, torch.zeros(2, 2), zeros))
    assert torch.allclose(state["z"], torch.tensor(0.6)), "all up"
    state = attack.tell(problem, state, Evaluation(state["z"], torch.zeros(2, 2), zeros))
    assert torch.allclose(state["z"], torch.tensor(0.4)), "all down"


class Behind(nn.Module):
    """Class 0 for sure up to a mean brightness, and behind that a fine pattern, which decides by little."""

    def __init__(self, edge: float, width: int = 24) -> None:
        super().__init__()
        self.edge, self.scale = edge, nn.Parameter(torch.ones(()))
        draw = torch.Generator().manual_seed(3)
        self.fine = nn.Buffer(torch.randn(width, generator=draw))

    def forward(self, x: Tensor) -> Tensor:
        fine = (self.fine * (x - 0.5)).sum(1) / self.fine.abs().sum() - self.edge
        lead = self.scale * torch.where(x.mean(1) > 0.5 + 0.05, fine, -torch.ones_like(fine))
        return torch.stack([-lead, lead], 1)


def test_a_branch_is_searched_inside_the_part_of_the_region_that_reaches_it() -> None:
    """All up passes the gate and changes nothing else; the gradient's corner turns the branch, and leaves it."""
    model = Behind(0.05)
    x, y = torch.full((8, 24), 0.5), torch.zeros(8, dtype=torch.int64)
    up, corner = x + 0.1, x + 0.1 * model.fine.sign()
    assert (model(up).argmax(1) == 0).all()
    assert (model(corner).argmax(1) == 0).all()
    found = find_adversarial(model, x, y, Linf(0.1), attack=CoherentStarts(), bounds=(0.0, 1.0))
    assert found.broken.all()
    safe = find_adversarial(Behind(0.2), x, y, Linf(0.1), attack=CoherentStarts(), bounds=(0.0, 1.0))
    assert not safe.broken.any()


class BehindNarrowly(nn.Module):
    """As `Behind`, with a mean that only six sevenths of an L2 ball's radius reach, and a pattern without a mean."""

    def __init__(self, edge: float) -> None:
        super().__init__()
        self.edge, self.scale = edge, nn.Parameter(torch.ones(()))
        fine = torch.randn(24, generator=torch.Generator().manual_seed(3)).abs() * torch.tensor([1.0, -1.0]).repeat(12)
        self.fine = nn.Buffer((fine - fine.mean()) / (fine - fine.mean()).abs().sum())

    def forward(self, x: Tensor) -> Tensor:
        fine = (self.fine * x).sum(1) - self.edge
        lead = self.scale * torch.where(x.mean(1) > 0.5 + 0.085, fine, -torch.ones_like(fine))
        return torch.stack([-lead, lead], 1)


def test_the_least_weight_of_a_move_that_stays_in_its_branch_is_found() -> None:
    """The rest of the radius turns the branch only if the move takes no more of it than the branch asks for."""
    x, y = torch.full((8, 24), 0.5), torch.zeros(8, dtype=torch.int64)
    model, threat = BehindNarrowly(0.07), L2(0.5)
    # The exact edge: a move up by .085, and the rest of the radius along the pattern.
    rest = (0.5**2 - 24 * 0.085**2) ** 0.5 * float(model.fine.norm())
    assert 0.07 < rest < 0.07 * 1.1
    found = find_adversarial(model, x, y, threat, attack=CoherentStarts(), bounds=(0.0, 1.0))
    assert found.broken.all()
    beyond = BehindNarrowly(1.01 * rest)
    assert not find_adversarial(beyond, x, y, threat, attack=CoherentStarts(), bounds=(0.0, 1.0)).broken.any()


def test_drawn_moves_differ_from_each_other_and_between_samples() -> None:
    x = 0.2 + 0.6 * torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    region = Linf(0.1).region(x, (0.0, 1.0))
    problem = Problem(Linf(0.1), region, torch.zeros(6, dtype=torch.int64), 2, (0.0, 1.0))
    attack = CoherentMoves(queries=4, at_once=4, drawn=True)
    z = attack.ask(problem, attack.init(problem, torch.arange(6))) - x.unsqueeze(1)
    assert all(len(row.flatten(1).unique(dim=0)) == 4 for row in z)
    assert len(z.sign().flatten(1).unique(dim=0)) == 6
