"""The graph behind a model: nothing that it says counts before it was compared, and where nothing is said it is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import Linf, Verdict
from robustest.bounds.operations import NoBound
from robustest.engine import proving
from robustest.engine.proving import Proof
from robustest.measure import measure_certified_accuracy

N = 40


def net(scale: float = 1.0) -> nn.Module:
    draw = torch.Generator().manual_seed(0)
    layers = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3))
    for parameter in layers.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw) * scale
    return layers.eval().requires_grad_(False)


def measured(model: nn.Module, eps: float) -> Any:
    x = torch.rand(N, 4, generator=torch.Generator().manual_seed(1))
    return measure_certified_accuracy(
        model, (x, model(x).argmax(1)), Linf(eps), at_least=0.1, attack="fgsm", cache=False
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of graphs, in order."""
    asked: list[str] = []
    for module, name in ((proving, "_agrees"), (proving, "_keeps_to_its_lines"), (proving, "prove")):
        plain = getattr(module, name)

        def told(*args: Any, _name: str = name, _plain: Any = plain) -> Any:
            asked.append(_name)
            return _plain(*args)

        monkeypatch.setattr(module, name, told)
    return asked


def test_a_network_that_bounds_cannot_help_is_not_compared(asked: list[str]) -> None:
    result = measured(net(5.0), 0.4)
    assert result.details["proven"] == 0
    assert any(note.startswith("no bound: given up") for note in result.words.notes)
    assert set(asked) == {"prove"}


def test_comparisons_are_made_once_and_right_behind_the_first_proof(asked: list[str]) -> None:
    assert measured(net(), 0.0005).details["proven"] > 0
    assert asked[:3] == ["prove", "_agrees", "_keeps_to_its_lines"]
    assert asked.count("_agrees") == asked.count("_keeps_to_its_lines") == 1


@pytest.mark.parametrize("name", ["_agrees", "_keeps_to_its_lines"])
def test_nothing_is_proven_by_a_graph_that_a_comparison_refuses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, name, lambda *_: False)
    result = measured(net(), 0.0005)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.details["proven"] == 0
    assert any(note.startswith("no bound: ") for note in result.words.notes)


def test_a_graph_that_says_less_than_its_pilot_later_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation whose spread turns out to be unknown was none of those that its name says."""

    def later(network: Any, ball: Any, y: Tensor, classes: int) -> Proof:
        if len(y) < proving._PILOT:
            return Proof(proven=torch.ones(len(y), dtype=torch.bool), margin=torch.ones(len(y)))
        raise NoBound("no bound: the spread of roll is not known")

    monkeypatch.setattr(proving, "prove", later)
    result = measured(net(), 0.0005)
    assert result.details["proven"] == 0
    assert "no bound: the spread of roll is not known" in result.words.notes


@pytest.mark.parametrize("agrees", [True, False])
def test_what_a_graph_raises_is_ours_only_where_the_graph_is_the_models(
    agrees: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_: Any) -> Proof:
        raise RuntimeError("shapes")

    monkeypatch.setattr(proving, "prove", raises)
    monkeypatch.setattr(proving, "_agrees", lambda *_: agrees)
    if agrees:
        with pytest.raises(Exception, match="shapes"):
            measured(net(), 0.0005)
    else:
        assert measured(net(), 0.0005).details["proven"] == 0


@pytest.mark.parametrize(("times", "tried"), [(-31.0, {1}), (-29.0, {1, 7})])
def test_a_chunk_whose_clearest_sample_is_hopeless_is_given_up_by_it_alone(
    times: float, tried: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clearest sample alone decides, and by how far its bound lies below zero for its margin."""
    sizes, model = [], net()
    x = torch.rand(N, 4, generator=torch.Generator().manual_seed(1))
    ends = model(x).sort(descending=True).values
    clearest = float((ends[:, 0] - ends[:, 1]).amax())

    def far(network: Any, ball: Any, y: Tensor, classes: int) -> Proof:
        sizes.append(len(y))
        return Proof(proven=torch.zeros(len(y), dtype=torch.bool), margin=torch.full((len(y),), times * clearest))

    monkeypatch.setattr(proving, "prove", far)
    assert measured(model, 0.0005).details["proven"] == 0
    assert set(sizes) == tried
