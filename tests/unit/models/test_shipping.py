"""Models travel by recipe, as an exported program, or as the function they are; what arrives answers alike."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import Classifier, ConfigError, Factory, as_classifier, scores_model
from robustest.models.shipping import ship

X = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))

    def forward(self, x: Tensor) -> Any:
        return self.layers(x)


class Undecided(Net):
    def forward(self, x: Tensor) -> Any:
        return self.layers(x) if x.sum() > 0 else -self.layers(x)


def zeros(x: Any) -> Any:
    return x.reshape(len(x), -1)[:, :2]


def arrived(model: Classifier) -> Classifier:
    """The model after a journey."""
    return pickle.loads(pickle.dumps(ship(model, lambda: X[:2]))).open()  # type: ignore[no-any-return]  # noqa: S301


def trained(net: nn.Module) -> nn.Module:
    """A net in eval mode, with statistics that no new one has."""
    net.train()(X)
    return net.eval()


@pytest.mark.parametrize("preprocessing", [None, ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))], ids=["as it is", "normalised"])
def test_an_exported_module_answers_alike_for_any_batch(preprocessing: Any) -> None:
    model = as_classifier(trained(Net()), preprocessing=preprocessing)
    here = arrived(model)
    for rows in (1, 2, 5):
        assert torch.equal(here(X[:rows]), model(X[:rows]))
    assert not any(part.training for part in here.module.modules())  # type: ignore[union-attr]


def test_an_exported_module_has_gradients() -> None:
    model = as_classifier(trained(Net()))
    slopes = []
    for one in (model, arrived(model)):
        x = X.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(one(x)[:, 0].sum(), x)
        slopes.append(slope)
    assert torch.equal(*slopes)
    assert bool(slopes[0].any())


def test_a_recipe_is_followed_and_given_the_weights() -> None:
    recipe = Factory("torch.nn:Linear", in_features=3, out_features=2)
    model = as_classifier(recipe)
    here = arrived(model)
    assert torch.equal(here(torch.eye(3)), model(torch.eye(3)))
    assert here.recipe == recipe


def test_a_recipe_for_another_module_is_named() -> None:
    net = nn.Linear(3, 2).eval()
    model = replace(as_classifier(net), recipe=Factory("torch.nn:Linear", in_features=4, out_features=2))
    with pytest.raises(ConfigError, match=r"Expected torch\.nn:Linear.* to build the module measured"):
        arrived(model)


def test_a_function_goes_as_it_is() -> None:
    model = replace(scores_model(zeros), call=zeros)
    assert arrived(model).call is zeros


def test_a_module_that_cannot_be_exported_asks_for_a_recipe() -> None:
    with pytest.raises(ConfigError, match=r"torch\.export can export"):
        ship(as_classifier(Undecided().eval()), lambda: X[:2])
