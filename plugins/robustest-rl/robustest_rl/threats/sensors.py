"""Threats of failing sensors: biased, dropped out, late."""

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
    """The same error in every reading of an episode, the worst within a box.

    Attributes:
        eps: as in `Observation`, with norm "linf".
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
        Observation(self.eps, scale=self.scale).check(policy)

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        size = int(torch.Size(policy.observations.shape or ()).numel())
        bias = torch.tensor(self.bias) if self.bias else torch.zeros(size)
        return {"bias": bias.expand(len(keys), size)}

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        return moment.seen + moment.state["bias"].view(moment.seen.shape)


@dataclass(frozen=True)
class SensorDropout(Threat):
    """Readings that fail with some probability in each step, and then keep their last value.

    Attributes:
        share: the probability, in 0..1.
    """

    share: float

    def __post_init__(self) -> None:
        checked_real("share", self.share, 0.0, 1.0)

    def __str__(self) -> str:
        return f"SensorDropout({self.share:g})"

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        return {"last": empty(policy, len(keys))}

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        lost = rng.uniform(rng.fold(moment.key, "dropout"), moment.seen.shape[1:]) < self.share
        # The first reading never fails: there is no last value.
        shown = moment.seen if moment.step == 0 else torch.where(lost, moment.state["last"], moment.seen)
        moment.state["last"] = shown
        return shown


@dataclass(frozen=True)
class SensorDelay(Delay):
    """Observations that are some steps old; the first ones repeat the first reading.

    Attributes:
        steps: delay in steps, >= 1.
    """

    def begin(self, policy: Policy, keys: Tensor) -> dict[str, Tensor]:
        return self.places("seen", empty(policy, len(keys)))

    def observe(self, moment: Moment, attack: Attack) -> Tensor:
        return self.late(moment, "seen", moment.seen)
