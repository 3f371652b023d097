"""Measurements: a claim in, a result out, nothing raised over what was found."""

from robustest.measurements.adversarial import Adversarial as Adversarial
from robustest.measurements.adversarial import find_adversarial as find_adversarial
from robustest.measurements.min_perturbation import measure_min_perturbation as measure_min_perturbation
from robustest.measurements.robust_accuracy import measure_robust_accuracy as measure_robust_accuracy
from robustest.measurements.shift_accuracy import measure_shift_accuracy as measure_shift_accuracy
from robustest.measurements.spurious_feature import measure_spurious_feature as measure_spurious_feature
from robustest.measurements.universal import measure_universal_perturbation as measure_universal_perturbation
