"""Directions in which a model's errors lie apart from its hits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from robustest_interpret.failure_direction import (
    FailureDirection,
    balanced_costs,
    class_evidence,
    draw_errors,
    find_failure_directions,
    fit_machines,
    foreseen_chances,
    overlap_weights,
    principal_components,
    top_eigenvalue,
    unit_rows,
)
from torch import Tensor

from robustest import ConfigError, DataError, rng

N, D = 1200, 12
LABELS = torch.arange(N) % 3


def embeddings(seed: int = 0) -> Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(seed))


def planted(seed: int = 0, shift: float = 4.0) -> tuple[Tensor, Tensor, Tensor]:
    """A twentieth of class 1 lies apart and fails; at random fail 1 % of that class and 5 % of the others."""
    draw = torch.Generator().manual_seed(seed)
    rows, errors = embeddings(seed), torch.rand(N, generator=draw) < torch.where(LABELS == 1, 0.01, 0.05)
    minority = torch.zeros(N, dtype=torch.bool)
    minority[(LABELS == 1).nonzero().squeeze(1)[:20]] = True
    rows[minority, 3] += shift
    return rows, errors | minority, minority


def share_of_worst(direction: FailureDirection, minority: Tensor) -> float:
    """Return the share of a minority (N,) bool among the 20 most failing rows."""
    return float(minority[direction.rows[:20]].double().mean())


def test_a_minority_that_fails_is_found() -> None:
    rows, errors, minority = planted(shift=6.0)
    found = find_failure_directions(rows, LABELS, errors, min_errors=5)
    assert [direction.label for direction in found.found] == [1]
    (direction,) = found.found
    assert direction.score > 0.75
    assert direction.p_value == pytest.approx(1 / 201)
    assert direction.null_mean < 0.65
    assert share_of_worst(direction, minority) >= 0.7
    assert int(direction.weight.abs().argmax()) == 3
    assert float(direction.weight[3]) < 0  # negative is failing


def ordinary(seed: int) -> tuple[Tensor, Tensor]:
    """Rows that look more or less like their class, and the errors of a model that takes the likeliest one."""
    rows = embeddings(seed)
    rows[torch.arange(N), LABELS] += 2.2
    return rows, rows[:, :3].argmax(1) != LABELS


@pytest.mark.parametrize("seed", range(4))
def test_errors_at_the_edge_of_a_class_accuse_nobody(seed: int) -> None:
    """They are told from hits at .8 and more, by a direction towards the other classes; and that is foreseen."""
    rows, errors = ordinary(seed)
    assert 0.08 < float(errors.float().mean()) < 0.2
    found = find_failure_directions(rows, LABELS, errors, seed=seed, costs=(0.1,))
    assert found.found == ()
    assert max(direction.excess for direction in found.directions) < 0.35


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_a_minority_is_found_beside_errors_at_the_edge(seed: int) -> None:
    rows, errors = ordinary(seed)
    minority = (LABELS == 1).nonzero().squeeze(1)[:30]
    rows[minority, 7] += 6.0
    errors[minority] = True
    found = find_failure_directions(rows, LABELS, errors, seed=seed, costs=(0.1,), min_excess=0.45)
    assert [direction.label for direction in found.found] == [1]
    (direction,) = found.found
    assert share_of_worst(direction, torch.isin(torch.arange(N), minority)) >= 0.7


@pytest.mark.slow
def test_random_errors_have_no_direction() -> None:
    """Of 200 searches over two classes, at most 1 % find something."""
    rows, labels, hits = embeddings()[:120, :4], LABELS[:120] % 2, 0
    for seed in range(200):
        errors = torch.rand(120, generator=torch.Generator().manual_seed(seed)) < 0.3
        hits += bool(find_failure_directions(rows, labels, errors, seed=seed, costs=(0.1,)).found)
    assert hits <= 2


def test_scores_are_those_of_rows_left_out() -> None:
    """With more dimensions than samples, any errors are told apart in sample; left out, they are not."""
    rows = torch.randn(90, 400, generator=torch.Generator().manual_seed(0))
    errors = torch.arange(90) % 3 == 0
    found = find_failure_directions(rows, torch.zeros(90, dtype=torch.int64), errors, permutations=20, alpha=0.1)
    assert found.directions[0].score < 0.65


def test_classes_with_too_few_errors_are_named_and_skipped() -> None:
    rows, errors, _ = planted()
    errors[LABELS == 2] = False
    errors[(LABELS == 0).nonzero().squeeze(1)] = True
    found = find_failure_directions(rows, LABELS, errors, min_errors=5)
    assert sorted(found.skipped) == [0, 2]
    assert found.skipped[2] == "0 errors among 400: fewer than 5 on one side"
    assert [direction.label for direction in found.directions] == [1]


def test_nothing_to_look_at_is_nothing_found() -> None:
    found = find_failure_directions(embeddings(), LABELS, torch.zeros(N, dtype=torch.bool))
    assert (found.directions, found.found, found.permutations) == ((), (), 0)


def test_permutations_stop_where_nothing_can_be_found_any_more() -> None:
    errors = torch.rand(N, generator=torch.Generator().manual_seed(3)) < 0.1
    found = find_failure_directions(embeddings(), LABELS, errors, permutations=2000)
    assert found.found == ()
    assert found.permutations < 2000


def test_a_search_repeats_and_does_not_hang_on_the_order_of_classes() -> None:
    rows, errors, _ = planted()
    first, second = (find_failure_directions(rows, LABELS, errors, permutations=20, alpha=0.1) for _ in range(2))
    assert [d.score for d in first.directions] == [d.score for d in second.directions]
    assert [d.p_value for d in first.directions] == [d.p_value for d in second.directions]


def test_rows_of_unit_length() -> None:
    assert torch.allclose(unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]])), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_principal_components_keep_distances_and_order() -> None:
    rows = embeddings() * torch.arange(1, D + 1)
    components = principal_components(rows, D)
    apart, were = components[:600] - components[600:], rows[:600] - rows[600:]
    assert torch.allclose(apart.norm(dim=1), were.norm(dim=1), rtol=1e-4)
    spread = components.var(0)
    assert torch.equal(spread.argsort(descending=True), torch.arange(D))
    assert torch.allclose(principal_components(rows, 3), components[:, :3], atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [{"folds": 1}, {"permutations": 0}, {"min_errors": 4}, {"alpha": 2.0}, {"min_excess": -1.0}, {"costs": (0.0,)}],
    ids=str,
)
def test_settings_are_in_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        find_failure_directions(embeddings(), LABELS, LABELS == 0, **options)


@pytest.mark.parametrize(
    "errors", [torch.zeros(N), torch.zeros(3, dtype=torch.bool), None], ids=["float", "few", "none"]
)
def test_errors_are_marked_for_each_row(errors: Any) -> None:
    with pytest.raises(DataError, match="errors"):
        find_failure_directions(embeddings(), LABELS, errors)


def test_machines_are_at_the_minimum() -> None:
    """The objective is convex, so that where its gradient is zero is its minimum."""
    draw = torch.Generator().manual_seed(1)
    rows = torch.cat([torch.randn(120, 5, generator=draw), torch.ones(120, 1)], 1)
    targets = torch.where(rows[:, :2].sum(1) + 0.5 * torch.randn(120, generator=draw) > 0, 1.0, -1.0).expand(3, -1)
    costs = torch.tensor([[0.01], [0.3], [5.0]]).expand(3, 120)
    weights = fit_machines(rows, targets, costs, tolerance=1e-6, max_steps=5000)
    for weight, target, cost in zip(weights, targets, costs, strict=True):
        slack = (1 - target * (rows @ weight)).clamp(min=0)
        gradient = weight - 2 * (cost * target * slack) @ rows
        at_zero = 2 * (cost * target) @ rows
        assert float(gradient.norm()) < 1e-5 * float(at_zero.norm())


def test_a_row_without_cost_does_not_count() -> None:
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(2))
    targets = torch.where(rows[:, 0] > 0, 1.0, -1.0).unsqueeze(0)
    used = (torch.arange(40) < 30).float().unsqueeze(0)
    masked = fit_machines(rows, targets, balanced_costs(targets, used), tolerance=1e-6, max_steps=5000)
    alone = fit_machines(
        rows[:30], targets[:, :30], balanced_costs(targets[:, :30], torch.ones(1, 30)), tolerance=1e-6, max_steps=5000
    )
    assert torch.allclose(masked, alone, atol=1e-3)


def test_balanced_costs_weigh_both_sides_alike() -> None:
    targets = torch.tensor([[1.0, 1.0, 1.0, -1.0]])
    costs = balanced_costs(targets, torch.ones(1, 4))
    assert costs.tolist() == [pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0])]


def test_the_largest_eigenvalue_is_not_underestimated() -> None:
    rows = torch.randn(50, 8, generator=torch.Generator().manual_seed(4))
    exact = float(torch.linalg.eigvalsh(rows.T @ rows)[-1])
    assert exact <= top_eigenvalue(rows) <= 1.2 * exact
    assert top_eigenvalue(torch.zeros(3, 2)) == 0


def test_folds_and_permutations_are_drawn_by_row_not_by_a_global_generator() -> None:
    rows, errors, _ = planted()
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    find_failure_directions(rows, LABELS, errors, permutations=10, alpha=0.2)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_looks_like_another_class_is_foreseen_to_be_wrong() -> None:
    rows, errors = ordinary(0)
    keys = rng.keys(0, torch.arange(N))
    evidence = class_evidence(unit_rows(rows), LABELS, keys, folds=5)
    assert float(((evidence < 0) == errors).float().mean()) > 0.9
    mine = LABELS == 1
    (chances,) = foreseen_chances(evidence[mine], errors[mine].unsqueeze(0))
    assert float(chances.mean()) == pytest.approx(float(errors[mine].float().mean()), abs=0.02)
    assert bool((chances[evidence[mine].argsort()].diff() <= 1e-6).all())


def test_nothing_foresees_errors_where_evidence_is_strong_or_where_there_is_one_class() -> None:
    errors = torch.arange(100) >= 80
    for evidence in (torch.arange(100) / 100, torch.ones(100)):
        assert torch.allclose(foreseen_chances(evidence, errors.unsqueeze(0)), torch.tensor(0.2), atol=1e-3)
    rows = unit_rows(embeddings())
    evidence = class_evidence(rows, torch.zeros(N, dtype=torch.int64), rng.keys(0, torch.arange(N)), folds=5)
    assert float(evidence.std()) < 1e-4


def test_errors_drawn_as_foreseen_are_as_many_and_where_chances_are() -> None:
    chances = torch.where(torch.arange(200) < 40, 0.5, 0.05)
    drawn = torch.stack([draw_errors(chances, rng.keys(seed, torch.arange(200)), 28) for seed in range(200)])
    assert set(drawn.sum(1).tolist()) == {28}
    assert float(drawn[:, :40].float().mean()) == pytest.approx(0.5, abs=0.04)


def test_overlap_weights_make_both_sides_foreseen_alike() -> None:
    draw = torch.Generator().manual_seed(0)
    evidence = torch.randn(400, generator=draw)
    wrong = (torch.rand(400, generator=draw) < torch.sigmoid(-1.5 - 1.5 * evidence)).unsqueeze(0)
    weights = overlap_weights(foreseen_chances(evidence, wrong), wrong)
    assert float(weights.mean()) == pytest.approx(1)
    means = [float((weights * evidence)[side].sum() / weights[side].sum()) for side in (wrong, ~wrong)]
    assert means[0] == pytest.approx(means[1], abs=0.05)
    assert float(evidence[wrong[0]].mean()) < float(evidence[~wrong[0]].mean()) - 0.8
