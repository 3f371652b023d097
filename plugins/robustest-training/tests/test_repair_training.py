"""Tests of what all repairs by training are asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from robustest_training.repair import adversarial_training, balanced_training
from torch import Tensor, nn

from robustest import Linf
from robustest.errors import UnknownNameError

Repair = Callable[..., object]


@pytest.mark.parametrize("repair", [balanced_training, lambda *a, **k: adversarial_training(*a, Linf(0.1), **k)])
def test_a_misspelt_option_is_named_with_the_nearest(
    repair: Repair, make_net: Callable[..., nn.Sequential], task: tuple[Tensor, Tensor]
) -> None:
    misspelt: dict[str, Any] = {"recipes": None}
    with pytest.raises(UnknownNameError, match=r"Unknown option 'recipes'\. Did you mean 'recipe'"):
        repair(make_net(), task, **misspelt)
