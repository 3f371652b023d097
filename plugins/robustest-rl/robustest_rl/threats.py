"""What may come between an agent and its environment: sensors, actions and dynamics, by chance or by an adversary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from torch import Tensor

from robustest import rng
from robustest.checks import checked_real, checked_whole
from robustest.errors import ConfigError, DataError, ModelError, expected
from robustest_rl.attacks import Attack, Directed, Gain, Noise
from robustest_rl.episodes import Moment
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
class Observation(Threat):
    """Sensors that read anything within a ball around the truth, in each step anew (Zhang et al., NeurIPS 2020).

    Attributes:
        eps: the ball's radius in units of the scale, >= 0.
        norm: "linf" or "l2", of the scaled change.
        scale: a number for each part of an observation, or one for all, >= 0 (0 is never changed); None measures the
            standard deviation of each part over untouched episodes.

    Raises:
        ConfigError: eps or scale is negative, or the norm unknown.
    """

    eps: float
    norm: str = "linf"
    scale: tuple[float, ...] | None = None
    searched: ClassVar[str] = "steps"
    radial: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checked_real("eps", self.eps, low=0.0)
        if self.norm not in ("linf", "l2"):
            raise ConfigError(expected('norm to be "linf" or "l2"', self.norm))
        object.__setattr__(self, "scale", _checked_scale(self.scale))

    def __str__(self) -> str:
        scale = "" if self.scale is None else f", scale={tuple(round(s, 4) for s in self.scale[:8])}"
        return f"Observation({self.eps:g}, {self.norm}{scale})"

    def check(self, policy: Policy) -> None:
        """As `Threat.check`."""
        if not policy.observations.shape:
            mend = "Use Shown(candidates) for a discrete observation space."
            raise ConfigError(expected("a Box of observations for Observation", policy.observations, mend))
        size = int(np.prod(policy.observations.shape))
        if self.scale is not None and len(self.scale) not in (1, size):
            raise ConfigError(expected(f"scale of 1 or {size} numbers", self.scale))

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        """As `Threat.observe`."""
        if isinstance(attack, Noise):
            return self._inside(moment, self._drawn(moment, "noise", corners=attack.corners))
        gain = attack.gain(moment)
        if moment.policy.gradients:
            return self._climb(moment, gain, attack.steps)
        tried = [torch.zeros_like(moment.seen)]
        tried += [self._drawn(moment, f"try {k}", corners=k % 2 == 0) for k in range(2 * attack.steps)]
        return _best(moment, [self._inside(moment, change) for change in tried], gain)

    def _spread(self, moment: Moment) -> Tensor:
        """(1, *S) the scale, shaped."""
        scale = torch.tensor(self.scale or (1.0,))
        shape = moment.seen.shape[1:]
        return (scale if len(scale) > 1 else scale.expand(int(shape.numel()))).reshape(1, *shape)

    def _radius(self, moment: Moment) -> Tensor:
        """(B, 1...) the radius in each row's episode, of which the adversary may use a share."""
        share = moment.state.get("share", torch.ones(len(moment.seen)))
        return self.eps * _wide(share, moment.seen)

    def _drawn(self, moment: Moment, use: str, *, corners: bool) -> Tensor:
        """(B, *S) changes in units of the scale: uniform in the ball, or at its corners (its surface, for l2)."""
        key, shape = rng.fold(moment.key, use), moment.seen.shape[1:]
        eps = self._radius(moment)
        if self.norm == "linf":
            return eps * (rng.signs(key, shape) if corners else rng.uniform(key, shape, -1.0, 1.0))
        way = rng.normal(key, shape).flatten(1)
        size = 1.0 if corners else rng.uniform(rng.fold(key, "size"), (1,)) ** (1 / way.shape[1])
        return eps * (size * way / way.norm(dim=1, keepdim=True)).view(moment.seen.shape)

    def _inside(self, moment: Moment, change: Tensor) -> Tensor:
        """What is shown by a change in units of the scale: inside the ball, and inside the space."""
        eps = self._radius(moment)
        if self.norm == "linf":
            change = torch.minimum(torch.maximum(change, -eps), eps)
        else:
            change = change * (eps / _sizes(change)).clamp(max=1)
        box: Any = moment.policy.observations
        low, high = torch.from_numpy(box.low).float(), torch.from_numpy(box.high).float()
        # Not the truth itself: sensors of a real environment may leave the space it declares.
        low, high = torch.minimum(low, moment.seen), torch.maximum(high, moment.seen)
        return torch.minimum(torch.maximum(moment.seen + change * self._spread(moment), low), high)

    def _climb(self, moment: Moment, gain: Gain, steps: int) -> Tensor:
        """Projected gradient ascent from a random start; the best of all that was seen (Madry et al., ICLR 2018)."""
        change, eps = self._drawn(moment, "start", corners=False), self._radius(moment)
        best, most = moment.seen, torch.full((len(moment.seen),), -torch.inf)
        for step in range(steps + 1):
            shown = self._inside(moment, change).detach().requires_grad_(step < steps)
            with torch.enable_grad():
                value = gain(moment.policy.outputs(shown))
                if not bool(torch.isfinite(value).all()):
                    raise ModelError(expected("a finite gain of the attack in every step", value.detach().numpy()))
                if step < steps:
                    (slope,) = torch.autograd.grad(value.sum(), shown)
            better = value.detach() > most
            best = torch.where(_wide(better, shown), shown.detach(), best)
            most = torch.where(better, value.detach(), most)
            if step == steps:
                break
            slope = slope * self._spread(moment)
            if step == 0:
                moment.counts["climbed"] += len(slope)
                moment.counts["zero"] += int((slope.flatten(1) == 0).all(1).sum())
            if self.norm == "linf":
                way = slope.sign()
            else:
                way = slope / _sizes(slope)
            change = change + 2.5 / steps * eps * way
            if self.norm == "linf":
                change = torch.minimum(torch.maximum(change, -eps), eps)
            else:
                change = change * (eps / _sizes(change)).clamp(max=1)
        return best


@dataclass(frozen=True)
class Shown(Threat):
    """The agent is shown one of a given set of observations.

    Attributes:
        candidates: a function of the true observations (B, *S) tensor that gives what may be shown, (B, m, *S), the
            truth as often as rows have fewer.
    """

    candidates: Callable[[Tensor], Tensor]
    searched: ClassVar[str] = "steps"

    def __str__(self) -> str:
        return f"Shown({getattr(self.candidates, '__name__', type(self.candidates).__name__)})"

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        """As `Threat.observe`: chance picks among different ones alike, an attack the one of the largest gain."""
        given = self.candidates(moment.seen)
        if given.ndim != moment.seen.ndim + 1 or len(given) != len(moment.seen) or not given.shape[1]:
            raise DataError(expected("candidates (B, m, *S) for observations (B, *S)", tuple(given.shape)))
        if isinstance(attack, Noise):
            flat = given.flatten(2) if given.ndim > 2 else given.unsqueeze(2)
            same = (flat.unsqueeze(1) == flat.unsqueeze(2)).all(3)  # (B, m, m)
            first = same.int().argmax(2) == torch.arange(given.shape[1])
            draw = rng.uniform(rng.fold(moment.key, "shown"), (given.shape[1],))
            pick = torch.where(first, draw, torch.full_like(draw, -1.0)).argmax(1)
            return given[torch.arange(len(given)), pick]
        return _best(moment, list(given.unbind(1)), attack.gain(moment))


@dataclass(frozen=True)
class SensorBias(Threat):
    """Every reading of an episode is off by the same amount, the worst within a box.

    Attributes:
        eps: as in `Observation`, of the "linf" norm.
        scale: as in `Observation`.
    """

    eps: float
    scale: tuple[float, ...] | None = None
    bias: tuple[float, ...] = ()
    searched: ClassVar[str] = "once"

    def __post_init__(self) -> None:
        checked_real("eps", self.eps, low=0.0)
        object.__setattr__(self, "scale", _checked_scale(self.scale))

    def __str__(self) -> str:
        return (
            f"SensorBias({self.eps:g})" if not self.bias else f"SensorBias of {tuple(round(b, 4) for b in self.bias)}"
        )

    def check(self, policy: Policy) -> None:
        """As `Threat.check`."""
        Observation(self.eps, scale=self.scale).check(policy)

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        """As `Threat.begin`."""
        size = int(np.prod(policy.observations.shape))
        bias = torch.tensor(self.bias) if self.bias else torch.zeros(size)
        return {"bias": bias.expand(len(keys), size)}

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        """As `Threat.observe`."""
        return moment.seen + moment.state["bias"].view(moment.seen.shape)


@dataclass(frozen=True)
class SensorDropout(Threat):
    """In each step each reading fails with some probability, and stays at its last value.

    Attributes:
        share: the probability, in 0..1.
    """

    share: float

    def __post_init__(self) -> None:
        checked_real("share", self.share, 0.0, 1.0)

    def __str__(self) -> str:
        return f"SensorDropout({self.share:g})"

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        """As `Threat.begin`."""
        return {"last": _room(policy, len(keys))}

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        """As `Threat.observe`."""
        lost = rng.uniform(rng.fold(moment.key, "dropout"), moment.seen.shape[1:]) < self.share
        shown = moment.seen if moment.step == 0 else torch.where(lost, moment.state["last"], moment.seen)
        moment.state["last"] = shown
        return shown


@dataclass(frozen=True)
class SensorDelay(Threat):
    """What is shown is some steps old; in the first steps, the first reading.

    Attributes:
        steps: how many, >= 1.
    """

    steps: int

    def __post_init__(self) -> None:
        checked_whole("steps", self.steps, 1)

    def __str__(self) -> str:
        return f"SensorDelay({self.steps})"

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        """As `Threat.begin`."""
        return {f"seen {k}": _room(policy, len(keys)) for k in range(self.steps)}

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        """As `Threat.observe`."""
        place = f"seen {moment.step % self.steps}"
        if moment.step == 0:
            moment.state.update({f"seen {k}": moment.seen for k in range(self.steps)})
        shown, moment.state[place] = moment.state[place], moment.seen
        return shown


@dataclass(frozen=True)
class ActionNoise(Threat):
    """Actions that are carried out inexactly.

    Attributes:
        size: of continuous actions, the largest error as a share of half their range; of discrete ones, the probability
            that any action is taken instead, drawn uniformly; in 0..1.
    """

    size: float

    def __post_init__(self) -> None:
        checked_real("size", self.size, 0.0, 1.0)

    def __str__(self) -> str:
        return f"ActionNoise({self.size:g})"

    def act(self, moment: Moment, actions: Tensor, attack: Attack) -> Tensor:
        """As `Threat.act`."""
        key, many = rng.fold(moment.key, "action noise"), moment.policy.discrete
        if many is None:
            return _moved(moment, actions, self.size * rng.uniform(key, actions.shape[1:], -1.0, 1.0))
        other = rng.integers(rng.fold(key, "which"), (1,), many).squeeze(1)
        return torch.where(rng.uniform(key, (1,)).squeeze(1) < self.size, other, actions)


@dataclass(frozen=True)
class ActionDelay(Threat):
    """Actions that take effect some steps later; the first one is done until then.

    Attributes:
        steps: how many, >= 1.
    """

    steps: int

    def __post_init__(self) -> None:
        checked_whole("steps", self.steps, 1)

    def __str__(self) -> str:
        return f"ActionDelay({self.steps})"

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        """As `Threat.begin`."""
        room = torch.zeros(len(keys), *(policy.actions.shape or ()))
        room = room.long() if policy.discrete is not None else room
        return {f"chosen {k}": room for k in range(self.steps)}

    def act(self, moment: Moment, actions: Tensor, attack: Attack) -> Tensor:
        """As `Threat.act`."""
        place = f"chosen {moment.step % self.steps}"
        if moment.step == 0:
            moment.state.update({f"chosen {k}": actions for k in range(self.steps)})
        done, moment.state[place] = moment.state[place], actions
        return done


@dataclass(frozen=True)
class ActionAttack(Threat):
    """An adversary changes what is done, in each step anew (Tessler et al., ICML 2019: probabilistic, with `Sometimes`).

    Attributes:
        eps: of continuous actions, the largest change as a share of half their range, in 0..1; discrete actions it
            replaces altogether.
    """

    eps: float = 1.0
    searched: ClassVar[str] = "steps"

    def __post_init__(self) -> None:
        checked_real("eps", self.eps, 0.0, 1.0)

    def __str__(self) -> str:
        return f"ActionAttack({self.eps:g})"

    def act(self, moment: Moment, actions: Tensor, attack: Attack) -> Tensor:
        """As `Threat.act`."""
        many = moment.policy.discrete
        key = rng.fold(moment.key, "action attack")
        if isinstance(attack, Noise):
            if many is not None:
                return rng.integers(key, (1,), many).squeeze(1)
            draw = (
                rng.signs(key, actions.shape[1:]) if attack.corners else rng.uniform(key, actions.shape[1:], -1.0, 1.0)
            )
            return _moved(moment, actions, self.eps * draw)
        gain = attack.gain(moment)
        if many is not None:
            each = torch.stack([gain(_sure(torch.full_like(actions, a), many)) for a in range(many)])
            return each.argmax(0)
        tried = [actions]
        for k in range(2 * attack.steps):
            drawn = rng.signs(rng.fold(key, k), actions.shape[1:])
            tried.append(_moved(moment, actions, self.eps * drawn))
        if isinstance(attack, Directed):
            tried.append(_moved(moment, actions, 0, toward=moment.state["target"], eps=self.eps))
        values = torch.stack([gain(one).detach() for one in tried])
        return torch.stack(tried)[values.argmax(0), torch.arange(len(actions))]


@dataclass(frozen=True)
class Dynamics(Threat):
    """Parameters of the environment that may lie elsewhere, for whole episodes.

    Attributes:
        ranges: lowest and highest value by attribute of the unwrapped environment; the nominal value is what a new
            environment has.
        apply: how values get into an environment, a function of the unwrapped environment and values by name; None sets
            the attributes. Give it where others are computed from them.
        values: the values chosen; empty for the nominal ones.

    Raises:
        ConfigError: there are none, or a range is empty.
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
        """The values of a new environment.

        Raises:
            ConfigError: it has no such number.
        """
        inner = env.unwrapped
        for name in self.ranges:
            if not isinstance(getattr(inner, name, None), (int, float)):
                raise ConfigError(expected(f"a number {name!r} in {type(inner).__name__}", getattr(inner, name, None)))
        return tuple(float(getattr(inner, name)) for name in self.ranges)

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        """As `Threat.begin`."""
        values = torch.tensor(self.values, dtype=torch.float64)
        return {"dynamics": values.expand(len(keys), len(values))}

    def prepare(self, env: gymnasium.Env[Any, Any], state: Mapping[str, Tensor]) -> None:
        """As `Threat.prepare`."""
        values = dict(zip(self.ranges, state["dynamics"].tolist(), strict=False))
        if not values:
            return
        inner: Any = env.unwrapped
        if self.apply is not None:
            self.apply(inner, values)
            return
        for name, value in values.items():
            setattr(inner, name, value)


@dataclass(frozen=True)
class Sometimes(Threat):
    """Another threat, in some of the steps alone, drawn in each.

    Attributes:
        threat: of steps: `Observation`, `Shown`, `ActionNoise` or `ActionAttack`.
        share: the probability of each step, in 0..1.

    Raises:
        ConfigError: the threat is of whole episodes.
    """

    threat: Threat
    share: float
    searched: ClassVar[str] = ""

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
        """As `Threat.check`."""
        self.threat.check(policy)

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        """As `Threat.begin`."""
        return self.threat.begin(policy, keys)

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        """As `Threat.observe`."""
        shown = self.threat.observe(moment, attack)
        return torch.where(_wide(self._now(moment), shown), shown, moment.seen)

    def act(self, moment: Moment, actions: Tensor, attack: Attack) -> Tensor:
        """As `Threat.act`."""
        done = self.threat.act(moment, actions, attack)
        return torch.where(_wide(self._now(moment), done), done, actions)

    def _now(self, moment: Moment) -> Tensor:
        return rng.uniform(rng.fold(moment.key, "sometimes"), (1,)).squeeze(1) < self.share


@dataclass(frozen=True)
class Attacked:
    """A threat, and what makes use of it: an adversary (`robustest_rl.episodes.Adversary`).

    Attributes:
        threat: what it may do.
        attack: what it wants; read by threats of single steps alone.
        share: of the threat's radius, that it uses.
    """

    threat: Threat
    attack: Attack = Noise()
    share: float = 1.0

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        """As `Adversary.begin`."""
        state = {"share": torch.full((len(keys),), self.share), **self.threat.begin(policy, keys)}
        if isinstance(self.attack, Directed):
            weights = torch.tensor(self.attack.weights)
            state["director"] = weights.expand(len(keys), len(weights))
            shape = () if policy.discrete is not None else policy.actions.shape or ()
            target = torch.zeros(len(keys), *shape)
            state["target"] = target.long() if policy.discrete is not None else target
        return state

    def prepare(self, env: gymnasium.Env[Any, Any], state: Mapping[str, Tensor]) -> None:
        """As `Adversary.prepare`."""
        self.threat.prepare(env, state)

    def observe(self, moment: Moment) -> Tensor:
        """As `Adversary.observe`."""
        return self.threat.observe(moment, self.attack)

    def act(self, moment: Moment, actions: Tensor) -> Tensor:
        """As `Adversary.act`."""
        return self.threat.act(moment, actions, self.attack)


def _best(moment: Moment, tried: list[Tensor], gain: Gain) -> Tensor:
    """(B, *S) of several observations the one of the largest gain, row by row; the first of equals."""
    with torch.no_grad():
        values = torch.stack([gain(moment.policy.outputs(one)) for one in tried])
    return torch.stack(tried)[values.argmax(0), torch.arange(len(moment.seen))]


def _sure(actions: Tensor, many: int) -> Tensor:
    return 50.0 * torch.nn.functional.one_hot(actions, many).float()


def _moved(moment: Moment, actions: Tensor, by: Any, *, toward: Tensor | None = None, eps: float = 0.0) -> Tensor:
    """Actions changed by a share of half their range, inside the space."""
    low, high = moment.policy.limits
    if toward is None:
        moved = actions + by * (high - low) / 2
    else:
        moved = torch.minimum(torch.maximum(toward, actions - eps * (high - low) / 2), actions + eps * (high - low) / 2)
    return torch.minimum(torch.maximum(moved, low), high)


def _room(policy: Policy, n: int) -> Tensor:
    room = torch.zeros(n, *(policy.observations.shape or ()))
    return room if policy.observations.shape else room.long()


def _sizes(change: Tensor) -> Tensor:
    """(B, 1...) l2 norms, never 0."""
    return _wide(change.flatten(1).norm(dim=1).clamp(min=1e-12), change)


def _wide(which: Tensor, like: Tensor) -> Tensor:
    return which.view(-1, *[1] * (like.ndim - 1))


def _checked_scale(scale: object) -> tuple[float, ...] | None:
    if scale is None:
        return None
    values = tuple(float(value) for value in np.atleast_1d(np.asarray(scale, dtype=np.float64)).ravel())
    for value in values:
        checked_real("scale", value, low=0.0)
    return values
