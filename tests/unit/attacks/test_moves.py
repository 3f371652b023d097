"""Searches by moves: what each can find, what it decides, and the control that says when it could find nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import find_adversarial, scores_model
from robustest.attacks import Enumeration, GreedyMoves, Problem, RandomMoves, enough_queries, searches
from robustest.measure import measure_robust_accuracy
from robustest.threats import AnyOf, Columns, Linf, Rows, Whole, Within

BOUNDS = (0.0, 9.0)
RULES: dict[Any, Any] = {at: Whole(9) for at in range(6)}


def climbing(x: Any) -> Any:
    """Class 1 once four columns are 9; the scores rise with each."""
    t = torch.as_tensor(x)
    lead = 3.5 - (t[:, :4] == 9).sum(1)
    return torch.stack([lead, -lead], 1).numpy()


def plateau(x: Any) -> Any:
    """Class 1 if two columns are at opposite ends; the scores show nothing before."""
    t = torch.as_tensor(x)
    lead = 1 - 2.0 * ((t[:, 1] == 9) & (t[:, 4] == 0)) + 0.01 * torch.rand(len(t))
    return torch.stack([lead, -lead], 1).numpy()


X = torch.full((6, 6), 4.0)
Y = torch.zeros(6, dtype=torch.int64)


def broken(fn: Any, attack: Any, threat: Columns, rows: int = 6) -> float:
    options: Any = {"bounds": BOUNDS, "suppress": ("random_forward",)}
    found = find_adversarial(scores_model(fn, bounds=BOUNDS), X[:rows], Y[:rows], threat, attack=attack, **options)
    return float(found.broken.mean())


def test_a_beam_climbs_as_many_moves_as_it_has_sweeps() -> None:
    threat = Columns(RULES)
    assert broken(climbing, GreedyMoves(queries=960, at_once=60, sweeps=4), threat) == 1
    assert broken(climbing, GreedyMoves(queries=960, at_once=60, sweeps=3), threat) == 0
    assert broken(climbing, GreedyMoves(queries=960, at_once=60, sweeps=4), Columns(RULES, max_changed=3)) == 0


def test_random_moves_find_two_columns_that_matter_together() -> None:
    assert broken(plateau, RandomMoves(queries=2000), Columns(RULES, max_changed=2)) >= 0.8
    assert broken(climbing, RandomMoves(queries=2000), Columns(RULES)) >= 0.8


def test_enumeration_asks_as_many_rounds_as_a_region_has_points() -> None:
    x = torch.tensor([[4.0, 4.0], [0.0, 4.0], [9.0, 9.0]])
    threat = Columns({0: Whole(1), 1: Whole(4)}).resolved(2, BOUNDS)
    problem = Problem(threat, threat.region(x, BOUNDS), Y[:3], 2, BOUNDS)
    attack = Enumeration(queries=20, at_once=4)
    assert threat.points(problem.region).tolist() == [27, 18, 10]
    assert attack.decides(problem).tolist() == [False, True, True]
    assert attack.rounds(problem).tolist() == [4, 4, 2]
    assert not searches(attack, threat, 2), "it counts by sample"


def test_what_is_decided_counts_and_is_not_searched_again() -> None:
    """Labels alone, which no other search of moves can follow: every input is asked, and the claim passes."""
    result = measure_robust_accuracy(
        scores_model(lambda x: 5.0 * torch.tensor([[1.0, -1.0]]).expand(len(x), -1).numpy(), bounds=BOUNDS),
        (X, Y),
        Columns({0: Whole(1), 3: Whole(1)}),
        at_least=0.5,
        attack="fast",
        bounds=BOUNDS,
    )
    assert result.verdict == "passed"
    assert result.cost.forward < 6 * 150


def test_scores_that_are_labels_do_not_guide_a_search() -> None:
    """With real numbers no search decides, and scores that say no more than labels lead nowhere."""
    result = measure_robust_accuracy(
        scores_model(lambda x: 5.0 * torch.tensor([[1.0, -1.0]]).expand(len(x), -1).numpy(), bounds=BOUNDS),
        (X, Y),
        Columns({0: Within(-1, 1)}),
        at_least=0.5,
        attack="fast",
        bounds=BOUNDS,
    )
    assert result.verdict == "inconclusive"
    assert any("weak_search" in reason for reason in result.reasons)


@pytest.mark.parametrize("attack", [Enumeration(), GreedyMoves(), RandomMoves()])
def test_searches_by_moves_are_for_discrete_threats(attack: Any) -> None:
    assert not attack.supports(Linf(0.1))
    assert enough_queries(attack, Linf(0.1), 8) is None


@dataclass(frozen=True, slots=True)
class Stuck(Columns):
    """A threat of a user's own whose moves and points are all the sample."""

    def moved(self, z: Tensor, place: Tensor, choice: Tensor, region: Rows) -> Tensor:
        return z

    def point(self, number: Tensor, region: Rows) -> Tensor:
        return region["x"].unsqueeze(1).expand(-1, number.shape[1], -1)


def test_moves_that_do_not_move_miss_the_control() -> None:
    def fn(x: Any) -> Any:
        lead = 3 + torch.as_tensor(x)[:, 1]
        return torch.stack([lead, -lead], 1).numpy()

    threat = Stuck({0: Within(-3, 3), 1: Within(-3, 3)})
    arguments: Any = {"at_least": 0.5, "attack": GreedyMoves(), "bounds": BOUNDS}
    result = measure_robust_accuracy(scores_model(fn, bounds=BOUNDS), (X, Y), threat, **arguments)
    assert result.verdict == "inconclusive"
    assert any("missed_control" in reason for reason in result.reasons)
    sound = Columns({0: Within(-3, 3), 1: Within(-3, 3)})
    assert measure_robust_accuracy(scores_model(fn, bounds=BOUNDS), (X, Y), sound, **arguments).verdict == "passed"


def test_a_region_of_one_other_input_has_its_control() -> None:
    def fn(x: Any) -> Any:
        lead = 3 + torch.as_tensor(x)[:, 1]
        return torch.stack([lead, -lead], 1).numpy()

    x = torch.full((6, 2), 0.0)
    result = measure_robust_accuracy(
        scores_model(fn, bounds=BOUNDS), (x, Y), Columns({0: AnyOf(9)}), at_least=0.5, attack="fast", bounds=BOUNDS
    )
    assert result.verdict == "passed"
