# Made by tests/type_checks/stubs.py of the names and signatures that run.

from robustest.claims.changes import measure_directional as measure_directional
from robustest.claims.changes import measure_invariant as measure_invariant
from robustest.claims.changes import measure_worst_change_rate as measure_worst_change_rate
from robustest.claims.confidence import measure_calibrated as measure_calibrated
from robustest.claims.confidence import measure_ood_rejected as measure_ood_rejected
from robustest.claims.confidence import measure_selective_accuracy as measure_selective_accuracy
from robustest.claims.cues.spurious_feature import measure_no_spurious_feature as measure_no_spurious_feature
from robustest.claims.datasets import measure_accuracy as measure_accuracy
from robustest.claims.datasets import measure_subpopulation_shift as measure_subpopulation_shift
from robustest.claims.datasets import measure_transfer_accuracy as measure_transfer_accuracy
from robustest.claims.datasets import measure_worst_group_accuracy as measure_worst_group_accuracy
from robustest.claims.outcomes import measure_consistent_runs as measure_consistent_runs
from robustest.claims.outcomes import measure_rate as measure_rate
from robustest.claims.outcomes import measure_worst_group_rate as measure_worst_group_rate
from robustest.claims.reliability import measure_reliable as measure_reliable
from robustest.claims.reliability import measure_worst_item_rate as measure_worst_item_rate
from robustest.claims.robustness.certified_accuracy import measure_certified_accuracy as measure_certified_accuracy
from robustest.claims.robustness.min_perturbation import measure_min_perturbation as measure_min_perturbation
from robustest.claims.robustness.robust_accuracy import measure_robust_accuracy as measure_robust_accuracy
from robustest.claims.robustness.robust_score import measure_robust_score as measure_robust_score
from robustest.claims.robustness.same_answers import measure_same_answers as measure_same_answers
from robustest.claims.robustness.universal import measure_no_universal_perturbation as measure_no_universal_perturbation
from robustest.claims.shifts.corruptions import measure_corruption_robustness as measure_corruption_robustness
from robustest.claims.shifts.perturbations import measure_stable_under_perturbations as measure_stable_under_perturbations
from robustest.claims.shifts.shift_accuracy import measure_consistency as measure_consistency
from robustest.claims.shifts.shift_accuracy import measure_shift_accuracy as measure_shift_accuracy
from robustest.claims.strategies import accuracy_under as accuracy_under
from robustest.claims.strategies import measure_robust_to as measure_robust_to
from robustest.decisions.effective_robustness import EffectiveRobustness as EffectiveRobustness
from robustest.decisions.effective_robustness import effective_robustness as effective_robustness

__all__ = ["EffectiveRobustness", "accuracy_under", "effective_robustness", "measure_accuracy", "measure_calibrated", "measure_certified_accuracy", "measure_consistency", "measure_consistent_runs", "measure_corruption_robustness", "measure_directional", "measure_invariant", "measure_min_perturbation", "measure_no_spurious_feature", "measure_no_universal_perturbation", "measure_ood_rejected", "measure_rate", "measure_reliable", "measure_robust_accuracy", "measure_robust_score", "measure_robust_to", "measure_same_answers", "measure_selective_accuracy", "measure_shift_accuracy", "measure_stable_under_perturbations", "measure_subpopulation_shift", "measure_transfer_accuracy", "measure_worst_change_rate", "measure_worst_group_accuracy", "measure_worst_group_rate", "measure_worst_item_rate"]
