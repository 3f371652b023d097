"""Training for the group with the largest loss (group DRO)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import Tensor

from robustest import rng
from robustest.data import as_samples
from robustest.errors import DataError
from robustest.packs import Chunk, Groups, checked_real
from robustest_training.repair.log import Repaired
from robustest_training.repair.trainer import Method, Trainer, drawn_evenly
from robustest_training.repair.training import Training, TrainingOptions


def group_dro(
    model: object,
    data: object,
    groups: object,
    *,
    rate: float = 0.01,
    adjustment: float = 0.0,
    **options: Unpack[TrainingOptions],
) -> Repaired:
    """Train for the group with the largest loss (Sagawa et al., "Distributionally robust networks", ICLR 2020).

    Batches draw every group equally often; each group's loss counts by a weight that grows as exp(rate * loss). A net
    that can fit every training sample gains nothing: regularise it strongly (weight_decay), or train few epochs
    (section 3).

    Args:
        model, data, options: as for `adversarial_training`.
        groups: as for `assert_worst_group_accuracy`; no sample in two, and samples in none are left out.
        rate: growth rate of the weights of groups, > 0.
        adjustment: C >= 0: C / sqrt(n_g) is added to a group's loss when weights grow, for small groups, which
            generalise worse.

    Raises:
        As `adversarial_training`, and DataError: groups overlap, or describe other data.
    """
    checked_real("rate", rate, 1e-9)
    checked_real("adjustment", adjustment, 0.0)
    samples = as_samples(data)
    named = Groups.of(groups, len(samples))
    training = Training.of(options)
    method = GroupDRO.made(named, rate=float(rate), adjustment=float(adjustment))
    return training.repair(model, samples, method, groups=named)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupDRO(Method):
    """Losses weighted by group; see `group_dro`."""

    groups: Groups
    of: Tensor  # (N,) int64 the group of each sample, -1 for none
    weights: Tensor  # (G,) float64 weights of the groups' losses; sum 1
    rate: float
    adjustment: float

    @classmethod
    def made(cls, groups: Groups, *, rate: float, adjustment: float) -> GroupDRO:
        n = len(groups.names)
        weights = torch.full((n,), 1 / n, dtype=torch.float64)
        return cls(groups=groups, of=_numbers(groups), weights=weights, rate=rate, adjustment=adjustment)

    @property
    def name(self) -> str:
        return f"group DRO over {len(self.groups.names)} groups"

    @property
    def settings(self) -> dict[str, Any]:
        sizes = dict(zip(self.groups.names, self.groups.sizes, strict=True))
        return {"groups": sizes, "rate": self.rate, "adjustment": self.adjustment}

    @property
    def identity(self) -> object:
        return (self.of, self.rate, self.adjustment)

    @property
    def state(self) -> dict[str, Tensor]:
        return {"group_weights": self.weights}

    def order(self, epoch: int, n: int, seed: int) -> Tensor:
        # An epoch has as many draws as samples are in groups: a group, then one of its members.
        key = rng.fold(rng.fold(rng.keys(seed, torch.arange(sum(self.groups.sizes))), "group order"), epoch)
        members = torch.cat([torch.from_numpy(ids) for ids in self.groups.members])
        return drawn_evenly(key, "group", members, torch.tensor(self.groups.sizes))

    def learn(self, trainer: Trainer, batch: Chunk) -> None:
        of = self.of[batch.ids].to(batch.x.device)

        def weigh(each: Tensor) -> Tensor:
            # Algorithm 1 of Sagawa et al.: mean losses of the groups in the batch, weights grown by them, then the
            # weighted loss.
            count = torch.bincount(of, minlength=len(self.weights))
            loss = torch.zeros(len(self.weights), device=each.device).index_add(0, of, each) / count.clamp(min=1)
            self._grow(loss.detach().cpu().double(), count.cpu())
            share = self.weights.to(loss) * (count > 0)
            return (share * loss).sum() / share.sum()

        trainer.descend(batch.x, batch.y, weigh=weigh)

    def _grow(self, loss: Tensor, count: Tensor) -> None:
        adjusted = loss + self.adjustment / torch.tensor(self.groups.sizes).double().sqrt()
        # A group that the batch lacks keeps its weight.
        self.weights.mul_(torch.where(count > 0, torch.exp(self.rate * adjusted), 1.0))
        self.weights.div_(self.weights.sum())


def _numbers(groups: Groups) -> Tensor:
    if not groups.disjoint:
        raise DataError("Expected every sample to be in one group at most but some are in two.")
    out = torch.full((groups.total,), -1)
    for number, members in enumerate(groups.members):
        out[torch.from_numpy(members)] = number
    return out
