"""The output-diversified margin attack: schedule, targets, dead gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import L2, ConfigError, Linf, find_adversarial, rng
from robustest.attacks import Evaluation, ODIMargin, Problem


def problem(classes: int = 4, n: int = 3) -> Problem:
    threat = Linf(0.1)
    x = torch.full((n, 1, 3, 3), 0.5)
    return Problem(threat, threat.region(x, (0.0, 1.0)), torch.zeros(n, dtype=torch.int64), classes, (0.0, 1.0))


@pytest.mark.parametrize("euclidean", [False, True])
def test_a_gradient_of_zero_leaves_the_proposal_where_it_is(euclidean: bool) -> None:
    attack, given = ODIMargin(euclidean=euclidean), problem()
    state = attack.init(given, rng.keys(0, torch.arange(3)))
    z = attack.ask(given, state)
    told = attack.tell(given, state, Evaluation(z, torch.zeros(3, 4), torch.zeros_like(z)))
    assert torch.equal(told["z"], z)


def test_the_first_steps_climb_a_random_form_and_the_rest_the_margin() -> None:
    attack, given = ODIMargin(start_steps=1, steps_after=3), problem()
    state = attack.init(given, rng.keys(0, torch.arange(3)))
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0]]).repeat(3, 1)
    assert torch.allclose(attack.objective(given, state, logits).sum(1), (state["direction"] * logits).sum(1))
    later = {**state, "step": torch.ones_like(state["step"])}
    assert attack.objective(given, later, logits).sum(1).tolist() == [-1.0] * 3


@pytest.mark.parametrize(("rank", "margin"), [(0, -1.0), (1, -2.0), (2, -3.0), (7, -3.0)])
def test_the_target_is_the_class_at_its_rank(rank: int, margin: float) -> None:
    attack, given = ODIMargin(start_steps=0, target_rank=rank), problem()
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0]]).repeat(3, 1)
    state = attack.init(given, rng.keys(0, torch.arange(3)))
    assert attack.objective(given, state, logits).sum(1).tolist() == [margin] * 3


def test_steps_fall_along_half_a_cosine() -> None:
    attack, given = ODIMargin(start_steps=0, steps_after=4), problem()
    state = attack.init(given, rng.keys(0, torch.arange(3)))
    lengths = []
    for _ in range(4):
        z = given.x
        state = attack.tell(given, state, Evaluation(z, torch.zeros(3, 4), torch.ones_like(z)))
        lengths.append(float((state["z"] - z).max()) / 0.1)
    assert lengths == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [{"start_steps": -1}, {"steps_after": 0}, {"step_scale": 0.0}, {"target_rank": -1}, {"target_rank": 1.5}],
)
def test_numbers_out_of_range_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"Expected {next(iter(arguments))}"):
        ODIMargin(**arguments)


def test_names_and_threats_tell_the_variants_apart() -> None:
    names = [ODIMargin().name, ODIMargin(euclidean=True).name, ODIMargin(target_rank=2).name]
    assert names == ["odi-margin", "odi-margin-euclidean", "odi-margin-t"]
    assert ODIMargin().supports(L2(1.0))
    assert not ODIMargin(euclidean=True).supports(L2(1.0))


@pytest.mark.parametrize("make", [Linf, L2])
def test_a_linear_model_is_broken_beyond_its_radius_and_not_within(toys: Any, make: Any) -> None:
    toy = toys(40, classes=2)
    weight = toy.model.weight[0] - toy.model.weight[1]
    logits = toy.model(toy.x).detach()
    dual = weight.abs().sum() if make is Linf else weight.norm()
    radius = (logits[:, 0] - logits[:, 1]).abs() / dual.detach()
    eps = float(radius.median()) * 1.0001
    clear = (radius - eps).abs() > 0.02 * eps
    options: dict[str, Any] = {"attack": ODIMargin(), "bounds": (-100.0, 100.0)}
    found = find_adversarial(toy.model, toy.x, toy.y, make(eps), **options)
    assert (torch.from_numpy(found.broken) == (radius < eps))[clear].all()


def behind_a_rectifier(x: Tensor) -> Tensor:
    """Two classes; in Linf(0.25) of a black image the lead of the second reaches 0.02, by all elements together."""
    lead = torch.relu(x.flatten(1) - 0.2).mean(1) - 0.03
    return torch.stack([torch.zeros_like(lead), lead], 1)


@pytest.mark.parametrize("leaving", [True, False])
def test_only_with_leave_flats_elements_come_out_of_a_flat_part(leaving: bool) -> None:
    """A random start leaves a fifth of the elements where the rectifier has a slope: too few to reach the boundary."""
    attack = ODIMargin(start_steps=0, steps_after=8, leave_flats=leaving)
    x, y = torch.zeros(6, 1, 8, 8), torch.zeros(6, dtype=torch.int64)
    found = find_adversarial(behind_a_rectifier, x, y, Linf(0.25), attack=attack)
    assert found.broken.all() == leaving
    assert found.broken.any() == leaving


@pytest.mark.parametrize("cascade", ["fast", "standard"])
def test_cascades_come_out_of_flat_parts_by_gradients(cascade: str) -> None:
    """Their first stages, and not the queries at the end, which get the samples of smallest margin alone."""
    x, y = torch.zeros(6, 1, 8, 8), torch.zeros(6, dtype=torch.int64)
    found = find_adversarial(behind_a_rectifier, x, y, Linf(0.25), attack=cascade)
    assert found.stages["odi-margin"] == 6
