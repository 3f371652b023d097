"""Threats to dynamics: parameters of the environment that differ from their nominal values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import torch
from torch import Tensor

from robustest.errors import ConfigError, expected
from robustest.packs import checked_real
from robustest_rl.policies import Policy
from robustest_rl.threats.base import Threat


@dataclass(frozen=True)
class Dynamics(Threat):
    """Parameters of the environment that may differ, for whole episodes.

    Attributes:
        ranges: lowest and highest value by attribute of the unwrapped environment.
        apply: sets values by name in the unwrapped environment; None sets the attributes. Give it if other attributes
            are computed from them.
        values: the chosen values; empty for the nominal ones.

    Raises:
        ConfigError: there is no range, or one is empty.
    """

    ranges: Mapping[str, tuple[float, float]]
    apply: Callable[[Any, Mapping[str, float]], None] | None = None
    values: tuple[float, ...] = ()
    searched: ClassVar[str] = "once"

    def __post_init__(self) -> None:
        if not self.ranges:
            raise ConfigError(expected("one range or more", self.ranges))
        for name, (low, high) in self.ranges.items():
            checked_real(f"the lowest {name}", low)
            checked_real(f"the highest {name}", high)
            if not low < high:
                raise ConfigError(expected(f"a range of {name} with low < high", (low, high)))

    def __str__(self) -> str:
        if self.values:
            return f"Dynamics({', '.join(f'{n}={v:.4g}' for n, v in zip(self.ranges, self.values, strict=True))})"
        return f"Dynamics({', '.join(f'{n} in {low:g}..{high:g}' for n, (low, high) in self.ranges.items())})"

    def nominal(self, env: gymnasium.Env[Any, Any]) -> tuple[float, ...]:
        """Return the values of a new environment.

        Raises:
            ConfigError: an attribute is no number.
        """
        inner = env.unwrapped
        for name in self.ranges:
            if not isinstance(getattr(inner, name, None), (int, float)):
                raise ConfigError(expected(f"a number {name!r} in {type(inner).__name__}", getattr(inner, name, None)))
        return tuple(float(getattr(inner, name)) for name in self.ranges)

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        values = torch.tensor(self.values, dtype=torch.float64)
        return {"dynamics": values.expand(len(keys), len(values))}

    def prepare(self, env: gymnasium.Env[Any, Any], state: Mapping[str, Tensor]) -> None:
        values = dict(zip(self.ranges, state["dynamics"].tolist(), strict=False))
        if not values:
            return
        inner: Any = env.unwrapped
        if self.apply is not None:
            self.apply(inner, values)
            return
        for name, value in values.items():
            setattr(inner, name, value)
