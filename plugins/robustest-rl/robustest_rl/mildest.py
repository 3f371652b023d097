"""The mildest dynamics that break a claim: hypothesis searches, and shrinks towards the nominal values."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from robustest_rl.episodes import search_keys
from robustest_rl.threats import Attacked, Dynamics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robustest.packs import DrawsRule
    from robustest_rl.judged import Episodes

# Steps from the nominal value to either end of a range.
FINE = 1000
EPISODES, _EXAMPLES = 16, 60
# Every setting is given: the current profile's would apply otherwise.
_SETTINGS = settings(
    max_examples=_EXAMPLES,
    database=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink],
    derandomize=False,
    verbosity=Verbosity.normal,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
    print_blob=False,
)


def mildest_dynamics(
    counted: Episodes, threat: Dynamics, rule: Any, columns: Mapping[str, NDArray[Any]], seed: int
) -> Dynamics | None:
    """Return the values nearest to the nominal ones under which a search's episodes break the claim, if any."""
    nominal = threat.nominal(counted.scene.world.make())
    arena = counted.scene.arena(EPISODES)
    keys = search_keys(seed, "the mildest", EPISODES)

    def at(steps: tuple[int, ...]) -> Dynamics:
        moved = [
            start + abs(k) / FINE * ((high if k > 0 else low) - start)
            for start, k, (low, high) in zip(nominal, steps, threat.ranges.values(), strict=True)
        ]
        return replace(threat, values=tuple(moved))

    def breaks(steps: Any) -> bool:
        returns = arena.play(Attacked(at(steps)), keys).returns
        return short(rule, counted.level, returns)

    # Whole numbers shrink to 0, the nominal value, by bisection.
    strategy = st.tuples(*[st.integers(-FINE, FINE) for _ in nominal])
    found: Any = None
    with suppress(NoSuchExample):
        found = find(strategy, breaks, settings=_SETTINGS, random=Random(seed))  # noqa: S311 - it seeds a search
    arena.close()
    return None if found is None else at(found)


def short(rule: Any, level: float, returns: NDArray[np.float64]) -> bool:
    """Return True if returns break the rule on their mean, or on the share that reaches a level."""
    # A claim with a baseline wraps its rule.
    asked: DrawsRule = getattr(rule, "other", rule)
    value = (returns >= level).astype(np.float64) if asked.column == "held" else returns
    return bool(value.mean() < (asked.threshold if asked.threshold is not None else -np.inf))
