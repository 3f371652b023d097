"""Repairs that know which group each sample is in: group DRO, and the last layer retrained on balanced groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from robustest_training.repair import Recipe, group_dro, last_layer_retraining, shift_training
from robustest_training.repair.group_dro import GroupDRO
from torch import Tensor, nn

from robustest import ConfigError, DataError
from robustest.data.groups import Groups
from robustest.measure import measure_worst_group_accuracy


class Birds(NamedTuple):
    """Faint stripes that are the class, and a bright background that goes with it in 19 of 20 samples."""

    x: Tensor
    y: Tensor
    groups: list[tuple[int, int]]


def birds(n: int, *, agree: float = 0.95, seed: int = 0) -> Birds:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    background = torch.where(torch.rand(n, generator=generator) < agree, y, 1 - y)
    x = 0.3 * torch.rand(n, 1, 6, 6, generator=generator)
    x[torch.arange(n), 0, 2 + y] += 0.12
    x[torch.arange(n), 0, 5 * background] += 0.6
    return Birds(x, y, list(zip(y.tolist(), background.tolist(), strict=True)))


TRAIN, FRESH, TEST = birds(600), birds(600, seed=1), birds(400, agree=0.5, seed=2)


@pytest.fixture(scope="module")
def leaning(make_net: Callable[..., nn.Sequential]) -> nn.Module:
    recipe = Recipe(epochs=6, batch_size=32, learning_rate=0.01)
    return shift_training(make_net(), (TRAIN.x, TRAIN.y), lambda x: x, share=1e-6, severities=(1,), recipe=recipe).model


def worst(model: object) -> float:
    estimate = measure_worst_group_accuracy(model, (TEST.x, TEST.y), TEST.groups, exact=True).estimate
    assert estimate is not None
    return estimate


def test_the_last_layer_is_enough(leaning: nn.Module) -> None:
    before = worst(leaning)
    assert before < 0.6
    model, log = last_layer_retraining(leaning, (FRESH.x, FRESH.y), FRESH.groups)
    assert worst(model) > before + 0.2
    for (name, old), (_, new) in zip(leaning.named_parameters(), model.named_parameters(), strict=True):
        assert torch.equal(old, new) == (not name.startswith("4.")), name
    sizes = log.settings["groups"]
    assert sum(sizes.values()) == 600
    assert log.details["worst_group_accuracy"] == max(log.details["by_lambda"])
    assert log.details["weights"] > 0


def test_retraining_is_repeatable(leaning: nn.Module) -> None:
    runs = [
        last_layer_retraining(leaning, (FRESH.x, FRESH.y), FRESH.groups, repeats=2, n_lambdas=5, seed=seed).model
        for seed in (1, 1, 2)
    ]
    assert torch.equal(runs[0][4].weight, runs[1][4].weight)
    assert not torch.equal(runs[0][4].weight, runs[2][4].weight)


def test_a_layer_without_bias_gets_one(make_net: Callable[..., nn.Sequential]) -> None:
    net = make_net()
    net[4] = nn.Linear(16, 2, bias=False)
    model, _ = last_layer_retraining(net, (FRESH.x, FRESH.y), FRESH.groups, repeats=1, n_lambdas=5)
    assert net[4].bias is None
    assert model[4].bias is not None
    with torch.no_grad():
        assert float((model(FRESH.x).argmax(1) == FRESH.y).float().mean()) > 0.5


def test_group_dro_lifts_the_worst_group(leaning: nn.Module) -> None:
    before = worst(leaning)
    recipe = Recipe(epochs=10, batch_size=64, learning_rate=0.01, weight_decay=0.1)
    model, log = group_dro(leaning, (TRAIN.x, TRAIN.y), TRAIN.groups, rate=0.05, recipe=recipe)
    assert worst(model) > before + 0.2
    weights = log.details["group_weights"]
    assert sum(weights) == pytest.approx(1)
    assert len(weights) == 4


def test_groups_are_drawn_equally_often() -> None:
    groups = Groups.of(TRAIN.groups, len(TRAIN.y))
    method = GroupDRO.made(groups, rate=0.1, adjustment=0.0)
    order = method.order(0, len(TRAIN.y), 0)
    assert len(order) == len(TRAIN.y)
    counts = torch.bincount(method.of[order], minlength=4)
    assert (counts - 150).abs().max() < 45  # four standard deviations
    assert not torch.equal(order, method.order(1, len(TRAIN.y), 0))
    rare = min(range(4), key=lambda g: groups.sizes[g])
    drawn = set(order[method.of[order] == rare].tolist())
    assert drawn == set(groups.members[rare].tolist())  # each of the few members, again and again


def test_weights_grow_by_the_loss_and_the_adjustment() -> None:
    groups = Groups.of([0] * 4 + [1] * 100, 104)
    plain = GroupDRO.made(groups, rate=0.5, adjustment=0.0)
    plain._grow(torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([1, 1]))
    wanted = torch.softmax(torch.tensor([0.5, 1.0], dtype=torch.float64), 0)
    assert torch.allclose(plain.weights, wanted)
    absent = GroupDRO.made(groups, rate=0.5, adjustment=0.0)
    absent._grow(torch.tensor([5.0, 0.0], dtype=torch.float64), torch.tensor([3, 0]))
    assert torch.allclose(absent.weights, torch.softmax(torch.tensor([2.5, 0.0], dtype=torch.float64), 0))
    adjusted = GroupDRO.made(groups, rate=1.0, adjustment=2.0)
    adjusted._grow(torch.zeros(2, dtype=torch.float64), torch.tensor([1, 1]))
    assert torch.allclose(adjusted.weights, torch.softmax(torch.tensor([1.0, 0.2], dtype=torch.float64), 0))


OVERLAP = {"a": [0, 1, 2, 3, 4], "b": [4, 5, 6, 7]}


def test_groups_may_not_overlap(leaning: nn.Module) -> None:
    with pytest.raises(DataError, match="in one group at most"):
        group_dro(leaning, (TRAIN.x, TRAIN.y), OVERLAP)
    with pytest.raises(DataError, match="in one group at most"):
        last_layer_retraining(leaning, (TRAIN.x, TRAIN.y), OVERLAP)


def test_a_group_needs_samples_to_fit_and_to_choose_by(leaning: nn.Module) -> None:
    with pytest.raises(DataError, match=r"4 samples or more in every group but got fewer in \['b'\]"):
        last_layer_retraining(leaning, (TRAIN.x, TRAIN.y), {"a": [0, 1, 2, 3, 4], "b": [5, 6]})


@pytest.mark.parametrize(
    ("repair", "arguments"),
    [
        (group_dro, {"rate": 0.0}),
        (group_dro, {"adjustment": -1.0}),
        (last_layer_retraining, {"repeats": 0}),
        (last_layer_retraining, {"n_lambdas": 1}),
        (last_layer_retraining, {"l1_ratio": 1.0}),
        (last_layer_retraining, {"layer": "nowhere"}),
    ],
)
def test_arguments_that_make_no_sense_are_refused(leaning: nn.Module, repair: Any, arguments: Any) -> None:
    with pytest.raises(ConfigError):
        repair(leaning, (TRAIN.x, TRAIN.y), TRAIN.groups, **arguments)


def test_a_net_without_a_last_linear_layer_is_refused() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 2), nn.Tanh())
    with pytest.raises(ConfigError, match="Name the layer"):
        last_layer_retraining(net, (TRAIN.x, TRAIN.y), TRAIN.groups)
