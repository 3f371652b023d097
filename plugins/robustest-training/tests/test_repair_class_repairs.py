"""Repairs of data sets with rare classes: logit adjustment, and classes of equal weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from robustest_training.repair import Recipe, balanced_training, logit_adjusted_training, logit_adjustment
from robustest_training.repair.class_balance import Balanced
from torch import Tensor, nn

from robustest import ConfigError, DataError, ModelError, as_classifier, assert_worst_group_accuracy
from robustest.measure import measure_worst_group_accuracy

Data = tuple[Tensor, Tensor]
QUICK = Recipe(epochs=4, batch_size=32, learning_rate=0.01)


def lopsided(n: int, *, rare: float, seed: int) -> Data:
    """Faint stripes in row 2 or, seldom, in row 3."""
    generator = torch.Generator().manual_seed(seed)
    y = (torch.rand(n, generator=generator) < rare).long()
    x = 0.3 * torch.rand(n, 1, 6, 6, generator=generator)
    x[torch.arange(n), 0, 2 + y] += 0.05
    return x, y


TRAIN, TEST = lopsided(800, rare=0.06, seed=0), lopsided(800, rare=0.5, seed=1)


def worst(model: object) -> float:
    estimate = measure_worst_group_accuracy(model, TEST, TEST[1], exact=True).estimate
    assert estimate is not None
    return estimate


@pytest.fixture(scope="module")
def plain(make_net: Callable[..., nn.Sequential]) -> nn.Module:
    model: nn.Module = logit_adjusted_training(make_net(), TRAIN, tau=0.0, recipe=QUICK).model
    return model


def repaired(how: str, plain: nn.Module, fresh: nn.Module) -> Any:
    if how == "post hoc":
        return logit_adjustment(plain, TRAIN)
    if how == "in the loss":
        return logit_adjusted_training(fresh, TRAIN, recipe=QUICK)
    return balanced_training(fresh, TRAIN, by=how, recipe=QUICK)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["post hoc", "in the loss", "weights", "sampling"])
def test_rare_classes_gain(how: str, plain: nn.Module, make_net: Callable[..., nn.Sequential]) -> None:
    model, log = repaired(how, plain, make_net())
    assert worst(model) > worst(plain) + 0.2
    counts = log.settings.get("counts", log.details.get("counts"))
    assert counts == torch.bincount(TRAIN[1]).tolist()
    assert log.to_dict()["samples"] == 800


def test_post_hoc_takes_the_log_share_off(plain: nn.Module, snapshot: Callable[[nn.Module], dict[str, Any]]) -> None:
    before = snapshot(plain)
    model, log = logit_adjustment(plain, TRAIN, tau=2.0)
    share = torch.bincount(TRAIN[1]).double() / len(TRAIN[1])
    with torch.no_grad():
        assert torch.allclose(plain(TEST[0]) - model(TEST[0]), (2 * share.log()).float(), atol=1e-5)
    assert snapshot(plain) == before
    assert log.details["offsets"] == pytest.approx((2 * share.log()).tolist())
    assert not model.training
    same = logit_adjustment(plain, TRAIN, tau=0.0).model
    assert torch.equal(same(TEST[0]), plain(TEST[0]))


def test_a_classifier_comes_back_as_one(plain: nn.Module) -> None:
    given = as_classifier(plain, bounds=(0.0, 2.0))
    back = logit_adjustment(given, TRAIN).model
    assert (back.bounds, back.recipe) == ((0.0, 2.0), None)
    assert not torch.equal(back(TEST[0]), given(TEST[0]))


def test_equal_classes_are_told_of(plain: nn.Module) -> None:
    x, y = TRAIN[0][:100], torch.arange(100) % 2
    _, log = logit_adjustment(plain, (x, y))
    assert any("equally often" in note for note in log.notes)
    _, log = logit_adjusted_training(plain, (x, y), recipe=Recipe(epochs=1))
    assert any("equally often" in note for note in log.notes)


def test_sampling_draws_every_class_equally_often() -> None:
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    method = Balanced(labels=labels, counts=torch.bincount(labels), by="sampling")
    order = method.order(0, 1000, 0)
    counts = torch.bincount(labels[order], minlength=3)
    assert (counts - 1000 / 3).abs().max() < 60  # four standard deviations
    assert set(order[labels[order] == 2].tolist()) == set(range(990, 1000))
    assert not torch.equal(order, method.order(1, 1000, 0))
    weighted = Balanced(labels=labels, counts=torch.bincount(labels), by="weights")
    assert sorted(weighted.order(0, 1000, 0).tolist()) == list(range(1000))
    assert float(weighted.weights[labels].mean()) == pytest.approx(1)
    assert (weighted.weights * weighted.counts).tolist() == pytest.approx([1000 / 3] * 3)


def test_the_claim_is_measured_again(make_net: Callable[..., nn.Sequential]) -> None:
    def claim(model: object) -> Any:
        return measure_worst_group_accuracy(model, TEST, TEST[1], at_least=0.99)

    for repair in (logit_adjusted_training, balanced_training):
        _, log = repair(make_net(), TRAIN, recipe=Recipe(epochs=1), claim=claim)
        assert log.claim is not None
        assert log.claim.ruling.threshold == 0.99
    _, log = logit_adjustment(make_net(), TRAIN, claim=claim)
    assert log.claim is not None

    def failing(model: object) -> Any:
        return assert_worst_group_accuracy(model, TEST, TEST[1], at_least=0.99)

    assert logit_adjustment(make_net(), TRAIN, claim=failing).log.claim is not None


def test_a_killed_training_goes_on(make_net: Callable[..., nn.Sequential], tmp_path: Any) -> None:
    for repair in (logit_adjusted_training, lambda *a, **k: balanced_training(*a, by="sampling", **k)):
        place = tmp_path / f"{id(repair)}.safetensors"
        whole = repair(make_net(), TRAIN, recipe=QUICK).model
        again = repair(make_net(), TRAIN, recipe=QUICK, checkpoint=place)
        read = repair(make_net(), TRAIN, recipe=QUICK, checkpoint=place)
        assert read.log.resumed > 0
        for model in (again.model, read.model):
            assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), model.parameters(), strict=True))


REPAIRS = [logit_adjustment, logit_adjusted_training, balanced_training]


@pytest.mark.parametrize("repair", REPAIRS)
def test_data_without_a_class_are_refused(repair: Any, plain: nn.Module) -> None:
    with pytest.raises(DataError, match=r"each of the model's 2 classes but got none of \[1\]"):
        repair(plain, (TRAIN[0], torch.zeros_like(TRAIN[1])))
    with pytest.raises(DataError, match=r"labels in 0\.\.1"):
        repair(plain, (TRAIN[0], TRAIN[1] + 1))
    with pytest.raises(ConfigError, match="torch module"):
        repair(lambda x: x.flatten(1)[:, :2], TRAIN)


def test_probabilities_and_nan_are_refused(plain: nn.Module) -> None:
    for repair in (logit_adjustment, logit_adjusted_training):
        with pytest.raises(ModelError, match="look like probabilities"):
            repair(nn.Sequential(plain, nn.Softmax(1)), TRAIN)
    for repair in REPAIRS:
        with pytest.raises((ModelError, DataError), match="finite"):
            repair(plain, (TRAIN[0] / 0.0, TRAIN[1]))


@pytest.mark.parametrize("wrong", [{"tau": -1.0}, {"tau": float("nan")}, {"tau": True}], ids=str)
def test_tau_is_in_range(wrong: Any, plain: nn.Module) -> None:
    for repair in (logit_adjustment, logit_adjusted_training):
        with pytest.raises(ConfigError, match="tau"):
            repair(plain, TRAIN, **wrong)
    with pytest.raises(ConfigError, match="by to be one of"):
        balanced_training(plain, TRAIN, by="luck")  # type: ignore[arg-type]
