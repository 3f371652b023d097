"""Threats between an agent and its environment: sensors, actions and dynamics, by chance or by an adversary."""

from robustest_rl.threats.actions import ActionAttack as ActionAttack
from robustest_rl.threats.actions import ActionDelay as ActionDelay
from robustest_rl.threats.actions import ActionNoise as ActionNoise
from robustest_rl.threats.applied import Attacked as Attacked
from robustest_rl.threats.applied import Sometimes as Sometimes
from robustest_rl.threats.base import Threat as Threat
from robustest_rl.threats.dynamics import Dynamics as Dynamics
from robustest_rl.threats.observations import Observation as Observation
from robustest_rl.threats.observations import Shown as Shown
from robustest_rl.threats.sensors import SensorBias as SensorBias
from robustest_rl.threats.sensors import SensorDelay as SensorDelay
from robustest_rl.threats.sensors import SensorDropout as SensorDropout
