"""What an attack wants of the policy, step by step: noise, corners, or a gain in what the policy would then do.

Gains are functions of the policy's outputs, so that one search serves them all: gradients in a ball, candidates
otherwise (`robustest_rl.threats`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustest import rng
from robustest_rl.moments import Moment

Gain = Callable[[Tensor], Tensor]
"""(B,) how much an attack likes what a policy gives for each row: logits (B, A) or mean actions (B, *A)."""

FEATURES = 64
"""Numbers of an observation that a director looks at; of larger ones, as many random projections of them."""


@dataclass(frozen=True)
class Noise:
    """Uniform draws from what the threat allows.

    Attributes:
        corners: whether only the corners of it are drawn.
    """

    corners: bool = False

    @property
    def name(self) -> str:
        """How reports call it."""
        return "corner noise" if self.corners else "noise"


@dataclass(frozen=True)
class Away:
    """Moves the policy's own action distribution away from what it is (Zhang et al., NeurIPS 2020, section 3.5).

    Attributes:
        steps: gradient steps, or candidates tried where there are no gradients.
    """

    steps: int = 10
    name: str = "pgd"

    def gain(self, moment: Moment) -> Gain:
        """Of logits, minus the log-probability of the action untouched; of actions, the squared way moved."""
        clean = moment.outputs
        if moment.policy.discrete is not None:
            own = clean.argmax(1, keepdim=True)
            return lambda out: -out.log_softmax(1).gather(1, own).squeeze(1)
        return lambda out: ((out - clean) / _span(moment)).flatten(1).square().sum(1)


@dataclass(frozen=True)
class Lower:
    """Moves the policy to actions of which a critic thinks little (Pattanaik et al., AAMAS 2018).

    Attributes:
        critic: values of actions: (B, *S) observations to (B, A) float32; where actions are continuous, observations
            and actions to (B,).
        steps: as for `Away`.
    """

    critic: Callable[..., Tensor]
    steps: int = 10
    name: str = "critic"

    def gain(self, moment: Moment) -> Gain:
        """Minus the value of what would be done."""
        if moment.policy.discrete is not None:
            with torch.no_grad():
                values = torch.as_tensor(self.critic(moment.seen), dtype=torch.float32)
            return lambda out: -((10 * out).softmax(1) * values).sum(1)
        return lambda out: -self.critic(moment.seen, out).view(len(out))


@dataclass(frozen=True)
class Directed:
    """Provokes the action that a director names (Sun et al., ICLR 2022): a linear function of the true observation.

    Attributes:
        weights: the director's parameters, flat; empty while they are searched for, and kept with each episode.
        scale: what observations are divided by.
        steps: as for `Away`.
        explore: the spread of its draws while it is improved by policy gradients.
    """

    weights: tuple[float, ...] = ()
    scale: tuple[float, ...] = (1.0,)
    steps: int = 4
    explore: float = 0.0
    name: str = "director"

    def features(self, policy: Any, seen: Tensor) -> Tensor:
        """(B, d + 1) what the director looks at, the last of them a constant."""
        if not seen.dtype.is_floating_point:
            space = policy.observations
            flat = torch.nn.functional.one_hot(seen - int(space.start), int(space.n)).float()
        else:
            flat = (seen / torch.tensor(self.scale)).flatten(1) if len(self.scale) == 1 else self._scaled(seen)
        if flat.shape[1] > FEATURES:
            weights = rng.normal(rng.keys(0, torch.arange(flat.shape[1])), (FEATURES,))
            flat = flat @ weights / flat.shape[1] ** 0.5
        return torch.cat([flat, torch.ones(len(flat), 1)], 1)

    def parameters(self, policy: Any) -> int:
        """How many it has."""
        box = policy.observations.shape
        size = int(policy.observations.n) if not box else int(torch.Size(box).numel())
        outs = policy.discrete if policy.discrete is not None else int(torch.Size(policy.actions.shape).numel())
        return int(outs * (min(size, FEATURES) + 1))

    def score(self, moment: Moment) -> Tensor:
        """(B, A) the director's logits of actions, or (B, a) where in -1..1 it wants each part of the action."""
        features = self.features(moment.policy, moment.seen)
        weights = moment.state["director"].view(len(features), -1, features.shape[1])
        out = torch.einsum("baf,bf->ba", weights, features)
        return out if moment.policy.discrete is not None else out.tanh()

    def target(self, moment: Moment) -> Tensor:
        """(B,) int64 the actions to provoke, or (B, *A)."""
        score = self.score(moment)
        key = rng.fold(moment.key, "director")
        if moment.policy.discrete is not None:
            if self.explore:
                draw = rng.uniform(key, score.shape[1:]).clamp(min=2.0**-25)
                score = score - (-draw.log()).log()
            return score.argmax(1)
        if self.explore:
            score = (score + self.explore * rng.normal(key, score.shape[1:])).clamp(-1, 1)
        low, high = moment.policy.limits
        return low + (high - low) * (score.view(len(score), *low.shape) + 1) / 2

    def gain(self, moment: Moment) -> Gain:
        """Of logits, the log-probability of the action named; of actions, minus the squared way to it."""
        target = self.target(moment)
        moment.state["target"] = target
        if moment.policy.discrete is not None:
            return lambda out: out.log_softmax(1).gather(1, target.unsqueeze(1)).squeeze(1)
        return lambda out: -((out - target) / _span(moment)).flatten(1).square().sum(1)

    def _scaled(self, seen: Tensor) -> Tensor:
        return seen.flatten(1) / torch.tensor(self.scale).clamp(min=1e-9)


Attack = Noise | Away | Lower | Directed


def _span(moment: Moment) -> Tensor:
    low, high = moment.policy.limits
    return (high - low).clamp(min=1e-9)
