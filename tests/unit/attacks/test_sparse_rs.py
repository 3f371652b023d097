"""The sparse random searches: few elements and patches, without gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L0, L1, L2, ConfigError, Linf, Patch, find_adversarial, rng
from robustest.attacks import Evaluation, PatchRS, Problem, SparseRS, supports
from robustest.threats import Threat, by_pixel


class Few(nn.Module):
    """Class 1 once enough of the pixels in a list are bright; the number that are is the score, without gradient."""

    def __init__(self, places: list[int], needed: int) -> None:
        super().__init__()
        self.places, self.needed = places, needed

    def forward(self, x: Tensor) -> Tensor:
        bright = (x.flatten(2).amin(1)[:, self.places] > 0.9).sum(1).float().detach()
        return torch.stack([torch.full_like(bright, self.needed - 0.5), bright], 1)


def dark(n: int = 8, channels: int = 1, side: int = 6) -> tuple[Tensor, Tensor]:
    x = 0.1 * torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0))
    return x, torch.zeros(n, dtype=torch.int64)


def proposals(attack: SparseRS | PatchRS, threat: Threat, x: Tensor, rounds: int) -> tuple[Problem, list[Tensor]]:
    """What is asked, (B, A, *Z) a round, where no answer is better than the first."""
    problem = Problem(threat, threat.region(x, (0.0, 1.0)), torch.zeros(len(x), dtype=torch.int64), 2, (0.0, 1.0))
    state = attack.init(problem, rng.keys(1, torch.arange(len(x))))
    asked = []
    for _ in range(rounds):
        z = attack.ask(problem, state)
        asked.append(z)
        state = attack.tell(problem, state, Evaluation(z, torch.zeros(*z.shape[:2], 2), None))
    return problem, asked


@pytest.mark.parametrize("channels", [1, 3])
def test_the_pixels_that_matter_are_found_and_too_few_are_not_enough(channels: int) -> None:
    x, y = dark(channels=channels)
    model = Few([3, 8, 21, 30], needed=3)
    attack = SparseRS(queries=1500 if channels == 3 else 400, at_once=4)
    assert find_adversarial(model, x, y, L0(3), attack=attack).broken.all()
    assert not find_adversarial(model, x, y, L0(2), attack=attack).broken.any()


def test_every_query_changes_as_many_pixels_as_are_allowed_to_their_bounds() -> None:
    x, _ = dark(3, channels=2)
    x[:, :, 0] = 0
    attack = SparseRS(queries=40, at_once=4)
    _, asked = proposals(attack, L0(5), x, rounds=9)
    for z in asked:
        changed = by_pixel((z != x.unsqueeze(1)).flatten(0, 1)).any(1)
        assert changed.sum(1).tolist() == [5] * 12
        moved = by_pixel(z.flatten(0, 1))[changed.unsqueeze(1).expand(-1, 2, -1)]
        assert bool(((moved == 0) | (moved == 1)).all())


def test_fewer_pixels_are_exchanged_as_the_queries_go_by() -> None:
    x, _ = dark(4)
    attack = SparseRS(queries=1000)
    _, asked = proposals(attack, L0(20), x, rounds=999)
    kept = asked[0][:, 0]

    def exchanged(z: Tensor) -> float:
        return float(((z[:, 0] != x) & (kept == x)).flatten(1).sum(1).float().mean())

    first, last = exchanged(asked[1]), exchanged(asked[-1])
    assert 1 < first <= 6  # 0.3 x 20
    assert last <= 1  # 0.3 x 20 / 15, rounded up


def test_all_pixels_may_change() -> None:
    x, y = dark(4)
    model = Few(list(range(36)), needed=36)
    found = find_adversarial(model, x, y, L0(50), attack=SparseRS(queries=600, at_once=4))
    assert found.broken.any()


def test_in_l1_it_spends_eps_and_no_more() -> None:
    x = torch.full((5, 1, 6, 6), 0.5)
    x[:, :, :, ::2] = 0
    threat = L1(4.0)
    problem, asked = proposals(SparseRS(queries=50), threat, x, rounds=20)
    sizes = torch.stack([threat.size(threat.project(z[:, 0], problem.region), problem.region) for z in asked])
    assert float(sizes.max()) <= 4 * (1 + 1e-9)
    assert float(sizes.mean()) > 3


def test_where_a_patch_must_be_is_found_and_elsewhere_it_does_nothing() -> None:
    x, y = dark(6, side=8)
    model = Few([45, 46, 53, 54], needed=4)
    attack = PatchRS(queries=1200, at_once=4)
    assert find_adversarial(model, x, y, Patch(2, 2), attack=attack).broken.all()
    assert not find_adversarial(model, x, y, Patch(2, 2, top=0, left=0), attack=attack).broken.any()
    assert not find_adversarial(model, x, y, Patch(1, 2), attack=attack).broken.any()


def test_a_patch_first_goes_to_many_places_then_changes_one_thing_at_a_time() -> None:
    x, _ = dark(3, side=9)
    threat = Patch(3, 3)
    attack = PatchRS(queries=100)
    assert attack.exploring == 20
    _, asked = proposals(attack, threat, x, rounds=99)
    first = torch.stack([z[:, 0, -2:] for z in asked[:20]], 1)
    assert min(len({tuple(at) for at in row}) for row in first.tolist()) >= 12  # of the lattice's 16
    start = asked[0][:, 0]
    for at, z in enumerate(asked[20:], start=20):
        changed = z[:, 0] != start
        content, place = changed[:, :-2].any(1), changed[:, -2:].any(1)
        assert bool((content ^ place).all())
        assert bool((place == (at % 5 == 0)).all())


@pytest.mark.parametrize("attack", [SparseRS, PatchRS])
def test_settings_are_checked(attack: Any) -> None:
    wrong: list[dict[str, Any]] = [{"queries": 0}, {"queries": True}, {"at_once": 0}, {"at_once": 1001}]
    for settings in [*wrong, *([{"alpha": 0}, {"alpha": 1.5}] if attack is SparseRS else [])]:
        with pytest.raises(ConfigError, match=f"Expected {next(iter(settings))}"):
            attack(**settings)


def test_they_serve_few_elements_and_patches() -> None:
    assert [supports(SparseRS(), threat) for threat in (L0(1), L1(1.0), L2(1.0), Linf(0.1))] == [
        True,
        True,
        False,
        False,
    ]
    assert [supports(PatchRS(), threat) for threat in (Patch(2, 2), L0(1))] == [True, False]
    assert SparseRS(queries=50, at_once=4).within(3) == SparseRS(queries=3, at_once=3)
    assert PatchRS(queries=50, at_once=4).within(30) == PatchRS(queries=30, at_once=4)
