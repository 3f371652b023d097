"""A step of some episodes as an adversary sees it, and what an adversary is."""

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
    """One step of some episodes, as an adversary sees it.

    Attributes:
        policy: what acts.
        seen: (B, *S) true observations.
        key: (B,) int64, keys of this step.
        step: 0, 1, ...
        state: what the adversary keeps of each episode, tensors (B, ...) by name; it may replace them.
        counts: adds up over all steps, for the health checks.
    """

    policy: Policy
    seen: Tensor
    key: Tensor
    step: int
    state: dict[str, Tensor]
    counts: Counter[str]
    _outputs: Tensor | None = None

    @property
    def outputs(self) -> Tensor:
        """What the policy gives for the true observations."""
        if self._outputs is None:
            with torch.no_grad():
                self._outputs = self.policy.outputs(self.seen)
        return self._outputs


class Adversary(Protocol):
    """What stands between an agent and its environment. Draws come from keys alone, and rows know nothing of others."""

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        """What it keeps of each episode, tensors (n, ...) by name, for keys (n,) int64."""

    def prepare(self, env: gymnasium.Env[Any, Any], state: Mapping[str, Tensor]) -> None:
        """Change an environment before it is reset, by one episode's state."""

    def observe(self, moment: Moment) -> Tensor:
        """What is shown to the policy, (B, *S)."""

    def act(self, moment: Moment, actions: Tensor) -> Tensor:
        """What is done, of actions (B,) int64 or (B, *A) that the policy chose."""


class Untouched:
    """No adversary."""

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        """As `Adversary.begin`."""
        return {}

    def prepare(self, env: gymnasium.Env[Any, Any], state: Mapping[str, Tensor]) -> None:
        """As `Adversary.prepare`."""

    def observe(self, moment: Moment) -> Tensor:
        """As `Adversary.observe`."""
        return moment.seen

    def act(self, moment: Moment, actions: Tensor) -> Tensor:
        """As `Adversary.act`."""
        return actions


@dataclass(frozen=True, slots=True)
class Stepped:
    """One step of a block of episodes, once it is over.

    Attributes:
        step: 0, 1, ...
        moment: as the adversary left it; its state may have more rows than there are episodes.
        shown: (B, *S) what the policy was shown.
        actions: (B,) int64 or (B, *A) what was done.
        rewards: (B,) float64.
        rows: (B,) int64 places of the episodes among those asked for.
    """

    step: int
    moment: Moment
    shown: Tensor
    actions: Tensor
    rewards: NDArray[np.float64]
    rows: NDArray[np.int64]


Record = Callable[[Stepped], object]
"""Called after each step."""
