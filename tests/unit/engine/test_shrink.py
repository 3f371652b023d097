"""Smaller counterexamples: near the closed form, fewer pixels, still broken, still inside."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustest import (
    L0,
    L1,
    L2,
    ClaimFailed,
    Linf,
    Patch,
    Result,
    Settings,
    Spatial,
    Verdict,
    assert_robust_accuracy,
    labels_model,
    rng,
    scores_model,
)
from robustest.context import Context, running
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import BACKWARD, Evaluator
from robustest.engine.shrink import Budget, Shrunk, pixels_changed, shrink, shrinks
from robustest.measure import measure_min_perturbation, measure_robust_accuracy
from robustest.models import as_classifier
from robustest.run import replay

Toys = Callable[..., Any]

WIDE = (-1000.0, 1000.0)
"""Bounds so far away that clipping to them plays no part."""
CPU = torch.device("cpu")
DUAL = {Linf: 1, L2: 2, L1: math.inf}
SHAPES = [(3, 4, 4), (1, 6, 6), (20,), (2, 9)]
"""Images of three channels and of one, tabular samples, and two channels of sequences."""


def small(toy: Any, threat: Any, broken: Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> Shrunk:
    ids = torch.arange(len(toy.x))
    part = Chunk(ids, toy.x, toy.y, rng.keys(0, ids), bounds)
    evaluator = Evaluator(as_classifier(toy.model, bounds=bounds), CPU, batch_size=None, suppress=(), notes=[])
    evaluator.logits(part.x)
    return shrink(evaluator, threat, part, broken)


def slopes(toy: Any) -> tuple[Tensor, Tensor]:
    """By how much the label is ahead of each other class (N, K), and the gradient of that (N, K, D)."""
    with torch.no_grad():
        logits = toy.model(toy.x).double()
    weight = toy.model.weight.detach()
    return logits.gather(1, toy.y.unsqueeze(1)) - logits, weight[toy.y].unsqueeze(1) - weight.unsqueeze(0)


def nearest(toy: Any, ball: Any) -> Tensor:
    """(N,) float64: the smallest perturbation of a linear model, where no bounds are in the way; the closed form."""
    gap, slope = slopes(toy)
    distance = gap / torch.linalg.vector_norm(slope, ord=DUAL[ball], dim=2)
    return distance.scatter(1, toy.y.unsqueeze(1), torch.inf).amin(1)


def beyond(toy: Any, times: float) -> Tensor:
    """(N, *S) inputs that go far beyond the border to the next class but the nearest, all elements alike."""
    gap, slope = slopes(toy)
    other = (toy.y + 1) % gap.shape[1]
    rows = torch.arange(len(toy.y))
    way = -slope[rows, other].sign()
    step = times * gap[rows, other] / slope[rows, other].abs().sum(1)
    return toy.x + (way * step.unsqueeze(1)).view_as(toy.x).float()


def still_broken(toy: Any, found: Shrunk) -> bool:
    with torch.no_grad():
        again = toy.model(found.x).argmax(1)
    return bool((again != toy.y).all() and (again == found.predicted).all())


@pytest.mark.thinned
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("ball", list(DUAL))
def test_on_linear_models_they_are_as_small_as_can_be(
    ball: Any, classes: int, shape: tuple[int, ...], toys: Toys
) -> None:
    """Of more classes than two a search may settle on one that is not the nearest, now and then."""
    toy = toys(12, classes=classes, shape=shape)
    least = nearest(toy, ball)
    broken = beyond(toy, 3.0)
    found = small(toy, ball(1000.0), broken, WIDE)
    assert still_broken(toy, found)
    assert bool((found.size >= least * (1 - 1e-6)).all())
    assert float((found.size / least).median()) <= 1.01
    if classes == 2:
        assert bool((found.size <= 1.10 * least).all())


@pytest.mark.thinned
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("classes", "shape"), [(3, (1, 6, 6)), (3, (20,)), (10, (20,))], ids=str)
@pytest.mark.parametrize("ball", list(DUAL))
def test_they_are_as_small_as_what_a_search_for_the_smallest_finds(
    ball: Any, classes: int, shape: tuple[int, ...], seed: int, toys: Toys
) -> None:
    """Inside [0, 1], where the bounds are in the way of some samples and there is no closed form."""
    toy = toys(12, classes=classes, shape=shape, seed=seed)
    result = measure_min_perturbation(toy.model, (toy.x, toy.y), ball, examples=12)
    smallest = torch.tensor([c.size for c in sorted(result.counterexamples, key=lambda c: c.index)])
    found = small(toy, ball(36.0), torch.where(beyond(toy, 1.0) > toy.x, 1.0, 0.0))
    assert bool((found.size <= 1.10 * smallest).all())


@pytest.mark.thinned
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("threat", [Linf(1.0), L2(20.0), L1(60.0), L0(100)], ids=str)
def test_they_are_broken_and_inside_and_what_is_said_of_them_is_so(
    threat: Any, shape: tuple[int, ...], toys: Toys
) -> None:
    toy = toys(20, shape=shape)
    broken = torch.where(beyond(toy, 1.0) > toy.x, 1.0, 0.0)
    found = small(toy, threat, broken)
    region = threat.region(toy.x, (0.0, 1.0))
    assert still_broken(toy, found)
    assert float(found.x.min()) >= 0
    assert float(found.x.max()) <= 1
    assert torch.equal(found.size, threat.size(found.x, region))
    assert bool((found.size <= threat.radius * (1 + 1e-6)).all())
    assert bool((found.size <= threat.size(broken, region)).all())
    changed = (found.x != toy.x).flatten(2).any(1) if len(shape) > 1 else found.x != toy.x
    assert torch.equal(found.pixels, changed.sum(1))
    assert bool((found.pixels <= pixels_changed(toy.x, broken)).all())
    assert bool((found.pixels >= 1).all())


@given(st.integers(0, 10**6), st.sampled_from([Linf, L2, L1]), st.floats(1.01, 50))
@settings(max_examples=6)
def test_the_threat_is_kept_however_narrow_it_is(toys: Toys, seed: int, ball: Any, room: float) -> None:
    """Counterexamples at the very border of the threat, found by others, stay inside it or get smaller."""
    toy = toys(4, shape=(20,), seed=seed)
    broken = beyond(toy, 1.0 + 1e-3)
    threat = ball(room * float(ball(1000.0).size(broken, ball(1.0).region(toy.x, WIDE)).max()))
    found = small(toy, threat, broken, WIDE)
    assert still_broken(toy, found)
    assert bool((found.size <= threat.radius * (1 + 1e-6)).all())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_of_pixels_that_matter_little_none_is_left(shape: tuple[int, ...], toys: Toys, linear: Any) -> None:
    """A model that looks at four elements: all others are put back, whatever a counterexample did to them."""
    size = math.prod(shape)
    weight = torch.zeros(2, size)
    weight[0, :4], weight[1, :4] = 1.0, -1.0
    x = torch.full((5, *shape), 0.6)
    toy = toys(5, shape=shape)._replace(model=linear(weight, torch.tensor([-4.0, 0.0])), x=x, y=torch.zeros(5).long())
    generator = torch.Generator().manual_seed(0)
    broken = (x + 0.05 * torch.rand(x.shape, generator=generator)).flatten(1)
    broken[:, :4] = 0.2
    for threat in (L2(20.0), L1(60.0), L0(size)):
        found = small(toy, threat, broken.view_as(x))
        assert still_broken(toy, found)
        assert int(found.pixels.max()) <= 4


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_under_l0_as_few_pixels_are_left_as_the_largest_changes_need(shape: tuple[int, ...], toys: Toys) -> None:
    """Between two classes every change of this counterexample helps: so many of the largest as are needed, no more."""
    toy = toys(20, classes=2, shape=shape)
    broken = torch.where(beyond(toy, 1.0) > toy.x, 1.0, 0.0)
    found = small(toy, L0(100), broken)
    assert still_broken(toy, found)
    change = (broken - toy.x).abs()
    weight = change.flatten(2).sum(1) if len(shape) > 1 else change
    order = weight.argsort(dim=1, descending=True, stable=True)
    for row in range(20):
        fewest = None
        for count in range(order.shape[1] + 1):
            kept = torch.zeros(order.shape[1], dtype=torch.bool)
            kept[order[row, :count]] = True
            mask = kept.view(1, *shape[1:]) if len(shape) > 1 else kept
            point = torch.where(mask, broken[row], toy.x[row])
            if int(toy.model(point.unsqueeze(0)).argmax(1)) != int(toy.y[row]):
                fewest = count
                break
        assert fewest is not None
        assert int(found.size[row]) == int(found.pixels[row]) <= fewest


class Bent(nn.Module):
    """Wrong in a thin shell, right again beyond it, and wrong far out: halving the way there meets both."""

    def forward(self, x: Tensor) -> Tensor:
        distance = x.flatten(1).norm(dim=1)
        wrong = ((distance > 1.0) & (distance < 1.2)) | (distance > 3.0)
        return torch.stack([1.0 - 2.0 * wrong, 2.0 * wrong - 1.0], 1) + 0 * x.flatten(1).sum(1, keepdim=True)


def test_where_breaking_is_not_monotone_what_is_returned_breaks_all_the_same(toys: Toys) -> None:
    toy = toys(8, shape=(6,))._replace(model=Bent(), x=torch.zeros(8, 6), y=torch.zeros(8).long())
    broken = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    broken = 4 * broken / broken.norm(dim=1, keepdim=True)
    found = small(toy, L2(5.0), broken, WIDE)
    assert still_broken(toy, found)
    assert bool((found.size <= 3.0 + 4 / 2**10).all())  # halved a dozen times


class Fickle(nn.Module):
    """Wrong far out; nearer by, wrong only where it is asked for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bytes] = set()

    def forward(self, x: Tensor) -> Tensor:
        wrong = []
        for one in x.detach():
            known = one.numpy().tobytes() in self.seen
            self.seen.add(one.numpy().tobytes())
            wrong.append(float(one.norm() > 3.5 or (one.norm() > 1 and not known)))
        return torch.stack([1 - 2 * torch.tensor(wrong), 2 * torch.tensor(wrong) - 1], 1) + 0 * x.sum(1, keepdim=True)


def test_what_does_not_break_when_it_is_asked_again_is_given_up_for_what_does(toys: Toys) -> None:
    toy = toys(4, shape=(6,))._replace(model=Fickle(), x=torch.zeros(4, 6), y=torch.zeros(4).long())
    broken = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    broken = 4 * broken / broken.norm(dim=1, keepdim=True)
    found = small(toy, L2(5.0), broken, WIDE)
    assert still_broken(toy, found)
    torch.testing.assert_close(found.x, broken)


def test_which_threats_it_is_for() -> None:
    assert all(map(shrinks, (L0(1), L1(1.0), L2(1.0), Linf(1.0))))
    assert not shrinks(Patch(height=2, width=2))
    assert not shrinks(Spatial(rotation=10.0))


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 5)], ids=str)
def test_pixels_are_places_with_all_their_channels_and_elements_in_tables(shape: tuple[int, ...]) -> None:
    before = torch.zeros(shape)
    after = before.clone()
    after[0, ..., -1] = 0.5
    after[1, 0] = 0.5 if len(shape) > 2 else 0.0  # one channel, or the first number
    assert pixels_changed(before, after).tolist() == ([4, 16] if len(shape) > 2 else [1, 0])


@pytest.mark.parametrize("kind", ["scores", "labels"])
@pytest.mark.parametrize("threat", [Linf(0.5), L2(4.0)], ids=str)
def test_models_without_gradients_have_their_counterexamples_made_smaller_too(
    kind: str, threat: Any, toys: Toys
) -> None:
    toy = toys(10)

    def scores(x: Any) -> Any:
        with torch.no_grad():
            return toy.model(torch.from_numpy(x)).numpy()

    model = scores_model(scores) if kind == "scores" else labels_model(lambda x: scores(x).argmax(1), classes=3)
    result = measure_robust_accuracy(model, (toy.x, toy.y), threat, at_least=1.0, attack="fast")
    assert result.verdict is Verdict.FAILED
    assert result.counterexamples
    assert all(0 < worst.size <= threat.radius * (1 + 1e-6) and worst.pixels for worst in result.counterexamples)
    assert min(worst.size for worst in result.counterexamples) < 0.9 * threat.radius


def test_a_budget_of_queries_is_not_overdrawn_to_make_them_smaller(toys: Toys) -> None:
    toy, asked = toys(1), [0]

    def scores(x: Any) -> Any:
        asked[0] += len(x)
        with torch.no_grad():
            return toy.model(torch.from_numpy(x)).numpy()

    model = scores_model(scores, max_queries=200)
    result = measure_robust_accuracy(model, (toy.x, toy.y), Linf(0.5), at_least=1.0, attack="fast")
    assert result.verdict is Verdict.FAILED
    assert asked[0] <= 200


@pytest.mark.parametrize("threat", [Linf(0.3), L2(3.0), L1(10.0), L0(30)], ids=str)
def test_a_failing_claim_shows_counterexamples_that_were_made_smaller(threat: Any, toys: Toys) -> None:
    toy = toys(60)
    failed = measure_robust_accuracy(toy.model, (toy.x, toy.y), threat, at_least=0.9, seed=1, shrink_budget=50)
    assert failed.verdict is Verdict.FAILED
    assert len(failed.counterexamples) == 3
    for worst in failed.counterexamples:
        assert 0 < worst.size <= threat.radius * (1 + 1e-6)
        assert worst.pixels is not None
        assert 1 <= worst.pixels <= 36
        if type(threat) in DUAL:
            one = toy._replace(x=toy.x[worst.index : worst.index + 1], y=toy.y[worst.index : worst.index + 1])
            assert worst.size >= float(nearest(one, type(threat))) * (1 - 1e-6)
            smallest = measure_min_perturbation(one.model, (one.x, one.y), type(threat))
            assert worst.size <= 1.10 * smallest.estimate


@pytest.mark.parametrize("threat", [Linf(3.0), L2(9.0), L1(30.0), L0(30)], ids=str)
@settings(max_examples=12, deadline=None)
@given(calls=st.integers(0, 400), rows=st.integers(0, 2000))
def test_within_any_budget_they_break_and_are_no_larger(threat: Any, calls: int, rows: int) -> None:
    draw = torch.Generator().manual_seed(0)
    x, model = torch.rand(3, 1, 4, 4, generator=draw), nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    for weight in model.parameters():
        weight.data = torch.randn(weight.shape, generator=draw)
    with torch.no_grad():
        y = model(x).argmax(1)
        far = torch.rand(200, 3, 1, 4, 4, generator=draw)
        broken = torch.stack([f[model(f).argmax(1) != label][0] for f, label in zip(far.unbind(1), y, strict=True)])
    evaluator = Evaluator(as_classifier(model), CPU, batch_size=None, suppress=(), notes=[])
    evaluator.logits(x)
    before = evaluator.calls, evaluator.forward + BACKWARD * evaluator.backward
    part = Chunk(torch.arange(3), x, y, rng.keys(0, torch.arange(3)), (0.0, 1.0))
    budget = Budget(evaluator, calls=calls, rows=rows)
    found = shrink(evaluator, threat, part, broken, budget)
    after = evaluator.calls, evaluator.forward + BACKWARD * evaluator.backward
    assert after[0] - before[0] <= calls
    assert after[1] - before[1] <= rows
    few = len(found.x)
    region = threat.region(x[:few], (0.0, 1.0))
    assert bool((found.size <= threat.size(broken[:few], region) * (1 + 1e-6)).all())
    with torch.no_grad():
        assert bool((model(found.x).argmax(1) != y[:few]).all())
    if few < 3:
        assert budget.spent
    if not budget.spent:  # as without a budget
        torch.testing.assert_close(found.x, shrink(evaluator, threat, part, broken).x, rtol=0, atol=0)


class Counted(nn.Module):
    """A linear model that counts its passes, and the rows in them."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.calls, self.rows = inner, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls, self.rows = self.calls + 1, self.rows + len(x)
        logits: Tensor = self.inner(x)
        return logits


@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.2), L1(0.6), L0(3)], ids=str)
def test_a_red_claim_costs_at_most_half_more_than_its_verdict(threat: Any, toys: Toys) -> None:
    toy, passes = toys(60), []
    for share in (0.0, 0.5):
        model = Counted(toy.model)
        how: dict[str, Any] = {"at_least": 0.99, "seed": 1, "shrink_budget": share}
        result = measure_robust_accuracy(model, (toy.x, toy.y), threat, **how)
        assert result.verdict is Verdict.FAILED
        passes.append((model.calls, model.rows))
        assert any("not yet the smallest: budget spent" in note for note in result.words.notes)
    assert passes[0][0] < passes[1][0] <= 1.5 * passes[0][0]
    assert passes[0][1] < passes[1][1] <= 1.5 * passes[0][1]
    whole = measure_robust_accuracy(model, (toy.x, toy.y), threat, **{**how, "shrink_budget": 50})
    assert not any("not yet the smallest" in note for note in whole.words.notes)


def test_a_recalled_claim_shows_the_same_counterexamples(toys: Toys, tmp_path: Path) -> None:
    toy = toys(60)
    stored = Settings(store=str(tmp_path), recheck=0.0)
    seen = []
    for options in (Settings(), stored, stored, replace(stored, shrink_budget=0.6)):
        with running(Context(settings=options, test="test_a.py::test_recalled")):
            result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05), at_least=0.99, seed=1)
        seen.append(
            (
                result.counterexamples,
                replace(result.cost, seconds=0.0),
                result.words.notes,
                bool(result.evidence.cached),
            )
        )
    fresh, first, again, more = seen
    assert fresh == first
    assert again == (*fresh[:3], True)
    assert not more[3], "with a larger budget they are made smaller anew"
    assert more[1].forward > fresh[1].forward


def test_an_interrupt_leaves_the_verdict_in_the_record_of_the_test(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    toy, claim = toys(60), Context(test="test_a.py::test_interrupted")

    def recorded() -> list[Result]:
        with running(claim), suppress(ClaimFailed):
            assert_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05), at_least=0.99, seed=1)
        return claim.results

    def interrupted(*_: Any) -> Shrunk:
        [announced] = claim.results
        assert announced.verdict is Verdict.FAILED
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(replay, "shrink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            recorded()
    [large] = claim.results
    claim.forget()
    [small] = recorded()
    assert large.verdict is small.verdict is Verdict.FAILED
    assert (large.estimate, large.interval, large.outcomes) == (small.estimate, small.interval, small.outcomes)
    assert [one.index for one in large.counterexamples] == [one.index for one in small.counterexamples]
    assert all(a.size > b.size for a, b in zip(large.counterexamples, small.counterexamples, strict=True))


def test_a_claim_that_passes_makes_nothing_smaller(toys: Toys) -> None:
    toy = toys(60)
    options: dict[str, Any] = {"attack": "fgsm", "exact": True}
    passed = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05), at_least=0.01, **options)
    failed = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05), at_least=1.0, **options)
    assert all(worst.pixels is None for worst in passed.counterexamples)
    assert passed.cost.forward < failed.cost.forward
    assert failed.outcomes == passed.outcomes
