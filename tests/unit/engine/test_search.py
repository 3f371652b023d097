"""Attacks propose, the engine judges: no searcher breaks a sample by what it claims.

Searchers here are variants of our own, so that they stay searchers whatever the protocol comes to ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L2, Linf, RobustestError, find_adversarial
from robustest.attacks import FGSM, PGD, RandomDraws
from robustest.engine import search as searches
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import InFlight, bucket, search
from robustest.measure import measure_min_perturbation, measure_robust_accuracy
from robustest.models.classifier import as_classifier

THREATS = [Linf(0.001), L2(0.001)]


class FarAway(PGD):
    """Proposes points far outside of ball and bounds."""

    def ask(self, problem: Any, state: Any) -> Tensor:
        return state["z"] + 1000 * torch.sign(torch.ones_like(state["z"]).cumsum(-1) - 2.5)


class Mover(PGD):
    """Moves the centre of the ball, as a careless in-place step does."""

    def tell(self, problem: Any, state: Any, seen: Any) -> Any:
        problem.region["x"].add_(0.3 * problem.threat.ascent(seen.gradient))
        problem.region["x"].clamp_(0, 1)
        return {**PGD.tell(self, problem, state, seen), "z": problem.region["x"].clone()}


class Widener(PGD):
    """Makes the box and the ball wider than they are."""

    def init(self, problem: Any, key: Tensor) -> Any:
        for name, value in problem.region.items():
            if name != "x":
                value.copy_(torch.zeros_like(value) if name == "low" else torch.ones_like(value))
        return PGD.init(self, problem, key)

    def tell(self, problem: Any, state: Any, seen: Any) -> Any:
        return {**PGD.tell(self, problem, state, seen), "z": (seen.z + 100 * seen.gradient.sign()).clamp(0, 1)}


class Relabeller(PGD):
    """Says that the labels are others, so that right predictions look like wrong ones."""

    def init(self, problem: Any, key: Tensor) -> Any:
        problem.y.add_(1).remainder_(problem.classes)
        return PGD.init(self, problem, key)


LIARS = [FarAway, Mover, Widener, Relabeller]


def certain(toy: Any, threat: Any) -> Tensor:
    """(N,) whether no point of the ball is misclassified: linear margins against the dual norm."""
    weight, bias = toy.model.weight.detach(), toy.model.bias.detach()
    logits = toy.x.flatten(1).double() @ weight.T + bias
    held = torch.ones(len(toy.y), dtype=torch.bool)
    for other in range(len(weight)):
        gap = logits.gather(1, toy.y.view(-1, 1)).squeeze(1) - logits[:, other]
        slope = (weight[toy.y] - weight[other]).norm(p=1 if isinstance(threat, Linf) else 2, dim=1)
        held &= (gap > threat.eps * slope * (1 + 1e-5)) | (toy.y == other)
    return held


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("liar", LIARS)
@pytest.mark.parametrize("batch_size", [7, 64])
def test_a_sample_that_holds_in_the_whole_ball_is_not_broken(
    threat: Any, liar: type, batch_size: int, toys: Callable[..., Any]
) -> None:
    toy = toys(100)
    sure = certain(toy, threat)
    assert int(sure.sum()) > 90
    result = measure_robust_accuracy(toy.model, (toy.x, toy.y), threat, attack=liar(steps=3), batch_size=batch_size)
    assert [held for held, must in zip(result.outcomes, sure.tolist(), strict=True) if must] == [True] * int(sure.sum())
    assert all(worst.size <= threat.eps * (1 + 1e-6) for worst in result.counterexamples)


@pytest.mark.parametrize("threat", [Linf(0.5), L2(3.0)], ids=str)
def test_what_a_liar_finds_inside_the_ball_counts(threat: Any, toys: Callable[..., Any]) -> None:
    toy = toys(100)
    result = measure_robust_accuracy(toy.model, (toy.x, toy.y), threat, attack=FarAway(steps=1))
    assert 0 < result.estimate < 1


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_proposals_that_are_no_numbers_end_in_an_error_of_ours(threat: Any, toy: Any) -> None:
    class NoNumbers(PGD):
        def ask(self, problem: Any, state: Any) -> Tensor:
            return state["z"] * float("nan")

    with pytest.raises(RobustestError):
        measure_robust_accuracy(toy.model, (toy.x, toy.y), threat, attack=NoNumbers(steps=2))


def test_only_what_is_right_is_attacked(toy: Any, watched: Callable[..., Any]) -> None:
    """Samples that are wrong as they are count as broken, and cost nothing more."""
    wrong = (toy.y + 1) % 3
    y = torch.where(torch.arange(40) < 10, toy.y, wrong)
    result = measure_robust_accuracy(watched(toy.model), (toy.x, y), Linf(0.0), attack=PGD(steps=5))
    assert result.outcomes == (True,) * 10 + (False,) * 30
    assert result.cost.backward == 5 * 10
    assert result.counterexamples == ()  # the attack changed nothing there
    assert result.details["clean_accuracy"] == 0.25
    assert result.details["broken_by_attack"] == 0


def test_a_model_that_is_always_wrong_has_accuracy_zero(toy: Any) -> None:
    result = measure_robust_accuracy(toy.model, (toy.x, (toy.y + 1) % 3), Linf(0.1))
    assert result.estimate == 0
    assert result.cost.backward == 0


class Halves(nn.Module):
    """Two classes by the sign of x0; x1 is the sample's number, which no gradient ever moves."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []
        self.stepped = torch.zeros(128, dtype=torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        if x.requires_grad:
            number = x[:, 1].detach() * 128
            attacked = (
                ((number - number.round()).abs() < 1e-3) & (number >= 0) & (number < 127.5)
            )  # probes start off it
            at = number[attacked].round().long()
            self.stepped.index_add_(0, at, torch.ones(len(at), dtype=torch.int64))
        return torch.stack([-x[:, 0], x[:, 0]], 1)


def halves(n: int) -> tuple[Tensor, Tensor]:
    """Even samples close to the border, odd ones far from it."""
    number = torch.arange(n)
    return torch.stack([torch.where(number % 2 == 0, 0.01, 0.9), number / 128], 1), torch.ones(n, dtype=torch.int64)


class Roaming(PGD):
    """Proposes what PGD does, and is not kept inside the ball."""

    confined = False


def attacked(model: nn.Module, n: int, batch_size: int, kind: type[PGD] = PGD) -> tuple[bool | None, ...]:
    """Outcomes under 40 steps, the first of which crosses the border where it is close."""
    attack = kind(steps=40, step_size=0.02, random_start=False)
    result = measure_robust_accuracy(model, halves(n), Linf(0.1), attack=attack, batch_size=batch_size, bounds=(-1, 1))
    return result.outcomes


@pytest.mark.parametrize("kind", [PGD, Roaming])
def test_broken_rows_leave_and_fresh_ones_take_their_place(kind: type[PGD]) -> None:
    """64 samples in batches of 4, half of them broken by the first step.

    The 32 that hold need 40 gradients each, the others 2: 336 full batches. Without refilling, each of the 16
    groups would take 40 gradients, 640 batches. With it come on top: the last, thinning batch (40), last
    evaluations, each by itself at worst (32), probes of a few samples (38), passes of unchanged samples (40).
    """
    model = Halves()
    assert attacked(model, 64, 4, kind) == tuple(index % 2 == 1 for index in range(64))
    assert len(model.calls) < 336 + 40 + 32 + 38 + 40


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_rows_of_different_age_get_all_their_steps(batch_size: int) -> None:
    """However rows share batches, each that holds is stepped 40 times."""
    model = Halves()
    assert attacked(model, 30, batch_size) == tuple(index % 2 == 1 for index in range(30))
    holding, broken = model.stepped[1:30:2], model.stepped[0:30:2]
    # Gradients of each of the first eight rows, that leave x1 alone: three on whether they tell the truth, and one, as
    # no step had a gradient in x1, on whether any output reads it.
    probe = 3 + 1
    assert set(holding.tolist()) == {40, 40 + probe}
    assert int(broken.min()) == 2
    assert (
        int(holding.sum() - 15 * 40 + broken.sum()) <= 8 * probe + 15 * 2 + 15 * 40 // 7
    )  # rows may stay while fewer than one in eight are broken


def test_the_last_proposal_is_evaluated_too() -> None:
    """FGSM has one step; what it proposes after it is where it breaks samples."""
    result = measure_robust_accuracy(Halves(), halves(4), Linf(0.1), attack=FGSM(), bounds=(-1, 1))
    assert result.outcomes == (False, True, False, True)


def test_counterexamples_are_the_worst_first_and_say_what_happened(toys: Callable[..., Any]) -> None:
    toy = toys(100)
    options: dict[str, Any] = {"attack": FGSM(), "examples": 5}
    result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.3), **options)
    assert len(result.counterexamples) == 5
    for worst in result.counterexamples:
        assert result.outcomes[worst.index] is False
        assert worst.label == worst.clean == int(toy.y[worst.index])
        assert worst.predicted != worst.label
        assert 0 < worst.size <= 0.3
    assert len({worst.index for worst in result.counterexamples}) == 5
    fewer = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.3), **{**options, "examples": 2})
    assert fewer.counterexamples == result.counterexamples[:2]
    assert measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.3), examples=0).counterexamples == ()


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_several_proposals_at_once_are_the_same_proposals(toy: Any, batch_size: int) -> None:
    """Draws that hear nothing: what breaks does not depend on how many are made in a round."""
    single, several = (RandomDraws(queries=60, at_once=many) for many in (1, 20))
    threat = L2(0.8)
    one = find_adversarial(toy.model, toy.x, toy.y, threat, attack=single)
    many = find_adversarial(toy.model, toy.x, toy.y, threat, attack=several, batch_size=batch_size)
    assert 0 < one.broken.sum() < len(toy.y)
    assert (one.broken == many.broken).all()
    assert (toy.model(many.x).argmax(1) != toy.y)[torch.from_numpy(many.broken)].all()


def test_of_several_proposals_at_once_the_smallest_success_is_kept(toy: Any) -> None:
    """Not that of the smallest margin, which is the furthest one as a rule."""
    one, many = (
        measure_min_perturbation(toy.model, (toy.x, toy.y), "linf", attack=RandomDraws(queries=60, at_once=at_once))
        for at_once in (1, 20)
    )
    assert one.details["quantiles"] == many.details["quantiles"]
    assert one.details["quantiles"]["0"] < 0.7


@pytest.fixture
def as_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are compacted as where the host does not look at every round."""
    monkeypatch.setattr(searches, "devices", SimpleNamespace(on_host=lambda _: False))


def broken_at_last(toys: Callable[..., Any], watched: Callable[..., Any], batch_size: int) -> tuple[Any, list[int]]:
    toy = toys(64)
    model = watched(toy.model)
    attack = PGD(steps=40, step_size=0.01, random_start=False)
    found = find_adversarial(model, toy.x, toy.y, Linf(0.4), attack=attack, batch_size=batch_size)
    return found, model.calls


@pytest.mark.parametrize("batch_size", [5, 64])
def test_on_accelerators_batches_shrink_to_a_few_sizes_and_nothing_else_changes(
    request: pytest.FixtureRequest, toys: Callable[..., Any], watched: Callable[..., Any], batch_size: int
) -> None:
    want, sizes = broken_at_last(toys, watched, batch_size)
    assert batch_size < 64 or len(set(sizes)) > 10  # as many sizes as there are times that samples break
    request.getfixturevalue("as_on_an_accelerator")
    got, sizes = broken_at_last(toys, watched, batch_size)
    assert (want.broken == got.broken).all()
    assert torch.equal(want.x, got.x)
    assert got.broken.all()  # else the judge, who looks at the broken ones alone, adds a size
    if batch_size == 64:
        probed = {8 * 3, 8 * 3 * 2}  # ends, and points, of three ways of eight samples: once a claim
        assert set(sizes) - probed <= {64, 32, 16, 8, 4, 2, 1}
        assert all(sizes.count(size) == 1 for size in probed)
        assert len(set(sizes)) >= 4


def test_buckets_are_powers_of_two() -> None:
    assert [bucket(rows) for rows in (1, 2, 3, 4, 5, 64, 65)] == [1, 2, 4, 4, 8, 64, 128]


class Gates(nn.Module):
    """Two classes; the second half of the elements counts where the sum with the first half opens a gate."""

    def __init__(self, border: float) -> None:
        super().__init__()
        self.border = border

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.flatten(1).split(6, 1)
        score = first.sum(1) + (first + second - 1.2).relu().sum(1)
        return torch.stack([score, torch.full_like(score, self.border)], 1)


@pytest.mark.parametrize(("border", "all_break"), [(5.6, True), (6.3, False)])
def test_the_elements_with_a_gradient_do_not_depend_on_the_batch(border: float, all_break: bool) -> None:
    """Rows come as others end, and go as they are broken: what was noted early and late stays with its sample."""
    net, x = Gates(border), 0.3 + 0.4 * torch.rand(11, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    found = []
    for batch_size in (1, 2, 3, 5, 64):
        evaluator = Evaluator(as_classifier(net), torch.device("cpu"), batch_size=batch_size, suppress=(), notes=[])
        evaluator.logits(x)
        attack, y = PGD(steps=9, random_start=False), torch.ones(11, dtype=torch.int64)
        key = torch.arange(11)
        outcome = search(evaluator, attack, Linf(0.3), x, y, key=key, bounds=(0.0, 1.0), followed=7)
        assert outcome.alive is not None
        found.append((outcome.alive.tolist(), outcome.broken.tolist()))
    assert found == [found[0]] * 5
    assert any(found[0][1])
    assert all(found[0][1]) is all_break
    alive = torch.tensor(found[0][0]).flatten(1)
    assert bool(alive[:, :6].all())
    opened = (x[:7].flatten(1)[:, :6] + x[:7].flatten(1)[:, 6:] > 1.2).sum(1)
    assert bool((alive[:, 6:].sum(1) > opened).any())
    assert not bool(alive.all())


@pytest.mark.parametrize("batch_size", [3, 64])
def test_elements_that_all_have_a_gradient_are_followed_for_one_step(
    batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    follow = InFlight.follow
    monkeypatch.setattr(
        InFlight, "follow", lambda self, gradient, look: (looked.append(1), follow(self, gradient, look=look))[1]
    )
    x, y = 0.3 + 0.4 * torch.rand(6, 1, 3, 4), torch.ones(6, dtype=torch.int64)
    for closed, steps in ((0.0, 8 * (6 // min(batch_size, 6))), (0.1, 6 // min(batch_size, 6))):
        looked.clear()

        def net(x: Tensor, slope: float = closed) -> Tensor:
            score = x.flatten(1)[:, :6].sum(1) + slope * x.flatten(1)[:, 6:].sum(1)
            return torch.stack([score, torch.full_like(score, 100.0)], 1)

        evaluator = Evaluator(as_classifier(net), torch.device("cpu"), batch_size=batch_size, suppress=(), notes=[])
        evaluator.logits(x)
        outcome = search(evaluator, PGD(steps=8), Linf(0.3), x, y, key=torch.arange(6), bounds=(0.0, 1.0), followed=6)
        assert outcome.alive is not None
        assert outcome.alive.flatten(1)[:, :6].all()
        assert bool(outcome.alive.flatten(1)[:, 6:].all()) is (closed > 0)
        assert len(looked) == steps
