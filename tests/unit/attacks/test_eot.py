"""EOT: models that answer at random are judged by many draws, and the same seed gives the same answer."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import L2, ConfigError, Linf, ModelError
from robustest.attacks import APGD, ATTACKS, EOT, FGSM, PGD, Cascade, Needs, Stage, confined, draws_of
from robustest.decisions import clopper_pearson
from robustest.measure import measure_robust_accuracy
from robustest.threats import L0, L1

WIDE = (-100.0, 100.0)


class Noisy(nn.Module):
    """Linear logits of an input to which noise of a given standard deviation is added in every forward."""

    def __init__(self, weight: Tensor, deviation: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        seen = x.flatten(1) + self.deviation * torch.randn(len(x), x[0].numel())
        return seen @ self.weight.T


class Coin(nn.Module):
    """Prefers class 1 to class 0 in a given share of its answers, whatever it sees."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        sign = torch.where(torch.rand(len(x)) < self.share, 1.0, -1.0)
        return torch.stack([torch.zeros(len(x)), sign], 1) + 1e-6 * x.flatten(1).sum(1, keepdim=True)


def noisy(n: int = 80, deviation: float = 0.1) -> tuple[Noisy, Tensor, Tensor, Tensor]:
    """A model of two classes, samples, labels that the noiseless model gives, and its margins."""
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(2, 12, generator=generator)
    x = torch.randn(n, 12, generator=generator)
    logits = x @ weight.T
    return Noisy(weight, deviation), x, logits.argmax(1), (logits[:, 0] - logits[:, 1]).abs()


@pytest.mark.parametrize("ball", [Linf, L2])
@pytest.mark.parametrize("searcher", [PGD(steps=20), APGD(steps=20)], ids=lambda s: s.name)
def test_the_majority_follows_the_mean_answer(ball: Any, searcher: Any) -> None:
    """The noise is symmetric: most draws are wrong just where the noiseless model is, which has a closed form."""
    model, x, y, margin = noisy()
    difference = (model.weight[0] - model.weight[1]).detach()
    worst = float(difference.norm(p=1 if ball is Linf else 2))
    eps = float(margin.median()) / worst
    left = margin - eps * worst
    result = measure_robust_accuracy(model, (x, y), ball(eps), attack=EOT(searcher, draws=8), bounds=WIDE)
    spread = model.deviation * float(difference.norm())  # of one draw's margin
    sure = [at for at in range(len(x)) if abs(left[at]) > 2 * spread]
    assert len(sure) > 40
    assert [result.outcomes[at] for at in sure] == [bool(left[at] > 0) for at in sure]


def test_one_lucky_draw_breaks_nothing() -> None:
    """Three of ten answers are wrong everywhere: single looks break half of the samples, the majority none."""
    data = torch.rand(60, 4), torch.zeros(60, dtype=torch.int64)
    hasty = measure_robust_accuracy(Coin(0.3), data, Linf(0.1), attack=PGD(steps=10), suppress=("random_forward",))
    assert hasty.estimate < 0.7
    result = measure_robust_accuracy(Coin(0.3), data, Linf(0.1), attack=EOT(PGD(steps=10), draws=60))
    assert result.estimate == 1
    assert result.details["clean_accuracy"] == 1


def test_the_share_of_misclassified_draws_comes_with_its_interval() -> None:
    data = torch.rand(60, 4), torch.zeros(60, dtype=torch.int64)
    attack = EOT(PGD(steps=3), draws=50)
    details = measure_robust_accuracy(Coin(0.3), data, Linf(0.1), attack=attack, alpha=0.005).details
    assert details["draws"] == 50
    low, high = details["misclassified_draws_interval"]
    assert low < 0.3 < high
    missed = round(details["misclassified_draws"] * 60 * 50)
    assert (low, high) == clopper_pearson(missed, 60 * 50, 0.005)


def test_the_draws_reported_are_those_of_the_worst_points_found() -> None:
    """Unchanged samples are safe from the noise; at the points found most draws are wrong."""
    model, x, y, margin = noisy(deviation=0.01)
    far = margin > 0.5
    eps = 2 * float(margin.max()) / float((model.weight[0] - model.weight[1]).detach().norm(p=1))
    result = measure_robust_accuracy(model, (x[far], y[far]), Linf(eps), attack=EOT(PGD(steps=5), draws=4), bounds=WIDE)
    assert result.estimate == 0
    assert result.details["clean_accuracy"] == 1
    assert result.details["misclassified_draws"] > 0.99


def test_points_that_hold_are_reported_at_their_worst_too() -> None:
    """The margin is ten deviations of its noise at the samples, half a deviation at the worst points: 0.31 wrong."""
    model, *_ = noisy()
    difference = (model.weight[0] - model.weight[1]).detach()
    spread = model.deviation * float(difference.norm())
    x = (difference * 10 * spread / difference.square().sum()).repeat(40, 1)
    eps = 9.5 * spread / float(difference.norm(p=1))
    data = x, torch.zeros(40, dtype=torch.int64)
    result = measure_robust_accuracy(model, data, Linf(eps), attack=EOT(APGD(steps=5), draws=60), bounds=WIDE)
    assert result.estimate > 0.9
    assert result.details["misclassified_draws"] == pytest.approx(0.31, abs=0.05)


def test_most_answers_wrong_is_wrong_from_the_start() -> None:
    data = torch.rand(30, 4), torch.zeros(30, dtype=torch.int64)
    result = measure_robust_accuracy(Coin(0.8), data, Linf(0.1), attack=EOT(PGD(steps=2), draws=60))
    assert result.estimate == 0
    assert result.details["clean_accuracy"] == 0
    assert result.cost.backward == 0


def state_of_everything() -> tuple[Any, ...]:
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state()[1].tolist(),
        np.random.get_state()[2],
    )


def test_the_same_seed_gives_the_same_outcome_and_no_global_state_moves() -> None:
    model, x, y, _ = noisy(deviation=0.5)

    def run(seed: int) -> tuple[Any, ...]:
        before = state_of_everything()
        result = measure_robust_accuracy(
            model,
            (x, y),
            Linf(0.1),
            attack=EOT(PGD(steps=5), draws=8),
            suppress=("random_forward",),
            bounds=WIDE,
            seed=seed,
        )
        assert state_of_everything() == before
        return result.outcomes, result.details["misclassified_draws"]

    first = run(0)
    torch.rand(17)
    random.random()  # noqa: S311 - moves the global generator
    np.random.rand(3)
    assert run(0) == first
    assert run(1) != first


class Remembering(Noisy):
    """Keeps the first noise of every pass, by the number of rows."""

    def forward(self, x: Tensor) -> Tensor:
        state = torch.get_rng_state()
        self.__dict__.setdefault("passes", []).append((len(x), torch.randn(1).item()))
        torch.set_rng_state(state)
        return super().forward(x)


def test_what_a_chunk_draws_does_not_depend_on_the_chunk_before() -> None:
    """74 samples are a chunk of 64 and one of 10; a longer attack on the first leaves the second its draws."""

    def first_draw_of_the_second(steps: int) -> float:
        plain, x, y, _ = noisy(74, deviation=1e-3)
        model = Remembering(plain.weight.detach(), 1e-3)
        measure_robust_accuracy(model, (x, y), Linf(0.01), attack=EOT(PGD(steps=steps), draws=2), bounds=WIDE)
        return next(noise for rows, noise in model.passes if rows == 10)

    assert first_draw_of_the_second(2) == first_draw_of_the_second(3)


def test_without_averaging_a_random_forward_stops_the_run() -> None:
    model, x, y, _ = noisy()
    with pytest.raises(ModelError, match="random_forward"):
        measure_robust_accuracy(model, (x, y), Linf(0.1), attack=PGD(steps=2), bounds=WIDE)


def test_a_stage_without_averaging_stops_it_too() -> None:
    """What such a stage breaks is one lucky draw."""
    model, x, y, _ = noisy()
    stages = (Stage(searcher=EOT(PGD(steps=2))), Stage(searcher=PGD(steps=2)))
    with pytest.raises(ModelError, match="random_forward"):
        measure_robust_accuracy(model, (x, y), Linf(0.1), attack=Cascade(name="mixed", stages=stages), bounds=WIDE)


@pytest.mark.parametrize("attack", [PGD(steps=10, random_start=False), FGSM()], ids=lambda a: a.name)
def test_a_model_that_always_answers_the_same_gets_the_attacks_own_verdict(
    attack: Any, toys: Callable[..., Any]
) -> None:
    toy = toys(60)
    alone = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05), attack=attack)
    averaged = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05), attack=EOT(attack, draws=2))
    assert averaged.outcomes == alone.outcomes
    assert 0 < alone.estimate < 1


def test_every_proposal_is_passed_as_often_as_there_are_draws(toy: Any, watched: Callable[..., Any]) -> None:
    """Four steps and the last proposal; the judge looks at the sample, at what was found, and for the report again."""

    def passes(draws: int) -> tuple[int, int]:
        model = watched(toy.model)
        attack = EOT(PGD(steps=4), draws=draws)
        result = measure_robust_accuracy(model, (toy.x, toy.y), Linf(10.0), attack=attack, bounds=WIDE)
        assert result.estimate == 0  # so no probe of survivors adds passes
        return sum(model.calls), model.backward_samples

    (forward, backward), (more_forward, more_backward) = passes(3), passes(4)
    # Of eight samples it is asked, too, whether gradients are true: at the sample, and at two points of three ways.
    assert backward == (40 * 4 + 8 * 7) * 3
    assert more_backward == (40 * 4 + 8 * 7) * 4
    assert more_forward - forward == 40 * (4 + 1 + 3) + 8 * (7 + 1 + 3)


def test_it_is_what_it_wraps() -> None:
    attack = EOT(APGD(steps=7), draws=3)
    assert (attack.name, attack.steps, attack.needs, attack.draws) == ("eot-apgd-ce", 7, Needs.GRADIENT, 3)
    assert attack.supports(Linf(0.1))
    assert not attack.supports(L0(2))
    assert confined(attack, Linf(0.1))
    assert draws_of(attack) == 3
    assert draws_of(PGD()) == 1


def test_an_attack_that_leaves_the_region_may_still_do_so() -> None:
    class Free(PGD):
        confined: ClassVar[bool] = False

    assert not confined(EOT(Free()), Linf(0.1))
    assert not confined(EOT(APGD()), L1(1.0))


def test_it_is_in_the_registry() -> None:
    assert ATTACKS["eot-pgd"]() == EOT(PGD())


class Blind(PGD):
    """Asks for scores only."""

    needs: ClassVar[Needs] = Needs.SCORES


@pytest.mark.parametrize("wrong", [PGD, "pgd", None, Blind()], ids=str)
def test_what_has_no_gradients_to_average_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="Expected an attack"):
        EOT(wrong)


@pytest.mark.parametrize("draws", [1, 0, 2.0, True])
def test_fewer_than_two_draws_are_refused(draws: Any) -> None:
    with pytest.raises(ConfigError, match="draws"):
        EOT(PGD(), draws=draws)
