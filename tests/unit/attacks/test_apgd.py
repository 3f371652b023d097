"""APGD: the paper's algorithm step by step, the closed form on linear models, rows that mind their own business."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L2, ConfigError, Linf
from robustest.attacks import APGD, ATTACKS, PGD, Cascade, Evaluation, Problem, Stage
from robustest.attacks.apgd import checkpoints
from robustest.measure import measure_robust_accuracy
from robustest.tasks.class_losses import targeted_dlr
from robustest.threats import L0, L1, Threat

WIDE = (-100.0, 100.0)
"""Bounds so far away that clipping to them plays no part."""

Objective = Callable[[Tensor], Tensor]
"""Points (B, D) to values (B,)."""


def climb(attack: APGD, threat: Threat, start: Tensor, value: Objective, steps: int) -> list[Tensor]:
    """The points an attack visits on a function of the input, evaluated as the engine does it.

    With the margin as its loss, two classes and label 0, an attack climbs the second of the logits (0, value).
    """
    y = torch.zeros(len(start), dtype=torch.int64)
    problem = Problem(threat, threat.region(start, WIDE), y, 2, WIDE)
    state = attack.init(problem, torch.arange(len(start)))
    points = []
    for _ in range(steps):
        z = threat.project(attack.ask(problem, state), problem.region).detach().requires_grad_(True)
        there = value(z)
        (gradient,) = torch.autograd.grad(there.sum(), z)
        logits = torch.stack([torch.zeros_like(there), there], 1).detach()
        points.append(z.detach())
        state = attack.tell(problem, state, Evaluation(z.detach(), logits, gradient))
    return points


def plainly(start: Tensor, x: Tensor, eps: float, value: Objective, steps: int) -> tuple[list[Tensor], list[float]]:
    """Algorithm 1 for one sample in the L-inf ball: points visited, and the step length before each step."""

    def look(z: Tensor) -> tuple[float, Tensor]:
        z = z.detach().requires_grad_(True)
        there = value(z.unsqueeze(0)).sum()
        return there.item(), torch.autograd.grad(there, z)[0].sign()

    def inside(z: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(z, x - eps), x + eps)

    marks = checkpoints(steps)
    now, before, eta = start, start, 2 * eps
    at, direction = look(now)
    best, best_at, best_direction = now, at, direction
    best_then, eta_then, rises = best_at, eta, 0
    visited, lengths = [now], []
    for k in range(steps):
        if k in marks[1:]:
            width = k - marks[marks.index(k) - 1]
            halve = rises < 0.75 * width or (eta_then == eta and best_then == best_at)
            eta_then, best_then, rises = eta, best_at, 0
            if halve:
                eta /= 2
                now, at, direction = best, best_at, best_direction
        lengths.append(eta)
        stepped = inside(now + eta * direction)
        weight = 0.75 if k else 1.0
        following = inside(now + weight * (stepped - now) + (1 - weight) * (now - before))
        before, now = now, following
        last, (at, direction) = at, look(now)
        rises += at > last
        if at > best_at:
            best, best_at, best_direction = now, at, direction
        visited.append(now)
    return visited, lengths


# The schedule


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 16, 17, 50, 100, 999])
def test_checkpoints_follow_the_formula_of_the_paper(steps: int) -> None:
    shares = [0.0, 0.22]
    while shares[-1] <= 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    rounds = {math.ceil(round(share * steps, 9)) for share in shares if share <= 1}
    assert checkpoints(steps) == tuple(sorted(rounds))


def test_with_a_hundred_steps_they_are_these() -> None:
    assert checkpoints(100) == (0, 22, 41, 57, 70, 80, 87, 93, 99)


# The algorithm


def bowl(z: Tensor) -> Tensor:
    """A concave quadratic whose top is off the centre and narrow in one direction."""
    top = torch.linspace(-0.21, 0.17, z.shape[1], dtype=z.dtype)
    weight = torch.logspace(0, 2, z.shape[1], dtype=z.dtype)
    return -(weight * (z - top) ** 2).sum(1)


def ripples(z: Tensor) -> Tensor:
    """Many local maxima."""
    return (torch.sin(17 * z) + 0.5 * z).sum(1)


@pytest.mark.parametrize("value", [bowl, ripples])
@pytest.mark.parametrize("steps", [3, 10, 60])
def test_every_sample_goes_the_way_of_algorithm_1(value: Objective, steps: int) -> None:
    """Five samples at once against each of them alone, in a plain loop over the paper's lines."""
    eps = 0.3
    x = 0.1 * torch.randn(5, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    points = climb(APGD(steps=steps, loss="margin"), Linf(eps), x, value, steps)
    for row in range(len(x)):
        visited, _ = plainly(points[0][row], x[row], eps, value, steps)
        for k, point in enumerate(points):
            torch.testing.assert_close(point[row], visited[k], rtol=0, atol=1e-6)


def test_on_a_bowl_the_step_is_halved_until_the_top_is_met() -> None:
    """A step of 2 eps jumps over the top for ever; each halving comes nearer, none comes too early."""
    eps = 0.3
    x = torch.zeros(1, 7, dtype=torch.float64)
    points = climb(APGD(steps=100, loss="margin"), Linf(eps), x, bowl, 100)
    visited, lengths = plainly(points[0][0], x[0], eps, bowl, 100)
    assert sorted(set(lengths), reverse=True) == [2 * eps / 2**j for j in range(len(set(lengths)))]
    changes = {k for k, (a, b) in enumerate(pairwise(lengths), 1) if a != b}
    assert changes <= set(checkpoints(100))
    assert 22 in changes
    best = [max(bowl(point).item() for point in points[:k]) for k in (22, 57, 100)]
    assert best == sorted(best)
    assert best[2] > 0.05 * best[1] > 0.05 * best[0]  # negative: twenty times nearer to the top, which is at 0
    assert len(visited) == 101


def test_a_slope_that_never_ends_keeps_the_full_step_until_the_ball_does() -> None:
    """On a linear function the corner is reached at once; from then on nothing rises, so condition 1 halves."""
    eps = 0.5
    x = torch.zeros(1, 4, dtype=torch.float64)
    slope = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    points = climb(APGD(steps=30, loss="margin"), Linf(eps), x, lambda z: z @ slope, 30)
    torch.testing.assert_close(points[1], eps * slope.sign().unsqueeze(0))
    torch.testing.assert_close(points[-1], points[1])


def test_condition_2_alone_halves_the_step() -> None:
    """Heights by visit, not by place: seven of eight steps rise, but none above what the first step found."""
    heights = [0.0, 100.0, *([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 0.5] * 10)]
    threat, x = Linf(1.0), torch.zeros(1, 3)
    attack = APGD(steps=100, loss="margin")
    problem = Problem(threat, threat.region(x, WIDE), torch.tensor([0]), 2, WIDE)
    state = attack.init(problem, torch.arange(1))
    lengths = []
    for height in heights[:58]:
        state = attack.tell(problem, state, Evaluation(x, torch.tensor([[0.0, height]]), torch.ones_like(x)))
        lengths.append(state["length"].item())
    # At 22 the best value is not that of round 0. At 41 it is that of 22, and so is the step. At 57 the best value is
    # still the same, but the step was halved at 41: that is given a chance.
    assert [lengths[k] for k in (21, 22, 40, 41, 56, 57)] == [2.0, 2.0, 2.0, 1.0, 1.0, 1.0]


# Targets


@pytest.mark.parametrize(("rank", "target"), [(0, 1), (1, 2), (2, 3), (7, 3)])
def test_a_targeted_attack_ends_at_the_target_of_the_unchanged_sample(
    rank: int, target: int, linear: Callable[..., nn.Module]
) -> None:
    """Each class is the sum of a hundred elements of its own: eps moves it by 100 eps, chance by some 6 eps."""
    eps = 0.01
    model = linear(torch.eye(4).repeat_interleave(100, 1), torch.tensor([90.0, 60.0, 30.0, 0.0]) * eps)
    attack = APGD(steps=20, loss="targeted_dlr", target_rank=rank)
    data = torch.full((1, 400), 0.5), torch.tensor([0])
    result = measure_robust_accuracy(model, data, Linf(eps), attack=attack)
    assert result.estimate == 0
    assert result.counterexamples[0].predicted == target


def test_the_first_look_of_a_targeted_attack_is_at_the_sample_and_the_second_at_random() -> None:
    threat, attack = Linf(0.1), APGD(steps=3, loss="targeted_dlr")
    x = torch.rand(2, 5)
    problem = Problem(threat, threat.region(x, (0.0, 1.0)), torch.tensor([0, 1]), 5, (0.0, 1.0))
    state = attack.init(problem, torch.arange(2))
    assert torch.equal(attack.ask(problem, state), x)
    logits = torch.tensor([[9.0, 1, 2, 3, 0], [7.0, 9, 8, 1, 0]])
    state = attack.tell(problem, state, Evaluation(x, logits, torch.ones_like(x)))
    assert state["target"].tolist() == [3, 2]
    assert torch.equal(attack.ask(problem, state), threat.start(problem.region, torch.arange(2)))
    other = logits.flip(1)
    state = attack.tell(problem, state, Evaluation(attack.ask(problem, state), other, torch.ones_like(x)))
    assert state["target"].tolist() == [3, 2]  # settled once
    torch.testing.assert_close(
        attack.objective(problem, state, other), targeted_dlr(other, problem.y, torch.tensor([3, 2]))
    )


# Against the closed form


def distances(toy: Any, ball: type) -> Tensor:
    """(N,) from each sample to the nearest border, in the ball's norm; bounds play no part."""
    weight, bias, x = toy.model.weight.detach(), toy.model.bias.detach(), toy.x.flatten(1).double()
    logits = x @ weight.T + bias
    dual = {Linf: 1, L2: 2, L1: math.inf}[ball]
    nearest = torch.full((len(x),), torch.inf, dtype=torch.float64)
    for other in range(len(weight)):
        gap = logits.gather(1, toy.y.view(-1, 1)).squeeze(1) - logits[:, other]
        distance = gap / (weight[toy.y] - weight[other]).norm(p=dual, dim=1)
        nearest = torch.where(toy.y == other, nearest, torch.minimum(nearest, distance))
    return nearest


def outcomes_near_the_median(toy: Any, ball: Any, attack: Any) -> tuple[list[bool], list[bool]]:
    """(held, closed form) for an eps that breaks half of the samples; within two per cent of it nothing is asked."""
    nearest = distances(toy, ball)
    eps = float(nearest.median())
    result = measure_robust_accuracy(toy.model, (toy.x, toy.y), ball(eps), attack=attack, bounds=WIDE)
    clear = [at for at, far in enumerate(nearest.tolist()) if abs(far - eps) > 0.02 * eps]
    assert len(clear) > 0.8 * len(nearest)
    return [bool(result.outcomes[at]) for at in clear], [bool(nearest[at] > eps) for at in clear]


@pytest.mark.thinned
@pytest.mark.parametrize("name", ["apgd-ce", "apgd-dlr", "apgd-margin", "apgd-t"])
@pytest.mark.parametrize("ball", [Linf, L2, L1])
def test_between_two_classes_it_finds_what_the_closed_form_says(ball: Any, name: str, toys: Callable[..., Any]) -> None:
    held, closed_form = outcomes_near_the_median(toys(150, classes=2), ball, name)
    assert held == closed_form


@pytest.mark.thinned
@pytest.mark.parametrize("classes", [3, 10])
@pytest.mark.parametrize("ball", [Linf, L2, L1])
def test_between_more_every_target_in_turn_finds_it(ball: Any, classes: int, toys: Callable[..., Any]) -> None:
    """The largest of several linear functions has a maximum for each: only a target leads to the nearest border."""
    ranks = [APGD(steps=30, loss="targeted_dlr", target_rank=rank) for rank in range(classes - 1)]
    cascade = Cascade(name="all targets", stages=tuple(Stage(searcher=one) for one in ranks))
    held, closed_form = outcomes_near_the_median(toys(100, classes=classes), ball, cascade)
    assert held == closed_form


@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.4), L1(2.0)], ids=str)
def test_it_is_as_strong_as_pgd_on_a_small_network(threat: Any) -> None:
    """In L1 the cross-entropy begins in the ball itself: in 36 dimensions larger ones cost a little."""
    torch_state = torch.get_rng_state()
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 24), nn.ReLU(), nn.Linear(24, 4))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    x = torch.rand(120, 1, 6, 6, generator=generator)
    y = net(x).argmax(1)
    torch.set_rng_state(torch_state)
    accuracy = {
        attack: measure_robust_accuracy(net, (x, y), threat, attack=attack).estimate
        for attack in (PGD(steps=50), APGD(steps=50, outside_in=False), APGD(steps=50, loss="margin"))
    }
    pgd, ce, margin = accuracy.values()
    assert max(ce, margin) <= pgd + 1 / 120
    assert 0 < ce < 1


# Rows, batches, seeds


@pytest.mark.thinned
@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5), L1(2.5)], ids=str)
@pytest.mark.parametrize("attack", [APGD(steps=12), APGD(steps=12, loss="targeted_dlr", target_rank=1)], ids=str)
def test_batches_do_not_matter_and_seeds_do(attack: APGD, threat: Any, toys: Callable[..., Any]) -> None:
    """Small batches are refilled, so that rows in one batch are at different steps."""
    toy = toys(100)

    def run(**options: Any) -> Any:
        result = measure_robust_accuracy(toy.model, (toy.x, toy.y), threat, attack=attack, **options)
        found = [(c.index, c.predicted, pytest.approx(c.size, rel=1e-6)) for c in result.counterexamples]
        return result.outcomes, found

    whole = run(batch_size=64)
    assert whole == run(batch_size=64)
    assert whole == run(batch_size=7)
    assert whole != run(batch_size=64, seed=1)


@pytest.mark.parametrize("name", ["apgd-ce", "apgd-dlr", "apgd-margin", "apgd-t"])
def test_its_name_is_the_registrys(name: str) -> None:
    assert ATTACKS[name]().name == name


def test_the_rank_does_not_change_the_name() -> None:
    assert {APGD(loss="targeted_dlr", target_rank=rank).name for rank in range(5)} == {"apgd-t"}


def test_it_serves_norm_balls_only() -> None:
    assert all(APGD().supports(threat) for threat in (Linf(0.1), L2(0.1), L1(0.1)))
    assert not APGD().supports(L0(3))


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"steps": 1.5}, {"steps": True}, {"loss": "hinge"}, {"target_rank": -1}], ids=str
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        APGD(**wrong)


# L1


def test_the_first_sparse_step_takes_a_fifth_of_the_elements_and_has_length_eps() -> None:
    eps = 2.0
    slope = torch.tensor([5.0, -1, 2, -9, 3, 4, 8, -7, 6, 10])
    x = torch.zeros(1, 10)
    threat, attack = L1(eps), APGD(steps=25, loss="margin", outside_in=False)
    problem = Problem(threat, threat.region(x, WIDE), torch.tensor([0]), 2, WIDE)
    state = attack.init(problem, torch.arange(1))
    told = attack.tell(problem, state, Evaluation(x, torch.zeros(1, 2), slope.unsqueeze(0)))
    expected = torch.zeros(1, 10)
    expected[0, 3], expected[0, 9] = -eps / 2, eps / 2
    torch.testing.assert_close(told["z"], expected)


def test_sparsity_follows_the_best_point_and_the_step_shrinks_by_its_rule() -> None:
    """Fed with best points of chosen support at each look back (every step here)."""
    threat, attack = L1(3.0), APGD(steps=25, loss="margin", outside_in=False)
    x = torch.zeros(1, 12)
    problem = Problem(threat, threat.region(x, WIDE), torch.tensor([0]), 2, WIDE)
    state = attack.init(problem, torch.arange(1))
    gradient = torch.arange(1.0, 13).unsqueeze(0)
    seen = []
    for height, support in enumerate([12, 12, 6, 6, 6, 3]):
        z = torch.zeros(1, 12)
        z[0, :support] = 0.1
        state = attack.tell(problem, state, Evaluation(z, torch.tensor([[0.0, float(height)]]), gradient))
        seen.append((state["elements"].item(), state["length"].item()))
    elements = [count for count, _ in seen]
    assert elements == pytest.approx([3, 8, 4, 4, 4, 2])  # 12 / 5 rounded up, then the support over 1.5
    lengths = [length for _, length in seen]
    assert lengths == pytest.approx([3, 2, 3, 2, 4 / 3, 3])  # all eps again wherever the support shrank


def test_it_comes_in_through_balls_of_three_and_two_times_eps() -> None:
    """Told that every point is better than the last: at each change the best one is brought into the next ball."""
    eps, steps = 2.0, 20
    threat, attack = L1(eps), APGD(steps=steps, loss="margin")
    assert not attack.confined(threat)
    assert attack.confined(Linf(0.1))
    x = torch.full((2, 40), 0.5)
    problem = Problem(threat, threat.region(x, (0.0, 1.0)), torch.tensor([0, 0]), 2, (0.0, 1.0))
    state = attack.init(problem, torch.arange(2))
    sizes, points = [], []
    for at in range(steps):
        z = attack.ask(problem, state)
        points.append(z)
        sizes.append(threat.size(z, problem.region))
        logits = torch.tensor([[0.0, float(at)]]).expand(2, 2)
        gradient = torch.randn(2, 40, generator=torch.Generator().manual_seed(at))
        state = attack.tell(problem, state, Evaluation(z, logits, gradient))
    size = torch.stack(sizes, 1) / eps
    assert bool((size[:, :6] <= 3 + 1e-6).all())
    assert bool((size[:, 6:12] <= 2 + 1e-6).all())
    assert bool((size[:, 12:] <= 1 + 1e-6).all())
    assert bool((size[:, [0, 6, 12]] > torch.tensor([2.9, 1.9, 0.9])).all())
    for ends, radius in ((6, 2.0), (12, 1.0)):
        torch.testing.assert_close(points[ends], L1(radius * eps).project(points[ends - 1], problem.region))
    assert bool((threat.size(attack.ask(problem, state), problem.region) <= eps * (1 + 1e-6)).all())


# On trained networks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "data", "eps", "n"),
    [("fast_mnist_pgd", "mnist_test", 0.3, 200), ("resnet_2b", "cifar10_test_exact1000", 2 / 255, 100)],
)
def test_on_trained_networks_it_is_no_weaker_than_pgd(
    network: str, data: str, eps: float, n: int, shared_networks: Any
) -> None:
    model, (x, y) = shared_networks.load(network), shared_networks.images(data, n)
    pgd = measure_robust_accuracy(model, (x, y), Linf(eps), attack=PGD(steps=100))
    apgd = measure_robust_accuracy(model, (x, y), Linf(eps), attack=APGD())
    assert apgd.estimate <= pgd.estimate
