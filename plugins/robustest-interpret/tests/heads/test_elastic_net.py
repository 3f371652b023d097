"""One penalty's solver: the objective, the certificate, and that streaming changes nothing."""

from __future__ import annotations

import pytest
import torch
from robustest_interpret.heads import Design, ElasticNetFit, ElasticNetObjective, divergence, solve
from torch import Tensor

CPU = torch.device("cpu")


def data(n: int = 120, d: int = 12, k: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % k
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    x[torch.arange(n), y] += 1.5
    return x, y


def problem(
    x: Tensor, y: Tensor, *, lam: float, l1_ratio: float = 0.9, batch: int | None = None
) -> ElasticNetObjective:
    d = x.shape[1]
    mean, scale = torch.zeros(d, dtype=x.dtype), torch.ones(d, dtype=x.dtype)
    design = Design(x, mean, scale, device=CPU, dtype=x.dtype, batch=batch)
    return ElasticNetObjective(design, y, lam=lam, l1_ratio=l1_ratio, classes=int(y.max()) + 1)


def solved(one: ElasticNetObjective, d: int, *, tolerance: float = 1e-8) -> ElasticNetFit:
    k = len(one.hot)
    start = (torch.zeros(k, d, dtype=torch.float64), torch.zeros(k, dtype=torch.float64))
    return solve(one, *start, tolerance=tolerance, curvature=0.01, max_steps=20000)


@pytest.mark.parametrize("lam", [0.2, 0.05, 0.005])
def test_the_solution_is_a_minimum(lam: float) -> None:
    """The optimality conditions, from the objective written down anew."""
    x, y = data()
    fit = solved(problem(x, y, lam=lam), 12, tolerance=1e-11)
    weight, bias = fit.weight.clone().requires_grad_(True), fit.bias.clone().requires_grad_(True)
    smooth = torch.nn.functional.cross_entropy(x @ weight.T + bias, y) + lam * 0.1 / 2 * weight.square().sum()
    by_weight, by_bias = torch.autograd.grad(smooth, (weight, bias))
    assert float(by_bias.abs().max()) < 1e-5
    used = fit.weight != 0
    assert torch.allclose(by_weight[used], -0.9 * lam * fit.weight[used].sign(), atol=1e-4)
    assert float(by_weight[~used].abs().max()) <= 0.9 * lam + 1e-4
    with torch.no_grad():
        assert fit.objective == pytest.approx(float(smooth + 0.9 * lam * weight.abs().sum()), rel=1e-10)


def test_the_certificate_is_never_too_small() -> None:
    """Wherever the walk is stopped, the best objective is no further below than it says."""
    x, y = data()
    best = solved(problem(x, y, lam=0.02), 12, tolerance=1e-12).objective
    for tolerance in (1.0, 0.1, 1e-2, 1e-4):
        fit = solved(problem(x, y, lam=0.02), 12, tolerance=tolerance)
        assert fit.gap <= tolerance
        assert (fit.objective - best) / fit.objective <= fit.gap + 1e-12


def test_rows_brought_a_few_at_a_time_give_the_same() -> None:
    x, y = data()
    whole, streamed = (solved(problem(x, y, lam=0.02, batch=batch), 12) for batch in (None, 7))
    assert streamed.objective == pytest.approx(whole.objective, rel=1e-9)
    assert torch.allclose(streamed.weight, whole.weight, atol=1e-4)


def test_a_budget_of_steps_ends_the_walk_and_the_gap_tells() -> None:
    x, y = data()
    one = problem(x, y, lam=1e-4)
    start = (torch.zeros(3, 12, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    fit = solve(one, *start, tolerance=1e-12, curvature=0.01, max_steps=10)
    assert fit.steps < 40
    assert fit.gap > 1e-12


def test_divergence_is_the_bend_of_the_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, change = (torch.randn(3, 50, generator=generator, dtype=torch.float64) for _ in range(2))
    chance = torch.softmax(logits, 0)
    ahead = torch.logsumexp(logits + change, 0) - torch.logsumexp(logits, 0)
    assert divergence(chance, change) == pytest.approx(float((ahead - (chance * change).sum(0)).mean()), rel=1e-10)
