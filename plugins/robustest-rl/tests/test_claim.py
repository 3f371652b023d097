"""The claim's forms on a walk whose returns are known: falls, baselines, curves, health checks, worst episodes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from robustest_rl import (
    ActionNoise,
    Away,
    Directed,
    Dynamics,
    Noise,
    Observation,
    SensorBias,
    assert_robust_return,
    measure_robust_return,
)
from robustest_rl.director import Effort, play_all, search
from robustest_rl.episodes import search_keys
from robustest_rl.judged import Episodes
from robustest_rl.pictures import film_strips
from robustest_rl.policies import as_policy
from robustest_rl.scene import Scene
from robustest_rl.threats import Attacked
from robustest_rl.worlds import World
from torch import nn
from walks import Line, Steered, back, net, right

from robustest import ClaimFailed, ConfigError, Verdict
from robustest.reports.text import measured as shown
from robustest.results import Result


def measured(policy: Any = back, env: Any = Steered, threat: Any = None, **words: Any) -> Result:
    return measure_robust_return(policy, env, threat, **{"episodes": 60, "cache": False, **words})


def signs(result: Result) -> set[str]:
    return {finding["name"] for finding in result.details["health"]}


SCALE = (1.0, 0.0)


def test_a_fall_is_that_of_each_episode_beside_itself() -> None:
    words: Any = {"threat": Observation(3, scale=SCALE), "attack": "pgd", "return_range": (0.0, 20.0)}
    slight: Any = {**words, "threat": Observation(0.01, scale=SCALE)}
    assert measured(net(), max_drop=8.0, **slight).verdict is Verdict.PASSED
    failed = measured(net(), max_drop=2.0, **words, exact=True)
    assert failed.verdict is Verdict.FAILED
    assert failed.interval[1] == 20
    fall = failed.details["mean_untouched"] - failed.details["mean_attacked"]
    assert failed.estimate == pytest.approx(fall)
    assert f" from mean return untouched {failed.details['mean_untouched']:.3f}" in shown(failed)


def test_an_agent_that_returns_hardly_anything_cannot_fall() -> None:
    """It keeps any allowance of as much as it returns: that is no robustness."""
    slight: Any = {"threat": Observation(0.01, scale=SCALE), "attack": "pgd", "return_range": (0.0, 20.0)}
    lost = net()
    lost.weight.data *= -1  # it walks away
    result = measured(lost, max_drop=8.0, **slight)  # which the agent that stays keeps
    assert result.details["mean_untouched"] < 8
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.rule.startswith("nothing could have failed it: untouched episodes return")


def test_a_mean_below_zero_is_bounded_by_the_least_return() -> None:
    words: Any = {"mean": True, "return_range": (-40.0, 0.0), "cost": "effort", "threat": Observation(1, scale=SCALE)}
    found = measured(net(), attack="pgd", at_least=-41 + 2, **words)
    assert found.interval[0] == -40
    assert found.details["mean_attacked"] == -40


def test_returns_by_radius_never_rise() -> None:
    found = measured(net(), threat=Observation(2, scale=SCALE), at_least=5, min_share=0.5)
    curve = [point["mean return"] for point in found.details["by_radius"]]
    assert len(curve) == 4
    assert curve == sorted(curve, reverse=True)
    assert curve[-1] < curve[0]


def test_the_worst_episodes_are_named_with_seed_and_step() -> None:
    found = measured(threat=SensorBias(2, scale=SCALE), at_least=10, min_share=0.5)
    rows = found.details["worst"]
    assert [row["return"] for row in rows] == sorted(row["return"] for row in rows)
    env = Steered()
    assert env.reset(seed=rows[0]["seed"])[0][0] != env.reset(seed=rows[1]["seed"])[0][0]
    assert all(0 <= row["broke at step"] < 20 for row in rows)


def test_dynamics_that_fail_are_shrunk_to_the_mildest() -> None:
    narrow = Dynamics({"reach": (0.01, 1.0)})
    found = measured(threat=narrow, at_least=19, min_share=0.9)
    assert found.verdict is Verdict.FAILED
    assert found.details["mildest"].startswith("Dynamics(reach=")
    reach = float(found.details["mildest"].partition("=")[2].rstrip(")"))
    assert 0.01 < reach < 1.0


def test_a_director_that_never_improved_makes_a_pass_inconclusive() -> None:
    found = measured(
        lambda seen: np.zeros(len(seen), np.int64), Line, Observation(0.1), at_least=0, min_share=0.5, attack="director"
    )
    assert found.verdict is Verdict.INCONCLUSIVE
    assert signs(found) == {"constant_answer", "loss_does_not_rise"}


def test_gradients_that_are_zero_make_a_pass_inconclusive() -> None:
    class Flat(nn.Module):
        def forward(self, seen: Any) -> Any:
            return torch.stack([(seen[:, 0] > 0).float(), (seen[:, 0] <= 0).float()], 1) + 0 * seen[:, :1]

    found = measured(Flat().eval(), threat=Observation(0.01, scale=SCALE), at_least=15, min_share=0.5, attack="pgd")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "zero_gradient" in signs(found)
    meant = measured(
        Flat().eval(),
        threat=Observation(0.01, scale=SCALE),
        at_least=15,
        min_share=0.5,
        attack="pgd",
        suppress=("zero_gradient",),
    )
    assert meant.verdict is Verdict.PASSED


def test_policy_gradients_lower_what_a_director_lets_through() -> None:
    scene = Scene(net(), World.of(Steered)).steady()
    arena = scene.arena(64, wide=True)
    threat, start = Observation(2, scale=SCALE), Directed(scale=(1.0, 1.0))
    few = Effort(candidates=8, episodes=4, generations=1)
    found = search(arena, threat, start, few, 0)
    climbed = search(arena, threat, start, Effort(candidates=8, episodes=4, generations=1, ascents=3), 0)
    keys = search_keys(9, "a test", 32)
    both = np.array([found.attack.weights, climbed.attack.weights])
    before, after = play_all(arena, threat, start, both, keys).mean(1)
    assert after <= before
    assert found.attack.weights != climbed.attack.weights or before <= 1


def test_models_of_stable_baselines3_are_known_by_their_shape() -> None:
    layer = net()
    logits = SimpleNamespace(
        get_distribution=lambda seen: SimpleNamespace(distribution=SimpleNamespace(logits=layer(seen)))
    )
    q = SimpleNamespace(q_net=layer)
    blind = SimpleNamespace()
    env = Steered()

    def predict(seen: Any, deterministic: bool) -> Any:
        return layer(torch.from_numpy(seen)).argmax(1).numpy(), None

    seen = torch.tensor([[1.0, 0], [-1.0, 0]])
    for inner, gradients in ((logits, True), (q, True), (blind, False)):
        policy = as_policy(SimpleNamespace(policy=inner, predict=predict), env.observation_space, env.action_space)
        assert policy.gradients is gradients
        assert policy.act(policy.outputs(seen), torch.zeros(2).long()).tolist() == [0, 1]


class There(nn.Module):
    """Weights on another device, which it answers on the host; a distribution of stable-baselines3 itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.weight = net(), nn.Parameter(torch.zeros(1, device="meta"))
        self.seen: list[str] = []

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        self.seen.append(seen.device.type)
        return self.layer(torch.zeros(seen.shape))

    def get_distribution(self, seen: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(distribution=SimpleNamespace(logits=self(seen)))


class ThereByQ(There):
    get_distribution = None

    def __init__(self) -> None:
        super().__init__()
        self.q_net = self.forward


@pytest.mark.parametrize("way", ["module", "distribution", "q"])
def test_observations_go_to_the_device_of_the_policy(way: str) -> None:
    """Models of stable-baselines3 lie on a GPU wherever there is one; environments and draws are on the host."""
    env, made = Steered(), (ThereByQ if way == "q" else There)().eval()
    source = made if way == "module" else SimpleNamespace(policy=made, predict=lambda *_: None)
    policy = as_policy(source, env.observation_space, env.action_space)
    assert policy.gradients
    assert policy.outputs(torch.ones(2, 2)).device.type == "cpu"
    assert made.seen == ["meta"]


def test_film_strips_are_shown_where_the_environment_renders(tmp_path: Path) -> None:
    class Filmed(Steered):
        render_mode = "rgb_array"

        def render(self) -> Any:
            return np.full((8, 8, 3), 20 * self.t % 256, np.uint8)

    def filmed() -> gymnasium.Env[Any, Any]:
        return Filmed()

    row = {"episode": 2, "seed": 17, "return": 3.0, "untouched": 5.0, "broke at step": 4}
    for env, shape in ((filmed, (3, 8, 48)), (Steered, (0,))):
        counted = Episodes(Scene(back, World.of(env)), Attacked(ActionNoise(0.5)), 4, 0, 5.0)
        (strip,) = film_strips(counted, [row], str(tmp_path))
        assert strip.before.shape == strip.after.shape == shape
        assert strip.answer == "reset with seed 17, 5 untouched, broke at step 4"


def test_what_is_claimed_must_be_said() -> None:
    for words, says in (
        ({"max_drop": 3, "at_least": 1}, "max_drop= alone"),
        ({"max_drop": 3}, "a threat for max_drop"),
        ({"min_share": 0.5}, "at_least= beside min_share"),
        ({"no_worse_than": "x.json"}, "at_least= with no_worse_than"),
        ({"mean": True, "return_range": (3, 1)}, "lowest < highest"),
    ):
        with pytest.raises(ConfigError, match=says):
            measured(**words)


def test_a_claim_that_fails_is_an_assertion() -> None:
    with pytest.raises(ClaimFailed):
        assert_robust_return(right, Steered, None, at_least=19, min_share=0.9, cache=False)


def test_attacks_may_be_given_as_they_are() -> None:
    found = measured(
        net(), threat=Observation(1, scale=SCALE), at_least=0, min_share=0.5, attack=(Noise(), Away(steps=2))
    )
    assert [row["attack"] for row in found.details["tried"]] == ["noise"] * 3 + ["pgd"] * 3
