"""Hypothesis strategies: shifts, severities, poses, perturbations, and chains of them, simplest first."""

from robustest.strategies.changes import Change as Change
from robustest.strategies.changes import Composition as Composition
from robustest.strategies.changes import Perturbation as Perturbation
from robustest.strategies.changes import Pose as Pose
from robustest.strategies.changes import Step as Step
from robustest.strategies.changes import as_change as as_change
from robustest.strategies.draws import compositions as compositions
from robustest.strategies.draws import images as images
from robustest.strategies.draws import perturbations as perturbations
from robustest.strategies.draws import poses as poses
from robustest.strategies.draws import severities as severities
from robustest.strategies.draws import shifts as shifts
from robustest.strategies.draws import strategy_words as strategy_words
