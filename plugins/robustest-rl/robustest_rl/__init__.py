"""Agents for robustest: returns that hold under attack, noise and other dynamics."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustest_rl.attacks import Away as Away
    from robustest_rl.attacks import Directed as Directed
    from robustest_rl.attacks import Lower as Lower
    from robustest_rl.attacks import Noise as Noise
    from robustest_rl.claim import assert_robust_return as assert_robust_return
    from robustest_rl.claim import measure_robust_return as measure_robust_return
    from robustest_rl.diagnostics import measure_gradient_concentration as measure_gradient_concentration
    from robustest_rl.diagnostics import measure_surrogate as measure_surrogate
    from robustest_rl.diagnostics import measure_value_quality as measure_value_quality
    from robustest_rl.plots import plot_returns as plot_returns
    from robustest_rl.replays import replay as replay
    from robustest_rl.threats import ActionAttack as ActionAttack
    from robustest_rl.threats import ActionDelay as ActionDelay
    from robustest_rl.threats import ActionNoise as ActionNoise
    from robustest_rl.threats import Dynamics as Dynamics
    from robustest_rl.threats import Observation as Observation
    from robustest_rl.threats import SensorBias as SensorBias
    from robustest_rl.threats import SensorDelay as SensorDelay
    from robustest_rl.threats import SensorDropout as SensorDropout
    from robustest_rl.threats import Shown as Shown
    from robustest_rl.threats import Sometimes as Sometimes
    from robustest_rl.traces import Trace as Trace

# Names load when first used: every robust run imports `robustest_rl.pack`, and gymnasium is slow to import.
_HOME = {
    "Away": "robustest_rl.attacks",
    "Directed": "robustest_rl.attacks",
    "Lower": "robustest_rl.attacks",
    "Noise": "robustest_rl.attacks",
    "assert_robust_return": "robustest_rl.claim",
    "measure_robust_return": "robustest_rl.claim",
    "measure_gradient_concentration": "robustest_rl.diagnostics",
    "measure_surrogate": "robustest_rl.diagnostics",
    "measure_value_quality": "robustest_rl.diagnostics",
    "plot_returns": "robustest_rl.plots",
    "replay": "robustest_rl.replays",
    "ActionAttack": "robustest_rl.threats",
    "ActionDelay": "robustest_rl.threats",
    "ActionNoise": "robustest_rl.threats",
    "Dynamics": "robustest_rl.threats",
    "Observation": "robustest_rl.threats",
    "SensorBias": "robustest_rl.threats",
    "SensorDelay": "robustest_rl.threats",
    "SensorDropout": "robustest_rl.threats",
    "Shown": "robustest_rl.threats",
    "Sometimes": "robustest_rl.threats",
    "Trace": "robustest_rl.traces",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'robustest_rl' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
