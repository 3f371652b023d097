"""Claims a user writes: each measures, records the result for the reports, and raises unless it passed."""

from robustest.assertions.features import assert_no_spurious_feature as assert_no_spurious_feature
from robustest.assertions.robustness import assert_min_perturbation as assert_min_perturbation
from robustest.assertions.robustness import assert_no_universal_perturbation as assert_no_universal_perturbation
from robustest.assertions.robustness import assert_robust_accuracy as assert_robust_accuracy
from robustest.assertions.shifts import assert_shift_accuracy as assert_shift_accuracy
