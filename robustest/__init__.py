"""robustest: pytest for model robustness.

Claim something about a model; robustest searches for a counterexample. Names load when first used, so
that importing the package (as pytest does) brings in neither torch nor anything else heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from robustest.version import VERSION

if TYPE_CHECKING:
    from robustest.assertions import assert_class_evidence as assert_class_evidence
    from robustest.assertions import assert_consistent as assert_consistent
    from robustest.assertions import assert_corruption_robustness as assert_corruption_robustness
    from robustest.assertions import assert_gradient_alignment as assert_gradient_alignment
    from robustest.assertions import assert_invertible_features as assert_invertible_features
    from robustest.assertions import assert_min_perturbation as assert_min_perturbation
    from robustest.assertions import assert_no_backdoor_trigger as assert_no_backdoor_trigger
    from robustest.assertions import assert_no_failure_direction as assert_no_failure_direction
    from robustest.assertions import assert_no_spurious_feature as assert_no_spurious_feature
    from robustest.assertions import assert_no_universal_perturbation as assert_no_universal_perturbation
    from robustest.assertions import assert_replication_gap as assert_replication_gap
    from robustest.assertions import assert_robust_accuracy as assert_robust_accuracy
    from robustest.assertions import assert_robust_to as assert_robust_to
    from robustest.assertions import assert_shift_accuracy as assert_shift_accuracy
    from robustest.assertions import assert_sparse_head as assert_sparse_head
    from robustest.assertions import assert_subpopulation_shift as assert_subpopulation_shift
    from robustest.assertions import assert_transfer_accuracy as assert_transfer_accuracy
    from robustest.assertions import assert_worst_group_accuracy as assert_worst_group_accuracy
    from robustest.attacks import ALMA as ALMA
    from robustest.attacks import APGD as APGD
    from robustest.attacks import ATTACKS as ATTACKS
    from robustest.attacks import DDN as DDN
    from robustest.attacks import EOT as EOT
    from robustest.attacks import FAB as FAB
    from robustest.attacks import FGSM as FGSM
    from robustest.attacks import FMN as FMN
    from robustest.attacks import PGD as PGD
    from robustest.attacks import SPSA as SPSA
    from robustest.attacks import HopSkipJump as HopSkipJump
    from robustest.attacks import PatchGradient as PatchGradient
    from robustest.attacks import PatchRS as PatchRS
    from robustest.attacks import SigmaZero as SigmaZero
    from robustest.attacks import SparseRS as SparseRS
    from robustest.attacks import SpatialGradient as SpatialGradient
    from robustest.attacks import SpatialGrid as SpatialGrid
    from robustest.attacks import Square as Square
    from robustest.data.annotations import Annotations as Annotations
    from robustest.data.breeds import BREEDS as BREEDS
    from robustest.data.breeds import BreedsSplit as BreedsSplit
    from robustest.data.breeds import breeds_split as breeds_split
    from robustest.data.domains import Domain as Domain
    from robustest.data.hierarchies import ClassTree as ClassTree
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
    from robustest.errors import UnknownNameError as UnknownNameError
    from robustest.factory import Factory as Factory
    from robustest.features import BackgroundSwap as BackgroundSwap
    from robustest.features import Blur as Blur
    from robustest.features import Border as Border
    from robustest.features import ColourCast as ColourCast
    from robustest.features import ConstantToken as ConstantToken
    from robustest.features import CornerLogo as CornerLogo
    from robustest.features import Discovery as Discovery
    from robustest.features import ForegroundRemoval as ForegroundRemoval
    from robustest.features import FrequencyBand as FrequencyBand
    from robustest.features import FunctionCue as FunctionCue
    from robustest.features import MaskedPatch as MaskedPatch
    from robustest.features import NullCue as NullCue
    from robustest.features import PatternPatch as PatternPatch
    from robustest.features import PixelPatch as PixelPatch
    from robustest.features import TextOverlay as TextOverlay
    from robustest.features import Texture as Texture
    from robustest.measurements import Adversarial as Adversarial
    from robustest.measurements import find_adversarial as find_adversarial
    from robustest.measurements import measure_backdoor_trigger as measure_backdoor_trigger
    from robustest.measurements import measure_class_evidence as measure_class_evidence
    from robustest.measurements import measure_consistency as measure_consistency
    from robustest.measurements import measure_corruption_robustness as measure_corruption_robustness
    from robustest.measurements import measure_failure_direction as measure_failure_direction
    from robustest.measurements import measure_gradient_alignment as measure_gradient_alignment
    from robustest.measurements import measure_invertible_features as measure_invertible_features
    from robustest.measurements import measure_min_perturbation as measure_min_perturbation
    from robustest.measurements import measure_replication_gap as measure_replication_gap
    from robustest.measurements import measure_robust_accuracy as measure_robust_accuracy
    from robustest.measurements import measure_shift_accuracy as measure_shift_accuracy
    from robustest.measurements import measure_sparse_head as measure_sparse_head
    from robustest.measurements import measure_spurious_feature as measure_spurious_feature
    from robustest.measurements import measure_subpopulation_shift as measure_subpopulation_shift
    from robustest.measurements import measure_transfer_accuracy as measure_transfer_accuracy
    from robustest.measurements import measure_universal_perturbation as measure_universal_perturbation
    from robustest.measurements import measure_worst_group_accuracy as measure_worst_group_accuracy
    from robustest.measurements import picture_features as picture_features
    from robustest.measurements import picture_inversions as picture_inversions
    from robustest.measurements.robust_to import accuracy_under as accuracy_under
    from robustest.measurements.robust_to import measure_robust_to as measure_robust_to
    from robustest.models import Classifier as Classifier
    from robustest.models import as_classifier as as_classifier
    from robustest.models import labels_model as labels_model
    from robustest.models import scores_model as scores_model
    from robustest.reports.plots import plot_severity as plot_severity
    from robustest.reports.plots import plot_worst as plot_worst
    from robustest.results import Cost as Cost
    from robustest.results import Counterexample as Counterexample
    from robustest.results import Result as Result
    from robustest.results import Verdict as Verdict
    from robustest.settings import Settings as Settings
    from robustest.shifts import COMMON_CORRUPTIONS as COMMON_CORRUPTIONS
    from robustest.shifts import CORRUPTIONS as CORRUPTIONS
    from robustest.shifts import SHIFTS as SHIFTS
    from robustest.shifts import Shift as Shift
    from robustest.shifts import corrupt as corrupt
    from robustest.store.files import StoreWarning as StoreWarning
    from robustest.threats import L0 as L0
    from robustest.threats import L1 as L1
    from robustest.threats import L2 as L2
    from robustest.threats import Linf as Linf
    from robustest.threats import Patch as Patch
    from robustest.threats import Spatial as Spatial
    from robustest.threats import Unbounded as Unbounded
    from robustest.verdicts.effective import EffectiveRobustness as EffectiveRobustness
    from robustest.verdicts.effective import effective_robustness as effective_robustness

_HOME = {
    "assertions": (
        "assert_class_evidence",
        "assert_consistent",
        "assert_corruption_robustness",
        "assert_gradient_alignment",
        "assert_invertible_features",
        "assert_min_perturbation",
        "assert_no_backdoor_trigger",
        "assert_no_failure_direction",
        "assert_no_spurious_feature",
        "assert_no_universal_perturbation",
        "assert_replication_gap",
        "assert_robust_accuracy",
        "assert_robust_to",
        "assert_shift_accuracy",
        "assert_sparse_head",
        "assert_subpopulation_shift",
        "assert_transfer_accuracy",
        "assert_worst_group_accuracy",
    ),
    "attacks": (
        "ALMA",
        "APGD",
        "ATTACKS",
        "DDN",
        "EOT",
        "FAB",
        "FGSM",
        "FMN",
        "PGD",
        "SPSA",
        "HopSkipJump",
        "PatchGradient",
        "PatchRS",
        "SigmaZero",
        "SpatialGradient",
        "SpatialGrid",
        "SparseRS",
        "Square",
    ),
    "data.annotations": ("Annotations",),
    "data.breeds": ("BREEDS", "BreedsSplit", "breeds_split"),
    "data.domains": ("Domain",),
    "data.hierarchies": ("ClassTree",),
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
        "UnknownNameError",
    ),
    "factory": ("Factory",),
    "features": (
        "BackgroundSwap",
        "Blur",
        "Border",
        "ColourCast",
        "ConstantToken",
        "CornerLogo",
        "Discovery",
        "ForegroundRemoval",
        "FrequencyBand",
        "FunctionCue",
        "MaskedPatch",
        "NullCue",
        "PatternPatch",
        "PixelPatch",
        "TextOverlay",
        "Texture",
    ),
    "measurements": (
        "Adversarial",
        "find_adversarial",
        "measure_backdoor_trigger",
        "measure_class_evidence",
        "measure_consistency",
        "measure_corruption_robustness",
        "measure_failure_direction",
        "measure_gradient_alignment",
        "measure_invertible_features",
        "measure_min_perturbation",
        "measure_replication_gap",
        "measure_robust_accuracy",
        "measure_shift_accuracy",
        "measure_sparse_head",
        "measure_spurious_feature",
        "measure_subpopulation_shift",
        "measure_transfer_accuracy",
        "measure_universal_perturbation",
        "measure_worst_group_accuracy",
        "picture_features",
        "picture_inversions",
    ),
    "measurements.robust_to": ("accuracy_under", "measure_robust_to"),
    "models": ("Classifier", "as_classifier", "labels_model", "scores_model"),
    "reports.plots": ("plot_severity", "plot_worst"),
    "results": ("Cost", "Counterexample", "Result", "Verdict"),
    "settings": ("Settings",),
    "shifts": ("COMMON_CORRUPTIONS", "CORRUPTIONS", "SHIFTS", "Shift", "corrupt"),
    "store.files": ("StoreWarning",),
    "threats": ("L0", "L1", "L2", "Linf", "Patch", "Spatial", "Unbounded"),
    "verdicts.effective": ("EffectiveRobustness", "effective_robustness"),
}
_MODULE_OF = {name: f"robustest.{module}" for module, names in _HOME.items() for name in names}

__version__ = VERSION
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - a test holds it equal to the imports above


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'robustest' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
