"""The claim: returns hold in a share of episodes, or on average, whatever a threat allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from robustest.assertions import asserted
from robustest.checks import checked_whole
from robustest.results import Result
from robustest.rules import ShareRule
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.noting import measures
from robustest.run.options import Options, settings_of, terms_of
from robustest.run.own_units import OwnUnits
from robustest.run.plan import Plan
from robustest.settings import Settings
from robustest_rl.asking import ROBUST_RETURN, SHARE, asked_of, declared_range, rule_of
from robustest_rl.cascades import attacks_of
from robustest_rl.checks import check, frozen
from robustest_rl.chosen import Tuned, read
from robustest_rl.judged import Episodes
from robustest_rl.moments import Untouched
from robustest_rl.policies import BLOCK
from robustest_rl.scene import Scene
from robustest_rl.threats import Threat
from robustest_rl.told import told
from robustest_rl.tuning import Tuning
from robustest_rl.worlds import Factory, World


@measures(ROBUST_RETURN)
def measure_robust_return(
    policy: object,
    env: str | Factory,
    threat: Threat | None = None,
    *,
    at_least: float | None = None,
    share: float | None = None,
    mean: bool = False,
    return_range: tuple[float, float] | None = None,
    max_drop: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    episodes: int = 200,
    attack: object = "agent-fast",
    critic: Callable[..., Any] | None = None,
    cost: str = "",
    stochastic: bool = False,
    max_steps: int = 10_000,
    lanes: int = BLOCK,
    **options: Unpack[Options],
) -> Result:
    """What an agent's episodes return under a threat.

    Episodes are draws: a claim is about all that the environment may bring, never about these alone, so it passes only
    where bets on their returns have won at alpha (`robustest.rules.DrawsRule`). It is judged as soon as it is settled.
    The adversary is found on episodes of its own, and then judged on fresh ones; that nothing lower was found proves
    no bound.

    Args:
        policy: a torch module in eval mode from observations (B, *S) float32, or (B,) int64 of a discrete space, to
            logits (B, A) or mean actions (B, *A); a callable on numpy batches that gives logits or actions; or a model
            of stable-baselines3.
        env: an id that Gymnasium knows, or a function of no arguments that makes an environment.
        threat: what may come between (`robustest_rl.threats`); None claims returns as they are.
        at_least: the return claimed: of a share of episodes, or of their mean.
        share: the share of episodes that must return so much, in 0..1.
        mean: whether the mean must.
        return_range: lowest and highest return that an episode can have, for `mean` and `max_drop`. A return outside
            is an error; it is never clipped.
        max_drop: the fall of the mean return that is allowed, > 0: each episode attacked beside itself untouched.
        no_worse_than: a baseline file; episodes that no longer return `at_least` are set against those that do anew.
        tolerance: the fall from it of the share that is allowed, in 0..1.
        episodes: played at most, >= 1.
        attack: "agent-fast", "agent-standard", the name of a single attack, or an attack; read by threats of steps.
        critic: values of actions, for the attack of `robustest_rl.attacks.Lower`.
        cost: a quantity in `info` that is paid in each step; returns are then minus its sum.
        stochastic: whether the policy draws.
        max_steps: steps after which an episode without end is an error.
        lanes: episodes played at once; no outcome depends on it.
        **options: see `robustest.run.options.Options`; the scope is always the population of episodes.

    Returns:
        The result. `details["by_radius"]` has the lowest return by share of the radius, `details["tried"]` every
        attack, `details["worst"]` the episodes of lowest return: number, seed of the environment, and the step where
        they broke.

    Raises:
        ConfigError: an argument is out of range, the spaces are not supported, or the policy is in train mode.
        DataError: the environment does not repeat or end, observations or rewards are not finite, or a return is
            outside its range.
        ModelError: the policy draws unasked, or gives what is no action.
    """
    quantity, threshold = asked_of(
        at_least, share, mean=mean, max_drop=max_drop, no_worse_than=no_worse_than, threat=threat
    )
    if quantity is not SHARE:
        return_range = declared_range(return_range)
    checked_whole("episodes", episodes, 1)
    checked_whole("max_steps", max_steps, 1)
    checked_whole("lanes", lanes, 1)
    settings = settings_of(options)
    scene = Scene(policy, World.of(env), stochastic, max_steps=max_steps, cost=cost)
    scene = scene.steady()
    check(scene, threat, settings.seed)
    threat = None if threat is None else frozen(scene, threat, settings.seed)
    tuned = None
    if threat is not None:
        attacks, effort = attacks_of(attack, threat, critic)
        level = at_least if quantity is SHARE else None
        tuning = Tuning(scene, threat, attacks if threat.searched == "steps" else (), effort, settings.seed, level)
        tuned = _tuned(tuning, settings)
    words = "no threat" if threat is None else str(threat)
    counted = Episodes(
        scene,
        Untouched() if tuned is None else tuned.adversary,
        episodes,
        settings.seed,
        -np.inf if at_least is None else at_least,
        lanes,
    )
    plan = Plan(
        statement=quantity.says(*([f"{at_least:g}", words] if quantity is SHARE else [words])),
        units=OwnUnits(counted),
        settings=settings,
        rule=rule_of(quantity, threshold, return_range, terms_of(settings)),
        identity=("robust return",),
    ).against(no_worse_than, tolerance, asked=threshold is not None)
    evidence = observe(plan)
    return told(plan, evidence, counted, tuned, asked=quantity, threshold=threshold, given=return_range, setting=words)


def _tuned(tuning: Tuning, settings: Settings) -> Tuned:
    plan = Plan(
        statement=f"search for an adversary: {tuning.threat}",
        units=OwnUnits(tuning),
        settings=settings.but({"exact": True, "max_samples": None, "time_budget": None, "update_baseline": False}),
        rule=ShareRule(threshold=None, at_least=True, terms=terms_of(settings)),
        identity=("search for an adversary",),
    )
    return read(tuning, observe(plan).columns)


@asserted(measure_robust_return)
def assert_robust_return() -> None:
    """Claim that an agent's episodes return at least `at_least` under a threat, in a share of them or on average.

    Raises:
        ClaimFailed: they return less.
        ClaimInconclusive: the episodes do not settle it, or a health check says that the attack could not do its work.
    """
