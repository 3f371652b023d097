"""Guards of a cascade on a chunk: what is looked into, counted and noted, at any radius and with any model."""

# ruff: noqa: ARG004 - functions of autograd are given a context

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustest import L2, ConfigError, Linf, Patch, Verdict, find_adversarial, scores_model
from robustest.attacks import PGD, Cascade, RandomDraws, Square, Stage, passes
from robustest.engine.search import SearchOutcome
from robustest.measure import measure_robust_accuracy

N = 24
X = torch.linspace(0.05, 0.95, N).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
Y = (X[:, 0, 0, 0] > 0.5).long()


def one_hot(x: np.ndarray) -> np.ndarray:
    """Scores that say no more than the label."""
    return np.eye(2, dtype=np.float32)[(x.reshape(len(x), -1).mean(1) > 0.5).astype(int)]


def graded(x: np.ndarray) -> np.ndarray:
    mean = x.reshape(len(x), -1).mean(1)
    return np.stack([0.5 - mean, mean - 0.5], 1)


SCORES = Cascade(name="scores", stages=(Stage(searcher=Square(queries=30)),))


@pytest.mark.parametrize("threat", [Linf(0.01), Linf(0.5), L2(0.9), L2(1.0), L2(1.5)], ids=str)
def test_scores_that_are_labels_vouch_for_nothing_at_any_radius(threat: Any) -> None:
    """A search that follows scores draws at random on them, whether the radius is below or above 1."""
    found = measure_robust_accuracy(scores_model(one_hot), (X, Y), threat, attack=SCORES, at_least=0.01)
    by_labels = found.details["stages"].get("hop-skip-jump", 0)  # broken, they need no vouching
    assert by_labels or any("the model's scores say no more than its labels" in note for note in found.words.notes)
    assert found.verdict is not Verdict.PASSED
    graded_scores = measure_robust_accuracy(scores_model(graded), (X, Y), threat, attack=SCORES, at_least=0.01)
    assert not any("say no more than its labels" in note for note in graded_scores.words.notes)


def test_at_radius_zero_nothing_is_looked_into() -> None:
    calls: list[int] = []

    def counted(x: np.ndarray) -> np.ndarray:
        calls.append(len(x))
        return one_hot(x)

    found = find_adversarial(scores_model(counted), X, Y, Linf(0), attack=SCORES)
    assert not found.broken.any()
    assert not any("say no more" in note for note in found.notes)


def test_a_round_that_never_lowers_the_margin_is_counted_at_small_radii(toys: Any) -> None:
    """The first round of gradients is watched, and that of no later stage."""
    toy = toys(32, classes=2)
    still = Stage(searcher=PGD(steps=1, step_size=1e-12, random_start=False))
    moving = Stage(searcher=PGD(steps=1, step_size=1.0, random_start=False))
    for threat in (Linf(0.001), Linf(0.01)):
        first = measure_robust_accuracy(
            toy.model, (toy.x, toy.y), threat, attack=Cascade(name="a", stages=(still, moving)), at_least=0.01
        )
        assert any(note.startswith("loss_does_not_rise") for note in first.words.notes), first.words.notes
        later = measure_robust_accuracy(
            toy.model, (toy.x, toy.y), threat, attack=Cascade(name="b", stages=(moving, still)), at_least=0.01
        )
        assert not any(note.startswith("loss_does_not_rise") for note in later.words.notes)


def test_what_the_model_does_not_give_is_named_once() -> None:
    both = Cascade(name="both", stages=(Stage(searcher=PGD(steps=1)), Stage(searcher=RandomDraws(queries=2))))
    found = measure_robust_accuracy(scores_model(graded), (X, Y), Linf(0.01), attack=both, at_least=0.01)
    notes = [note for note in found.words.notes if "ran without" in note]
    assert notes == ["the model gives scores only; both ran without pgd"]


def test_no_stage_of_a_cascade_for_the_threat_is_an_error_that_names_both() -> None:
    with pytest.raises(ConfigError, match=r"works on Patch.* but 'scores' does not"):
        measure_robust_accuracy(scores_model(graded), (X, Y), Patch(1, 1), attack=SCORES, at_least=0.1)
    gradients = Cascade(name="steps", stages=(Stage(searcher=PGD(steps=1)),))
    with pytest.raises(ConfigError, match=r"gives scores but 'steps' needs gradient.*for example 'square'"):
        measure_robust_accuracy(scores_model(graded), (X, Y), Linf(0.1), attack=gradients, at_least=0.1)


@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_a_budget_pays_for_the_checks_around_an_attack_first(spare: int) -> None:
    """Five passes of each sample lie outside of its attack: what they leave has to hold all of it."""
    calls = 0

    def counted(x: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += len(x)
        return graded(x)

    draws = RandomDraws(queries=30)
    limit = 5 + passes(draws) + 1 + spare  # what was found is judged by one more
    model = scores_model(counted, max_queries=limit)
    attack = Cascade(name="draws", stages=(Stage(searcher=draws),))
    if spare < 0:
        with pytest.raises(ConfigError, match=f"got {limit}, of which the checks around it take 5"):
            find_adversarial(model, X, Y, Linf(0.001), attack=attack)
    else:
        assert not any(
            "cut the attack" in note for note in find_adversarial(model, X, Y, Linf(0.001), attack=attack).notes
        )
        assert passes(draws) * N < calls <= limit * N


def test_a_budget_cuts_the_stages_that_it_does_not_hold_and_says_so() -> None:
    draws = RandomDraws(queries=30)
    model = scores_model(graded, max_queries=5 + 2 * (passes(draws) + 1))
    attack = Cascade(name="three", stages=(Stage(searcher=draws, rounds=3),))
    notes = find_adversarial(model, X, Y, Linf(0.001), attack=attack).notes
    many = f"random-draws of {passes(draws)}"
    assert [note for note in notes if "cut the attack" in note] == [
        f"max_queries={model.max_queries} cut the attack from 3 x {many} to 2 x {many}"
    ]


def test_a_budget_that_leaves_no_attack_is_an_error() -> None:
    with pytest.raises(ConfigError, match="max_queries to leave something for an attack but got 5"):
        find_adversarial(scores_model(graded, max_queries=5), X, Y, Linf(0.01), attack=SCORES)


def found(margin: list[float], broken: list[bool], mark: float) -> SearchOutcome:
    n = len(margin)
    return SearchOutcome(
        torch.tensor(broken),
        torch.full((n, 2), mark),
        torch.full((n,), mark, dtype=torch.float64),
        torch.full((n,), int(mark)),
        torch.tensor(margin),
    )


def marks(one: SearchOutcome) -> list[Tensor]:
    return [one.x[:, 0], one.size, one.predicted]


@pytest.mark.parametrize("attempts", [True, False])
def test_a_later_search_takes_the_place_where_it_broke_or_came_nearer(attempts: bool) -> None:
    so_far = found([0.5, 0.5, 0.5, 0.1], [False] * 4, 1.0)
    part = found([-0.1, 0.2, 0.9], [True, False, False], 2.0)
    so_far.merge(part, torch.tensor([3, 0, 1]), torch.tensor([0, 1] if attempts else [0]))
    expected = [2.0 if attempts else 1.0, 1.0, 1.0, 2.0]
    for values in marks(so_far):
        assert values.tolist() == expected
    assert so_far.broken.tolist() == [False, False, False, True]
    assert so_far.margin.tolist() == pytest.approx([0.2, 0.5, 0.5, -0.1])


def test_at_radius_zero_nothing_is_held_against_gradients(toys: Any) -> None:
    toy = toys(32, classes=2)
    found = measure_robust_accuracy(
        toy.model.eval(), (toy.x, toy.y), Linf(0), attack=Cascade(name="a", stages=(Stage(searcher=PGD(steps=1)),))
    )
    assert found.estimate == 1.0
    assert list(found.words.notes) == []


class Turned(torch.autograd.Function):
    """The identity, whose gradient goes the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


@pytest.mark.parametrize("threat", [Linf(0.01), L2(1.0)], ids=str)
def test_gradients_that_mislead_are_noticed_at_any_radius(threat: Any, toys: Any) -> None:
    toy = toys(32, classes=2)
    attack = Cascade(name="a", stages=(Stage(searcher=PGD(steps=2)),))
    for model, misleads in ((toy.model, False), (lambda x: toy.model(Turned.apply(x)), True)):
        found = measure_robust_accuracy(model, (toy.x, toy.y), threat, attack=attack, at_least=0.01)
        assert any(note.startswith("gradient_misleads") for note in found.words.notes) is misleads
