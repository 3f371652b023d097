"""The claim: returns hold in a share of episodes, or on average, whatever a threat allows.

Episodes are draws, so that a claim passes only where bets on their returns have won at alpha
(`DrawsRule`), and it is judged as soon as it is settled. The adversary is found on episodes of its own,
and then judged on fresh ones. `details["by_radius"]` has the lowest return by share of the radius, `details["tried"]`
every attack, `details["worst"]` the episodes of lowest return: number, seed of the environment, and the step where they
broke.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from robustest.packs import (
    Baseline,
    Options,
    OwnUnits,
    Plan,
    Result,
    Settings,
    ShareRule,
    assertion,
    measurement,
    observe,
    settings_of,
    terms_of,
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

    The claim is about all that the environment may bring. That no adversary brought returns lower proves no bound.

    Args:
        policy: a torch module in eval mode from observations (B, *S) float32, or (B,) int64 of a discrete space, to
            logits (B, A) or mean actions (B, *A); a callable on numpy batches that gives logits or actions; or a model
            of stable-baselines3.
        env: an id that Gymnasium knows, or a function of no arguments that makes an environment.
        threat: what may come between (`robustest_rl.threats`); None claims returns as they are.
        at_least, min_share, mean: the return claimed, of this share of episodes, in 0..1, or, if `mean`, of their mean.
        return_range: lowest and highest return an episode can have, for `mean` and `max_drop`; one outside is an error.
        max_drop: the fall of the mean return that is allowed, > 0: each episode attacked beside itself untouched.
        no_worse_than, tolerance: as for `measure_robust_accuracy`; an episode holds that returns `at_least`.
        attack: "agent-fast", "agent-standard", the name of a single attack, or an attack; read by threats of steps.
        critic: values of actions, for the attack of `robustest_rl.attacks.Lower`.
        cost: a quantity in `info` that is paid in each step; returns are then minus its sum.
        stochastic: whether the policy draws.
        max_steps: steps after which an episode without end is an error, >= 1.
        episodes, lanes: played at most, and at once, >= 1 each; no outcome depends on lanes.
        **options: see `robustest.run.plan.Options`; the scope is always the population of episodes.

    Raises:
        ConfigError: an argument is out of range, the spaces are not supported, or the policy is in train mode.
        DataError: the environment does not repeat or end, values are not finite, or a return is outside its range.
        ModelError: the policy draws unasked, or gives what is no action.
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
    scene = Scene(policy, World.of(env), stochastic, max_steps=max_steps, cost=cost).steady()
    threat = settled(scene, threat, settings.seed)
    tuned = None if threat is None else _tuned(scene, threat, asked, attacks_of(attack, threat, critic), settings)
    adversary = Untouched() if tuned is None else tuned.adversary
    counted = Episodes(scene, adversary, episodes, settings.seed, asked.floor, lanes)
    plan = _plan(counted, asked, threat, settings).against(
        no_worse_than, tolerance, has_threshold=asked.threshold is not None
    )
    return told(plan, observe(plan), counted, tuned, asked=asked, threat=threat)


def _plan(counted: Episodes, asked: Asked, threat: Threat | None, settings: Settings) -> Plan:
    """The plan of the claim alone."""
    return Plan(
        statement=asked.state(threat),
        units=OwnUnits(counted),
        settings=settings,
        rule=asked.rule(terms_of(settings)),
        identity=("robust return",),
    )


def _tuned(
    scene: Scene, threat: Threat, asked: Asked, tried: tuple[tuple[Attack, ...], Effort], settings: Settings
) -> Tuned:
    """The adversary that brings returns lowest, found on episodes of its own by the attacks that are tried."""
    attacks, effort = tried
    level = asked.level if asked.quantity is SHARE else None
    tuning = Tuning(scene, threat, attacks if threat.searched == "steps" else (), effort, settings.seed, level)
    plan = Plan(
        statement=f"search for an adversary: {tuning.threat}",
        units=OwnUnits(tuning),
        settings=settings.but({"exact": True, "max_samples": None, "time_budget": None, "update_baseline": False}),
        rule=ShareRule(threshold=None, at_least=True, terms=terms_of(settings)),
        identity=("search for an adversary",),
    )
    return read(tuning, observe(plan).columns)


@assertion(measure_robust_return)
def assert_robust_return() -> None:
    """Claim that an agent's episodes return at least `at_least` under a threat, in a share of them or on average.

    Raises:
        ClaimFailed: they return less.
        ClaimInconclusive: the episodes do not settle it, or a health check says that the attack could not do its work.
    """
