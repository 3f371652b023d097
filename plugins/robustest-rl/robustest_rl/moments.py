"""The interface of an adversary, and the step of some episodes that it sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest_rl.policies import Policy


@dataclass(slots=True)
class Moment:
    """One step of some episodes."""

    policy: Policy
    seen: Tensor  # (B, *S) true observations
    key: Tensor  # (B,) int64, keys of this step
    step: int  # 0, 1, ...
    state: dict[str, Tensor]  # tensors (B, ...) by name that the adversary keeps of each episode; it may replace them
    counts: Counter[str]  # counters over all steps, for health checks
    _outputs: Tensor | None = None

    @property
    def outputs(self) -> Tensor:
        if self._outputs is None:
            with torch.no_grad():
                self._outputs = self.policy.outputs(self.seen)
        return self._outputs


class Adversary(Protocol):
    """A transformation between an agent and its environment; draws come from keys alone, and rows are independent."""

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        """Return the first state of each episode, tensors (n, ...) by name."""

    def prepare(self, env: gymnasium.Env[Any, Any], state: Mapping[str, Tensor]) -> None:
        """Change an environment before its reset, by one episode's state."""

    def observe(self, moment: Moment) -> Tensor:
        """Return the observations shown to the policy, (B, *S)."""

    def act(self, moment: Moment, actions: Tensor) -> Tensor:
        """Return the actions carried out, of those that the policy chose: (B,) int64 or (B, *A)."""


class Untouched:
    """No adversary."""

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        return {}

    def prepare(self, env: gymnasium.Env[Any, Any], state: Mapping[str, Tensor]) -> None:
        pass

    def observe(self, moment: Moment) -> Tensor:
        return moment.seen

    def act(self, moment: Moment, actions: Tensor) -> Tensor:
        return actions


@dataclass(frozen=True, slots=True)
class Stepped:
    """One step of a block of episodes, once it is over."""

    step: int  # 0, 1, ...
    moment: Moment  # as the adversary left it; its state may have more rows than episodes
    shown: Tensor  # (B, *S) observations shown to the policy
    actions: Tensor  # (B,) int64 or (B, *A) actions carried out
    rewards: NDArray[np.float64]  # (B,) float64
    rows: NDArray[np.int64]  # (B,) int64 places of the episodes


Record = Callable[[Stepped], object]
