"""Twenty sound models of kinds that are easily taken for masked ones: no health check stops what is true of them."""

from __future__ import annotations

import copy
import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from masks import Around

from robustest import Linf, Verdict, as_classifier, labels_model, scores_model
from robustest.attacks import Square
from robustest.measure import measure_robust_accuracy

N = 24


@pytest.fixture(scope="module")
def held() -> tuple[nn.Sequential, Tensor, Tensor]:
    """The quickstart's defended net, and digits."""
    source = Path(__file__).parents[1] / "examples" / "quickstart" / "model.py"
    spec = importlib.util.spec_from_file_location("quickstart_held", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    x, y = module.digits()
    return module.load("robust"), x[::40][:N], y[::40][:N]


class Fitted(nn.Module):
    """As a training framework leaves it: in train mode, with dropout and a batch norm that has seen data."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.norm, self.net, self.drop = nn.BatchNorm2d(1), net, nn.Dropout(0.3)
        self.trainer = SimpleNamespace(max_epochs=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.drop(self.net(self.norm(x)))
        return out


class DropPath(nn.Module):
    """Stochastic depth, as image models have it: whole samples skip a branch in train mode."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * (torch.rand(len(x), *[1] * (x.ndim - 1)) > self.drop_prob)


class Residual(nn.Module):
    """A normalised head on a net, in train mode."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.path, self.norm = net, DropPath(0.2), nn.LayerNorm(10)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        out: Tensor = logits + self.path(0.1 * self.norm(logits))
        return out


def through_grey(x: Tensor) -> Tensor:
    """Rounds to grey levels, with the gradient passed straight through (Bengio et al., 2013)."""
    return x + (torch.round(x * 255) / 255 - x).detach()


def quantised(net: nn.Module) -> nn.Module:
    """Weights on 255 levels."""
    net = copy.deepcopy(net)
    for weight in net.parameters():
        unit = weight.detach().abs().max() / 127
        weight.data = torch.round(weight.data / unit) * unit
    return net


def mixed(net: nn.Module, x: Tensor) -> Tensor:
    """The net in mixed precision."""
    with torch.autocast("cpu", torch.bfloat16):
        out: Tensor = net(x)
    return out.float()


def halved(net: nn.Module) -> nn.Module:
    """The net in bfloat16, inputs and outputs in float32."""
    half = copy.deepcopy(net).bfloat16()
    return Around(half, lambda half, x: half(x.bfloat16()).float())


def twice(net: nn.Module, x: Tensor) -> Tensor:
    """Normalised, and again."""
    once = (x - 0.13) / 0.31
    again = (once - once.new_tensor(0.02)) / 1.01
    out: Tensor = net((again * 1.01 + 0.02) * 0.31 + 0.13)
    return out


def traced(net: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.trace(net, torch.rand(2, 1, 28, 28))


SOUND: dict[str, Callable[[nn.Module], Any]] = {
    "plain": lambda net: net,
    "fitted, in train mode": lambda net: Fitted(net).train(),
    "stochastic depth, in train mode": lambda net: Residual(net).train(),
    "normalised twice": lambda net: Around(net, twice),
    "mixed precision": lambda net: Around(net, mixed),
    "bfloat16": halved,
    "float64": lambda net: Around(copy.deepcopy(net).double(), lambda net, x: net(x.double())),
    "weights on 255 levels": quantised,
    "straight through grey levels": lambda net: Around(net, lambda net, x: net(through_grey(x))),
    "distilled: large logits": lambda net: Around(net, lambda net, x: 100 * net(x)),
    "cool: small logits": lambda net: Around(net, lambda net, x: 0.01 * net(x)),
    "probabilities": lambda net: Around(net, lambda net, x: net(x).softmax(1)),
    "log probabilities": lambda net: Around(net, lambda net, x: net(x).log_softmax(1)),
    "an ensemble": lambda net: Around(net, lambda net, x: (net(x) + net(x.roll(1, -1)) + net(x.roll(-1, -1))) / 3),
    "traced": traced,
    "outputs with a name": lambda net: lambda x: SimpleNamespace(logits=net(x)),
    "preprocessing": lambda net: as_classifier(
        Around(net, lambda net, x: net(0.3 * x + 0.1)), preprocessing=([0.1], [0.3])
    ),
}
"""Ways to hand over the same defended net."""


@pytest.mark.filterwarnings("ignore:softmax_outputs", "ignore:`torch.jit")
@pytest.mark.parametrize("kind", SOUND)
def test_nothing_stops_what_is_true(kind: str, held: Any) -> None:
    net, x, y = held
    found = measure_robust_accuracy(
        SOUND[kind](copy.deepcopy(net)), (x, y), Linf(0.05), at_least=0.8, attack="fast", exact=True
    )
    assert found.details["health"] == []
    assert found.verdict is Verdict.PASSED


@pytest.fixture(scope="module")
def table() -> tuple[Any, Any]:
    """Two classes far apart in eight features."""
    draws = np.random.RandomState(0)
    y = np.arange(400) % 2
    x = 0.3 + 0.4 * y[:, None] + draws.uniform(-0.2, 0.2, (400, 8))
    return x.astype(np.float32), y


def forest(x: Any, y: Any) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(10, random_state=0).fit(x, y)


def boosted(x: Any, y: Any) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(n_estimators=10, random_state=0).fit(x, y)


@pytest.mark.parametrize(
    ("fit", "attack"), [(forest, "fast"), (boosted, Square(queries=1000))], ids=["forest-fast", "boosted-square"]
)
def test_nothing_stops_trees(fit: Callable[[Any, Any], Any], attack: Any, table: Any) -> None:
    x, y = table
    trees = fit(x, y)
    data = torch.from_numpy(x[:30]), torch.from_numpy(y[:30])
    found = measure_robust_accuracy(scores_model(trees.predict_proba), data, Linf(0.02), at_least=0.8, attack=attack)
    assert found.details["health"] == []
    assert found.verdict is Verdict.PASSED


def test_nothing_stops_labels_of_trees(table: Any) -> None:
    x, y = table
    trees = forest(x, y)
    data = torch.from_numpy(x[:20]), torch.from_numpy(y[:20])
    found = measure_robust_accuracy(
        labels_model(trees.predict, classes=2), data, Linf(0.02), at_least=0.8, attack="fast"
    )
    assert found.details["health"] == []
    assert found.verdict is Verdict.PASSED
