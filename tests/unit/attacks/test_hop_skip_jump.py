"""HopSkipJump: labels alone, the paper's phases and schedules, the closed form on linear models."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import L1, L2, ConfigError, Linf, Unbounded, find_adversarial, labels_model, rng
from robustest.attacks import Evaluation, HopSkipJump, Problem, supports
from robustest.attacks.hop_skip_jump import halvings, probes_in
from robustest.measure import measure_robust_accuracy
from robustest.threats import Rows, Threat

UNIT = (0.0, 1.0)
START, HALVE, PROBE, WALK = range(4)
Label = Callable[[Tensor], Tensor]
"""Points (B, *S) to classes (B,)."""


def walk(attack: HopSkipJump, threat: Threat, x: Tensor, label: Label) -> tuple[list[Tensor], list[Rows]]:
    """Points and states of a search from samples of class 0, evaluated as the engine does it."""
    problem = Problem(threat, threat.region(x, UNIT), torch.zeros(len(x), dtype=torch.int64), 2, UNIT)
    state = attack.init(problem, rng.keys(0, torch.arange(len(x))))
    points, states = [], [state]
    for _ in range(attack.steps):
        z = attack.ask(problem, state).clamp(*UNIT)
        state = attack.tell(problem, state, Evaluation(z, torch.eye(2)[label(z)], None))
        points.append(z)
        states.append(state)
    return points, states


def half_space(weight: Tensor, offset: float) -> Label:
    """Class 1 where weight (D,) times the input is beyond the offset."""
    return lambda z: (z.double().flatten(1) @ weight > offset).long()


@pytest.fixture
def slope() -> tuple[Tensor, Tensor, float]:
    """Samples (6, 12) in the middle, a plane's normal (12,) and its offset, not far from them."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(12, generator=generator).double()
    x = 0.5 + 0.05 * torch.rand(6, 12, generator=generator)
    return x, weight, float((x.double() @ weight).max() + 0.1 * weight.norm())


def distance(threat: Threat, z: Tensor, x: Tensor) -> Tensor:
    away = (z - x).flatten(1)
    return away.norm(dim=1) if isinstance(threat, L2) else away.abs().amax(1)


@pytest.mark.parametrize("threat", [L2(0.01), Linf(0.01)], ids=str)
def test_bisection_ends_at_the_boundary_on_the_other_side(threat: Threat, slope: tuple[Tensor, Tensor, float]) -> None:
    x, weight, offset = slope
    label = half_space(weight, offset)
    points, states = walk(HopSkipJump(queries=60), threat, x, label)
    ended = 0
    for z, before, after in zip(points, states, states[1:], strict=False):
        for row in ((before["phase"] == HALVE) & (after["phase"] == PROBE)).nonzero().squeeze(1).tolist():
            ended += 1
            assert float(after["high"][row] - after["low"][row]) == 2.0 ** -halvings(12, isinstance(threat, L2))
            gap = after["distance"][row] - distance(threat, z, x)[row]
            # The last point asked for lies within the last interval of the point that is kept.
            assert abs(float(gap)) <= float(after["high"][row] - after["low"][row]) * 4
    assert ended >= 6


def test_bisection_is_as_fine_as_the_paper_says_within_reason() -> None:
    assert 2.0 ** -halvings(784, True) <= 784**-1.5 < 2.0 ** -(halvings(784, True) - 1)
    assert 2.0 ** -halvings(784, False) <= 784**-2.0 < 2.0 ** -(halvings(784, False) - 1)
    assert halvings(2, True) == 10
    assert halvings(150_528, False) == 20


def test_probes_grow_with_the_root_of_the_round() -> None:
    assert probes_in(torch.tensor([1, 2, 4, 9]), 100).tolist() == [100, 141, 200, 300]
    assert probes_in(torch.tensor([10**6]), 100).tolist() == [10_000]


@pytest.mark.parametrize("threat", [L2(0.01), Linf(0.01)], ids=str)
def test_phases_follow_each_other_with_as_many_queries_as_planned(
    threat: Threat, slope: tuple[Tensor, Tensor, float]
) -> None:
    x, weight, offset = slope
    _, states = walk(HopSkipJump(queries=400, probes=20), threat, x, half_space(weight, offset))
    phases = torch.stack([state["phase"] for state in states])
    rounds = torch.stack([state["round"] for state in states])
    for row in range(len(x)):
        course = [phases[0, row].item()]
        course += [b for a, b in pairwise(phases[:, row].tolist()) if a != b]
        assert course[:5] == [START, HALVE, PROBE, WALK, HALVE]
        followers = {START: {HALVE}, HALVE: {PROBE}, PROBE: {WALK}, WALK: {HALVE, PROBE}}
        assert all(b in followers[a] for a, b in pairwise(course))
        for number in range(1, int(rounds[-1, row])):
            probing = (phases[:, row] == PROBE) & (rounds[:, row] == number)
            assert int(probing.sum()) == int(probes_in(torch.tensor([number]), 20))
        assert int(rounds[-1, row]) > 3


@pytest.mark.parametrize("threat", [L2(0.01), Linf(0.01)], ids=str)
def test_probes_estimate_the_normal_of_the_boundary(threat: Threat, slope: tuple[Tensor, Tensor, float]) -> None:
    x, weight, offset = slope
    attack = HopSkipJump(queries=1000, probes=300)
    _, states = walk(attack, threat, x, half_space(weight, offset))
    phases = torch.stack([state["phase"] for state in states])
    first = [int((phases[:, row] == WALK).nonzero()[0]) for row in range(len(x))]
    normal = torch.stack([states[step]["normal"][row] for row, step in enumerate(first)]).double()
    want = weight if isinstance(threat, L2) else weight.sign()
    cosine = normal @ want / (normal.norm(dim=1) * want.norm())
    # 300 probes in 12 dimensions leave an angle of about sqrt(12 / 300 * pi / 2) = 0.25, a cosine of 0.97.
    assert float(cosine.min()) > (0.9 if isinstance(threat, L2) else 0.5)


@pytest.mark.parametrize("threat", [L2(0.3), Linf(0.05)], ids=str)
def test_nothing_but_the_label_is_used(threat: Threat, slope: tuple[Tensor, Tensor, float]) -> None:
    x, weight, offset = slope
    attack = HopSkipJump(queries=200, probes=20)
    problem = Problem(threat, threat.region(x, UNIT), torch.zeros(6, dtype=torch.int64), 2, UNIT)
    plain = noisy = attack.init(problem, rng.keys(0, torch.arange(6)))
    generator = torch.Generator().manual_seed(1)
    for _ in range(199):
        z = attack.ask(problem, plain).clamp(*UNIT)
        one_hot = torch.eye(2)[half_space(weight, offset)(z)]
        other = (one_hot + torch.randn(6, 1, generator=generator)) * torch.rand(6, 1, generator=generator) * 50
        plain = attack.tell(problem, plain, Evaluation(z, one_hot, None))
        noisy = attack.tell(problem, noisy, Evaluation(z, other, None))
        assert all(torch.equal(plain[name], noisy[name]) for name in plain)


@pytest.mark.parametrize(
    ("threat", "classes", "shape"),  # each takes a second: every other one every day
    [
        (Linf, 2, (1, 6, 6)),
        (L2, 3, (3, 4, 4)),
        (Linf, 4, (20,)),
        pytest.param(L2, 2, (1, 6, 6), marks=pytest.mark.slow),
        pytest.param(Linf, 3, (3, 4, 4), marks=pytest.mark.slow),
        pytest.param(L2, 4, (20,), marks=pytest.mark.slow),
    ],
)
def test_linear_models_break_near_the_exact_radius_and_never_inside(
    linear_problem: Any, smallest: Any, threat: Callable[[float], Threat], classes: int, shape: tuple[int, ...]
) -> None:
    given = linear_problem(classes, shape)
    exact = given.exact(threat(1.0))
    found = smallest(HopSkipJump(queries=1500), threat(10.0), given.model, given.x, given.y)
    assert bool(found.broken.all())
    assert bool((found.size >= exact * (1 - 1e-6)).all())
    assert float((found.size / exact).median()) < 1.3
    assert float((found.size / exact).max()) < 2


@pytest.mark.parametrize("threat", [Linf(0.06), L2(0.3)], ids=str)
def test_seed_decides_and_batch_size_does_not(toy: Any, threat: Threat) -> None:
    x, y = toy.x[:12], toy.y[:12]

    def run(**options: Any) -> Any:
        attack = HopSkipJump(queries=120, probes=10)
        return find_adversarial(toy.model, x, y, threat, attack=attack, **options)

    first = run(seed=0)
    assert 0 < first.broken.sum() < len(x)
    assert (first.norms <= threat.radius * (1 + 1e-6)).all()
    for batch_size in (1, 7):
        again = run(seed=0, batch_size=batch_size)
        assert (again.broken == first.broken).all()
        assert torch.allclose(again.x, first.x, atol=1e-5)
    assert not torch.allclose(run(seed=1).x, first.x)


def test_a_numpy_function_of_labels_is_all_it_takes(toy: Any) -> None:
    weight, bias = (value.detach().numpy() for value in toy.model.parameters())

    def predict(x: NDArray[np.float32]) -> NDArray[np.int64]:
        return (x.reshape(len(x), -1) @ weight.T + bias).argmax(1)

    model = labels_model(predict, classes=3)
    found = find_adversarial(model, toy.x, toy.y, L2(1.5), attack=HopSkipJump(queries=400))
    assert found.broken.mean() > 0.9
    assert (predict(found.x.numpy()[found.broken]) != toy.y.numpy()[found.broken]).all()


def test_where_noise_always_looks_alike_other_levels_are_tried() -> None:
    def label(z: Tensor) -> Tensor:
        return (z.flatten(1).mean(1) < 0.25).long()  # uniform noise is 0.5 in the mean

    _, states = walk(HopSkipJump(queries=200), L2(0.1), torch.full((8, 1, 10, 10), 0.6), label)
    assert bool((states[-1]["phase"] != START).all())


def test_a_model_of_one_class_is_never_left(slope: tuple[Tensor, Tensor, float]) -> None:
    x, weight, _ = slope
    points, states = walk(HopSkipJump(queries=100), L2(0.1), x, half_space(weight, 1e9))
    assert bool((states[-1]["phase"] == START).all())
    assert len({tuple(z[0].tolist()) for z in points}) == len(points)


def test_a_budget_shortens_it() -> None:
    assert HopSkipJump(queries=1000).within(300) == HopSkipJump(queries=300)
    assert HopSkipJump(queries=100).within(300) == HopSkipJump(queries=100)


def test_it_works_where_the_distance_is_l2_or_linf() -> None:
    assert all(supports(HopSkipJump(), threat) for threat in (Linf(0.1), L2(0.1), Unbounded()))
    assert not supports(HopSkipJump(), L1(1.0))


@pytest.mark.parametrize("settings", [{"queries": 0}, {"queries": 2.0}, {"probes": 0}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        HopSkipJump(**settings)


@pytest.mark.slow
def test_it_breaks_most_of_an_undefended_network(shared_networks: Any) -> None:
    x, y = shared_networks.images("mnist_test", 8)
    attack = HopSkipJump(queries=2000)
    result = measure_robust_accuracy(shared_networks.load("lenet5_mnist"), (x, y), Linf(0.25), attack=attack)
    assert result.estimate < 0.5
