"""SPSA: opposite probes, their estimate of the gradient, Adam's step, and its strength."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import L1, L2, ConfigError, Linf, Unbounded, find_adversarial, rng
from robustest.attacks import SPSA, Evaluation, Problem, supports
from robustest.measure import measure_robust_accuracy
from robustest.threats import Rows, Threat

WIDE = (-100.0, 100.0)
"""Bounds so far away that clipping to them plays no part."""
THREATS = [Linf(0.5), L2(2.0)]


def climb(attack: SPSA, threat: Threat, x: Tensor, weight: Tensor, steps: int) -> tuple[list[Tensor], list[Rows]]:
    """Points and states of a search whose margin is weight (D,) times the input, with probes that nothing clips."""
    problem = Problem(threat, threat.region(x, WIDE), torch.zeros(len(x), dtype=torch.int64), 2, WIDE)
    state = attack.init(problem, rng.keys(0, torch.arange(len(x))))
    points, states = [], [state]
    for _ in range(steps):
        z = attack.ask(problem, state)
        value = (z.double().flatten(1) @ weight).float()
        state = attack.tell(problem, state, Evaluation(z, torch.stack([torch.zeros_like(value), value], 1), None))
        points.append(z)
        states.append(state)
    return points, states


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_probes_come_in_opposite_pairs_of_the_length_asked_for(threat: Threat) -> None:
    attack = SPSA(queries=40, pairs=4, delta=0.02)
    points, states = climb(attack, threat, torch.rand(5, 3, 4), torch.ones(12).double(), 39)
    for k in range(0, 38, 2):
        centre = states[k]["z"]
        assert torch.allclose((points[k] + points[k + 1]) / 2, centre, atol=1e-6)
        assert torch.allclose((points[k] - centre).abs(), torch.full_like(centre, 0.02), atol=1e-6)
    assert not torch.allclose(points[0] - points[1], points[2] - points[3])


def test_a_probe_is_a_hundredth_of_the_bounds_unless_said_otherwise() -> None:
    points, states = climb(SPSA(queries=9), Linf(0.5), torch.rand(5, 3), torch.ones(3).double(), 1)
    assert torch.allclose((points[0] - states[0]["z"]).abs(), torch.full((5, 3), 0.01 * 200), rtol=1e-4)


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_the_last_proposal_is_the_point_itself(threat: Threat) -> None:
    for queries in (1, 2, 8, 9, 13):
        attack = SPSA(queries=queries, pairs=2)
        x, weight = torch.rand(3, 6), torch.ones(6).double()
        _, states = climb(attack, threat, x, weight, attack.steps)
        problem = Problem(threat, threat.region(x, WIDE), torch.zeros(3, dtype=torch.int64), 2, WIDE)
        assert torch.equal(attack.ask(problem, states[-1]), states[-1]["z"])


def test_many_pairs_estimate_the_gradient() -> None:
    weight = torch.randn(20, generator=torch.Generator().manual_seed(0)).double()
    attack = SPSA(queries=1001, pairs=501, delta=0.1)
    _, states = climb(attack, Linf(0.5), torch.rand(8, 20), weight, 998)
    # Each pair contributes 2 delta (v . w) v, whose mean is 2 delta w; 499 pairs leave an angle of about
    # sqrt(20 / 499) radians, a cosine of 0.98.
    estimate = states[-1]["sum"].double() / (499 * 0.2)
    assert float((estimate @ weight / (estimate.norm(dim=1) * weight.norm())).min()) > 0.95
    assert torch.allclose(estimate.mean(0), weight, atol=0.3)


def test_the_point_moves_after_so_many_pairs_and_at_the_end() -> None:
    _, states = climb(SPSA(queries=22, pairs=3), Linf(0.5), torch.rand(2, 6), torch.ones(6).double(), 21)
    moved = [k + 1 for k in range(21) if not torch.equal(states[k]["z"], states[k + 1]["z"])]
    assert moved == [6, 12, 18, 21]


def test_linf_takes_adams_step_whose_first_is_the_sign_of_the_estimate() -> None:
    attack = SPSA(queries=100, pairs=3, step_size=0.05)
    _, states = climb(attack, Linf(1e6), torch.rand(4, 6), torch.ones(6).double(), 6)
    step = states[6]["z"] - states[5]["z"]
    estimate = states[6]["m"] / 0.1
    assert torch.allclose(step, 0.05 * estimate.sign(), atol=0.02)  # float32 near 1e6
    assert bool((step.abs() > 0.02).all())


@pytest.mark.parametrize("step_size", [0.05, None])
def test_l2_takes_a_step_of_the_length_asked_for_along_the_estimate(step_size: float | None) -> None:
    attack, x = SPSA(queries=100, pairs=3, step_size=step_size, delta=0.01), torch.zeros(4, 30)
    _, states = climb(attack, L2(1.0), x, torch.ones(30).double(), 6)
    step = states[6]["z"] - states[5]["z"]
    along = torch.nn.functional.normalize(states[6]["m"], dim=1)
    free = states[6]["z"].norm(dim=1) < 0.99  # where projection plays no part
    assert bool(free.any())
    assert torch.allclose(step[free], (0.2 if step_size is None else step_size) * along[free], atol=1e-6)


@pytest.mark.parametrize(
    ("threat", "multiple", "classes", "shape"),  # each takes a second: every other one every day
    [
        (Linf, 1.3, 2, (1, 6, 6)),
        (L2, 1.3, 3, (3, 4, 4)),
        (Linf, 1.3, 4, (20,)),
        pytest.param(L2, 1.3, 2, (1, 6, 6), marks=pytest.mark.slow),
        pytest.param(Linf, 1.3, 3, (3, 4, 4), marks=pytest.mark.slow),
        pytest.param(L2, 1.3, 4, (20,), marks=pytest.mark.slow),
    ],
)
def test_linear_models_break_near_the_exact_radius_and_never_inside(
    check_radius: Callable[..., None], threat: Callable[[float], Threat], multiple: float, classes: int, shape: Any
) -> None:
    check_radius(SPSA(queries=1000, pairs=16), threat, multiple, classes, shape)


@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.4)], ids=str)
def test_seed_decides_and_batch_size_does_not(toy: Any, threat: Threat) -> None:
    x, y = toy.x[:12], toy.y[:12]

    def run(**options: Any) -> Any:
        return find_adversarial(toy.model, x, y, threat, attack=SPSA(queries=80, pairs=4), **options)

    first = run(seed=0)
    assert 0 < first.broken.sum() < len(x)
    for batch_size in (1, 7):
        again = run(seed=0, batch_size=batch_size)
        assert (again.broken == first.broken).all()
        assert torch.allclose(again.x, first.x, atol=1e-5)
    assert not torch.allclose(run(seed=1).x, first.x)


def test_a_budget_shortens_it() -> None:
    assert SPSA(queries=1000).within(300) == SPSA(queries=300)
    assert SPSA(queries=100).within(300) == SPSA(queries=100)


def test_it_works_where_probes_of_every_element_make_sense() -> None:
    assert all(supports(SPSA(), threat) for threat in (Linf(0.1), L2(0.1), Unbounded()))
    assert not supports(SPSA(), L1(1.0))


@pytest.mark.parametrize(
    "settings", [{"queries": 0}, {"pairs": 0}, {"pairs": 1.0}, {"delta": 0.0}, {"step_size": -1.0}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        SPSA(**settings)


@pytest.mark.slow
def test_it_breaks_most_of_an_undefended_network(shared_networks: Any) -> None:
    x, y = shared_networks.images("mnist_test", 20)
    result = measure_robust_accuracy(shared_networks.load("lenet5_mnist"), (x, y), Linf(0.2), attack=SPSA(queries=1000))
    assert result.estimate < 0.5
