"""Spatial attacks: find the pose at which a model was made to break, and none outside the threat."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import ConfigError, Linf, Spatial, find_adversarial, rng
from robustest.attacks import PGD, Evaluation, Needs, Problem, Searcher, SpatialGradient, SpatialGrid, supports
from robustest.models import labels_model

SIDE = 17
ATTACKS: list[Searcher] = [SpatialGrid(), SpatialGradient(), PGD(steps=40)]


def bar() -> Tensor:
    """(1, 1, SIDE, SIDE): a soft upright bar."""
    away = (torch.arange(float(SIDE)) - SIDE // 2).abs()
    return (1 - away / 4).clamp(min=0).expand(1, 1, SIDE, SIDE).contiguous()


class Tilted(nn.Module):
    """Class 1 where the image looks enough like the bar at a pose; class 0 otherwise."""

    def __init__(self, *pose: float, alike: float = 0.98) -> None:
        super().__init__()
        threat = Spatial(rotation=180, translation=1, scale=0.9)
        self.pose = torch.tensor([pose])
        template = threat.render(self.pose, threat.region(bar(), (0.0, 1.0)))
        self.register_buffer("template", (template - template.mean()).flatten())
        self.alike = alike * float(self._likeness(template))

    def _likeness(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.template

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.full((len(x),), self.alike), self._likeness(x)], 1)


def samples(n: int = 4) -> tuple[Tensor, Tensor]:
    return bar().expand(n, -1, -1, -1).contiguous(), torch.zeros(n, dtype=torch.int64)


def breaking(model: Tilted, element: int, limit: float) -> Tensor:
    """Those of 2,001 values of one element of a pose, to a limit, at which the model breaks."""
    threat = Spatial(rotation=180, translation=1, scale=0.9)
    x = bar().expand(2001, -1, -1, -1)
    z = torch.zeros(2001, 4)
    z[:, element] = torch.linspace(-limit, limit, 2001)
    return z[model(threat.render(z, threat.region(x, (0.0, 1.0)))).argmax(1) == 1, element]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
@pytest.mark.parametrize("angle", [-24.0, 17.0])
def test_a_turn_that_breaks_the_model_is_found(attack: Searcher, angle: float) -> None:
    model = Tilted(angle, 0.0, 0.0, 0.0)
    x, y = samples()
    broken_at = breaking(model, 0, 30)
    assert 0 < len(broken_at) < 500, "the model breaks in a narrow range of angles"
    assert float((broken_at - angle).abs().max()) < 10
    found = find_adversarial(model, x, y, Spatial(rotation=30, translation=0, scale=0), attack=attack)
    assert found.broken.all()
    least = float(broken_at.abs().min()) / 30
    assert (found.norms >= least - 1e-3).all()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_a_turn_beyond_the_threat_is_not(attack: Searcher) -> None:
    model = Tilted(24.0, 0.0, 0.0, 0.0)
    x, y = samples()
    assert len(breaking(model, 0, 10)) == 0
    found = find_adversarial(model, x, y, Spatial(rotation=10, translation=0, scale=0), attack=attack)
    assert not found.broken.any()
    assert (found.norms <= 1).all()


@pytest.mark.parametrize("attack", [SpatialGrid(), SpatialGradient()], ids=lambda a: a.name)
def test_moves_and_turns_together_are_found(attack: Searcher) -> None:
    model = Tilted(15.0, 0.15, 0.0, 0.0, alike=0.9)
    x, y = samples()
    assert len(breaking(model, 0, 30)) == 0
    assert len(breaking(model, 1, 0.2)) == 0
    found = find_adversarial(model, x, y, Spatial(rotation=30, translation=0.2, scale=0.1), attack=attack)
    assert found.broken.all()


def test_labels_are_enough_for_the_grid() -> None:
    inner = Tilted(20.0, 0.0, 0.0, 0.0)
    model = labels_model(lambda x: inner(torch.from_numpy(x)).argmax(1).numpy(), classes=2)
    x, y = samples()
    threat = Spatial(rotation=30, translation=0, scale=0)
    found = find_adversarial(model, x, y, threat, attack="spatial-grid", suppress=("softmax_outputs",))
    assert found.broken.all()
    assert SpatialGrid().needs is Needs.LABELS


def asked(attack: SpatialGrid, threat: Spatial) -> Tensor:
    """(poses, 4) all that the grid proposes for one sample."""
    x = bar()
    problem = Problem(threat, threat.region(x, (0.0, 1.0)), torch.zeros(1, dtype=torch.int64), 2, (0.0, 1.0))
    state = attack.init(problem, rng.keys(0, torch.arange(1)))
    poses = []
    for _ in range(attack.steps + 1):
        poses.append(attack.ask(problem, state))
        state = attack.tell(problem, state, None)  # type: ignore[arg-type]
    return torch.cat(poses)


@pytest.mark.parametrize(
    ("limits", "poses", "values"),
    [
        ((30, 0.1, 0.1), 625, (5, 5, 5, 5)),
        ((30, 0, 0), 625, (625, 1, 1, 1)),
        ((30, 0, 0), 624, (623, 1, 1, 1)),
        ((0, 0.1, 0), 100, (1, 11, 9, 1)),
        ((30, 0.1, 0), 63, (5, 3, 3, 1)),
        ((30, 0.1, 0.1), 1, (1, 1, 1, 1)),
        ((0, 0, 0), 9, (1, 1, 1, 1)),
    ],
)
def test_the_grid_is_the_largest_the_budget_has_room_for(
    limits: tuple[float, float, float], poses: int, values: tuple[int, ...]
) -> None:
    threat = Spatial(*limits)
    attack = SpatialGrid(poses=poses)
    assert attack.values(threat) == values
    got = asked(attack, threat)
    assert len(got) == poses
    whole = {tuple(pose) for pose in got.tolist()}
    assert len(whole) == torch.tensor(values).prod()
    assert (0.0, 0.0, 0.0, 0.0) in whole
    for column, limit, count in zip(got.unbind(1), threat.limits, values, strict=True):
        spaced = torch.linspace(-limit, limit, count) if count > 1 else torch.zeros(1)
        assert torch.allclose(column.unique(), spaced, atol=1e-5)
    if max(values) > 1:
        assert float(threat.size(got[:1], {}).max()) == pytest.approx(1.0), "the largest pose comes first"


def test_gradient_starts_at_the_sample_and_then_anywhere() -> None:
    threat = Spatial()
    attack = SpatialGradient(starts=3, climbing=2)
    x = bar().expand(2, -1, -1, -1)
    problem = Problem(threat, threat.region(x, (0.0, 1.0)), torch.zeros(2, dtype=torch.int64), 2, (0.0, 1.0))
    state = attack.init(problem, rng.keys(0, torch.arange(2)))
    assert torch.equal(attack.ask(problem, state), torch.zeros(2, 4))
    visited = []
    for _ in range(attack.steps):
        z = attack.ask(problem, state)
        visited.append(z)
        state = attack.tell(problem, state, Evaluation(z, torch.zeros(2, 2), torch.zeros(2, 4)))
    # without a gradient it stays where it starts
    assert torch.equal(visited[1], visited[0])
    assert torch.equal(visited[3], visited[2])
    starts = {tuple(row) for z in visited[2:] for row in z.tolist()}
    assert len(starts) == 4
    assert torch.equal(attack.ask(problem, state), visited[-1]), "no start after the last step"


def test_they_need_a_pose() -> None:
    for attack in (SpatialGrid(), SpatialGradient()):
        assert supports(attack, Spatial())
        assert not supports(attack, Linf(0.1))


@pytest.mark.parametrize(
    ("attack", "wrong"),
    [(SpatialGrid, {"poses": 0}), (SpatialGrid, {"poses": 2.0}), (SpatialGradient, {"starts": 0}),
     (SpatialGradient, {"climbing": True}), (SpatialGradient, {"step_size": 0}),
     (SpatialGradient, {"step_size": float("nan")})],
    ids=str,
)  # fmt: skip
def test_settings_are_checked(attack: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"Expected {next(iter(wrong))}"):
        attack(**wrong)
