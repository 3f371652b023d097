"""Adversarial examples themselves, for use outside a gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.attacks import Cascade, Searcher, as_attack
from robustest.claims.robustness.attacking import Attacking, checked_threat, ready_for
from robustest.decisions import ShareRule
from robustest.results import Cost
from robustest.run.driver import observe
from robustest.run.noting import noted
from robustest.run.options import Options
from robustest.run.setup import Setup
from robustest.threats import Threat


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversarial:
    """What an attack made of some samples; rows in the order given.

    Attributes:
        x: like the x given, inside the threat: the input found where `broken`, the best attempt elsewhere
            (the sample itself where it was misclassified from the start).
        broken: (N,) bool: the model misclassifies the row of `x`.
        norms: (N,) float64, the threat's size of each row's change.
        cost: model passes and seconds.
        stages: how many samples each stage broke.
        notes: what a reader must know.
    """

    x: Any
    broken: NDArray[np.bool_]
    norms: NDArray[np.float64]
    cost: Cost
    stages: Mapping[str, int]
    notes: tuple[str, ...]


@noted
def find_adversarial(
    model: object,
    x: Tensor | NDArray[Any],
    y: Tensor | NDArray[Any],
    threat: Threat,
    *,
    attack: str | Searcher | Cascade = "standard",
    **options: Unpack[Options],
) -> Adversarial:
    """The worst inputs that an attack finds for some samples.

    Args:
        model: as for `measure_robust_accuracy`.
        x: (N, *S) floats inside the bounds, a tensor or an array; what is returned is of the same kind.
        y: (N,) integer labels.
        threat: what may be done to a sample.
        attack: a name, a searcher or a cascade.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError, DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    checked_threat(threat)
    cascade = as_attack(attack, threat)
    setup = ready_for(cascade, Setup.of(model, (x, y), options).but(max_samples=None, time_budget=None))
    look = Attacking(cascade=cascade, threat=threat, examples=0, keep=True)
    nothing = ShareRule(threshold=None, at_least=True, terms=setup.alone)
    evidence = observe(setup.plan(f"{cascade.name} under {threat}", look, nothing))
    found = torch.from_numpy(evidence.columns["x"])
    like: Any = found.to(x.dtype).to(x.device) if isinstance(x, Tensor) else found.numpy().astype(x.dtype)
    return Adversarial(
        x=like,
        broken=~evidence.columns["held"],
        norms=evidence.columns["size"],
        cost=evidence.tally.cost,
        stages=dict(evidence.counts),
        notes=evidence.tally.notes,
    )
