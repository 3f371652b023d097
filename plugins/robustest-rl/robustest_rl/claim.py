"""The claim that returns hold in a share of episodes, or on average, under a threat.

1. Attacks are tuned on separate episodes (`robustest_rl.tuning`); the adversary of lowest return is frozen.
2. Fresh episodes are played undisturbed and under this adversary. Each is a draw from the environment.
3. `DrawsRule` bets on their returns; the claim passes once the bets against it have won at alpha.
4. `robustest_rl.repeated` counts copies of one episode once, whatever the threat draws, and plays one again.

`details` has "by_radius", the lowest returns, "tried", every attack, and "worst", the episodes of lowest return.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from robustest import Result, Settings
from robustest.packs import (
    Options,
    OwnUnits,
    Plan,
    ShareRule,
    Terms,
    assertion,
    measurement,
    observe,
    settings_of,
)
from robustest_rl.asking import ROBUST_RETURN, SHARE, Asked
from robustest_rl.attacks import Attack
from robustest_rl.cascades import attacks_of
from robustest_rl.checks import check_counts, settled
from robustest_rl.chosen import Tuned, read
from robustest_rl.director import Effort
from robustest_rl.judged import Episodes
from robustest_rl.moments import Untouched
from robustest_rl.policies import BLOCK
from robustest_rl.repeated import Opening, guarded
from robustest_rl.scene import Scene
from robustest_rl.threats import Threat
from robustest_rl.told import told
from robustest_rl.tuning import Tuning
from robustest_rl.worlds import Factory, World


@measurement(ROBUST_RETURN)
def measure_robust_return(
    policy: object,
    env: str | Factory,
    threat: Threat | None = None,
    *,
    at_least: float | None = None,
    min_share: float | None = None,
    mean: bool = False,
    return_range: tuple[float, float] | None = None,
    max_drop: float | None = None,
    no_worse_than: object | None = None,
    tolerance: float = 0.0,
    episodes: int = 200,
    attack: object = "agent-fast",
    critic: Callable[..., Any] | None = None,
    cost: str = "",
    stochastic: bool = False,
    one_start: bool = False,
    max_steps: int = 10_000,
    lanes: int = BLOCK,
    **options: Unpack[Options],
) -> Result:
    """Measure the returns of an agent's episodes under a threat; a worse adversary may exist than attacks find.

    Args:
        policy: a torch module in eval mode from observations (B, *S) float32, or (B,) int64 of a discrete space, to
            logits (B, A) or mean actions (B, *A); a callable on numpy batches that returns logits or actions; or a
            model of stable-baselines3 or sb3-contrib.
        env: a Gymnasium id, or a function without arguments that makes an environment, or a vector environment with
            one lane.
        threat: a threat of `robustest_rl.threats`; None claims undisturbed returns.
        at_least, min_share, mean: the claimed return, of this share of episodes in 0..1, or of their mean.
        return_range: lowest and highest possible return, for `mean` and `max_drop`.
        max_drop: largest fall of the mean return, > 0; each episode is compared with itself undisturbed.
        no_worse_than, tolerance: as for `measure_robust_accuracy`, about the population of episodes; an episode holds
            if it returns `at_least`.
        episodes: most episodes played, >= 1.
        attack: "agent-fast", "agent-standard", a single attack or its name; for threats of single steps.
        critic: action values for `robustest_rl.attacks.Lower`.
        cost: a key of `info`; the return is then minus its sum.
        stochastic: draw actions from the policy.
        one_start: declare that the environment draws nothing: its start is constant and its steps are deterministic.
            The claim is then about this start alone, over the draws of the threat and the policy. Without it, such an
            environment has n = 1.
        max_steps: steps after which an episode without an end is an error, >= 1.
        lanes: episodes at once, >= 1; no outcome depends on it.
        **options: see `robustest.run.options.Options`; the scope is always the population of episodes.

    Raises:
        ConfigError: an argument is out of range, spaces are not supported, or the policy is in train mode.
        DataError: the environment does not repeat or end, values are not finite, a return is outside its range, or an
            environment with `one_start` draws.
        ModelError: the policy draws without `stochastic`, or returns something that is not an action.
    """
    asked = Asked.of(
        at_least,
        min_share,
        mean=mean,
        max_drop=max_drop,
        given=return_range,
        no_worse_than=no_worse_than,
        threat=threat,
    )
    check_counts(episodes=episodes, max_steps=max_steps, lanes=lanes)
    settings = settings_of(options)
    scene = Scene(policy, World.of(env), stochastic, max_steps=max_steps, cost=cost)
    opening = Opening.of(scene, settings.seed)  # before anything else is played
    scene = scene.steady()
    # Not the threat as it is settled, nor what is tuned: these depend on the policy, which may be another one.
    measure = (
        "robust return",
        asked.level,
        threat,
        attack,
        scene.world.source,
        scene.world.parts,
        stochastic,
        max_steps,
        cost,
        *(("one start",) if one_start else ()),
    )
    threat = settled(scene, threat, settings.seed)
    # The search never sees the episodes that are judged, so choosing the lowest of many attacks does not bias the
    # verdict.
    tuned = None if threat is None else _tuned(scene, threat, asked, attacks_of(attack, threat, critic), settings)
    adversary = Untouched() if tuned is None else tuned.adversary
    counted = Episodes(scene, adversary, episodes, settings.seed, asked.floor, lanes)
    plan = Plan(
        statement=asked.says(threat) + (", from one start" if one_start else ""),
        units=OwnUnits(counted),
        settings=settings,
        rule=asked.rule(Terms.of(settings)),
        identity=("robust return",),
        measure=measure,
    ).against(no_worse_than, tolerance, has_threshold=asked.threshold is not None, of_draws=True)
    evidence = guarded(opening, counted, plan, observe(plan), one_start=one_start)
    return told(plan, evidence, counted, tuned, asked=asked, threat=threat, one_start=one_start)


def _tuned(
    scene: Scene, threat: Threat, asked: Asked, tried: tuple[tuple[Attack, ...], Effort], settings: Settings
) -> Tuned:
    attacks, effort = tried
    level = asked.level if asked.quantity is SHARE else None
    tuning = Tuning(scene, threat, attacks if threat.searched == "steps" else (), effort, settings.seed, level)
    plan = Plan(
        statement=f"search for an adversary: {tuning.threat}",
        units=OwnUnits(tuning),
        # The search always runs in full: stopped early by a budget, it would hand over a weaker adversary.
        settings=settings.but({"exact": True, "max_samples": None, "time_budget": None, "update_baseline": False}),
        rule=ShareRule(threshold=None, at_least=True, terms=Terms.of(settings)),
        identity=("search for an adversary",),
    )
    return read(tuning, observe(plan).columns)


@assertion(measure_robust_return)
def assert_robust_return() -> None:
    """Claim that an agent's episodes return at least `at_least` under a threat, in a share of them or on average.

    Raises:
        ClaimFailed: they return less.
        ClaimInconclusive: too few episodes to decide, or a health check finds that the attack could not work.
    """
