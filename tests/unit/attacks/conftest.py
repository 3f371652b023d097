"""Linear problems whose smallest perturbations are known, and a way to search them as the engine does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from robustest import L0, L1, L2, Linf, as_classifier, find_adversarial, rng
from robustest.attacks import Evaluation, Problem, Searcher
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import SearchOutcome, search
from robustest.threats import Threat

WIDE = 1e4
"""A radius beyond every box here."""


class LinearProblem(NamedTuple):
    """A linear model and samples it gets right, so near its boundaries that the bounds play no part."""

    model: nn.Module
    x: Tensor
    y: Tensor
    weight: Tensor

    def exact(self, threat: Threat) -> Tensor:
        """(N,) float64, the smallest perturbation: over classes, the margin over the dual norm of the gradient."""
        order = {Linf: 1, L2: 2, L1: math.inf}[type(threat)]  # type: ignore[index]
        with torch.no_grad():
            logits = self.model(self.x).double()
        gap = logits.gather(1, self.y.unsqueeze(1)) - logits
        slope = self.weight.unsqueeze(0) - self.weight[self.y].unsqueeze(1)
        distance = gap / torch.linalg.vector_norm(slope, ord=order, dim=2)
        return distance.scatter(1, self.y.unsqueeze(1), torch.inf).amin(1)


@pytest.fixture(scope="session")
def linear_problem(linear: Callable[[Tensor, Tensor], nn.Module]) -> Callable[..., LinearProblem]:
    """Builds `LinearProblem`s: `linear_problem(classes=3, shape=(1, 6, 6))`."""

    def build(classes: int = 3, shape: tuple[int, ...] = (1, 6, 6), n: int = 24) -> LinearProblem:
        generator = torch.Generator().manual_seed(classes)
        size = math.prod(shape)
        weight = torch.randn(classes, size, generator=generator).double()
        model = linear(weight, -weight.sum(1) / 2)  # no class is favoured at grey
        x = 0.5 + 0.1 * (torch.rand(20 * n, *shape, generator=generator) - 0.5)
        with torch.no_grad():
            pool = LinearProblem(model, x, model(x).argmax(1), weight)
        far = pool.exact(L2(WIDE)).argsort(descending=True)[:n]  # sizes that differ by a small factor only
        return pool._replace(x=x[far], y=pool.y[far])

    return build


@pytest.fixture(scope="session")
def smallest() -> Callable[..., SearchOutcome]:
    """Searches for the smallest perturbations: `smallest(searcher, threat, model, x, y, batch_size=64, seed=0)`."""

    def run(
        searcher: Searcher,
        threat: Threat,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        batch_size: int = 64,
        seed: int = 0,
    ) -> SearchOutcome:
        notes: list[str] = []
        device = torch.device("cpu")
        evaluator = Evaluator(as_classifier(model), device, batch_size=batch_size, suppress=(), notes=notes)
        evaluator.logits(x)
        keys = rng.keys(seed, torch.arange(len(x)))
        return search(evaluator, searcher, threat, x, y, key=keys, bounds=(0.0, 1.0), smallest=True)

    return run


SHAPES = {2: (1, 6, 6), 3: (1, 6, 6), 4: (12,), 100: (3, 4, 4)}
"""Number of classes to shape of the samples of the linear problems."""


@pytest.fixture(scope="session")
def check_minimum(
    linear_problem: Callable[..., LinearProblem], smallest: Callable[..., SearchOutcome]
) -> Callable[[Searcher, Threat, int], None]:
    """Holds a searcher's finds on linear models against the closed form: `check_minimum(searcher, threat, classes)`.

    With two classes there is one boundary and every find is close to it; with more, the nearest boundary of all is
    found for half of the samples or more.
    """

    def check(searcher: Searcher, threat: Threat, classes: int) -> None:
        model, x, y, _ = problem = linear_problem(classes, SHAPES[classes])
        exact = problem.exact(threat)
        found = smallest(searcher, threat, model, x, y)
        check_honest(found, model, x, y, threat)
        assert bool(found.broken.all())
        assert bool((found.size >= exact * (1 - 1e-6)).all())
        excess = found.size / exact - 1
        assert float(excess.max() if classes == 2 else excess.median()) <= 0.05

    return check


def check_honest(found: SearchOutcome, model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> None:
    """What is called broken is misclassified, of the size that is told; what is not is the sample itself."""
    with torch.no_grad():
        predicted = model(found.x).argmax(1)
    assert torch.equal(predicted != y, found.broken)
    assert torch.equal(found.predicted, predicted)
    assert bool(((found.x >= 0) & (found.x <= 1)).all())
    assert torch.equal(found.x[~found.broken], x[~found.broken])
    if not isinstance(threat, L0):
        order = {Linf: math.inf, L2: 2, L1: 1}[type(threat)]  # type: ignore[index]
        size = torch.linalg.vector_norm((found.x.double() - x.double()).flatten(1), ord=order, dim=1)
        torch.testing.assert_close(found.size, size, rtol=1e-9, atol=0)


@pytest.fixture(scope="session")
def check_repeatable(
    linear_problem: Callable[..., LinearProblem], smallest: Callable[..., SearchOutcome]
) -> Callable[..., None]:
    """Holds a searcher to one answer for any batch size: `check_repeatable(searcher, threat, random=False)`."""

    def check(searcher: Searcher, threat: Threat, *, random: bool = False) -> None:
        model, x, y, _ = linear_problem(4, SHAPES[4], n=10)
        first, *others = (smallest(searcher, threat, model, x, y, batch_size=size) for size in (64, 1, 7))
        assert bool(first.broken.any())
        for other in others:
            assert torch.equal(first.broken, other.broken)
            assert torch.equal(first.x, other.x)
        again = smallest(searcher, threat, model, x, y, seed=1)
        assert torch.equal(first.x, again.x) is not random

    return check


@pytest.fixture(scope="session")
def walk() -> Callable[..., list[Tensor]]:
    """Points that a searcher visits: `walk(searcher, threat, model, x, y, steps=3)`, evaluated without the engine."""

    def run(searcher: Any, threat: Threat, model: nn.Module, x: Tensor, y: Tensor, *, steps: int) -> list[Tensor]:
        with torch.no_grad():
            classes = model(x).shape[1]
        problem = Problem(threat, threat.region(x, (0.0, 1.0)), y, classes, (0.0, 1.0))
        state = searcher.init(problem, rng.keys(0, torch.arange(len(x))))
        points = []
        for _ in range(steps):
            z = searcher.ask(problem, state).clamp(0, 1).detach().requires_grad_(True)
            logits = model(z).float()
            (gradient,) = torch.autograd.grad(searcher.objective(problem, state, logits).sum(), z)
            points.append(z.detach())
            state = searcher.tell(problem, state, Evaluation(z.detach(), logits.detach(), gradient))
        return points

    return run


class Numb(nn.Module):
    """Two classes of (N, D) samples near 0.5: the second wins once enough elements moved by more than 0.2.

    Closer to the sample than that there is no gradient at all.
    """

    def forward(self, x: Tensor) -> Tensor:
        moved = ((x - 0.5).abs() - 0.2).clamp(min=0).sum(1)
        return torch.stack([torch.full_like(moved, 0.25), moved], 1)


@pytest.fixture
def numb() -> tuple[nn.Module, Tensor, Tensor]:
    """A model without gradients near its samples, samples (16, 30) and labels; an L2 step of 0.45 breaks each."""
    x = 0.5 + 0.01 * (torch.rand(16, 30, generator=torch.Generator().manual_seed(0)) - 0.5)
    return Numb(), x, torch.zeros(16, dtype=torch.int64)


@pytest.fixture(scope="session")
def check_radius(linear_problem: Callable[..., LinearProblem]) -> Callable[..., None]:
    """Checks `check_radius(attack, threat, multiple, classes, shape)`: no linear model breaks inside its exact radius,
    and every one does at `multiple` times that.
    """

    def check(
        attack: Searcher, threat: Callable[[float], Threat], multiple: float, classes: int, shape: tuple[int, ...]
    ) -> None:
        given = linear_problem(classes, shape)
        exact = given.exact(threat(1.0))
        inside = find_adversarial(given.model, given.x, given.y, threat(float(exact.min()) * 0.99), attack=attack)
        assert not inside.broken.any()
        wide = find_adversarial(given.model, given.x, given.y, threat(float(exact.max()) * multiple), attack=attack)
        assert wide.broken.all()

    return check
