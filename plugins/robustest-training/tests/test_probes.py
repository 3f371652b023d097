"""The loss around a point: closed forms, what no rescaling changes, and what is put back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from robustest_training.landscape import Probe, probe
from torch import Tensor, nn

from robustest import ModelError

ETAS = (0.05, 0.15, 0.4)
CE = nn.functional.cross_entropy
Y = torch.arange(96) % 4
X = 0.3 * torch.rand(96, 12, generator=torch.Generator().manual_seed(0)) + nn.functional.one_hot(Y, 12)


def net(norm: bool = True, dropout: float = 0.0, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    parts: list[nn.Module] = []
    for wide in (12, 24, 24):
        parts += [
            nn.Linear(wide, 24),
            *([nn.BatchNorm1d(24, eps=1e-9)] if norm else []),
            nn.ReLU(),
            nn.Dropout(dropout),
        ]
    return nn.Sequential(*parts, nn.Linear(24, 4)).train()


def look(model: nn.Module, loss: Any = CE, rate: float = 0.1, number: int = 0) -> Probe:
    return probe(model, loss, X, Y, etas=ETAS, learning_rate=rate, number=number)


class Bowl(nn.Module):
    """Two weights and no input: what the loss makes of them is known."""

    def __init__(self, *at: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(at))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight


def test_on_a_quadratic_all_numbers_are_known() -> None:
    """f = 3 |w|^2 / 2, w = (3, 4): the step goes to the centre, eta of the way."""
    seen = look(Bowl(3.0, 4.0), loss=lambda out, _: 1.5 * out.square().sum(), rate=0.01)
    assert seen.loss == pytest.approx(37.5)
    assert seen.loss_range == pytest.approx(37.5 * (1 - 0.6**2), rel=1e-5)
    assert seen.cosine == pytest.approx(1.0)
    assert seen.absolute_beta == pytest.approx(3.0, rel=1e-4), "the curvature"
    assert seen.beta == pytest.approx(3.0 * 25, rel=1e-4), "the curvature in units of the weights' norm"
    assert np.isnan([seen.shift, seen.shift_cosine]).all(), "no layer has others before it"


def test_a_step_over_the_valley_turns_the_gradient() -> None:
    """f = |w - c| along one axis: past the kink the gradient points back."""
    seen = look(Bowl(1.0, 0.0), loss=lambda out, _: (out[0] - 0.7).abs() + 0 * out[1])
    assert seen.cosine == pytest.approx(-1.0)
    assert seen.loss_range == pytest.approx(0.3 - 0.1, abs=1e-5)  # from .3 at the start to .1 beyond


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_rescaling_under_a_normalisation_moves_no_relative_measure(factor: float) -> None:
    """One and the same function, but for a tiny eps in the normalisation."""
    model = net()
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        for part in scaled:
            if isinstance(part, nn.Linear) and part.out_features == 24:
                part.weight *= factor
                part.bias *= factor
    before, after = look(model), look(scaled)
    for name in ("loss", "loss_range", "beta", "shift"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), rel=0.02), name
    for name in ("cosine", "shift_cosine"):  # in -1..1, and near 0 here
        assert getattr(after, name) == pytest.approx(getattr(before, name), abs=0.02), name


def test_the_absolute_beta_can_be_set_at_will() -> None:
    betas = []
    for factor in (0.1, 1.0, 10.0):
        model = net()
        with torch.no_grad():
            for part in model:
                if isinstance(part, nn.Linear) and part.out_features == 24:
                    part.weight *= factor
        betas.append(look(model).absolute_beta)
    assert max(betas) > 10 * min(betas)


def test_without_a_normalisation_a_rescaled_net_is_another_function() -> None:
    model = net(norm=False)
    before = look(model)
    with torch.no_grad():
        model[0].weight *= 10
    assert look(model).loss_range != pytest.approx(before.loss_range, rel=0.02)


def test_everything_is_put_back(snapshot: Callable[[nn.Module], dict[str, Any]]) -> None:
    model = net(dropout=0.5)
    before, state, numbers = snapshot(model), torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    first = look(model)
    assert snapshot(model) == before
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    assert torch.equal(torch.get_rng_state(), state)
    assert np.random.get_state()[1].tolist() == numbers  # type: ignore[index, union-attr]
    assert look(model) == first, "dropout draws the same in each pass: the steps are on one function"


def test_a_probe_costs_six_gradients(watched: Any) -> None:
    model = watched(net())
    look(model)
    assert len(model.calls) == len(ETAS) + 3 <= 8


def test_covariate_shift_goes_through_the_layers_by_turns() -> None:
    model = net()
    shifts = [look(model, number=number).shift for number in range(4)]
    assert len(set(shifts[:3])) == 3
    assert shifts[3] == shifts[0]


def test_what_is_not_finite_is_an_error() -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ModelError, match="finite losses and gradients"):
        look(model, loss=lambda out, y: CE(out, y) / 0.0)
    with pytest.raises(ModelError, match="finite losses and gradients"):
        look(Bowl(1.0, 1.0), loss=lambda out, _: out.sum() / (out.sum() > 1.95).float())  # at the steps alone
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(ModelError, match="scalar tensor with a gradient"):
        look(model, loss=lambda out, y: CE(out, y, reduction="none"))
    with pytest.raises(ModelError, match="scalar tensor with a gradient"):
        look(model, loss=lambda out, y: CE(out.detach(), y))
