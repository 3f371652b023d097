"""What a threat is, and what several of them need."""

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
    """Base of all threats; as it stands it does nothing.

    Attributes:
        searched: what an adversary chooses: "steps" (something new in each step), "once" (one value for a whole
            episode), or "" where chance alone decides.
        radial: whether it has a radius, of which an adversary may use a share.
    """

    searched: ClassVar[str] = ""
    radial: ClassVar[bool] = False

    def check(self, policy: Policy) -> None:
        """Raise ConfigError unless it fits the policy's spaces."""

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        """What is kept of each episode (n,)."""
        return {}

    def prepare(self, env: gymnasium.Env[Any, Any], state: Mapping[str, Tensor]) -> None:
        """Change an environment before its reset."""

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        """What is shown, (B, *S)."""
        return moment.seen

    def act(self, moment: Moment, actions: Tensor, attack: Attack) -> Tensor:
        """What is done, of actions chosen."""
        return actions


@dataclass(frozen=True)
class Delay(Threat):
    """Base of what comes some steps late; until then it is what it was at first.

    Attributes:
        steps: how many, >= 1.
    """

    steps: int

    def __post_init__(self) -> None:
        checked_whole("steps", self.steps, 1)

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.steps})"

    def places(self, name: str, first: Tensor) -> dict[str, Tensor]:
        """A state with one place for each step of the delay, `first` in all of them."""
        return {f"{name} {k}": first for k in range(self.steps)}

    def late(self, moment: Moment, name: str, now: Tensor) -> Tensor:
        """What was put in the place of this step a delay ago; `now` takes its place."""
        place = f"{name} {moment.step % self.steps}"
        if moment.step == 0:
            moment.state.update(self.places(name, now))
        before, moment.state[place] = moment.state[place], now
        return before


def best_of(moment: Moment, tried: list[Tensor], gain: Gain) -> Tensor:
    """(B, *S) of several observations the one of the largest gain, row by row; the first of equals."""
    with torch.no_grad():
        values = torch.stack([gain(moment.policy.outputs(one)) for one in tried])
    return torch.stack(tried)[values.argmax(0), torch.arange(len(moment.seen))]


def certain(actions: Tensor, many: int) -> Tensor:
    """(B, A) logits that leave no doubt of actions (B,) int64, of `many`."""
    return 50.0 * torch.nn.functional.one_hot(actions, many).float()


def moved(moment: Moment, actions: Tensor, by: Any, *, toward: Tensor | None = None, eps: float = 0.0) -> Tensor:
    """Actions changed by a share of half their range, inside the space."""
    low, high = moment.policy.limits
    if toward is None:
        moved = actions + by * (high - low) / 2
    else:
        moved = torch.minimum(torch.maximum(toward, actions - eps * (high - low) / 2), actions + eps * (high - low) / 2)
    return torch.minimum(torch.maximum(moved, low), high)


def empty(policy: Policy, n: int) -> Tensor:
    """(n, *S) room for observations."""
    room = torch.zeros(n, *(policy.observations.shape or ()))
    return room if policy.observations.shape else room.long()


def lengths(change: Tensor) -> Tensor:
    """(B, 1...) l2 norms, never 0."""
    return widen(change.flatten(1).norm(dim=1).clamp(min=1e-12), change)


def widen(which: Tensor, like: Tensor) -> Tensor:
    """(B, 1...) what holds of each row (B,), to be set against `like` (B, *S)."""
    return which.view(-1, *[1] * (like.ndim - 1))


def checked_scale(scale: object) -> tuple[float, ...] | None:
    """A scale as numbers; one number stands for all parts.

    Raises:
        ConfigError: one is negative.
    """
    if scale is None:
        return None
    values = tuple(float(value) for value in np.atleast_1d(np.asarray(scale, dtype=np.float64)).ravel())
    for value in values:
        checked_real("scale", value, low=0.0)
    return values
