"""Copies of one episode count once, and an episode that does not repeat is an error; others stay green."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import robustest_rl.claim
from robustest_rl import ActionNoise, Observation, assert_robust_return, measure_robust_return
from walks import Line, Steered, back, net, right

from robustest import ClaimInconclusive, DataError, Verdict

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
        {"suppress": ("one_episode", "constant_answer")},
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


def test_copies_that_only_the_chance_of_a_threat_tells_apart_are_a_health_check() -> None:
    assert "one_episode" in measured(back, Constant, ActionNoise(0.02), min_share=0.5).rule


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
    monkeypatch.setattr(robustest_rl.claim, "guarded", lambda _opening, _counted, _plan, evidence: evidence)
    assert measured(back, env, suppress=("one_episode",)).verdict is Verdict.PASSED
