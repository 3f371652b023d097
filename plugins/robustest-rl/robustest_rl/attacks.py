"""Goals of an attack on the policy in each step: noise, corners, or a gain in the action that the policy then chooses.

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
"""The gain (B,) of an attack from the policy's outputs: logits (B, A) or mean actions (B, *A)."""

FEATURES = 64
"""Numbers of an observation that a director reads; larger ones are projected at random to this size."""


@dataclass(frozen=True)
class Noise:
    """Uniform draws from the set that the threat allows.

    Attributes:
        corners: draw only corners of the set.
    """

    corners: bool = False

    @property
    def name(self) -> str:
        return "corner noise" if self.corners else "noise"


@dataclass(frozen=True)
class Away:
    """Move the policy's action distribution away from its undisturbed one (Zhang et al., NeurIPS 2020, section 3.5).

    Attributes:
        steps: gradient steps, or half the candidates where there are no gradients.
    """

    steps: int = 10
    name: str = "pgd"

    def gain(self, moment: Moment) -> Gain:
        clean = moment.outputs
        if moment.policy.discrete is not None:
            own = clean.argmax(1, keepdim=True)
            # Cross-entropy against the undisturbed action.
            return lambda out: -out.log_softmax(1).gather(1, own).squeeze(1)
        # Squared distance in units of the range of each action, so that no unit dominates.
        return lambda out: ((out - clean) / _span(moment)).flatten(1).square().sum(1)


@dataclass(frozen=True)
class Lower:
    """Move the policy to actions of low value by a critic (Pattanaik et al., AAMAS 2018).

    Attributes:
        critic: action values: observations (B, *S) to (B, A) float32; with continuous actions, observations and actions
            to (B,).
        steps: as for `Away`.
    """

    critic: Callable[..., Tensor]
    steps: int = 10
    name: str = "critic"

    def gain(self, moment: Moment) -> Gain:
        if moment.policy.discrete is not None:
            with torch.no_grad():
                values = torch.as_tensor(self.critic(moment.seen), dtype=torch.float32)
            # A sharp softmax stands in for argmax, which has no gradient: the expected value of the action chosen.
            return lambda out: -((10 * out).softmax(1) * values).sum(1)
        return lambda out: -self.critic(moment.seen, out).view(len(out))


@dataclass(frozen=True)
class Directed:
    """Provoke the action that a director names (Sun et al., ICLR 2022), a linear function of the true observation.

    Attributes:
        weights: the director's parameters, flat; empty during their search, where each episode has its row.
        scale: divisor of observations.
        steps: as for `Away`.
        explore: spread of the director's draws in policy-gradient steps.
    """

    weights: tuple[float, ...] = ()
    scale: tuple[float, ...] = (1.0,)
    steps: int = 4
    explore: float = 0.0
    name: str = "director"

    def features(self, policy: Any, seen: Tensor) -> Tensor:
        """Return (B, d + 1) features of observations; the last one is constant."""
        # Integer observations are cells of a discrete space.
        if not seen.dtype.is_floating_point:
            space = policy.observations
            flat = torch.nn.functional.one_hot(seen - int(space.start), int(space.n)).float()
        else:
            flat = (seen / torch.tensor(self.scale)).flatten(1) if len(self.scale) == 1 else self._scaled(seen)
        if flat.shape[1] > FEATURES:
            # A random projection keeps distances (Johnson and Lindenstrauss, 1984); key 0 makes it the same in each
            # call.
            weights = rng.normal(rng.keys(0, torch.arange(flat.shape[1])), (FEATURES,))
            flat = flat @ weights / flat.shape[1] ** 0.5
        return torch.cat([flat, torch.ones(len(flat), 1)], 1)

    def parameters(self, policy: Any) -> int:

        box = policy.observations.shape
        size = int(policy.observations.n) if not box else int(torch.Size(box).numel())
        outs = policy.discrete if policy.discrete is not None else int(torch.Size(policy.actions.shape).numel())
        return int(outs * (min(size, FEATURES) + 1))

    def score(self, moment: Moment) -> Tensor:
        """Return (B, A) logits of actions, or (B, a) parts of a continuous action in -1..1."""
        features = self.features(moment.policy, moment.seen)
        weights = moment.state["director"].view(len(features), -1, features.shape[1])
        out = torch.einsum("baf,bf->ba", weights, features)
        return out if moment.policy.discrete is not None else out.tanh()

    def target(self, moment: Moment) -> Tensor:
        """Return the actions to provoke, (B,) int64 or (B, *A)."""
        score = self.score(moment)
        key = rng.fold(moment.key, "director")
        if moment.policy.discrete is not None:
            if self.explore:
                # Gumbel noise makes argmax a draw from the softmax; the clamp keeps the logarithm finite.
                draw = rng.uniform(key, score.shape[1:]).clamp(min=2.0**-25)
                score = score - (-draw.log()).log()
            return score.argmax(1)
        if self.explore:
            score = (score + self.explore * rng.normal(key, score.shape[1:])).clamp(-1, 1)
        low, high = moment.policy.limits
        return low + (high - low) * (score.view(len(score), *low.shape) + 1) / 2

    def gain(self, moment: Moment) -> Gain:
        target = self.target(moment)
        moment.state["target"] = target
        if moment.policy.discrete is not None:
            # Log-probability of the target.
            return lambda out: out.log_softmax(1).gather(1, target.unsqueeze(1)).squeeze(1)
        # Minus the squared distance to the target, in units of the range of each action.
        return lambda out: -((out - target) / _span(moment)).flatten(1).square().sum(1)

    def _scaled(self, seen: Tensor) -> Tensor:
        return seen.flatten(1) / torch.tensor(self.scale).clamp(min=1e-9)


Attack = Noise | Away | Lower | Directed


def _span(moment: Moment) -> Tensor:
    low, high = moment.policy.limits
    return (high - low).clamp(min=1e-9)
