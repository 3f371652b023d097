"""The claim: returns hold in a share of episodes, or on average, whatever a threat allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from robustest.assertions import asserted
from robustest.checks import checked_real, checked_whole
from robustest.engine.health import Finding
from robustest.errors import ConfigError, expected
from robustest.facts import Captions, Fact
from robustest.kinds import OUTCOMES, Kind, Quantity
from robustest.results import Result
from robustest.rules import DrawsRule, ShareRule, Terms
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import Evidence
from robustest.run.noting import measures
from robustest.run.options import Options, settings_of, terms_of
from robustest.run.own_units import OwnUnits, Part
from robustest.run.plan import Plan
from robustest.run.result_building import finish
from robustest.settings import Settings
from robustest.statistics import checked_threshold
from robustest_rl.episodes import Untouched, env_seed, search_keys
from robustest_rl.mildest import mildest_dynamics
from robustest_rl.pictures import film_strips
from robustest_rl.policies import BLOCK
from robustest_rl.threats import Attacked, Dynamics, Observation, SensorBias, Sometimes, Threat
from robustest_rl.tuning import Scene, Tuned, Tuning, attacks_of, read, walked
from robustest_rl.worlds import Factory, World, check_repeats
from robustest_rl.worst import worst_episodes

_CHECKED = 200
"""Steps of each episode on which it is checked that the environment repeats."""


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    """Untouched and attacked on one scale, the attack that counted, and the mildest dynamics that fail."""
    clean, attacked = details.get("mean_untouched"), details["mean_attacked"]
    facts = [Fact("mean return", f"{clean:.4g} untouched, {attacked:.4g} under {details['attack']}")]
    mildest = details.get("mildest")
    return facts if not mildest else [*facts, Fact("mildest dynamics that fail", str(mildest))]


SHARE = Quantity(
    name="share of episodes",
    comparison=">=",
    threshold="share",
    statement="share of episodes that return {} or more under {}",
    counts=OUTCOMES,
)
MEAN = Quantity(name="mean return", comparison=">=", threshold="at_least", statement="mean return under {}")
FALL = Quantity(
    name="fall of the mean return", comparison="<=", threshold="max_drop", statement="fall of the mean return under {}"
)
ROBUST_RETURN = Kind(
    name="robust_return",
    quantities=(SHARE, MEAN, FALL),
    asks_too=("no_worse_than",),
    captions=Captions(
        setting="threat",
        size="return",
        before="untouched",
        after="attacked",
        worst="Worst episodes",
        names={"mean_untouched": "mean return untouched", "mean_attacked": "mean return attacked"},
    ),
    lines=_lines,
    told=frozenset({"mean_untouched", "mean_attacked", "mildest", "attack"}),
)
"""Returns of an agent's episodes under a threat."""


@dataclass(frozen=True)
class Episodes:
    """The episodes that are judged (`robustest.run.own_units.Countable`): each is a function of seed and position.

    Attributes:
        scene: what acts, and where.
        adversary: what stands between; found on other episodes.
        n: how many.
        seed: of the run; it tells these episodes from those of another.
        level: the return that an episode must reach to speak for the claim.
        lanes: played at once, at most; no outcome depends on it.
    """

    scene: Scene
    adversary: Attacked | Untouched
    n: int
    seed: int
    level: float
    lanes: int = BLOCK

    def __len__(self) -> int:
        return self.n

    def load(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """As `Countable.load`."""
        return [(self.seed, one) for one in ids]

    def look(self, part: Part) -> dict[str, NDArray[Any]]:
        """As `Countable.look`."""
        arena = self.scene.arena(self.lanes)
        clean = arena.play(Untouched(), part.keys)
        hit = clean if isinstance(self.adversary, Untouched) else arena.play(self.adversary, part.keys)
        arena.close()
        return {
            "held": hit.returns >= self.level,
            "return": hit.returns,
            "untouched": clean.returns,
            "fall": clean.returns - hit.returns,
            "length": hit.lengths,
            "ended": hit.ended,
        }

    def glance(self, part: Part) -> dict[str, NDArray[Any]]:
        """As `robustest.run.own_units.Glancing.glance`."""
        return {"walk": walked(self.scene, self.adversary, part.keys)}


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
        The result. `details["by_radius"]` has the lowest return by share of the radius, `details["tried"]` every attack,
        `details["worst"]` the episodes of lowest return: number, seed of the environment, and the step where they broke.

    Raises:
        ConfigError: an argument is out of range, the spaces are not supported, or the policy is in train mode.
        DataError: the environment does not repeat or end, observations or rewards are not finite, or a return is
            outside its range.
        ModelError: the policy draws unasked, or gives what is no action.
    """
    asked = _asked(at_least, share, mean=mean, max_drop=max_drop, no_worse_than=no_worse_than, threat=threat)
    quantity, threshold = asked
    if quantity is not SHARE:
        return_range = _range(return_range)
    checked_whole("episodes", episodes, 1)
    checked_whole("max_steps", max_steps, 1)
    checked_whole("lanes", lanes, 1)
    settings = settings_of(options)
    scene = Scene(policy, World.of(env), stochastic, max_steps=max_steps, cost=cost)
    scene = scene.steady()
    _check(scene, threat, settings.seed)
    threat = None if threat is None else _frozen(scene, threat, settings.seed)
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
        rule=_rule(quantity, threshold, return_range, terms_of(settings)),
        identity=("robust return",),
    ).against(no_worse_than, tolerance, asked=threshold is not None)
    evidence = observe(plan)
    return _told(plan, evidence, counted, tuned, quantity, threshold, return_range, words)


def _asked(
    at_least: float | None,
    share: float | None,
    *,
    mean: bool,
    max_drop: float | None,
    no_worse_than: object,
    threat: Threat | None,
) -> tuple[Quantity, float | None]:
    """What is claimed, and its threshold.

    Raises:
        ConfigError: nothing, or more than one thing.
    """
    if threat is not None and not isinstance(threat, Threat):
        raise ConfigError(expected("a threat of robustest_rl.threats", threat))
    if at_least is not None:
        checked_real("at_least", at_least)
    if max_drop is not None:
        if at_least is not None or share is not None or mean:
            raise ConfigError("Expected max_drop= alone but got another claim beside it. Write an assertion for each.")
        if threat is None:
            raise ConfigError("Expected a threat for max_drop= but got none: nothing could fall.")
        return FALL, checked_threshold("max_drop", max_drop, within=(0.0, float("inf")))
    if (share is None) is not mean and (share is not None or mean):
        raise ConfigError("Expected one of share= and mean=True but got both.")
    if no_worse_than is not None and at_least is None:
        raise ConfigError("Expected at_least= with no_worse_than=: episodes that return less are those that are lost.")
    if mean:
        return MEAN, at_least
    if share is None and at_least is not None and no_worse_than is None:
        mend = "share=0.9 claims it of nine episodes in ten, mean=True of their mean."
        raise ConfigError(f"Expected share= or mean=True beside at_least= but got neither. {mend}")
    if share is not None and at_least is None:
        raise ConfigError("Expected at_least= beside share= but got none.")
    if at_least is None:
        return MEAN, None
    return SHARE, None if share is None else checked_threshold("share", share, trivial=0)


def _range(given: object) -> tuple[float, float]:
    if not isinstance(given, tuple) or len(given) != 2:
        mend = "A mean says nothing of rare collapses unless their depth is bounded: declare (lowest, highest)."
        raise ConfigError(expected("return_range=(lowest, highest)", given, mend))
    low, high = given
    checked_real("the lowest return", low)
    checked_real("the highest return", high)
    if not low < high:
        raise ConfigError(expected("return_range with lowest < highest", given))
    return float(low), float(high)


def _rule(quantity: Quantity, threshold: float | None, given: tuple[float, float] | None, terms: Terms) -> DrawsRule:
    if quantity is SHARE or given is None:
        return DrawsRule(threshold=threshold, at_least=True, terms=terms)
    low, high = given
    if quantity is FALL:
        return DrawsRule(
            threshold=threshold, at_least=False, terms=terms, column="fall", low=low - high, high=high - low
        )
    return DrawsRule(threshold=threshold, at_least=True, terms=terms, column="return", low=low, high=high)


def _check(scene: Scene, threat: Threat | None, seed: int) -> None:
    """Refuse what cannot be measured: spaces, modes, environments that do not repeat."""
    arena = scene.arena()
    policy = arena.policy
    if threat is not None:
        threat.check(policy)
    if isinstance(threat, Dynamics):
        threat.nominal(scene.world.make())

    def act(seen: Any, step: int) -> Any:
        batch = policy.seen([seen])
        key = torch.tensor([step])
        with policy.asked(key), torch.no_grad():
            return policy.given(policy.act(policy.outputs(batch), key))[0]

    keys = search_keys(seed, "a check", 2)
    check_repeats(scene.world, [env_seed(key) for key in keys], act, steps=_CHECKED)


def _frozen(scene: Scene, threat: Threat, seed: int) -> Threat:
    """A threat with the scale that it measures, from then on its own."""
    if isinstance(threat, Sometimes):
        return replace(threat, threat=_frozen(scene, threat.threat, seed))
    if not isinstance(threat, (Observation, SensorBias)) or threat.scale is not None:
        return threat
    seen: list[torch.Tensor] = []
    arena = scene.arena()
    keys = search_keys(seed, "the scale", 16)
    arena.play(Untouched(), keys, record=lambda step, moment, *_: seen.append(moment.seen.flatten(1).double()))
    arena.close()
    spread = torch.cat(seen).std(0)
    return replace(threat, scale=tuple(float(f"{value:.4g}") for value in spread))


def _tuned(tuning: Tuning, settings: Settings) -> Tuned:
    plan = Plan(
        statement=f"search for an adversary: {tuning.threat}",
        units=OwnUnits(tuning),
        settings=settings.but({"exact": True, "max_samples": None, "time_budget": None, "update_baseline": False}),
        rule=ShareRule(threshold=None, at_least=True, terms=terms_of(settings)),
        identity=("search for an adversary",),
    )
    return read(tuning, observe(plan).columns)


def _told(
    plan: Plan,
    evidence: Evidence,
    counted: Episodes,
    tuned: Tuned | None,
    quantity: Quantity,
    threshold: float | None,
    given: tuple[float, float] | None,
    setting: str,
) -> Result:
    columns, settings = evidence.columns, plan.settings
    details: dict[str, Any] = {
        "mean_untouched": float(columns["untouched"].mean()),
        "mean_attacked": float(columns["return"].mean()),
        "lowest return": float(columns["return"].min()),
        "attack": "no attack" if tuned is None else tuned.name,
        "worst": worst_episodes(counted, evidence, settings.examples),
    }
    notes: list[str] = []
    if tuned is not None:
        details |= {"tried": tuned.rows, "by_radius": tuned.curve, "share of the radius": tuned.share}
        evidence = replace(evidence, findings=_findings(tuned, settings))
    if counted.scene.block == 1 and not counted.scene.stochastic:
        notes.append("the policy is asked about one observation at a time: its last bits depend on places in a batch")
    failed = evidence.decision.verdict.value == "failed"
    if tuned is not None and isinstance(tuned.adversary.threat, Dynamics) and failed and threshold is not None:
        found = mildest_dynamics(counted, tuned.adversary.threat, plan.rule, columns, settings.seed)
        details["mildest"] = None if found is None else str(found)
    evidence = replace(evidence, exhibits=film_strips(counted, details["worst"], settings.pictures))
    searched = tuned is not None and bool(tuned.adversary.threat.searched)
    low, high = given or (0.0, 1.0)
    bounds: dict[str, Any] = {"bounds": "above", "least": low} if searched else {}
    if quantity is FALL and searched:
        bounds = {"bounds": "below", "widest": high - low}
    return finish(
        plan,
        evidence,
        kind=ROBUST_RETURN,
        asked=quantity,
        threshold=threshold,
        setting=setting,
        method="played" if tuned is None else tuned.name,
        details=details,
        notes=notes,
        scope="population",
        **bounds,
    )


def _findings(tuned: Tuned, settings: Settings) -> tuple[Finding, ...]:
    mend = "Try agent-standard, or more steps"
    return tuple(
        Finding(
            name=name,
            message=f'{name}: {seen}. {mend}. If this is known and meant: suppress=("{name}",).',
            suppressed=name in settings.suppress,
        )
        for name, seen in tuned.signs.items()
    )


@asserted(measure_robust_return)
def assert_robust_return() -> None:
    """Claim that an agent's episodes return at least `at_least` under a threat, in a share of them or on average.

    Raises:
        ClaimFailed: they return less.
        ClaimInconclusive: the episodes do not settle it, or a health check says that the attack could not do its work.
    """
