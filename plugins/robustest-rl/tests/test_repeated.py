"""Copies of one episode count once, and an episode that does not repeat is an error; others stay green."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import robustest_rl.claim
import torch
from robustest_rl import ActionNoise, Observation, SensorDropout, assert_robust_return, measure_robust_return
from torch import nn
from walks import Line, Steered, back, net, right

from robustest import ClaimInconclusive, DataError, Verdict
from robustest.health import HEALTH_CHECKS

SCALE = (1.0, 0.0)


class Constant(Steered):
    """Builds its generator anew in each reset, from a constant; its steps draw from it, too."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed, options=options)
        self.draws = np.random.default_rng(12)
        self.at = float(self.draws.uniform(-1, 1))
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        self.at += 0.1 * float(self.draws.normal())
        return super().step(action)


class Four(Steered):
    """Four starts and no other draw: many episodes are equal, and are draws nevertheless."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed, options=options)
        self.at = float(self.np_random.integers(4)) / 2 - 0.75
        return self._seen(), {}


class Thirteenth(Steered):
    """Returns nothing from its 13th reset on."""

    resets = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.resets += 1
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        seen, reward, *rest = super().step(action)
        return seen, reward if self.resets < 13 else 0.0, *rest


class Worn:
    """A policy that acts in the opposite way after a number of calls."""

    def __init__(self, last: int) -> None:
        self.last = last

    def __call__(self, seen: Any) -> Any:
        self.last -= 1
        return back(seen) if self.last >= 0 else 1 - back(seen)


def measured(policy: Any, env: Any, threat: Any = None, **words: Any) -> Any:
    return measure_robust_return(
        policy, env, threat, **{"at_least": 15, "min_share": 0.8, "cache": False, "attack": "noise", **words}
    )


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"suppress": ("constant_answer",)},
        {"mean": True, "min_share": None, "return_range": (0, 20)},
        {"at_least": 21},  # that it fails proves as little
        {"stochastic": True},
        {"lanes": 1},
        {"exact": True, "episodes": 128},
    ],
    ids=str,
)
def test_a_generator_with_a_constant_seed_makes_one_episode(words: dict[str, Any]) -> None:
    found = measured(back, Constant, **words)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.numbers.n == 1
    assert found.interval[1] - found.interval[0] > 0.5 * (20 if "mean" in words else 1)
    assert "n = 1: " in found.rule
    assert "self.np_random" in found.rule
    assert found.ruling.reasons == ("copies",)


def test_an_assertion_on_copies_says_what_to_do() -> None:
    with pytest.raises(ClaimInconclusive, match="count as one") as raised:
        assert_robust_return(back, Constant, at_least=15, min_share=0.8, cache=False)
    assert "self.np_random" in str(raised.value)


class Deterministic(Steered):
    """One start and no draw at all."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed, options=options)
        self.at = 0.3
        return self._seen(), {}


class Slippery(Deterministic):
    """One start, from which the steps are drawn."""

    def step(self, action: Any) -> Any:
        self.at += 0.1 * float(self.np_random.normal())
        return super().step(action)


class Ice(Deterministic):
    """One start; only where the agent does not go by itself, steps are drawn."""

    def step(self, action: Any) -> Any:
        if abs(self.at) > 0.75:
            self.at += 0.1 * float(self.np_random.normal())
        return super().step(action)


class Drawn(nn.Module):
    """Logits of a policy that goes back to 0 in nine steps of ten."""

    def forward(self, seen: Any) -> Any:
        return 2.2 * torch.stack([(seen[:, 0] > 0).float(), (seen[:, 0] <= 0).float()], 1)


NOISE = ActionNoise(0.02)
COPIES = [
    (back, Constant, {"threat": NOISE}),
    (back, Constant, {"threat": NOISE, "suppress": tuple(HEALTH_CHECKS)}),
    (back, Deterministic, {"threat": NOISE}),
    (back, Deterministic, {"threat": SensorDropout(0.05)}),
    (back, Deterministic, {"threat": NOISE, "mean": True, "min_share": None, "return_range": (0, 20)}),
    (
        back,
        Deterministic,
        {"threat": NOISE, "max_drop": 15, "at_least": None, "min_share": None, "return_range": (0, 20)},
    ),
    (Drawn().eval(), Constant, {"stochastic": True}),
    (Drawn().eval(), Deterministic, {"stochastic": True, "threat": NOISE}),
]


@pytest.mark.parametrize(("policy", "env", "words"), COPIES)
def test_draws_of_the_threat_or_the_policy_make_no_episodes_of_one(policy: Any, env: Any, words: Any) -> None:
    found = measured(policy, env, **{"min_share": 0.5, "at_least": 14, **words})
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.numbers.n == 1
    assert found.ruling.reasons == ("copies",)
    assert "the environment draws nothing" in found.rule
    assert "one_start=True" in found.rule


@pytest.mark.parametrize(("policy", "env", "words"), COPIES)
def test_the_same_passes_where_the_environment_draws(policy: Any, env: Any, words: Any) -> None:
    twin = {Constant: Steered, Deterministic: Slippery}[env]
    found = measured(policy, twin, **{"min_share": 0.5, "at_least": 14, **words})
    assert found.verdict is Verdict.PASSED
    assert found.numbers.n > 1


def test_random_steps_that_only_a_threat_leads_to_are_draws() -> None:
    assert measured(back, Ice).ruling.reasons == ("copies",)
    assert measured(back, Ice, ActionNoise(0.1), min_share=0.5, at_least=14).verdict is Verdict.PASSED


def test_one_start_may_be_declared_and_the_claim_says_so() -> None:
    words = {"min_share": 0.5, "episodes": 64, "exact": True}
    found = measured(back, Deterministic, NOISE, one_start=True, **words)
    assert found.verdict is Verdict.PASSED
    assert found.numbers.n == 64
    assert "from one start" in found.subject.statement
    assert any("one start" in note for note in found.words.notes)
    low = measured(back, Deterministic, ActionNoise(0.9), one_start=True, **words)
    assert low.verdict is not Verdict.PASSED


def test_one_start_without_draws_of_a_threat_is_one_episode() -> None:
    found = measured(back, Deterministic, one_start=True)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.numbers.n == 1


@pytest.mark.parametrize("env", [Steered, Slippery])
def test_one_start_of_an_environment_that_draws_is_an_error(env: Any) -> None:
    with pytest.raises(DataError, match="Leave out one_start="):
        measured(back, env, NOISE, one_start=True)


@pytest.mark.parametrize("threat", [None, ActionNoise(0.02), Observation(0.01, scale=SCALE)], ids=str)
@pytest.mark.parametrize("env", [Steered, Four])
def test_seeded_environments_and_those_with_several_starts_stay_green(env: Any, threat: Any) -> None:
    found = measured(net(), env, threat)
    assert found.verdict is Verdict.PASSED
    assert found.numbers.n > 20


def test_a_single_episode_is_not_called_a_copy() -> None:
    assert "n = 1" not in measured(right, Line, at_least=3, episodes=1).rule


@pytest.mark.parametrize("lanes", [1, 64])
def test_state_that_shows_in_the_thirteenth_episode_is_an_error(lanes: int) -> None:
    with pytest.raises(DataError, match=r"to repeat, returning .* undisturbed, but got .* the environment keeps state"):
        measured(back, Thirteenth, lanes=lanes, min_share=0.1, at_least=0, suppress=("constant_answer",))


def test_state_of_all_environments_is_an_error() -> None:
    resets = []

    class Shared(Steered):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed, options=options)
            resets.append(seed)
            self.at *= 1 if len(resets) < 14 else 0.5  # within the judged episodes, or before them
            return self._seen(), {}

    with pytest.raises(DataError, match="state that all environments share"):
        measured(back, Shared)


@pytest.mark.parametrize("last", [150, 250])
def test_a_policy_that_wears_out_is_an_error(last: int) -> None:
    with pytest.raises(DataError, match="the policy, or state that all environments share"):
        measured(Worn(last), Steered)


@pytest.mark.parametrize("env", [Constant, Thirteenth])
def test_without_the_guard_they_pass(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard alone refuses them: no other check of the claim would."""
    monkeypatch.setattr(robustest_rl.claim, "guarded", lambda _opening, _counted, _plan, evidence, **_: evidence)
    assert measured(back, env).verdict is Verdict.PASSED
