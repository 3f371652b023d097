"""Features read for many samples: the layer's inputs, in the data's order, counted and checked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustest.data import as_samples
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.features import Features
from robustest.errors import DataError, ModelError
from robustest.models import as_classifier

X = torch.rand(600, 3, 2, generator=torch.Generator().manual_seed(0))
Y = torch.arange(600) % 3


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.relu(self.body(x.flatten(1))))
        return out


@pytest.fixture
def evaluator() -> Evaluator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net().eval()
    return Evaluator(as_classifier(model), torch.device("cpu"), batch_size=50, suppress=(), notes=[])


def test_samples_come_in_the_order_asked_for(evaluator: Evaluator) -> None:
    chunks = list(Chunk.each(as_samples((X, Y)), evaluator, seed=0))
    assert [len(chunk.y) for chunk in chunks] == [512, 88]
    assert torch.equal(torch.cat([chunk.x for chunk in chunks]), X)
    wanted = torch.tensor([7, 3, 599])
    (few,) = Chunk.each(as_samples((X, Y)), evaluator, seed=0, ids=wanted)
    assert torch.equal(few.ids, wanted)
    assert torch.equal(few.x, X[wanted])
    with pytest.raises(DataError, match="inside the bounds"):
        list(Chunk.each(as_samples((X + 1, Y)), evaluator, seed=0))


def test_features_are_the_last_layers_inputs_and_count_as_passes(evaluator: Evaluator) -> None:
    features = Features.of(evaluator, X)
    assert features.name == "head"
    rows = features(X)
    module = evaluator.model.module
    assert isinstance(module, Net)
    with torch.no_grad():
        assert torch.allclose(rows, torch.relu(module.body(X.flatten(1))))
        assert torch.allclose(module.head(rows), evaluator.logits(X), atol=1e-6)
    assert evaluator.forward == 2 * len(X)


def test_an_inversion_comes_close_and_its_passes_count(evaluator: Evaluator) -> None:
    features = Features.of(evaluator, X, layer="head")
    start, aim = torch.full_like(X[:8], 0.5), features(X[:8])
    made, distance = features.inverted(start, aim, bounds=(0.0, 1.0), steps=100)
    before = (features(start) - aim).norm(dim=1) / aim.norm(dim=1)
    assert torch.allclose(distance, (features(made) - aim).norm(dim=1) / aim.norm(dim=1), atol=1e-6)
    assert float(distance.mean()) < 0.3 * float(before.mean())
    assert evaluator.backward == 8 * 100
    driven = features.maximised(start, torch.zeros(8, dtype=torch.int64), bounds=(0.0, 1.0), steps=10)
    assert bool((features(driven)[:, 0] >= features(start)[:, 0]).all())


def test_a_copy_of_the_model_has_the_same_layer(evaluator: Evaluator) -> None:
    features = Features.of(evaluator, X)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        other = Evaluator(as_classifier(Net().eval()), evaluator.device, batch_size=50, suppress=(), notes=[])
    moved = features.on(other)
    assert moved.layer is other.model.module.head  # type: ignore[union-attr]
    assert features.on(evaluator).layer is features.layer
    assert not torch.equal(moved(X[:4]), features(X[:4]))


def test_features_that_are_no_numbers_are_an_error(evaluator: Evaluator) -> None:
    features = Features.of(evaluator, X)
    module = evaluator.model.module
    assert isinstance(module, Net)
    with torch.no_grad():
        module.body.bias[0] = torch.inf
    with pytest.raises(ModelError, match="nan_values"):
        features(X)
