"""Claims that take gradients without a search: their gradients are checked as those of an attack are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import Linf, Result
from robustest.measure import measure_no_universal_perturbation

X = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0, :3].mean((1, 2)) > X[:, 0, 3:].mean((1, 2))).long()


def model(x: Tensor) -> Tensor:
    lead = 20 * (x[:, 0, :3].mean((1, 2)) - x[:, 0, 3:].mean((1, 2)))
    return torch.stack([-lead, lead], 1)


def turned(x: Tensor) -> Tensor:
    """The same answers, with gradients that point the other way."""
    z = x.clone()
    if z.requires_grad:
        z.register_hook(torch.neg)  # type: ignore[no-untyped-call]
    return model(z)


@pytest.mark.parametrize(
    "measure",
    [lambda one: measure_no_universal_perturbation(one, (X, Y), Linf(0.1))],
    ids=["no_universal_perturbation"],
)
def test_a_gradient_that_misleads_is_found_without_a_search(measure: Callable[[Any], Result]) -> None:
    assert not measure(model).words.notes
    assert [note.partition(":")[0] for note in measure(turned).words.notes] == ["gradient_misleads"]
