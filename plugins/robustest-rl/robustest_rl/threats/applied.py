"""Threats in use: in some steps only, and with an attack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import torch
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError, expected
from robustest.packs import checked_real
from robustest_rl.attacks import Attack, Directed, Noise
from robustest_rl.moments import Moment
from robustest_rl.policies import Policy
from robustest_rl.threats.actions import ActionAttack, ActionNoise
from robustest_rl.threats.base import Threat, widen
from robustest_rl.threats.observations import Observation, Shown


@dataclass(frozen=True)
class Sometimes(Threat):
    """Another threat in randomly drawn steps only.

    Attributes:
        threat: a threat of single steps: `Observation`, `Shown`, `ActionNoise` or `ActionAttack`.
        share: probability of each step, in 0..1.

    Raises:
        ConfigError: the threat is of whole episodes.
    """

    threat: Threat
    share: float
    searched: ClassVar[str] = ""

    @property
    def idle(self) -> bool:
        return self.share == 0 or self.threat.idle

    def __post_init__(self) -> None:
        checked_real("share", self.share, 0.0, 1.0)
        if not isinstance(self.threat, (Observation, Shown, ActionNoise, ActionAttack)):
            mend = "Observation, Shown, ActionNoise and ActionAttack are."
            raise ConfigError(expected("a threat that acts in single steps", self.threat, mend))
        object.__setattr__(self, "searched", self.threat.searched)
        object.__setattr__(self, "radial", self.threat.radial)

    def __str__(self) -> str:
        return f"Sometimes({self.threat}, {self.share:g})"

    def check(self, policy: Policy) -> None:
        self.threat.check(policy)

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        return self.threat.begin(policy, keys)

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        shown = self.threat.observe(moment, attack)
        return torch.where(widen(self._now(moment), shown), shown, moment.seen)

    def act(self, moment: Moment, actions: Tensor, attack: Attack) -> Tensor:
        done = self.threat.act(moment, actions, attack)
        return torch.where(widen(self._now(moment), done), done, actions)

    def _now(self, moment: Moment) -> Tensor:
        # Observation and action of a step share their key, hence the draw.
        return rng.uniform(rng.fold(moment.key, "sometimes"), (1,)).squeeze(1) < self.share


CHANCE = Noise()


@dataclass(frozen=True)
class Attacked:
    """A threat and the attack that uses it: an adversary (`robustest_rl.moments.Adversary`)."""

    threat: Threat
    attack: Attack = CHANCE  # read by threats of single steps only
    share: float = 1.0  # the share of the threat's radius that is used

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        state = {"share": torch.full((len(keys),), self.share), **self.threat.begin(policy, keys)}
        if isinstance(self.attack, Directed):
            weights = torch.tensor(self.attack.weights)
            state["director"] = weights.expand(len(keys), len(weights))
            shape = () if policy.discrete is not None else policy.actions.shape or ()
            # A place for the target, which `Directed.gain` writes and `ActionAttack` reads.
            target = torch.zeros(len(keys), *shape)
            state["target"] = target.long() if policy.discrete is not None else target
        return state

    def prepare(self, env: gymnasium.Env[Any, Any], state: Mapping[str, Tensor]) -> None:
        self.threat.prepare(env, state)

    def observe(self, moment: Moment) -> Tensor:
        return self.threat.observe(moment, self.attack)

    def act(self, moment: Moment, actions: Tensor) -> Tensor:
        return self.threat.act(moment, actions, self.attack)
