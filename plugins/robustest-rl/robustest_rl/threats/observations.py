"""Threats to observations that an adversary chooses: anywhere in a ball, or one of a given set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError, DataError, ModelError, expected
from robustest.packs import checked_real
from robustest_rl.attacks import Attack, Gain, Noise
from robustest_rl.moments import Moment
from robustest_rl.policies import Policy
from robustest_rl.threats.base import Threat, best_of, checked_scale, lengths, widen


@dataclass(frozen=True)
class Observation(Threat):
    """Sensors that read anything within a ball around the truth, anew in each step (Zhang et al., NeurIPS 2020).

    Attributes:
        eps: radius in units of the scale, >= 0.
        norm: "linf" or "l2", of the scaled change.
        scale: a number for each part of an observation or one for all, >= 0; None measures the standard deviation of
            each part over undisturbed episodes.

    Raises:
        ConfigError: eps or scale is negative, or the norm unknown.
    """

    eps: float
    norm: str = "linf"
    scale: tuple[float, ...] | None = None
    searched: ClassVar[str] = "steps"
    radial: ClassVar[bool] = True

    @property
    def idle(self) -> bool:
        return self.eps == 0

    def __post_init__(self) -> None:
        checked_real("eps", self.eps, low=0.0)
        if self.norm not in ("linf", "l2"):
            raise ConfigError(expected('norm to be "linf" or "l2"', self.norm))
        object.__setattr__(self, "scale", checked_scale(self.scale))

    def __str__(self) -> str:
        scale = "" if self.scale is None else f", scale={tuple(round(s, 4) for s in self.scale[:8])}"
        return f"Observation({self.eps:g}, {self.norm}{scale})"

    def check(self, policy: Policy) -> None:
        if not policy.observations.shape:
            mend = "Use Shown(candidates) for a discrete observation space."
            raise ConfigError(expected("a Box of observations for Observation", policy.observations, mend))
        size = int(np.prod(policy.observations.shape))
        if self.scale is not None and len(self.scale) not in (1, size):
            raise ConfigError(expected(f"scale of 1 or {size} numbers", self.scale))

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        ball = self._ball(moment)
        if isinstance(attack, Noise):
            return ball.inside(ball.drawn(moment.key, "noise", corners=attack.corners))
        gain = attack.gain(moment)
        if moment.policy.gradients:
            return _climbed(moment, ball, gain, attack.steps)
        tried = [torch.zeros_like(moment.seen)]
        tried += [ball.drawn(moment.key, f"try {k}", corners=k % 2 == 0) for k in range(2 * attack.steps)]
        return best_of(moment, [ball.inside(change) for change in tried], gain)

    def _ball(self, moment: Moment) -> _Ball:
        shape = moment.seen.shape[1:]
        scale = torch.tensor(self.scale or (1.0,))
        share = moment.state.get("share", torch.ones(len(moment.seen)))
        box: Any = moment.policy.observations
        low, high = torch.from_numpy(box.low).float(), torch.from_numpy(box.high).float()
        return _Ball(
            seen=moment.seen,
            eps=self.eps * widen(share, moment.seen),
            spread=(scale if len(scale) > 1 else scale.expand(int(shape.numel()))).reshape(1, *shape),
            # Not the space itself: sensors of a real environment may leave the one it declares.
            low=torch.minimum(low, moment.seen),
            high=torch.maximum(high, moment.seen),
            linf=self.norm == "linf",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ball:
    """The observations allowed in one step; built once, as an attack uses it in each of its steps."""

    seen: Tensor  # (B, *S) the truth
    eps: Tensor  # (B, 1...) radius of each row
    spread: Tensor  # (1, *S) the scale
    low: Tensor  # low, high: (B, *S) limits: the space, widened to the truth
    high: Tensor
    linf: bool  # True for linf, False for l2

    def drawn(self, keys: Tensor, use: str, *, corners: bool) -> Tensor:
        """Return (B, *S) scaled changes: uniform in the ball, or at its corners (its surface, for l2)."""
        key, shape = rng.fold(keys, use), self.seen.shape[1:]
        if self.linf:
            return self.eps * (rng.signs(key, shape) if corners else rng.uniform(key, shape, -1.0, 1.0))
        way = rng.normal(key, shape).flatten(1)
        # The radius of a uniform draw from a d-dimensional ball is distributed as u ** (1 / d).
        size = 1.0 if corners else rng.uniform(rng.fold(key, "size"), (1,)) ** (1 / way.shape[1])
        change: Tensor = self.eps * (size * way / way.norm(dim=1, keepdim=True)).view(self.seen.shape)
        return change

    def inside(self, change: Tensor) -> Tensor:
        """Return the observation of a change in units of the scale, inside the ball and the space."""
        moved = self.seen + self.projected(change) * self.spread
        return torch.minimum(torch.maximum(moved, self.low), self.high)

    def projected(self, change: Tensor) -> Tensor:
        """Return the nearest change inside the ball."""
        if self.linf:
            return torch.minimum(torch.maximum(change, -self.eps), self.eps)
        return change * (self.eps / lengths(change)).clamp(max=1)

    def step(self, slope: Tensor, size: float) -> Tensor:
        """Return the steepest step along a slope, `size` in units of the radius."""
        return size * self.eps * (slope.sign() if self.linf else slope / lengths(slope))


def _climbed(moment: Moment, ball: _Ball, gain: Gain, steps: int) -> Tensor:
    """Return the best observation of projected gradient ascent from a random start (Madry et al., ICLR 2018)."""
    change = ball.drawn(moment.key, "start", corners=False)
    # The last step is often not the best; the truth is the answer only where nothing has a gain.
    best, most = moment.seen, torch.full((len(moment.seen),), -torch.inf)
    for step in range(steps + 1):
        shown = ball.inside(change).requires_grad_(step < steps)
        with torch.set_grad_enabled(step < steps):
            value = gain(moment.policy.outputs(shown))
        found = value.detach()
        if not bool(torch.isfinite(found).all()):
            raise ModelError(expected("a finite gain of the attack in every step", found.numpy()))
        better = found > most
        best = torch.where(widen(better, shown), shown.detach(), best)
        most = torch.where(better, found, most)
        if step == steps:
            break
        (slope,) = torch.autograd.grad(value.sum(), shown)
        # The chain rule: the ball is in units of the scale.
        slope = slope * ball.spread
        if step == 0:
            moment.counts["climbed"] += len(slope)
            moment.counts["zero"] += int((slope.flatten(1) == 0).all(1).sum())
        # 2.5 / steps of the radius, as in Madry et al.: enough to cross the ball and still turn.
        change = ball.projected(change + ball.step(slope, 2.5 / steps))
    return best


@dataclass(frozen=True)
class Shown(Threat):
    """One of a given set of observations, shown in place of the truth.

    Attributes:
        candidates: a function from true observations (B, *S) to those that may be shown, (B, m, *S); rows with fewer
            repeat the truth.
    """

    candidates: Callable[[Tensor], Tensor]
    searched: ClassVar[str] = "steps"

    def __str__(self) -> str:
        return f"Shown({getattr(self.candidates, '__name__', type(self.candidates).__name__)})"

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        given = self.candidates(moment.seen)
        if given.ndim != moment.seen.ndim + 1 or len(given) != len(moment.seen) or not given.shape[1]:
            raise DataError(expected("candidates (B, m, *S) for observations (B, *S)", tuple(given.shape)))
        if isinstance(attack, Noise):
            # Chance is uniform over distinct candidates: repeats that fill a row must not make the truth more probable.
            flat = given.flatten(2) if given.ndim > 2 else given.unsqueeze(2)
            same = (flat.unsqueeze(1) == flat.unsqueeze(2)).all(3)  # (B, m, m)
            first = same.int().argmax(2) == torch.arange(given.shape[1])
            draw = rng.uniform(rng.fold(moment.key, "shown"), (given.shape[1],))
            pick = torch.where(first, draw, torch.full_like(draw, -1.0)).argmax(1)
            return given[torch.arange(len(given)), pick]
        return best_of(moment, list(given.unbind(1)), attack.gain(moment))
