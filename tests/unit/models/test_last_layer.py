"""The last linear layer, and what goes into it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import ConfigError, ModelError, as_classifier
from robustest.models.last_layer import last_layer

X = torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))


class Two(nn.Module):
    """Two heads; the second gives the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(9, 5)
        self.aside = nn.Linear(5, 3)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Any:
        hidden = torch.relu(self.body(x.flatten(1)))
        out = self.head(hidden)
        self.aside(hidden)  # called last, but its answer goes nowhere
        return SimpleNamespace(logits=out)


def test_it_is_the_one_whose_outputs_are_the_logits() -> None:
    model = Two().eval()
    last = last_layer(as_classifier(model), X)
    assert last.name == "head"
    assert last.layer is model.head
    with torch.no_grad():
        assert torch.equal(last.features(X), torch.relu(model.body(X.flatten(1))))


def test_features_go_through_preprocessing_and_carry_gradients() -> None:
    model = Two().eval()
    given = as_classifier(model, preprocessing=([0.5], [0.25]))
    x = X.clone().requires_grad_(True)
    features = last_layer(given, X).features(x)
    assert torch.equal(features, torch.relu(model.body(((X - 0.5) / 0.25).flatten(1))))
    features.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert float(x.grad.abs().max()) > 0


def test_no_hook_is_left_behind() -> None:
    model = Two().eval()
    last = last_layer(as_classifier(model), X)
    last.features(X)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_a_name_that_gives_no_logits_is_refused() -> None:
    assert last_layer(as_classifier(Two().eval()), X, "head").name == "head"
    for name in ("aside", "body", "nowhere"):
        with pytest.raises(ConfigError, match="of body, aside, head"):
            last_layer(as_classifier(Two().eval()), X, name)


def test_models_without_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="layer='fc', say"):
        last_layer(as_classifier(nn.Sequential(nn.Flatten(), nn.Linear(9, 3), nn.Softmax(1))), X)
    with pytest.raises(ConfigError, match="a torch module"):
        last_layer(as_classifier(lambda x: x.flatten(1)), X)


class Tokens(nn.Module):
    """A head for each of two tokens; then their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x.view(len(x), 3, 3)).reshape(len(x), -1)[:, :3]
        return out


def test_a_layer_that_gets_more_than_a_row_a_sample_has_no_features() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 3)).eval()
    last = last_layer(as_classifier(model), X)
    with pytest.raises(ModelError, match=r"to be given \(4, D\)"):
        type(last)(as_classifier(Tokens()), "head", Tokens().head).features(X)
