"""Agents for robustest: returns that hold under attack, noise and other dynamics."""

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
