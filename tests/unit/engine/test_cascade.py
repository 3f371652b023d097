"""Which stages a cascade runs, and in which slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from robustest import ConfigError, Linf, find_adversarial, scores_model
from robustest.attacks import PGD, Cascade, Needs, RandomDraws, Square, Stage
from robustest.measure import measure_robust_accuracy


def one(**options: Any) -> Cascade:
    return Cascade(name="one", stages=(Stage(searcher=PGD(steps=2), **options),))


def test_a_cascade_whose_stages_are_all_for_fewer_features_is_refused(toy: Any) -> None:
    with pytest.raises(ConfigError, match="every stage of 'one' is for others"):
        measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.1), attack=one(features=16), at_least=0.1)


def test_a_stage_for_few_features_serves_samples_up_to_its_limit() -> None:
    stage = one(features=16).stages[0]
    assert stage.serves(Linf(0.1), Needs.GRADIENT, 16)
    assert not stage.serves(Linf(0.1), Needs.GRADIENT, 17)


def test_a_stage_that_cannot_run_takes_nothing_of_the_query_budget() -> None:
    def predict(x: np.ndarray) -> np.ndarray:
        mean = x.reshape(len(x), -1).mean(1)
        return np.stack([0.5 - mean, mean - 0.5], 1)

    cascade = Cascade(
        name="two", stages=(Stage(searcher=RandomDraws(queries=300), features=16), Stage(searcher=Square(queries=300)))
    )
    x, y = torch.full((8, 1, 8, 8), 0.55), torch.ones(8, dtype=torch.int64)
    found = find_adversarial(scores_model(predict, max_queries=320), x, y, Linf(0.2), attack=cascade)
    assert set(found.stages) == {"square"}
    assert found.broken.all()


def test_dear_stages_go_on_to_larger_margins_only_where_they_break_many(toys: Any) -> None:
    toy = toys(64, classes=2)
    weak = Cascade(name="weak", stages=(Stage(searcher=PGD(steps=5), smallest=0.1),))
    none = find_adversarial(toy.model, toy.x, toy.y, Linf(1e-6), attack=weak)
    every = find_adversarial(toy.model, toy.x, toy.y, Linf(1.0), attack=weak)
    assert not none.broken.any()
    assert every.broken.all()
    assert none.cost.backward < every.cost.backward


def test_rounds_together_are_the_rounds_one_by_one(toys: Any) -> None:
    """The same randomness in fewer passes of more samples: what the rounds break between them is the same."""
    toy = toys(64, classes=3)

    def found(**options: Any) -> Any:
        stage = Stage(searcher=PGD(steps=1, step_size=0.02), rounds=5, **options)
        return find_adversarial(toy.model, toy.x, toy.y, Linf(0.05), attack=Cascade(name="five", stages=(stage,)))

    apart, together = found(), found(together=True)
    first = find_adversarial(toy.model, toy.x, toy.y, Linf(0.05), attack=PGD(steps=1, step_size=0.02))
    assert first.broken.sum() < apart.broken.sum() < len(toy.y)
    assert (apart.broken == together.broken).all()
    assert set(together.stages) == {"pgd"}
    assert together.stages["pgd"] == apart.broken.sum() == sum(apart.stages.values())
    assert (toy.model(together.x).argmax(1) != toy.y)[torch.from_numpy(together.broken)].all()


def test_rounds_together_keep_the_best_attempt(toys: Any) -> None:
    toy = toys(30, classes=2)
    attempts = [
        find_adversarial(
            toy.model,
            toy.x,
            toy.y,
            Linf(0.001),
            attack=Cascade(name="some", stages=(Stage(searcher=RandomDraws(queries=1), rounds=rounds, together=True),)),
        )
        for rounds in (1, 8)
    ]
    assert not attempts[0].broken.any()
    assert not attempts[1].broken.any()
    margins = [toy.model(found.x).softmax(1).gather(1, toy.y.unsqueeze(1)).squeeze(1) for found in attempts]
    assert bool((margins[1] <= margins[0] + 1e-6).all())
    assert bool((margins[1] < margins[0] - 1e-6).any())


@pytest.mark.parametrize(("second", "earned"), [(1.0, True), (1e-6, False)])
def test_a_stage_has_to_be_earned_by_what_broke_after_the_first_round(toys: Any, second: float, earned: bool) -> None:
    """The first round breaks nobody; whether the second does decides about the third, chunk by chunk."""
    toy = toys(64, classes=2)
    cascade = Cascade(
        name="three",
        stages=(
            Stage(searcher=PGD(steps=1, step_size=1e-6, random_start=False)),
            Stage(searcher=PGD(steps=1, step_size=second, random_start=False), smallest=0.05),
            Stage(searcher=RandomDraws(queries=7), earned=True),
        ),
    )
    found = find_adversarial(toy.model, toy.x, toy.y, Linf(0.02), attack=cascade)
    assert ("random-draws" in found.stages) is earned
    assert bool(found.broken.any()) is earned
    alone = Cascade(name="alone", stages=(Stage(searcher=RandomDraws(queries=7), earned=True),))
    assert set(find_adversarial(toy.model, toy.x, toy.y, Linf(0.02), attack=alone).stages) == {"random-draws"}


@pytest.mark.parametrize(("step", "goes_on"), [(1.0, False), (1e-6, True)])
def test_a_stage_goes_on_only_where_the_last_of_its_name_came_near(toys: Any, step: float, goes_on: bool) -> None:
    """Gradients go to the ball's edge, where two draws are far off, or not at all, where they are as near."""
    toy = toys(64, classes=2)
    logits = toy.model(toy.x).sort(1).values
    safest = (logits[:, 1] - logits[:, 0]).argmax().unsqueeze(0)
    stages = (
        Stage(searcher=PGD(steps=1, step_size=step, random_start=False)),
        Stage(searcher=RandomDraws(queries=2)),
        Stage(searcher=RandomDraws(queries=7), near=1.1),
    )

    def found(*stages: Stage) -> Any:
        attack = Cascade(name="some", stages=stages)
        return find_adversarial(toy.model, toy.x[safest], toy.y[safest], Linf(0.05), attack=attack)

    assert not found(*stages).broken.any()
    more = found(*stages).cost.forward - found(*stages[:2]).cost.forward
    assert (more > 0) is goes_on
    assert set(found(stages[2]).stages) == {"random-draws"}  # nothing of that name came before it


def test_a_sample_that_a_stage_broke_is_as_near_as_the_next_of_its_name_asks(toys: Any) -> None:
    toy = toys(64, classes=2)
    still = Stage(searcher=PGD(steps=1, step_size=1e-6, random_start=False))
    draws = (still, Stage(searcher=RandomDraws(queries=1)), Stage(searcher=RandomDraws(queries=3), near=0.0))

    def found(eps: float, *stages: Stage) -> Any:
        return find_adversarial(toy.model, toy.x, toy.y, Linf(eps), attack=Cascade(name="some", stages=stages))

    assert 0 < found(0.05, *draws[:2]).broken.sum() < found(0.05, *draws).broken.sum()
    assert found(1e-6, *draws).cost.forward == found(1e-6, *draws[:2]).cost.forward


@pytest.mark.parametrize(("go_on", "slices"), [(0.25, 2), (0.75, 1)])
def test_how_many_a_slice_has_to_break_is_the_stage_s_own(toys: Any, go_on: float, slices: int) -> None:
    toy = toys(64, classes=2)

    def found(**options: Any) -> Any:
        stage = Stage(searcher=PGD(steps=1, step_size=1.0, random_start=False), **options)
        return find_adversarial(toy.model, toy.x, toy.y, Linf(0.05), attack=Cascade(name="one", stages=(stage,)))

    share = found().broken.mean()
    assert 0.25 < share < 0.75
    some = found(smallest=0.5, go_on=go_on)
    assert bool(some.broken.sum() == found().broken.sum()) is (slices == 2)
    assert 0.5 * share < 2 * some.broken.mean()
