"""robustest: pytest for model robustness.

Claim something about a model; robustest searches for a counterexample. Names load when first used, so that importing
the package, as pytest does, loads neither torch nor anything else heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustest.lazy import lazy_names
from robustest.version import VERSION

if TYPE_CHECKING:
    from robustest import attacks as attacks
    from robustest import cues as cues
    from robustest import data as data
    from robustest import measure as measure
    from robustest import plots as plots
    from robustest import shifts as shifts
    from robustest import tasks as tasks
    from robustest import threats as threats
    from robustest.assertions import assert_accuracy as assert_accuracy
    from robustest.assertions import assert_calibrated as assert_calibrated
    from robustest.assertions import assert_certified_accuracy as assert_certified_accuracy
    from robustest.assertions import assert_class_evidence as assert_class_evidence
    from robustest.assertions import assert_consistency as assert_consistency
    from robustest.assertions import assert_consistent_runs as assert_consistent_runs
    from robustest.assertions import assert_corruption_robustness as assert_corruption_robustness
    from robustest.assertions import assert_gradient_alignment as assert_gradient_alignment
    from robustest.assertions import assert_invertible_features as assert_invertible_features
    from robustest.assertions import assert_min_perturbation as assert_min_perturbation
    from robustest.assertions import assert_no_backdoor_trigger as assert_no_backdoor_trigger
    from robustest.assertions import assert_no_failure_direction as assert_no_failure_direction
    from robustest.assertions import assert_no_spurious_feature as assert_no_spurious_feature
    from robustest.assertions import assert_no_universal_perturbation as assert_no_universal_perturbation
    from robustest.assertions import assert_ood_rejected as assert_ood_rejected
    from robustest.assertions import assert_rate as assert_rate
    from robustest.assertions import assert_robust_accuracy as assert_robust_accuracy
    from robustest.assertions import assert_robust_score as assert_robust_score
    from robustest.assertions import assert_selective_accuracy as assert_selective_accuracy
    from robustest.assertions import assert_shift_accuracy as assert_shift_accuracy
    from robustest.assertions import assert_sparse_head as assert_sparse_head
    from robustest.assertions import assert_stable_under_perturbations as assert_stable_under_perturbations
    from robustest.assertions import assert_subpopulation_shift as assert_subpopulation_shift
    from robustest.assertions import assert_transfer_accuracy as assert_transfer_accuracy
    from robustest.assertions import assert_worst_group_accuracy as assert_worst_group_accuracy
    from robustest.assertions import assert_worst_group_rate as assert_worst_group_rate
    from robustest.assertions.strategies import assert_robust_to as assert_robust_to
    from robustest.bounds.smoothing import Smoothed as Smoothed
    from robustest.claims.robustness.attacking import Adversarial as Adversarial
    from robustest.claims.robustness.attacking import find_adversarial as find_adversarial
    from robustest.data.benchmarks.names import benchmark as benchmark
    from robustest.discovery import Discovery as Discovery
    from robustest.engine.evaluator import HealthWarning as HealthWarning
    from robustest.errors import ClaimFailed as ClaimFailed
    from robustest.errors import ClaimInconclusive as ClaimInconclusive
    from robustest.errors import ConfigError as ConfigError
    from robustest.errors import DataError as DataError
    from robustest.errors import DeviceError as DeviceError
    from robustest.errors import ModelError as ModelError
    from robustest.errors import NoClaimError as NoClaimError
    from robustest.errors import RobustestError as RobustestError
    from robustest.errors import StoreError as StoreError
    from robustest.errors import TruthValueError as TruthValueError
    from robustest.errors import TryAgain as TryAgain
    from robustest.errors import UnknownNameError as UnknownNameError
    from robustest.factory import Factory as Factory
    from robustest.models import Classifier as Classifier
    from robustest.models import adapting as adapting
    from robustest.models import as_classifier as as_classifier
    from robustest.models import labels_model as labels_model
    from robustest.models import scores_model as scores_model
    from robustest.results import Cost as Cost
    from robustest.results import Counterexample as Counterexample
    from robustest.results import Result as Result
    from robustest.results import Verdict as Verdict
    from robustest.run.asking import Calls as Calls
    from robustest.run.asking import Deployed as Deployed
    from robustest.settings import Settings as Settings
    from robustest.shifts import Shift as Shift
    from robustest.store.files import StoreWarning as StoreWarning
    from robustest.tasks import Classification as Classification
    from robustest.tasks import Detection as Detection
    from robustest.tasks import MultiLabel as MultiLabel
    from robustest.tasks import Regression as Regression
    from robustest.tasks import Segmentation as Segmentation
    from robustest.threats import L0 as L0
    from robustest.threats import L1 as L1
    from robustest.threats import L2 as L2
    from robustest.threats import Linf as Linf
    from robustest.threats import Patch as Patch
    from robustest.threats import Spatial as Spatial
    from robustest.threats import Unbounded as Unbounded

# Modules with the names that are not at the top: they load when first used, too.
_MODULES = frozenset({"attacks", "cues", "data", "measure", "plots", "shifts", "tasks", "threats"})
_HOME: dict[str, tuple[str, ...]] = {
    "assertions": (
        "assert_accuracy",
        "assert_calibrated",
        "assert_certified_accuracy",
        "assert_class_evidence",
        "assert_consistency",
        "assert_consistent_runs",
        "assert_corruption_robustness",
        "assert_gradient_alignment",
        "assert_invertible_features",
        "assert_min_perturbation",
        "assert_no_backdoor_trigger",
        "assert_no_failure_direction",
        "assert_no_spurious_feature",
        "assert_no_universal_perturbation",
        "assert_ood_rejected",
        "assert_rate",
        "assert_robust_accuracy",
        "assert_robust_score",
        "assert_selective_accuracy",
        "assert_shift_accuracy",
        "assert_sparse_head",
        "assert_stable_under_perturbations",
        "assert_subpopulation_shift",
        "assert_transfer_accuracy",
        "assert_worst_group_accuracy",
        "assert_worst_group_rate",
    ),
    "assertions.strategies": ("assert_robust_to",),
    "bounds.smoothing": ("Smoothed",),
    "claims.robustness.attacking": (
        "Adversarial",
        "find_adversarial",
    ),
    "data.benchmarks.names": ("benchmark",),
    "discovery": ("Discovery",),
    "engine.evaluator": ("HealthWarning",),
    "errors": (
        "ClaimFailed",
        "ClaimInconclusive",
        "ConfigError",
        "DataError",
        "DeviceError",
        "ModelError",
        "NoClaimError",
        "RobustestError",
        "StoreError",
        "TruthValueError",
        "TryAgain",
        "UnknownNameError",
    ),
    "factory": ("Factory",),
    "models": (
        "Classifier",
        "adapting",
        "as_classifier",
        "labels_model",
        "scores_model",
    ),
    "results": (
        "Cost",
        "Counterexample",
        "Result",
        "Verdict",
    ),
    "run.asking": (
        "Calls",
        "Deployed",
    ),
    "settings": ("Settings",),
    "shifts": ("Shift",),
    "store.files": ("StoreWarning",),
    "tasks": (
        "Classification",
        "Detection",
        "MultiLabel",
        "Regression",
        "Segmentation",
    ),
    "threats": (
        "L0",
        "L1",
        "L2",
        "Linf",
        "Patch",
        "Spatial",
        "Unbounded",
    ),
}
_MODULE_OF, __getattr__, __dir__ = lazy_names(__name__, _HOME, _MODULES)

__version__ = VERSION
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - a test holds it equal to the imports above
