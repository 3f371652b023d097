"""A green says something: every kind of this pack in core's properties, with trainings that can be empty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import robustest_training as training
import torch
from empty_calls import Value, World, few_draws, mixed
from kinds import CLASSES, Net, samples
from robustest_training.pack import robustest_kinds
from says_something import SaysSomething, Table
from torch import Tensor, nn
from training_kinds import Bottom, _built, _means

from robustest import L2, Linf

Data = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Taught(World):
    """Samples to train on, others to judge by, and what a generator made of the first."""

    data: Data = field(default_factory=lambda: samples(1000, 80))
    new: Data = field(default_factory=lambda: samples(2000, 120))
    made: Data = field(default_factory=lambda: samples(3000, 80))


def few(world: Taught) -> World:
    return replace(few_draws(world), made=few_draws(replace(world, data=world.made)).data)


def alone(world: Taught) -> World:
    (x, y), (new_x, new_y), (made_x, made_y) = world.data, world.new, world.made
    return replace(
        world,
        data=(x[y == 0], y[y == 0]),
        new=(new_x[new_y == 0], new_y[new_y == 0]),
        made=(made_x[made_y == 0], made_y[made_y == 0]),
    )


class Same(nn.Module):
    """Gives every input the same logits."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.arange(CLASSES, dtype=x.dtype) + 0 * x.flatten(1)[:, :1]


def taught_nothing(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    return Same().eval()


def untrained(steep: bool) -> Callable[[], nn.Module]:
    """A net without weights that a gradient moves."""

    def build() -> nn.Module:
        net = _built(steep)()
        net[-1].weight.data.zero_()  # type: ignore[index,union-attr,operator]
        for parameter in net.parameters():
            parameter.requires_grad_(False)
        return net

    return build


def batches(world: Taught) -> Any:
    x, y = world.data
    return list(zip(x.split(40), y.split(40), strict=True))


SMOOTH, STEEP = _built(False), _built(True)


def another_factory() -> nn.Module:
    """Builds the smooth net, too."""
    return SMOOTH()


VALUES: dict[str, Value] = {
    "data": Value(sound=lambda w: w.data),
    "test_data": Value(sound=lambda w: w.new, same=(lambda w: w.data, lambda w: mixed(w.data))),
    "threat": Value(sound=lambda w: Linf(0.02), still=lambda w: Linf(0.0)),  # noqa: ARG005
    "train": Value(sound=lambda w: _means, constant=(lambda w: taught_nothing,)),  # noqa: ARG005
    "min_train_accuracy": Value(sound=lambda w: 0.5),  # noqa: ARG005
    "synthetic": Value(
        sound=lambda w: w.made,
        same=(lambda w: w.data, lambda w: mixed(w.data), lambda w: (w.data[0] + 1e-6, w.data[1]), lambda w: w.new),
        constant=(lambda w: (0 * w.made[0] + 0.5, w.made[1]), lambda w: (w.made[0], w.made[1].roll(1))),
    ),
    "nonrobust_reliance.model": Value(
        sound=lambda w: Bottom(),  # noqa: ARG005
        constant=(lambda w: Same().eval(),),  # noqa: ARG005
    ),
    "nonrobust_reliance.threat": Value(sound=lambda w: L2(0.6), still=lambda w: L2(0.0)),  # noqa: ARG005
    "smooth_landscape.model": Value(
        sound=lambda w: SMOOTH,  # noqa: ARG005
        constant=(lambda w: untrained(False),),  # noqa: ARG005
    ),
    "smooth_landscape.data": Value(sound=batches),
    "loss": Value(sound=lambda w: nn.functional.cross_entropy),  # noqa: ARG005
    "reference": Value(
        sound=lambda w: STEEP,  # noqa: ARG005
        same=(lambda w: SMOOTH, lambda w: another_factory, lambda w: _built(False)),  # noqa: ARG005
        constant=(lambda w: untrained(True),),  # noqa: ARG005
    ),
}
EFFORT: dict[str, Any] = {
    "attack": "fgsm",
    "iterations": 10,
    "learning_rate": 0.5,
    "seeds": 2,
    "smooth_landscape.seeds": 4,
    "max_copies": 0.1,
    "sizes": [80],
    "splits": 2,
    "train_steps": 30,
}


class TestKindsOfTraining(SaysSomething):
    table = Table(
        assertions={kind.name: (kind, getattr(training, f"assert_{kind.name}")) for kind in robustest_kinds()},
        world=Taught(model=Net(good=True)),
        values=VALUES,
        effort=EFFORT,
        options={"": {}},
        units={"max_ratio": 2.0},
        few=few,
        alone=alone,
    )
