"""The base class of threats, and helpers of several of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from torch import Tensor

from robustest.packs import checked_real, checked_whole
from robustest_rl.attacks import Attack, Gain
from robustest_rl.moments import Moment
from robustest_rl.policies import Policy


class Threat:
    """The base of all threats, without an effect; its methods are those of `robustest_rl.moments.Adversary`.

    Attributes:
        searched: the choice of an adversary: "steps" (anew in each step), "once" (for a whole episode), or "" (chance
            alone).
        radial: True if the threat has a radius, of which an adversary may use a share.
    """

    searched: ClassVar[str] = ""
    radial: ClassVar[bool] = False

    @property
    def idle(self) -> bool:
        """True if the threat changes nothing, as one of radius 0: no claim passes under it."""
        return False

    def check(self, policy: Policy) -> None:
        """Raise ConfigError unless the threat fits the policy's spaces."""

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        return {}

    def prepare(self, env: gymnasium.Env[Any, Any], state: Mapping[str, Tensor]) -> None:
        """Change an environment before its reset."""

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        return moment.seen

    def act(self, moment: Moment, actions: Tensor, attack: Attack) -> Tensor:
        return actions


@dataclass(frozen=True)
class Delay(Threat):
    """The base of delays: before the first late value, the value of step 0.

    Attributes:
        steps: delay in steps, >= 1.
    """

    steps: int

    def __post_init__(self) -> None:
        checked_whole("steps", self.steps, 1)

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.steps})"

    def places(self, name: str, first: Tensor) -> dict[str, Tensor]:
        """Return a ring buffer in the state: one place for each step of the delay, all with `first`."""
        return {f"{name} {k}": first for k in range(self.steps)}

    def late(self, moment: Moment, name: str, now: Tensor) -> Tensor:
        """Return the value of `steps` steps ago, and put `now` in its place."""
        place = f"{name} {moment.step % self.steps}"
        if moment.step == 0:
            moment.state.update(self.places(name, now))
        before, moment.state[place] = moment.state[place], now
        return before


def best_of(moment: Moment, tried: list[Tensor], gain: Gain) -> Tensor:
    """Return (B, *S) the observation of the largest gain in each row; the first of equals."""
    with torch.no_grad():
        values = torch.stack([gain(moment.policy.outputs(one)) for one in tried])
    return torch.stack(tried)[values.argmax(0), torch.arange(len(moment.seen))]


def certain(actions: Tensor, many: int) -> Tensor:
    """Return (B, A) logits of near-certain actions (B,) int64."""
    # Logits of 50 leave the other actions a probability of 2e-22.
    return 50.0 * torch.nn.functional.one_hot(actions, many).float()


def moved(moment: Moment, actions: Tensor, by: Any, *, toward: Tensor | None = None, eps: float = 0.0) -> Tensor:
    """Return actions changed by a share of half their range, or towards others by at most `eps`; inside the space."""
    low, high = moment.policy.limits
    if toward is None:
        moved = actions + by * (high - low) / 2
    else:
        moved = torch.minimum(torch.maximum(toward, actions - eps * (high - low) / 2), actions + eps * (high - low) / 2)
    return torch.minimum(torch.maximum(moved, low), high)


def empty(policy: Policy, n: int) -> Tensor:
    """Return (n, *S) zeros for observations."""
    room = torch.zeros(n, *(policy.observations.shape or ()))
    return room if policy.observations.shape else room.long()


def lengths(change: Tensor) -> Tensor:
    """Return (B, 1...) l2 norms, at least 1e-12."""
    return widen(change.flatten(1).norm(dim=1).clamp(min=1e-12), change)


def widen(which: Tensor, like: Tensor) -> Tensor:
    """Return values (B,) as (B, 1...), to broadcast with `like` (B, *S)."""
    return which.view(-1, *[1] * (like.ndim - 1))


def checked_scale(scale: object) -> tuple[float, ...] | None:
    """Return a scale as numbers; one number stands for all parts.

    Raises:
        ConfigError: a number is negative.
    """
    if scale is None:
        return None
    values = tuple(float(value) for value in np.atleast_1d(np.asarray(scale, dtype=np.float64)).ravel())
    for value in values:
        checked_real("scale", value, low=0.0)
    return values
