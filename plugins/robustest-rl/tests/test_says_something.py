"""A green says something: the kind of this pack in core's properties, with policies and worlds that can be empty."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium
import robustest_rl as rl
import torch
from robustest_rl import ActionNoise, Observation
from robustest_rl.pack import robustest_kinds
from torch import nn
from walks import Line, Steered, net, right

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "contract"))
from empty_calls import N, Value, World
from says_something import SaysSomething, Table

sys.path.pop(0)
from robustest import Verdict

SCALE = (1.0, 0.0)


@dataclass(frozen=True)
class Played(World):
    """A policy, and the environment that it acts in."""

    model: nn.Module = field(default_factory=net)
    env: Callable[[], gymnasium.Env[Any, Any]] = Steered


class Stuck(Steered):
    """Every episode starts at the same place."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=7, options=options)


class Idle(Steered):
    """Returns 1 for each step, whatever was done."""

    reach = 99.0


def blind(*bias: float, slope: float = 0.0) -> nn.Module:
    """Give the same action to every observation."""
    layer = net()
    layer.weight.data *= slope
    layer.bias.data = torch.tensor(bias)
    return layer


VALUES: dict[str, Value] = {
    "policy": Value(
        sound=lambda w: w.model,
        constant=(
            lambda w: blind(0.0, 3.0),  # noqa: ARG005
            lambda w: blind(90.0, 0.0, slope=0.1),  # noqa: ARG005
        ),
    ),
    "env": Value(sound=lambda w: w.env, constant=(lambda w: Idle,)),  # noqa: ARG005
    "threat": Value(sound=lambda w: Observation(0.01, scale=SCALE), still=lambda w: Observation(0.0, scale=SCALE)),  # noqa: ARG005
    "min_share.at_least": Value(sound=lambda w: 10.0),  # noqa: ARG005
    "mean": Value(sound=lambda w: True),  # noqa: ARG005
    "return_range": Value(sound=lambda w: (0.0, 20.0)),  # noqa: ARG005
}
NEEDED = {
    "min_share": ("min_share.at_least",),
    "at_least": ("mean", "return_range"),
    "max_drop": ("return_range",),
}
EFFORT: dict[str, Any] = {"episodes": N, "attack": "noise"}
FILE = "it compares with a file, of the same agent as a rule"


def few(world: Played) -> World:
    return replace(world, env=Stuck)


def table(threat: Any, **left_out: str) -> Table:
    return Table(
        assertions={kind.name: (kind, getattr(rl, kind.assertion)) for kind in robustest_kinds()},
        world=Played(),
        values=VALUES,
        needed=NEEDED,
        few=few,
        units={"at_least": 20.0, "max_drop": 20.0},
        options={"": {}, "exact": {"exact": True}},
        left_out={"no_worse_than": FILE, **left_out},
        effort={**EFFORT, "threat": threat},
    )


class TestUnderAThreat(SaysSomething):
    table = table(Observation(0.01, scale=SCALE))


class TestUntouched(SaysSomething):
    table = table(None, max_drop="nothing falls where nothing disturbs")


def verdict(policy: Any, env: Any, at_least: float, threat: Any = None, **more: Any) -> Any:
    words: dict[str, Any] = {"min_share": 0.5, "episodes": N, "attack": "noise", "cache": False, **more}
    return rl.measure_robust_return(policy, env, threat, at_least=at_least, **words).verdict


def test_an_agent_that_never_looks_holds_under_no_change_of_what_it_sees() -> None:
    """It would pass whatever the threat was: on this line one goes right."""
    slight = Observation(0.01, scale=SCALE)
    assert verdict(right, Line, 4) is Verdict.PASSED
    assert verdict(right, Line, 4, slight) is Verdict.INCONCLUSIVE
    assert verdict(right, Line, 4, slight, suppress=("constant_answer",)) is Verdict.PASSED
    assert verdict(right, Line, 4, ActionNoise(0.1)) is Verdict.PASSED


def test_an_agent_that_acts_at_random_reaches_no_claim() -> None:
    assert verdict(net(), Steered, 3) is Verdict.INCONCLUSIVE
    assert verdict(net(), Steered, 19) is Verdict.PASSED
