"""Sensors that fail: biased, dropped out, late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustest import rng
from robustest.packs import checked_real
from robustest_rl.attacks import Attack
from robustest_rl.moments import Moment
from robustest_rl.policies import Policy
from robustest_rl.threats.base import Delay, Threat, checked_scale, empty
from robustest_rl.threats.observations import Observation


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
        object.__setattr__(self, "scale", checked_scale(self.scale))

    def __str__(self) -> str:
        return (
            f"SensorBias({self.eps:g})" if not self.bias else f"SensorBias of {tuple(round(b, 4) for b in self.bias)}"
        )

    def check(self, policy: Policy) -> None:
        """As `Threat.check`."""
        Observation(self.eps, scale=self.scale).check(policy)

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        """As `Threat.begin`."""
        size = int(torch.Size(policy.observations.shape or ()).numel())
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
        return {"last": empty(policy, len(keys))}

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        """As `Threat.observe`."""
        lost = rng.uniform(rng.fold(moment.key, "dropout"), moment.seen.shape[1:]) < self.share
        shown = moment.seen if moment.step == 0 else torch.where(lost, moment.state["last"], moment.seen)
        moment.state["last"] = shown
        return shown


@dataclass(frozen=True)
class SensorDelay(Delay):
    """What is shown is some steps old; in the first steps, the first reading.

    Attributes:
        steps: how many, >= 1.
    """

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        """As `Threat.begin`."""
        return self.places("seen", empty(policy, len(keys)))

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        """As `Threat.observe`."""
        return self.late(moment, "seen", moment.seen)
