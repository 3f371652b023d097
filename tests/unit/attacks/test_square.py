"""Square: the paper's schedule, windows and pyramids, rows that mind their own business, and its strength."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import L0, L1, L2, ConfigError, Linf, Unbounded, find_adversarial, rng
from robustest.attacks import PGD, Cascade, Evaluation, Problem, Square, Stage, passes, supports
from robustest.attacks.square import grid_of, pyramid_pair, window_size
from robustest.engine import search
from robustest.measure import measure_robust_accuracy
from robustest.threats import Rows, Threat

WIDE = (-100.0, 100.0)
"""Bounds so far away that clipping to them plays no part."""
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of 10,000 queries, where the paper halves p (section 4.1)."""


def share(attack: Square, query: int) -> float:
    """The paper's p at the query of that number, 0 being the start."""
    return attack.p_init / 2 ** sum(query > attack.queries * mark / 10_000 for mark in HALVINGS)


def problem_of(x: Tensor, threat: Threat, bounds: tuple[float, float] = WIDE) -> Problem:
    return Problem(threat, threat.region(x, bounds), torch.zeros(len(x), dtype=torch.int64), 2, bounds)


def logits(value: Tensor) -> Tensor:
    """(B, 2) logits whose margin for label 0 is `value` (B,)."""
    return torch.stack([torch.zeros_like(value), value], 1)


def begun(attack: Square, problem: Problem, ages: Tensor, seed: int = 0) -> Rows:
    """State of rows that hold their start and have had so many queries."""
    return {**attack.init(problem, rng.keys(seed, torch.arange(len(ages)))), "age": ages}


@pytest.mark.thinned
@pytest.mark.parametrize("queries", [10_000, 1000, 100])
@pytest.mark.parametrize("channels", [1, 3])
def test_linf_changes_a_square_of_the_scheduled_side_to_a_corner(queries: int, channels: int) -> None:
    attack = Square(queries=queries)
    ages = torch.arange(1, queries, max(1, queries // 500))
    problem = problem_of(torch.rand(len(ages), channels, 28, 28), Linf(0.3))
    state = begun(attack, problem, ages)
    start, z = attack.ask(problem, {**state, "age": ages * 0})[:, 0], attack.ask(problem, state)[:, 0]
    assert bool(((z == problem.region["low"]) | (z == problem.region["high"])).all())
    changed = (z != start).any(1)
    for row, age in enumerate(ages.tolist()):
        side = max(1, round(math.sqrt(share(attack, age) * 28 * 28)))
        down, across = (changed[row].any(axis).nonzero().squeeze(1) for axis in (1, 0))
        # The start is striped from top to bottom, so a window changes all of a column or nothing.
        assert int(down[-1] - down[0]) + 1 == side
        assert 1 <= int(across[-1] - across[0]) + 1 <= side


def test_the_first_window_covers_the_share_asked_for_and_the_last_is_one_pixel() -> None:
    assert window_size(1.0, (1, 28, 28)) == (28, 28)
    assert window_size(0.25, (3, 32, 32)) == (16, 16)
    assert window_size(1e-9, (3, 32, 32)) == (1, 1)
    assert window_size(1e-9, (3, 32, 32), least=3) == (3, 3)


def test_where_a_square_does_not_fit_the_window_keeps_its_area() -> None:
    assert window_size(0.5, (1, 1, 40)) == (1, 20)
    assert window_size(0.5, (1, 40, 4)) == (20, 4)
    assert window_size(1e-9, (1, 1, 40)) == (1, 1)
    assert window_size(1e-9, (1, 1, 2), least=3) == (1, 2)


@pytest.mark.parametrize(
    ("shape", "grid"),
    [((7,), (1, 1, 7)), ((5, 9), (1, 5, 9)), ((3, 5, 9), (3, 5, 9)), ((3, 2, 5, 9), (3, 10, 9))],
)
def test_inputs_of_any_shape_are_seen_as_images(shape: tuple[int, ...], grid: tuple[int, int, int]) -> None:
    assert grid_of(torch.zeros(4, *shape)) == grid


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)], ids=str)
def test_tabular_windows_are_runs_of_columns(threat: Threat) -> None:
    attack = Square(queries=1000)
    ages = torch.full((200,), 30)
    problem = problem_of(torch.rand(200, 40), threat)
    state = begun(attack, problem, ages)
    moved = (attack.ask(problem, state)[:, 0] - state["z"]).abs() > 1e-6
    run = round(share(attack, 30) * 40)
    for row in moved:
        places = row.nonzero().squeeze(1)
        first, last = (int(places[0]), int(places[-1])) if len(places) else (0, 0)
        windows = 1 if isinstance(threat, Linf) else 2
        assert len(places) <= windows * run
        assert isinstance(threat, L2) or last - first < run


def pyramid(height: int, width: int, n: int) -> Tensor:
    """Equation 2 as it stands: eta over a rectangle, coordinates from 1."""
    out = torch.zeros(height, width, dtype=torch.float64)
    for r in range(1, height + 1):
        for s in range(1, width + 1):
            last = n - max(abs(r - height // 2 - 1), abs(s - width // 2 - 1))
            out[r - 1, s - 1] = sum(1 / (n + 1 - k) ** 2 for k in range(last + 1))
    return out


@pytest.mark.parametrize("side", [2, 3, 4, 5, 8, 11])
def test_pyramids_are_the_papers(side: int) -> None:
    half = side // 2
    want = torch.cat([pyramid(half, side, side // 2), -pyramid(side - half, side, side // 2)])
    assert torch.allclose(pyramid_pair(side, side, upright=True).double(), want, atol=1e-6)
    assert torch.allclose(pyramid_pair(side, side, upright=False).double(), want.T, atol=1e-6)


def plainly(attack: Square, x: Tensor, z: Tensor, *, eps: float, order: int, u: Tensor, age: int) -> Tensor:
    """Algorithm 3 for one sample (C, H, W), with the draws u that the attack makes, in the norm of that order."""
    channels, height, width = x.shape
    nu = (z - x).double()
    side = max(3, round(math.sqrt(share(attack, age) * height * width)))
    top, left, top2, left2 = (int(u[k] * (length - side + 1)) for k, length in enumerate((height, width) * 2))
    eta = pyramid_pair(side, side, upright=bool(u[4] < 0.5)).double()
    first, second = torch.zeros(2, height, width, dtype=torch.bool)
    first[top : top + side, left : left + side] = True
    second[top2 : top2 + side, left2 : left2 + side] = True
    unused = eps**order - float(nu.abs().pow(order).sum())
    new = nu.clone()
    for c in range(channels):
        available = (float(nu[c][first | second].abs().pow(order).sum()) + unused / channels) ** (1 / order)
        old = nu[c, top : top + side, left : left + side]
        sign = 1 if u[5 + c] < 0.5 else -1
        mixed = sign * eta / eta.flatten().norm(order) + old / old.flatten().norm(order)
        new[c][second] = 0
        new[c, top : top + side, left : left + side] = mixed / mixed.flatten().norm(order) * available
    return x + new


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", [1, 2])
def test_proposals_of_pyramids_are_the_papers(order: int, channels: int) -> None:
    attack, eps = Square(queries=100), {1: 30.0, 2: 1.5}[order]
    ages = torch.arange(1, 100, 2)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(len(ages), channels, 12, 11, generator=generator)
    problem = problem_of(x, {1: L1, 2: L2}[order](eps))
    start = torch.randn(x.shape, generator=generator) * 0.05
    state = {**begun(attack, problem, ages), "z": x + start}
    z = attack.ask(problem, state)[:, 0]
    u = state["draws"][torch.arange(len(ages)), ages, 0]
    for row, age in enumerate(ages.tolist()):
        want = plainly(attack, x[row], state["z"][row], eps=eps, order=order, u=u[row], age=age)
        assert torch.allclose(z[row].double(), want, atol=1e-5)
    assert torch.allclose((z - x).flatten(1).norm(order, dim=1), torch.full((len(ages),), eps), rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 7, 9), (5, 4), (11,), (1,)], ids=str)
@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5), Linf(1e30), L2(1e30), Unbounded()], ids=str)
def test_the_start_lies_on_the_edge_of_the_region(threat: Threat, shape: tuple[int, ...]) -> None:
    bounds = (-10.0, 10.0)
    problem = problem_of(torch.rand(6, *shape), threat, bounds)
    z = Square().ask(problem, begun(Square(), problem, torch.zeros(6, dtype=torch.int64)))[:, 0]
    assert bool(torch.isfinite(z).all())
    if threat.radius == 1e30:
        z = z.clamp(*bounds)
        assert bool(((z == -10) | (z == 10)).any())
    elif not isinstance(threat, Unbounded):
        assert torch.allclose(threat.size(z, problem.region), torch.tensor(threat.radius).double(), rtol=1e-4)


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)], ids=str)
@pytest.mark.parametrize("shape", [(3, 9, 9), (13,)], ids=str)
@pytest.mark.parametrize("at_once", [1, 4])
def test_rows_at_different_steps_do_as_each_would_alone(threat: Threat, shape: tuple[int, ...], at_once: int) -> None:
    attack = Square(queries=50 * at_once, at_once=at_once)
    ages = torch.arange(0, 50, 3)
    problem = problem_of(torch.rand(len(ages), *shape), threat)
    state = begun(attack, problem, ages)
    together = attack.ask(problem, state)
    for row in range(len(ages)):
        only = slice(row, row + 1)
        alone = replace(problem, region={k: v[only] for k, v in problem.region.items()}, y=problem.y[only])
        assert torch.equal(attack.ask(alone, {k: v[only] for k, v in state.items()}), together[only])


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)], ids=str)
def test_only_what_raises_the_margin_is_kept(threat: Threat) -> None:
    attack = Square(queries=50)
    problem = problem_of(torch.rand(3, 1, 6, 6), threat)
    state = begun(attack, problem, torch.zeros(3, dtype=torch.int64))
    first, state = told(attack, problem, state, [[-1.0], [-1.0], [-1.0]])
    second, state = told(attack, problem, state, [[-0.5], [-1.0], [-2.0]])
    assert torch.equal(state["z"][0], second[0, 0])
    assert torch.equal(state["z"][1:], first[1:, 0])
    assert state["value"].tolist() == [-0.5, -1.0, -1.0]


def told(attack: Square, problem: Problem, state: Rows, values: list[list[float]]) -> tuple[Tensor, Rows]:
    """The proposals of a round, and the state after hearing that their margins are `values`, by row and proposal."""
    z = attack.ask(problem, state)
    region = {name: rows.repeat_interleave(z.shape[1], 0) for name, rows in problem.region.items()}
    z = problem.threat.project(z.flatten(0, 1), region).view_as(z)
    heard = torch.stack([logits(torch.tensor(each)) for each in values])
    return z, attack.tell(problem, state, Evaluation(z, heard, None))


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)], ids=str)
def test_of_several_at_once_the_best_is_kept_where_it_raises_the_margin(threat: Threat) -> None:
    attack = Square(queries=60, at_once=3)
    problem = problem_of(torch.rand(2, 1, 6, 6), threat)
    state = begun(attack, problem, torch.zeros(2, dtype=torch.int64))
    first, state = told(attack, problem, state, [[-3.0, -1.0, -2.0], [-1.0, -2.0, -3.0]])
    assert torch.equal(state["z"], torch.stack([first[0, 1], first[1, 0]]))
    second, state = told(attack, problem, state, [[-1.5, -1.0, -2.0], [-2.0, -0.2, -0.1]])
    assert torch.equal(state["z"], torch.stack([first[0, 1], second[1, 2]]))
    assert torch.equal(state["value"], torch.tensor([-1.0, -0.1]))
    assert attack.steps == 19


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)], ids=str)
def test_proposals_at_once_are_queries_of_the_schedule_from_one_point(threat: Threat) -> None:
    """The start is the first of them; each other one has the window of the query whose place it takes."""
    attack, single = Square(queries=40, at_once=4), Square(queries=40)
    problem = problem_of(torch.rand(10, 2, 9, 9), threat)
    state = begun(attack, problem, torch.arange(10))
    plain = {**state, "draws": state["draws"].flatten(1, 2).unsqueeze(2)}
    z = attack.ask(problem, state)
    assert torch.equal(z[0, 0], state["z"][0]) or isinstance(threat, L2)
    for lane in range(4):
        alone = single.ask(problem, {**plain, "age": torch.arange(10) * 4 + lane})
        assert torch.equal(z[:, lane], alone[:, 0])


@pytest.mark.slow
def test_many_at_once_break_as_many_where_queries_are_many(shared_networks: Any) -> None:
    x, y = shared_networks.images("mnist_test", 100)
    model = shared_networks.load("fast_mnist_pgd")
    one, ten = (
        int(find_adversarial(model, x, y, Linf(0.3), attack=Square(queries=1000, at_once=many)).broken.sum())
        for many in (1, 10)
    )
    assert one >= 8
    assert abs(one - ten) <= 2


@pytest.mark.parametrize(
    ("threat", "multiple", "classes", "shape"),  # each takes a second: every other one every day
    [
        (Linf, 1.5, 2, (1, 6, 6)),
        (L2, 3.0, 3, (3, 4, 4)),
        (Linf, 1.5, 4, (20,)),
        pytest.param(L2, 3.0, 2, (1, 6, 6), marks=pytest.mark.slow),
        pytest.param(Linf, 1.5, 3, (3, 4, 4), marks=pytest.mark.slow),
        pytest.param(L2, 3.0, 4, (20,), marks=pytest.mark.slow),
    ],
)
def test_linear_models_break_near_the_exact_radius_and_never_inside(
    check_radius: Callable[..., None], threat: Callable[[float], Threat], multiple: float, classes: int, shape: Any
) -> None:
    check_radius(Square(queries=1000), threat, multiple, classes, shape)


@pytest.mark.thinned
@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.4)], ids=str)
@pytest.mark.parametrize("at_once", [1, 3])
def test_seed_decides_and_batch_size_does_not(
    toy: Any, threat: Threat, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_LIGHT", 0)  # a batch of one is one, even of samples as small as these
    attack, x, y = Square(queries=60, at_once=at_once), toy.x[:12], toy.y[:12]

    def run(**options: Any) -> Any:
        return find_adversarial(toy.model, x, y, threat, attack=attack, **options)

    first = run(seed=0)
    assert 0 < first.broken.sum() < len(x)
    for batch_size in (1, 7):
        again = run(seed=0, batch_size=batch_size)
        assert (again.broken == first.broken).all()
        assert torch.equal(again.x, first.x)
    assert not torch.equal(run(seed=1).x, first.x)


@pytest.mark.parametrize(("queries", "at_once"), [(1, 1), (2, 1), (50, 1), (50, 5), (50, 50)])
def test_a_sample_that_holds_costs_the_queries_asked_for(toy: Any, watched: Any, queries: int, at_once: int) -> None:
    model = watched(toy.model)
    without = measure_robust_accuracy(model, (toy.x, toy.y), Linf(0.0), attack=Square(queries=1))
    assert without.estimate == 1
    before = sum(model.calls)
    attack = Square(queries=queries, at_once=at_once)
    measure_robust_accuracy(model, (toy.x, toy.y), Linf(0.0), attack=attack)
    assert passes(attack) == queries
    assert sum(model.calls) - before == before + (queries - 1) * len(toy.x)


def test_a_budget_squeezes_the_schedule() -> None:
    assert Square(queries=1000).within(300) == Square(queries=300)
    assert Square(queries=100).within(300) == Square(queries=100)
    assert Square(queries=100, at_once=8).within(5) == Square(queries=5, at_once=5)


def test_it_works_where_windows_make_sense() -> None:
    assert all(supports(Square(), threat) for threat in (Linf(0.1), L2(0.1), L1(1.0), Unbounded()))
    assert not supports(Square(), L0(3))


@pytest.mark.parametrize(
    "settings",
    [
        {"queries": 0},
        {"queries": 1.5},
        {"queries": True},
        {"p_init": 0},
        {"p_init": 1.1},
        {"at_once": 0},
        {"at_once": 2.0},
        {"at_once": 1001},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Square(**settings)


@pytest.mark.slow
def test_it_breaks_what_gradients_left_of_a_trained_network(shared_networks: Any) -> None:
    x, y = shared_networks.images("mnist_test", 200)
    stages = (Stage(searcher=PGD(steps=20)), Stage(searcher=Square(queries=1000), smallest=0.2))
    cascade = Cascade(name="gradients, then queries", stages=stages)
    result = measure_robust_accuracy(shared_networks.load("fast_mnist_pgd"), (x, y), Linf(0.3), attack=cascade)
    assert result.details["stages"]["square"] >= 4
