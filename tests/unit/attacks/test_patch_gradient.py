"""The patch attack: finds the corner that a model reads, and what no patch can do it does not do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L2, ConfigError, Patch, Spatial, find_adversarial, rng
from robustest.attacks import PGD, Evaluation, PatchGradient, Problem, Searcher, supports

Build = Callable[[Tensor, Tensor], nn.Module]


class Corner(nn.Module):
    """Class 0 where the mean of the lower right 2 x 2 pixels is above one half."""

    def forward(self, x: Tensor) -> Tensor:
        seen = x[:, :, -2:, -2:].flatten(1).mean(1)
        return torch.stack([10 * seen, torch.full_like(seen, 5.0)], 1)


def bright(n: int = 12, side: int = 8) -> tuple[Tensor, Tensor]:
    x = torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0))
    x[:, :, -2:, -2:] = 0.9
    return x, torch.zeros(n, dtype=torch.int64)


@pytest.mark.parametrize("attack", [PatchGradient(), PGD(steps=10)], ids=lambda a: a.name)
def test_a_patch_over_the_corner_breaks_the_model(attack: Searcher) -> None:
    x, y = bright()
    found = find_adversarial(Corner(), x, y, Patch(2, 2, top=6, left=6), attack=attack)
    assert found.broken.all()


def test_the_corner_is_found() -> None:
    x, y = bright()
    found = find_adversarial(Corner(), x, y, Patch(2, 2), attack=PatchGradient())
    assert found.broken.all()
    changed = (found.x != x).any(1)
    assert bool(changed[:, -2:, -2:].flatten(1).any(1).all())
    assert int(changed.flatten(1).sum(1).max()) <= 4


@pytest.mark.parametrize("threat", [Patch(6, 8, top=0, left=0), Patch(2, 6, top=6, left=0), Patch(1, 1)], ids=str)
@pytest.mark.parametrize("attack", [PatchGradient(), PGD(steps=10)], ids=lambda a: a.name)
def test_no_other_patch_does(threat: Patch, attack: Searcher) -> None:
    """Beside the corner, or one pixel of its four: 0.9 * 3 / 4 is still above one half."""
    x, y = bright()
    found = find_adversarial(Corner(), x, y, threat, attack=attack)
    assert not found.broken.any()
    assert (found.norms <= 1).all()


def test_on_linear_models_it_does_what_the_best_content_does(linear: Build) -> None:
    """The best content is each pixel's better bound: known for every place, of which the lattice has all 25."""
    generator = torch.Generator().manual_seed(1)
    weight = 0.1 * torch.randn(2, 72, generator=generator)
    push = torch.linspace(-0.3, 0.3, 60).unsqueeze(1) * (weight[0] - weight[1]).sign()
    x = (torch.rand(60, 72, generator=generator) + push).clamp(0, 1).view(60, 2, 6, 6)
    model = linear(weight, -weight.sum(1) / 2)
    with torch.no_grad():
        logits = model(x)
    y = logits.argmax(1)
    breakable: dict[bool, Tensor] = {}
    for everywhere in (True, False):
        broken = torch.zeros(60, dtype=torch.bool)
        for other in range(2):
            slope = (weight[other].double() - weight[y].double()).view(x.shape)
            gain = torch.where(slope > 0, slope * (1 - x), -slope * x).sum(1)
            margin = logits.gather(1, y.unsqueeze(1)).squeeze(1) - logits[:, other]
            for top in range(5) if everywhere else (0, 2, 4):
                for left in range(5) if everywhere else (0, 2, 4):
                    within = gain[:, top : top + 2, left : left + 2].flatten(1).sum(1)
                    broken |= (within > margin + 1e-6) & (y != other)
        breakable[everywhere] = broken
    found = torch.from_numpy(find_adversarial(model, x, y, Patch(2, 2), attack=PatchGradient()).broken)
    assert bool((found <= breakable[True]).all())
    assert bool((found >= breakable[False]).all())
    assert int(breakable[False].sum()) > 5
    assert int((~breakable[True]).sum()) > 5


def walk(attack: PatchGradient, threat: Patch, x: Tensor, n: int | None = None) -> list[Tensor]:
    """The proposals for a model that likes a bright image."""
    y = torch.zeros(len(x), dtype=torch.int64)
    problem = Problem(threat, threat.region(x, (0.0, 1.0)), y, 2, (0.0, 1.0))
    state = attack.init(problem, rng.keys(4, torch.arange(len(x))))
    asked = []
    for _ in range(n or attack.steps):
        z = threat.project(attack.ask(problem, state), problem.region).requires_grad_(True)
        value = threat.render(z, problem.region).flatten(1).sum(1)
        (gradient,) = torch.autograd.grad(value.sum(), z)
        asked.append(z.detach())
        logits = torch.stack([torch.zeros_like(value), value], 1).detach()
        state = attack.tell(problem, state, Evaluation(z.detach(), logits, gradient))
    return asked


def test_places_cover_the_image_without_repetition() -> None:
    attack = PatchGradient(places=14, tries=2, kept=2, refining=3)
    threat = Patch(3, 4)
    x = torch.zeros(3, 1, 7, 8)
    asked = walk(attack, threat, x)
    assert len(asked) == attack.steps == 34
    for row in range(3):
        corners = [tuple(z[row, -2:].tolist()) for z in asked[:28:2]]
        assert corners == [tuple(z[row, -2:].tolist()) for z in asked[1:28:2]], "a try moved"
        assert set(corners[:9]) == {(top, left) for top in (0, 2, 4) for left in (0, 2, 4)}
        assert all(0 <= top <= 4 and 0 <= left <= 4 for top, left in corners[9:])
    orders = {tuple(tuple(z[row, -2:].tolist()) for z in asked[:18:2]) for row in range(3)}
    assert len(orders) == 3, "every sample has an order of its own"


def test_the_best_places_are_refined_the_best_one_first() -> None:
    """Where the sample is black but for one white block, covering it gains least: it is not refined."""
    attack = PatchGradient(places=6, tries=1, kept=2, refining=4)
    threat = Patch(2, 2)
    x = torch.zeros(5, 1, 4, 4)
    x[:, :, :2, :2] = 1
    asked = walk(attack, threat, x)
    sums = torch.stack([threat.render(z, threat.region(x, (0.0, 1.0))).flatten(1).sum(1) for z in asked[:6]])
    order = sums.argsort(dim=0, descending=True)
    for row in range(5):
        for rank, first in ((0, 6), (1, 10)):
            best = asked[int(order[rank, row])][row]
            assert torch.equal(asked[first][row], best)
            assert {tuple(z[row, -2:].tolist()) for z in asked[first : first + 4]} == {tuple(best[-2:].tolist())}
            assert best[-2:].tolist() != [0.0, 0.0]


def test_it_needs_a_patch() -> None:
    assert supports(PatchGradient(), Patch(2, 2))
    assert not any(supports(PatchGradient(), threat) for threat in (L2(1.0), Spatial()))


@pytest.mark.parametrize(
    "wrong", [{"places": 0}, {"tries": 0}, {"refining": -1}, {"places": 1.5}, {"kept": 65}], ids=str
)
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"Expected {next(iter(wrong))}"):
        PatchGradient(**wrong)
