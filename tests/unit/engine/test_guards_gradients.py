"""Guards of the experiments with gradients: each share, floor and ball by cases on both sides of its border."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from robustest import L2, Linf, ModelError, MultiLabel, Patch, Regression, Snr, as_classifier, rng
from robustest.attacks import APGD, EOT, PGD, Cascade, Square, Stage, draws_of
from robustest.engine import gradient_checks
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.gradient_checks import (
    _Listed,
    _Pair,
    _Tangent,
    count_unreached,
    probe_gradient,
    probe_inputs,
    probe_precision,
    probe_survivors,
    two_balls,
    windowed,
)
from robustest.engine.search import SearchOutcome
from robustest.threats import Discrete
from robustest.threats.threat import OfInputs, Rows

CPU = torch.device("cpu")


def evaluator_of(model: Any, **options: Any) -> Evaluator:
    return Evaluator(as_classifier(model), CPU, batch_size=None, **{"suppress": (), "notes": [], **options})


def chunk_of(x: Tensor, y: Tensor | None = None, bounds: tuple[float, float] = (0.0, 1.0)) -> Chunk:
    ids = torch.arange(len(x))
    return Chunk(ids, x, torch.zeros_like(ids) if y is None else y, rng.keys(3, ids), bounds)


def low() -> bool:
    return torch.is_autocast_enabled("cpu")


# Changes that are rounding or noise


class Lines(nn.Module):
    """Two logits whose lead is `slope` times the mean, its gradient off by a factor, beside a large constant."""

    def __init__(self, slope: Tensor, factor: float = 1.0, beside: float = 0.0, noise: Any = None) -> None:
        super().__init__()
        self.slope, self.factor, self.beside, self.noise = slope, factor, beside, noise

    def forward(self, x: Tensor) -> Tensor:
        wrong = self.factor * x + (1 - self.factor) * x.detach()
        lead = self.slope * wrong.mean(1)
        out = torch.stack([lead + self.beside, torch.full_like(lead, self.beside)], 1)
        return out if self.noise is None else out + self.noise(out)


@pytest.mark.parametrize(("beside", "counted"), [(0.0, True), (30.0, True), (1e4, False)])
def test_changes_that_may_be_rounding_beside_large_logits_promise_nothing(beside: float, counted: bool) -> None:
    """Ways are .03 and more of the width: a lead of slope 1 moves by far more than 3e-4, and by less than .1."""
    x = torch.rand(8, 5, generator=torch.Generator().manual_seed(0))
    evaluator = evaluator_of(Lines(torch.ones(()), factor=-1.0, beside=beside))
    assert probe_gradient(evaluator, chunk_of(x)) is counted
    failed, tried = evaluator.health.counts("gradient_misleads")
    assert (tried > 20) is counted
    assert failed >= 0.8 * tried


def test_flat_samples_promise_nothing() -> None:
    """Three of eight samples do not move at all, along no way."""
    slope = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0])

    def model(x: Tensor) -> Tensor:
        lead = 5 + slope.repeat(len(x) // 8) * x.mean(1)
        return torch.stack([lead, 0 * lead], 1)

    evaluator = evaluator_of(model)
    x = torch.rand(8, 5, generator=torch.Generator().manual_seed(0))
    assert not probe_gradient(evaluator, chunk_of(x), searched=False)
    assert evaluator.health.counts("gradient_misleads") == (0, 3 * 5)
    assert evaluator.health.counts("zero_gradient") == (3, 8)


@pytest.mark.parametrize("factor", [1.0, -1.0])
def test_a_model_that_draws_from_the_seeded_generators_draws_the_same_all_along(factor: float) -> None:
    model = Lines(torch.tensor(9.0), factor, noise=lambda out: 50 * torch.randn(out.shape))
    evaluator = evaluator_of(model, suppress=("random_forward",))
    x = torch.rand(8, 5, generator=torch.Generator().manual_seed(0))
    assert probe_gradient(evaluator, chunk_of(x), draws=3) is (factor < 0)
    failed, tried = evaluator.health.counts("gradient_misleads")
    assert tried > 16
    assert (failed == 0) is (factor > 0)


def test_a_model_that_draws_elsewhere_is_not_accused_of_its_noise() -> None:
    own = torch.Generator().manual_seed(0)
    model = Lines(torch.tensor(1.0), noise=lambda out: 3 * torch.randn(out.shape, generator=own))
    tried = 0
    for seed in range(4):
        evaluator = evaluator_of(model, suppress=("random_forward",))
        x = torch.rand(8, 5, generator=torch.Generator().manual_seed(seed))
        assert not probe_gradient(evaluator, chunk_of(x))
        tried += evaluator.health.counts("gradient_misleads")[1]
    assert tried <= 4, "four times the largest difference of two answers covers the changes"


def test_a_probe_takes_the_averaged_passes_that_it_is_given() -> None:
    calls: list[int] = []

    def model(x: Tensor) -> Tensor:
        calls.append(len(x))
        return torch.stack([x.mean(1) * 3, 1 - x.mean(1)], 1)

    x = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    evaluator = evaluator_of(model)
    probe_gradient(evaluator, chunk_of(x), draws=2)
    # The start; of each of three ways both points, and the end.
    assert sum(calls) == 2 * 3 * (1 + 3 * 2 + 3)
    assert evaluator.probed
    calls.clear()
    probe_gradient(evaluator_of(model, suppress=("random_forward",)), chunk_of(x), draws=2)
    assert calls == [3] * (4 + 3 * 6), "a model that draws answers point by point"


class Several(nn.Module):
    """Numbers that are curved functions of the input; the gradient of each is off by a factor of its own."""

    def __init__(self, factors: list[float]) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(5)
        self.weight = torch.randn(6, len(factors), generator=draw)
        self.factors = torch.tensor(factors)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.tanh(x @ self.weight) + x @ self.weight
        return self.factors * out + (1 - self.factors) * out.detach()


@pytest.mark.parametrize("factors", [[1.0] * 5, [0.0] * 3 + [1.0] * 2, [1.0] * 2 + [3.0] * 3, [0.0] * 5], ids=str)
def test_numbers_are_asked_along_a_window_of_the_slope_of_their_loss(factors: list[float]) -> None:
    """As for classes (`test_gradient_checks`), with a linear form of a window of the outputs for a lead."""
    model, task = Several(factors), Regression(0.5)
    draw = torch.Generator().manual_seed(1)
    x, y = torch.rand(8, 6, generator=draw), 3 * torch.randn(8, 5, generator=draw)
    evaluator, chunk = evaluator_of(model, task=task), chunk_of(x, y)
    misleads = probe_gradient(evaluator, chunk, searched=False)
    tangent = _Tangent(task)
    weights = windowed(tangent.reference(model(x), y), chunk.key)

    def slope(points: Tensor) -> Tensor:
        leaf = points.clone().requires_grad_(True)
        value = (model(leaf) * weights).sum()
        return torch.autograd.grad(value, leaf)[0] if value.requires_grad else torch.zeros_like(leaf)

    start = (model(x) * weights).double().sum(1)
    floor = 1e-5 * (model(x) * weights).abs().sum(1).double()
    signs = -slope(x).sign()
    still = (slope(x) == 0).all(1)
    signs[still] = rng.signs(rng.fold(chunk.key, "path"), (6,))[still]
    wrong = tried = 0
    for aim in (0.03 * float(x.max() - x.min()) * signs, 0.1 * (x.roll(1, 0) - x), 0.1 * (x.roll(2, 0) - x)):
        step = (x + aim).clamp(0, 1) - x
        predicted = sum(
            (slope(x + (0.5 + sign * 3**-0.5 / 2) * step).double() * step.double()).sum(1) / 2 for sign in (-1, 1)
        )
        change = (model(x + step) * weights).double().sum(1) - start
        larger = torch.maximum(torch.as_tensor(predicted).abs(), change.abs())
        counted = larger > floor
        off = (change - predicted).abs() > 0.5 * larger + 0.1 * larger.median()
        tried, wrong = tried + int(counted.sum()), wrong + int((counted & off).sum())
    assert evaluator.health.counts("gradient_misleads") == (wrong, tried)
    assert evaluator.health.counts("zero_gradient") == (int(still.sum()), 8)
    assert misleads is (factors != [1.0] * 5)


# Leads


def test_a_lead_is_that_of_the_two_likeliest_classes() -> None:
    scores = torch.tensor([[1.0, 5.0, 2.0], [0.0, -1.0, -4.0]])
    pair = _Pair().reference(scores, torch.zeros(2))
    assert pair.tolist() == [[1, 2], [0, 1]]
    assert _Pair().value(scores, pair).tolist() == [3.0, 1.0]
    assert _Pair().value(scores + 0.1 * torch.eye(3)[:2], pair).tolist() == pytest.approx([3.0, 0.9])
    eps = {torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}
    for kind, unit in ((None, 1e-5), *((kind, 2 * one) for kind, one in eps.items())):
        rounded = scores * 1.1 if kind is None else (scores * 1.1).to(kind).float()
        largest = rounded.abs().amax(1)
        assert _Pair().resolution(rounded, pair).tolist() == pytest.approx((unit * largest).tolist())


def test_a_lead_of_shares_is_one_of_logarithms_and_as_fine_as_the_smaller_share() -> None:
    shares = torch.tensor([[0.25, 0.75], [1.0 - 1e-6, 1e-6], [1.0, 0.0]])
    pair = _Pair().reference(shares, torch.zeros(3))
    assert _Pair().value(shares, pair)[:2].tolist() == pytest.approx([math.log(3), math.log((1 - 1e-6) / 1e-6)])
    assert float(_Pair().value(shares, pair)[2]) == pytest.approx(-math.log(1e-30))
    eps = 2.0**-23
    expected = [1e-5 + 4 * eps / one for one in (0.25, 1e-6, 1e-30)]
    assert _Pair().resolution(shares, pair).tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["numbers", "labels"])
def test_a_tangent_is_the_slope_of_the_loss_of_other_tasks(kind: str) -> None:
    draw = torch.Generator().manual_seed(0)
    task: Any = Regression(0.5) if kind == "numbers" else MultiLabel()
    outputs, y = torch.randn(4, 5, generator=draw), torch.randn(4, 5, generator=draw)
    y = y if kind == "numbers" else (y > 0).float()
    lead = _Tangent(task)
    weights = lead.reference(outputs, y)
    loss = task.losses["margin"]
    flat = outputs.double().flatten(1)
    for place in range(flat.shape[1]):
        step = torch.zeros_like(flat)
        step[:, place] = 1e-4
        change = loss((flat + step).view(outputs.shape), y) - loss((flat - step).view(outputs.shape), y)
        assert weights.flatten(1)[:, place].tolist() == pytest.approx((-change / 2e-4).tolist(), abs=1e-3)
    assert bool((weights != 0).any())
    terms = (outputs * weights).flatten(1)
    assert torch.allclose(lead.value(outputs, weights), terms.sum(1))
    assert lead.resolution(outputs, weights).tolist() == pytest.approx((1e-5 * terms.abs().sum(1)).tolist(), rel=1e-5)


def test_lists_are_led_by_their_own_loss() -> None:
    """Outputs in no fixed order: 1,000 numbers of which the loss is a sum of squares."""

    def log_odds(outputs: Tensor, y: Tensor) -> Tensor:
        return (outputs - y).square().sum(1)

    lead, y = _Listed(cast("Any", SimpleNamespace(losses={"log_odds": log_odds}))), torch.tensor([[1.1], [0.3]])
    outputs = torch.tensor([[0.2, 0.7], [0.1, -0.9]])
    assert lead.reference(outputs, y) is y
    assert lead.value(outputs, y).tolist() == pytest.approx([-0.97, -1.48])
    assert lead.resolution(outputs, y).tolist() == pytest.approx([0.97e-5, 1.48e-5])
    assert lead.resolution(outputs, y).dtype == torch.float64


# Gradients in bfloat16


def aligned(full: list[float], reduced: list[float], n: int = 1) -> bool:
    """The probe of n samples whose gradients are these, and no others."""

    def model(x: Tensor) -> Tensor:
        score = (x * torch.tensor(reduced if low() else full)).sum(1)
        return torch.stack([score, 0 * score], 1)

    return probe_precision(evaluator_of(model), chunk_of(torch.full((n, len(full)), 0.5)))


ONES = [1.0] * 20


@pytest.mark.parametrize(
    ("full", "reduced", "agree"),
    [
        (ONES, ONES, True),
        (ONES, [-1.0, *ONES[1:]], True),  # .9 of the rise
        (ONES, [-1.0] * 3 + ONES[3:], False),  # .7
        ([8.0] + [0.5] * 10, [8.0] + [-0.5] * 10, False),  # by length .94, by signs (8 - 5) / 13
        ([6.0] + [0.05] * 10, [6.0] + [-0.05] * 10, True),  # by signs .85
        (ONES, [30.0, *ONES[1:]], False),  # by signs 1, by length 49 / (20 ** .5 * 30.3)
        (ONES, [2.0, *ONES[1:]], True),
        (ONES, [0.0] * 20, False),
        ([0.0] * 20, ONES, True),
        ([0.0] * 20, [0.0] * 20, True),
        (ONES, [math.nan, *ONES[1:]], False),
    ],
)
def test_gradients_in_bfloat16_have_to_rise_by_four_fifths(
    full: list[float], reduced: list[float], agree: bool
) -> None:
    assert aligned(full, reduced) is agree
    assert aligned(full, reduced, n=3) is agree


def test_a_model_that_fails_in_bfloat16_does_not_agree() -> None:
    def model(x: Tensor) -> Tensor:
        if low():
            raise TypeError("no bfloat16")
        return torch.stack([x.sum(1), x.mean(1)], 1)

    evaluator = evaluator_of(model)
    assert not probe_precision(evaluator, chunk_of(torch.rand(3, 4)))
    assert not evaluator.reduced


@pytest.mark.parametrize(("rows", "n", "probed"), [(8, 20, 8), (3, 20, 3), (8, 5, 5)])
def test_the_first_few_samples_are_probed(rows: int, n: int, probed: int) -> None:
    calls: list[int] = []

    def model(x: Tensor) -> Tensor:
        calls.append(len(x))
        return torch.stack([x.sum(1), x.mean(1)], 1)

    evaluator = evaluator_of(model)
    evaluator.probe_rows = rows
    assert probe_precision(evaluator, chunk_of(torch.rand(n, 4)))
    assert calls == [probed, probed]


@pytest.mark.parametrize(("error", "counted"), [(0.2, 0), (0.24, 0), (0.26, 4), (0.8, 4)])
def test_answers_of_other_tasks_differ_below_three_quarters(error: float, counted: int) -> None:
    """In bfloat16 numbers are off by so much of the error at which nothing is left of their score."""
    evaluator = evaluator_of(lambda x: x + error * low(), task=Regression(0.1, scale=1.0))
    chunk = chunk_of(torch.rand(4, 3), torch.ones(4, 3))
    probe_inputs(evaluator, chunk, evaluator.logits(chunk.x), [PGD()], Linf(0.1))
    assert evaluator.health.counts("precision_disagreement") == (counted, 4)


# Parts without a gradient


class ByRow(nn.Module):
    """A linear lead with weights of each row of the batch, of which the last elements pass no gradient."""

    def __init__(self, weight: Tensor, hidden: int) -> None:
        super().__init__()
        self.weight, self.hidden, self.given = weight, hidden, list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        self.given.append(x.detach())
        z = torch.cat([x[:, : -self.hidden], x[:, -self.hidden :].detach()], 1)
        lead = (z * self.weight[: len(x)]).sum(1)
        return torch.stack([lead + 2, 0 * lead], 1)


@pytest.mark.parametrize(
    ("threat", "bounds"), [(Linf(0.1), (0.0, 1.0)), (Linf(9.0), (-1.0, 3.0)), (L2(0.3), (0.0, 1.0))]
)
def test_what_a_part_can_do_is_compared_with_the_rest_as_a_slow_copy_does(
    threat: Any, bounds: tuple[float, float]
) -> None:
    draw, n, size, hidden = torch.Generator().manual_seed(0), 60, 7, 2
    weight = torch.randn(n, size, generator=draw)
    weight[:, -hidden:] *= 10 ** torch.linspace(-2, 0, n)[:, None]
    x = torch.rand(n, size, generator=draw)
    chunk, model = chunk_of(x, bounds=bounds), ByRow(weight, hidden)
    alive = torch.arange(size) < size - hidden
    evaluator = evaluator_of(model)
    count_unreached(evaluator, chunk, threat, alive.expand(n, -1))

    region = threat.region(x, bounds)
    worst = []
    for place, moved in enumerate((~alive, alive)):
        square = torch.zeros(n, dtype=torch.float64)
        for number in range(4):
            key = rng.fold(chunk.key, f"unreached {place} {number}")
            signs, share = rng.signs(key, (size,)), rng.uniform(rng.fold(key, "share"), (size,), 0.5, 1.5)
            low_, high = region["low"].expand(n, size), region["high"].expand(n, size)
            far = torch.where(signs > 0, high + share * (high - low_), low_ - share * (high - low_))
            z = threat.project(torch.where(moved, far, x), region)
            assert torch.allclose(z, model.given[2 + 4 * place + number], atol=1e-6)
            square += (((z - x).double() * weight.double()).sum(1)) ** 2
        worst.append((square / 4).sqrt() * float(moved.sum()) ** 0.5)
    missed = worst[0] >= 0.1 * worst[1]
    clear = ((worst[0] / worst[1] / 0.1).log().abs() > 1e-3).all()
    assert bool(clear), "no sample lies on the border, where the last bit would decide"
    assert 10 < int(missed.sum()) < 50
    assert evaluator.health.counts("unreached_input") == (int(missed.sum()), n)
    assert evaluator.notes[0].startswith(f"{2 / 7:.0%} of the input had no gradient")


def unreached(x: Tensor, model: Any, alive: Tensor, threat: Any = None, **options: Any) -> tuple[Any, list[str]]:
    evaluator = evaluator_of(model, **options)
    count_unreached(evaluator, chunk_of(x), threat or Linf(0.1), alive)
    return evaluator.health.counts("unreached_input"), evaluator.notes


def test_only_elements_that_can_move_are_missed() -> None:
    x = torch.full((5, 4), 0.5)
    alive = torch.tensor([True, True, False, False]).expand(5, -1)
    hidden = ByRow(torch.tensor([1.0, 1.0, 1.0, 0.5]).expand(5, 4), 2)
    assert unreached(x, hidden, alive)[0] == (5, 5)
    assert unreached(x, hidden, alive, Linf(0.0))[0] == (0, 5)
    assert unreached(x, hidden, torch.ones_like(alive))[0] == (0, 5)
    assert unreached(x, hidden, alive, suppress=("random_forward",))[0] == (0, 5), "its own draws move the margin"
    some = alive.clone()
    some[1:3] = True
    assert unreached(x, hidden, some)[0] == (3, 5)


def test_a_part_that_moves_the_lead_by_its_rounding_alone_is_none() -> None:
    """Beside logits of a million a lead moves in steps of 1/16 and more."""
    x = torch.full((5, 4), 0.5)
    alive = torch.tensor([True, True, False, False]).expand(5, -1)

    def model(x: Tensor) -> Tensor:
        lead = 0 * x[:, :2].sum(1) + (x[:, 2:].detach() * torch.tensor([20.0, 7.0])).sum(1)
        return torch.stack([lead + 1e6, 1e6 + 0 * lead], 1)

    assert unreached(x, model, alive)[0] == (0, 5)
    small = lambda x: model(x) - 1e6  # noqa: E731
    assert unreached(x, small, alive)[0] == (5, 5)


def test_the_note_is_made_once_and_tells_the_share() -> None:
    x = torch.full((5, 4), 0.5)
    alive = torch.tensor([True, False, False, False]).expand(5, -1)
    evaluator = evaluator_of(ByRow(torch.ones(5, 4), 3))
    for _ in range(2):
        count_unreached(evaluator, chunk_of(x), Linf(0.1), alive)
    assert [note[:29] for note in evaluator.notes] == ["75% of the input had no gradi"]


@pytest.mark.parametrize("kind", ["places", "numbers", "two", "unread"])
def test_an_output_that_no_objective_follows_may_have_the_gradient(kind: str) -> None:
    """Some output reads each element with a gradient at the sample itself: nothing was hidden."""

    def model(x: Tensor) -> Tensor:
        if kind == "unread":
            return torch.stack([x[:, 0] + 2, x[:, 1]], 1)
        return torch.cat([x[:, :2] + 2, 9 * x[:, 2:], -9 * x[:, 2:]], 1)[:, : 3 if kind == "two" else 6]

    x = torch.full((5, 4), 0.5)
    alive = torch.tensor([True, True, False, False]).expand(5, -1)
    # Of two outputs alone the last element is read by none, and does not matter.
    assert unreached(x, model, alive)[0] == (0, 5)


# Inputs


class Chosen(OfInputs, Discrete):
    """A threat by single moves whose regions hold as many inputs as the first element says."""

    ascent = places = choices = moved = point = start = project = size = None  # type: ignore[assignment]

    radius = 0.0

    def __init__(self, radius: float) -> None:
        self.radius = radius

    def points(self, region: Rows) -> Tensor:
        return region["x"][:, 0].double()

    def stride(self, region: Rows) -> Tensor:
        return torch.ones(len(region["x"]))


@pytest.mark.parametrize(("radius", "counted"), [(0.0, (0, 0)), (0.5, (3, 5)), (2.0, (3, 5))])
def test_samples_without_another_input_are_counted(radius: float, counted: tuple[int, int]) -> None:
    x = torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [1.0, 0.0], [9.0, 9.0]])
    evaluator = evaluator_of(lambda x: x[:, :2])
    for climbing in ([], [PGD(random_start=False)]):
        before = evaluator.health.counts("no_change")
        probe_inputs(evaluator, chunk_of(x, bounds=(-9.0, 9.0)), evaluator.logits(x), climbing, Chosen(radius))
        after = evaluator.health.counts("no_change")
        assert (after[0] - before[0], after[1] - before[1]) == counted
    probe_inputs(evaluator, chunk_of(x[:0], bounds=(-9.0, 9.0)), evaluator.logits(x)[:0], [PGD()], Linf(0.1))
    assert evaluator.health.counts("quantised_input") == (0, 5)


def softmax_of(x: Tensor, lead: float, sharp: bool) -> Tensor:
    out = torch.stack([x[:, 0] * 0 + lead, 0 * x[:, 0], 0 * x[:, 0] - 1], 1)
    return out.softmax(1) if sharp else out


@pytest.mark.parametrize(
    ("lead", "sharp", "loss", "saturated", "unmoved"),
    [
        (5.0, False, "ce", 0, 4),  # does not move, and its softmax has a slope
        (5.0, True, "ce", 0, 4),
        (200.0, False, "ce", 4, 0),
        (200.0, False, "margin", 0, 0),
        (200.0, True, "margin", 4, 0),  # one and zeros, given as logits
        (200.0, True, "ce", 4, 0),
    ],
)
def test_saturated_outputs_and_steps_are_told_apart(
    lead: float, sharp: bool, loss: Any, saturated: int, *, unmoved: int
) -> None:
    evaluator, x = evaluator_of(lambda x: softmax_of(x, lead, sharp)), torch.rand(4, 3)
    probe_inputs(evaluator, chunk_of(x), evaluator.logits(x), [APGD(loss=loss)], Linf(0.1))
    assert evaluator.health.counts("saturated_softmax") == (saturated, 4)
    assert evaluator.health.counts("quantised_input") == (unmoved, 4)


def test_some_rows_are_saturated_and_some_steps() -> None:
    def model(x: Tensor) -> Tensor:
        lead = torch.where(x[:, 0] > 0.5, 300.0, torch.where(x[:, 1] > 0.5, 3.0, 4 * x[:, 2]))
        return torch.stack([lead, torch.zeros_like(lead)], 1)

    x = torch.tensor([[0.9, 0, 0.2], [0, 0.9, 0.2], [0, 0, 0.2], [0.9, 0.9, 0.2], [0, 0.9, 0.2]])
    evaluator = evaluator_of(model)
    probe_inputs(evaluator, chunk_of(x), evaluator.logits(x), [APGD(loss="ce")], Linf(0.1))
    assert evaluator.health.counts("saturated_softmax") == (2, 5)
    assert evaluator.health.counts("quantised_input") == (2, 5)


def test_an_objective_of_another_label_sees_no_slope_in_this_one() -> None:
    """Saturated in the label's logit alone: that of the others does not count."""

    class Others(APGD):
        def objective(self, problem: Any, state: Any, logits: Tensor) -> Tensor:
            return logits[:, 1:].sum(1)

    def counted(*searchers: Any) -> int:
        evaluator, x = evaluator_of(lambda x: softmax_of(x, 200.0, False)), torch.rand(4, 3)
        probe_inputs(evaluator, chunk_of(x), evaluator.logits(x), searchers, Linf(0.1))
        return evaluator.health.counts("saturated_softmax")[0]

    class Constant(APGD):
        def objective(self, problem: Any, state: Any, logits: Tensor) -> Tensor:
            return logits.detach()[:, 0]

    assert counted(Others()) == 4
    assert counted(Constant()) == 4
    assert counted(Others(), APGD(loss="margin")) == 0
    assert counted(Constant(), APGD(loss="margin"), Others()) == 0


# Survivors


def scripted(
    monkeypatch: pytest.MonkeyPatch, threat: Any, broken: list[bool], *, searcher: Any = None, n: int = 5
) -> tuple[list[tuple[Any, Any, int, Tensor]], Evaluator, SearchOutcome]:
    """Searches that break these rows at a size of .25: searcher, ball, number of rows and keys of each."""
    asked: list[tuple[Any, Any, int, Tensor]] = []

    def search(
        evaluator: Any, searcher: Any, ball: Any, x: Tensor, y: Tensor, *, key: Tensor, bounds: Any, probe: bool
    ) -> SearchOutcome:
        assert probe
        asked.append((searcher, ball, len(x), key))
        rows = torch.tensor(broken if len(x) > 3 else broken[3 * (len(asked) - 1) :][: len(x)])
        return SearchOutcome(
            rows, x + 0.25, torch.full((len(x),), 0.25).double(), y + 1, torch.where(rows, -1.0, 1.0)
        )  # fmt: skip

    monkeypatch.setattr(gradient_checks, "search", search)
    evaluator = evaluator_of(lambda x: x.flatten(1)[:, :2])
    x = torch.full((n, 1, 3, 4), 0.5)
    none = torch.zeros(n)
    found = SearchOutcome(
        torch.arange(n) == 1, x.clone(), none.double(), torch.zeros(n, dtype=torch.int64), none + torch.inf
    )
    cascade = Cascade(name="one", stages=(Stage(searcher=searcher or PGD()), Stage(searcher=Square())))
    probe_survivors(evaluator, cascade, threat, chunk_of(x, bounds=(-1.0, 2.0)), found)
    return asked, evaluator, found


@pytest.mark.parametrize("threat", [Linf(0.5), L2(0.5)], ids=str)
def test_a_norm_ball_is_searched_beside_one_that_holds_all_inputs(threat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows 0, 2 and 3 are the survivors; without a bound two break, at half the radius another one."""
    ((_, ball, rows, keys),), evaluator, found = scripted(
        monkeypatch, threat, [True, True, False, False, False, True]
    )  # fmt: skip
    assert rows == 6
    span = 3.0 if isinstance(threat, Linf) else 3.0 * 12**0.5
    assert ball == two_balls(type(threat)(span), type(threat)(0.25))
    assert len(set(keys.tolist())) == 6
    assert evaluator.health.counts("unbounded_attack_fails") == (1, 3)
    assert evaluator.health.counts("not_monotone") == (1, 3)
    assert found.broken.tolist() == [False, True, False, True, False]
    size = threat.size(found.x[3:4], threat.region(torch.full((1, 1, 3, 4), 0.5), (-1.0, 2.0)))
    assert found.size.tolist() == pytest.approx([0, 0, 0, float(size), 0])
    assert found.predicted.tolist() == [0, 0, 0, 1, 0]


def test_a_ball_by_the_samples_energy_is_halved_in_amplitude(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, evaluator, found = scripted(monkeypatch, Snr(20.0), [True, False, False, False, True, True])
    (_, wide, first, keys), (_, narrow, second, others) = asked
    assert (first, second) == (3, 3)
    assert wide == L2(3.0 * 12**0.5)
    assert isinstance(narrow, Snr)
    assert narrow.db == pytest.approx(26.0206)
    assert len({*keys.tolist(), *others.tolist()}) == 6
    assert evaluator.health.counts("unbounded_attack_fails") == (2, 3)
    assert evaluator.health.counts("not_monotone") == (2, 3)
    assert found.broken.tolist() == [False, True, True, True, False]


class Other(Linf):
    """A ball of one's own."""


def test_a_subclass_has_two_searches_and_any_other_threat_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, evaluator, _ = scripted(monkeypatch, Other(0.5), [True] * 3 + [False] * 3)
    assert [(ball, rows) for _, ball, rows, _ in asked] == [(Linf(3.0), 3), (Other(0.25), 3)]
    assert evaluator.health.counts("not_monotone") == (0, 3)
    asked, evaluator, found = scripted(monkeypatch, Patch(1, 1), [True, False, True], searcher=PGD())
    assert [(ball, rows) for _, ball, rows, _ in asked] == [(Linf(3.0), 3)][: len(asked)]
    assert evaluator.health.counts("not_monotone") == (0, 0)
    assert found.broken.tolist() == [False, True, False, False, False]
    if asked:
        assert evaluator.health.counts("unbounded_attack_fails") == (1, 3)


def test_a_claim_over_draws_is_probed_over_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, _, _ = scripted(monkeypatch, Linf(0.5), [True] * 6)
    assert not isinstance(asked[0][0], EOT)
    asked, _, _ = scripted(monkeypatch, Linf(0.5), [True] * 6, searcher=EOT(PGD(), draws=7))
    assert isinstance(asked[0][0], EOT)
    assert draws_of(asked[0][0]) == 7


def test_what_is_not_finite_in_a_probe_is_an_error() -> None:
    def model(x: Tensor) -> Tensor:
        return torch.stack([x.sum(1), x.mean(1)], 1) / (x.amax(1, keepdim=True) < 0.9)

    evaluator = evaluator_of(model)
    with pytest.raises(ModelError):
        probe_gradient(evaluator, chunk_of(torch.full((2, 3), 0.95)))
