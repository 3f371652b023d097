"""Threats to actions: inexact, late or replaced ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustest import rng
from robustest.packs import checked_real
from robustest_rl.attacks import Attack, Directed, Noise
from robustest_rl.moments import Moment
from robustest_rl.policies import Policy
from robustest_rl.threats.base import Delay, Threat, certain, moved


@dataclass(frozen=True)
class ActionNoise(Threat):
    """Actions that are carried out inexactly.

    Attributes:
        size: in 0..1; the largest error of continuous actions as a share of half their range, or the probability that a
            uniformly drawn discrete action replaces the chosen one.
    """

    size: float

    @property
    def idle(self) -> bool:
        return self.size == 0

    def __post_init__(self) -> None:
        checked_real("size", self.size, 0.0, 1.0)

    def __str__(self) -> str:
        return f"ActionNoise({self.size:g})"

    def act(self, moment: Moment, actions: Tensor, attack: Attack) -> Tensor:
        key, many = rng.fold(moment.key, "action noise"), moment.policy.discrete
        if many is None:
            return moved(moment, actions, self.size * rng.uniform(key, actions.shape[1:], -1.0, 1.0))
        other = rng.integers(rng.fold(key, "which"), (1,), many).squeeze(1)
        return torch.where(rng.uniform(key, (1,)).squeeze(1) < self.size, other, actions)


@dataclass(frozen=True)
class ActionDelay(Delay):
    """Actions that take effect some steps later; until then the first one is carried out.

    Attributes:
        steps: delay in steps, >= 1.
    """

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        room = torch.zeros(len(keys), *(policy.actions.shape or ()))
        room = room.long() if policy.discrete is not None else room
        return self.places("chosen", room)

    def act(self, moment: Moment, actions: Tensor, attack: Attack) -> Tensor:
        return self.late(moment, "chosen", actions)


@dataclass(frozen=True)
class ActionAttack(Threat):
    """An adversary that changes the action in each step; with `Sometimes`, that of Tessler et al., ICML 2019.

    Attributes:
        eps: largest change of continuous actions as a share of half their range, in 0..1; discrete actions are
            replaced.
    """

    eps: float = 1.0
    searched: ClassVar[str] = "steps"

    @property
    def idle(self) -> bool:
        return self.eps == 0

    def __post_init__(self) -> None:
        checked_real("eps", self.eps, 0.0, 1.0)

    def __str__(self) -> str:
        return f"ActionAttack({self.eps:g})"

    def act(self, moment: Moment, actions: Tensor, attack: Attack) -> Tensor:
        many = moment.policy.discrete
        key = rng.fold(moment.key, "action attack")
        if isinstance(attack, Noise):
            if many is not None:
                return rng.integers(key, (1,), many).squeeze(1)
            draw = (
                rng.signs(key, actions.shape[1:]) if attack.corners else rng.uniform(key, actions.shape[1:], -1.0, 1.0)
            )
            return moved(moment, actions, self.eps * draw)
        gain = attack.gain(moment)
        # Few discrete actions: try all of them.
        if many is not None:
            each = torch.stack([gain(certain(torch.full_like(actions, a), many)) for a in range(many)])
            return each.argmax(0)
        # Random corners of the box: the gain need not be differentiable by the action.
        tried = [actions]
        for k in range(2 * attack.steps):
            drawn = rng.signs(rng.fold(key, k), actions.shape[1:])
            tried.append(moved(moment, actions, self.eps * drawn))
        # A director names its action, so the nearest allowed one is a candidate.
        if isinstance(attack, Directed):
            tried.append(moved(moment, actions, 0, toward=moment.state["target"], eps=self.eps))
        values = torch.stack([gain(one).detach() for one in tried])
        return torch.stack(tried)[values.argmax(0), torch.arange(len(actions))]
