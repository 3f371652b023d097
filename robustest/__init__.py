"""robustest: pytest for model robustness.

Claim something about a model; robustest searches for a counterexample. Names load when first used, so
that importing the package (as pytest does) brings in neither torch nor anything else heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from robustest.version import VERSION

if TYPE_CHECKING:
    from robustest.assertions import assert_accuracy as assert_accuracy
    from robustest.assertions import assert_calibrated as assert_calibrated
    from robustest.assertions import assert_certified_accuracy as assert_certified_accuracy
    from robustest.assertions import assert_class_evidence as assert_class_evidence
    from robustest.assertions import assert_consistency as assert_consistency
    from robustest.assertions import assert_corruption_robustness as assert_corruption_robustness
    from robustest.assertions import assert_cue_noticed as assert_cue_noticed
    from robustest.assertions import assert_gradient_alignment as assert_gradient_alignment
    from robustest.assertions import assert_invertible_features as assert_invertible_features
    from robustest.assertions import assert_label_agreement as assert_label_agreement
    from robustest.assertions import assert_label_quality as assert_label_quality
    from robustest.assertions import assert_min_perturbation as assert_min_perturbation
    from robustest.assertions import assert_multilabel_accuracy as assert_multilabel_accuracy
    from robustest.assertions import assert_no_backdoor_trigger as assert_no_backdoor_trigger
    from robustest.assertions import assert_no_failure_direction as assert_no_failure_direction
    from robustest.assertions import assert_no_spurious_feature as assert_no_spurious_feature
    from robustest.assertions import assert_no_universal_perturbation as assert_no_universal_perturbation
    from robustest.assertions import assert_nonrobust_reliance as assert_nonrobust_reliance
    from robustest.assertions import assert_ood_rejected as assert_ood_rejected
    from robustest.assertions import assert_replication_gap as assert_replication_gap
    from robustest.assertions import assert_robust_accuracy as assert_robust_accuracy
    from robustest.assertions import assert_robust_generalization as assert_robust_generalization
    from robustest.assertions import assert_robust_score as assert_robust_score
    from robustest.assertions import assert_selection_gap as assert_selection_gap
    from robustest.assertions import assert_selective_accuracy as assert_selective_accuracy
    from robustest.assertions import assert_shift_accuracy as assert_shift_accuracy
    from robustest.assertions import assert_simulatable as assert_simulatable
    from robustest.assertions import assert_smooth_landscape as assert_smooth_landscape
    from robustest.assertions import assert_sparse_head as assert_sparse_head
    from robustest.assertions import assert_stable_under_perturbations as assert_stable_under_perturbations
    from robustest.assertions import assert_subpopulation_shift as assert_subpopulation_shift
    from robustest.assertions import assert_synthetic_covers as assert_synthetic_covers
    from robustest.assertions import assert_transfer_accuracy as assert_transfer_accuracy
    from robustest.assertions import assert_worst_group_accuracy as assert_worst_group_accuracy
    from robustest.assertions.strategies import assert_robust_to as assert_robust_to
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
    from robustest.bounds.smoothing import Smoothed as Smoothed
    from robustest.claims.confidence.calibrated import measure_calibrated as measure_calibrated
    from robustest.claims.confidence.out_of_distribution import measure_ood_rejected as measure_ood_rejected
    from robustest.claims.confidence.selective import measure_selective_accuracy as measure_selective_accuracy
    from robustest.claims.cues.backdoor_trigger import measure_no_backdoor_trigger as measure_no_backdoor_trigger
    from robustest.claims.cues.failure_direction import measure_no_failure_direction as measure_no_failure_direction
    from robustest.claims.cues.spurious_feature import measure_no_spurious_feature as measure_no_spurious_feature
    from robustest.claims.datasets.accuracy import measure_accuracy as measure_accuracy
    from robustest.claims.datasets.data_sets import measure_transfer_accuracy as measure_transfer_accuracy
    from robustest.claims.datasets.replication import measure_replication_gap as measure_replication_gap
    from robustest.claims.datasets.subpopulation import measure_subpopulation_shift as measure_subpopulation_shift
    from robustest.claims.datasets.worst_group import measure_worst_group_accuracy as measure_worst_group_accuracy
    from robustest.claims.labels.cue_noticed import measure_cue_noticed as measure_cue_noticed
    from robustest.claims.labels.label_agreement import measure_label_agreement as measure_label_agreement
    from robustest.claims.labels.label_quality import measure_label_quality as measure_label_quality
    from robustest.claims.labels.multilabel_accuracy import (
        measure_multilabel_accuracy as measure_multilabel_accuracy,
    )
    from robustest.claims.labels.selection_gap import measure_selection_gap as measure_selection_gap
    from robustest.claims.labels.simulatable import measure_simulatable as measure_simulatable
    from robustest.claims.representations.class_evidence import measure_class_evidence as measure_class_evidence
    from robustest.claims.representations.gradient_alignment import (
        measure_gradient_alignment as measure_gradient_alignment,
    )
    from robustest.claims.representations.invertible_features import (
        measure_invertible_features as measure_invertible_features,
    )
    from robustest.claims.representations.sparse_head import measure_sparse_head as measure_sparse_head
    from robustest.claims.representations.visualisation import picture_features as picture_features
    from robustest.claims.representations.visualisation import picture_inversions as picture_inversions
    from robustest.claims.robustness.adversarial import Adversarial as Adversarial
    from robustest.claims.robustness.adversarial import find_adversarial as find_adversarial
    from robustest.claims.robustness.certified_accuracy import measure_certified_accuracy as measure_certified_accuracy
    from robustest.claims.robustness.min_perturbation import measure_min_perturbation as measure_min_perturbation
    from robustest.claims.robustness.robust_accuracy import measure_robust_accuracy as measure_robust_accuracy
    from robustest.claims.robustness.robust_score import measure_robust_score as measure_robust_score
    from robustest.claims.robustness.universal import (
        measure_no_universal_perturbation as measure_no_universal_perturbation,
    )
    from robustest.claims.shifts.consistency import measure_consistency as measure_consistency
    from robustest.claims.shifts.corruptions import measure_corruption_robustness as measure_corruption_robustness
    from robustest.claims.shifts.perturbations import (
        measure_stable_under_perturbations as measure_stable_under_perturbations,
    )
    from robustest.claims.shifts.shift_accuracy import measure_shift_accuracy as measure_shift_accuracy
    from robustest.claims.strategies.robust_to import accuracy_under as accuracy_under
    from robustest.claims.strategies.robust_to import measure_robust_to as measure_robust_to
    from robustest.claims.training.landscape import measure_smooth_landscape as measure_smooth_landscape
    from robustest.claims.training.nonrobust_reliance import measure_nonrobust_reliance as measure_nonrobust_reliance
    from robustest.claims.training.robust_generalization import (
        measure_robust_generalization as measure_robust_generalization,
    )
    from robustest.claims.training.synthetic.sample_counts import SampleCount as SampleCount
    from robustest.claims.training.synthetic.sample_counts import samples_for as samples_for
    from robustest.claims.training.synthetic.synthetic_covers import (
        measure_synthetic_covers as measure_synthetic_covers,
    )
    from robustest.cues import BackgroundSwap as BackgroundSwap
    from robustest.cues import Blur as Blur
    from robustest.cues import Border as Border
    from robustest.cues import ColourCast as ColourCast
    from robustest.cues import ConstantToken as ConstantToken
    from robustest.cues import CornerLogo as CornerLogo
    from robustest.cues import ForegroundRemoval as ForegroundRemoval
    from robustest.cues import FrequencyBand as FrequencyBand
    from robustest.cues import FunctionCue as FunctionCue
    from robustest.cues import MaskedPatch as MaskedPatch
    from robustest.cues import NullCue as NullCue
    from robustest.cues import PatternPatch as PatternPatch
    from robustest.cues import PixelPatch as PixelPatch
    from robustest.cues import TextOverlay as TextOverlay
    from robustest.cues import Texture as Texture
    from robustest.data.answers.aggregation import Consensus as Consensus
    from robustest.data.answers.aggregation import aggregate as aggregate
    from robustest.data.answers.annotations import Annotations as Annotations
    from robustest.data.answers.responses import Responses as Responses
    from robustest.data.answers.suspects import Suspects as Suspects
    from robustest.data.answers.suspects import suspects as suspects
    from robustest.data.benchmarks import ALEXNET_ON_IMAGENET_C as ALEXNET_ON_IMAGENET_C
    from robustest.data.benchmarks import BENCHMARKS as BENCHMARKS
    from robustest.data.benchmarks import Benchmark as Benchmark
    from robustest.data.benchmarks import ClassMap as ClassMap
    from robustest.data.benchmarks import CorruptedBenchmark as CorruptedBenchmark
    from robustest.data.benchmarks import SequenceBenchmark as SequenceBenchmark
    from robustest.data.benchmarks import benchmark as benchmark
    from robustest.data.breeds import BREEDS as BREEDS
    from robustest.data.breeds import BreedsSplit as BreedsSplit
    from robustest.data.breeds import breeds_split as breeds_split
    from robustest.data.domains import Domain as Domain
    from robustest.data.hierarchies import ClassTree as ClassTree
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
    from robustest.errors import UnknownNameError as UnknownNameError
    from robustest.factory import Factory as Factory
    from robustest.models import Classifier as Classifier
    from robustest.models import adapting as adapting
    from robustest.models import as_classifier as as_classifier
    from robustest.models import labels_model as labels_model
    from robustest.models import scores_model as scores_model
    from robustest.reports.plots import plot_generalization as plot_generalization
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
    from robustest.statistics.effective import EffectiveRobustness as EffectiveRobustness
    from robustest.statistics.effective import effective_robustness as effective_robustness
    from robustest.store.files import StoreWarning as StoreWarning
    from robustest.tasks import Classification as Classification
    from robustest.tasks import Detection as Detection
    from robustest.tasks import MaiteDetector as MaiteDetector
    from robustest.tasks import MultiLabel as MultiLabel
    from robustest.tasks import Regression as Regression
    from robustest.tasks import Segmentation as Segmentation
    from robustest.tasks import TorchvisionDetector as TorchvisionDetector
    from robustest.threats import L0 as L0
    from robustest.threats import L1 as L1
    from robustest.threats import L2 as L2
    from robustest.threats import Linf as Linf
    from robustest.threats import Patch as Patch
    from robustest.threats import Spatial as Spatial
    from robustest.threats import Unbounded as Unbounded

_HOME = {
    "assertions": (
        "assert_accuracy",
        "assert_calibrated",
        "assert_certified_accuracy",
        "assert_class_evidence",
        "assert_consistency",
        "assert_corruption_robustness",
        "assert_cue_noticed",
        "assert_gradient_alignment",
        "assert_invertible_features",
        "assert_label_agreement",
        "assert_label_quality",
        "assert_min_perturbation",
        "assert_multilabel_accuracy",
        "assert_no_backdoor_trigger",
        "assert_no_failure_direction",
        "assert_no_spurious_feature",
        "assert_no_universal_perturbation",
        "assert_ood_rejected",
        "assert_nonrobust_reliance",
        "assert_replication_gap",
        "assert_robust_accuracy",
        "assert_robust_generalization",
        "assert_robust_score",
        "assert_selection_gap",
        "assert_selective_accuracy",
        "assert_shift_accuracy",
        "assert_simulatable",
        "assert_smooth_landscape",
        "assert_sparse_head",
        "assert_stable_under_perturbations",
        "assert_subpopulation_shift",
        "assert_synthetic_covers",
        "assert_transfer_accuracy",
        "assert_worst_group_accuracy",
    ),
    "assertions.strategies": ("assert_robust_to",),
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
        "SparseRS",
        "SpatialGradient",
        "SpatialGrid",
        "Square",
    ),
    "bounds.smoothing": ("Smoothed",),
    "claims.confidence.calibrated": ("measure_calibrated",),
    "claims.confidence.out_of_distribution": ("measure_ood_rejected",),
    "claims.confidence.selective": ("measure_selective_accuracy",),
    "claims.cues.backdoor_trigger": ("measure_no_backdoor_trigger",),
    "claims.cues.failure_direction": ("measure_no_failure_direction",),
    "claims.cues.spurious_feature": ("measure_no_spurious_feature",),
    "claims.datasets.accuracy": ("measure_accuracy",),
    "claims.datasets.data_sets": ("measure_transfer_accuracy",),
    "claims.datasets.replication": ("measure_replication_gap",),
    "claims.datasets.subpopulation": ("measure_subpopulation_shift",),
    "claims.datasets.worst_group": ("measure_worst_group_accuracy",),
    "claims.labels.cue_noticed": ("measure_cue_noticed",),
    "claims.labels.label_agreement": ("measure_label_agreement",),
    "claims.labels.label_quality": ("measure_label_quality",),
    "claims.labels.multilabel_accuracy": ("measure_multilabel_accuracy",),
    "claims.labels.selection_gap": ("measure_selection_gap",),
    "claims.labels.simulatable": ("measure_simulatable",),
    "claims.representations.class_evidence": ("measure_class_evidence",),
    "claims.representations.gradient_alignment": ("measure_gradient_alignment",),
    "claims.representations.invertible_features": ("measure_invertible_features",),
    "claims.representations.sparse_head": ("measure_sparse_head",),
    "claims.representations.visualisation": ("picture_features", "picture_inversions"),
    "claims.robustness.adversarial": ("Adversarial", "find_adversarial"),
    "claims.robustness.certified_accuracy": ("measure_certified_accuracy",),
    "claims.robustness.min_perturbation": ("measure_min_perturbation",),
    "claims.robustness.robust_accuracy": ("measure_robust_accuracy",),
    "claims.robustness.robust_score": ("measure_robust_score",),
    "claims.robustness.universal": ("measure_no_universal_perturbation",),
    "claims.shifts.consistency": ("measure_consistency",),
    "claims.shifts.corruptions": ("measure_corruption_robustness",),
    "claims.shifts.perturbations": ("measure_stable_under_perturbations",),
    "claims.shifts.shift_accuracy": ("measure_shift_accuracy",),
    "claims.strategies.robust_to": ("accuracy_under", "measure_robust_to"),
    "claims.training.landscape": ("measure_smooth_landscape",),
    "claims.training.synthetic.synthetic_covers": ("measure_synthetic_covers",),
    "claims.training.nonrobust_reliance": ("measure_nonrobust_reliance",),
    "claims.training.robust_generalization": ("measure_robust_generalization",),
    "claims.training.synthetic.sample_counts": ("SampleCount", "samples_for"),
    "cues": (
        "BackgroundSwap",
        "Blur",
        "Border",
        "ColourCast",
        "ConstantToken",
        "CornerLogo",
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
    "data.answers.aggregation": (
        "Consensus",
        "aggregate",
    ),
    "data.answers.annotations": ("Annotations",),
    "data.benchmarks": (
        "ALEXNET_ON_IMAGENET_C",
        "BENCHMARKS",
        "Benchmark",
        "ClassMap",
        "CorruptedBenchmark",
        "SequenceBenchmark",
        "benchmark",
    ),
    "data.breeds": (
        "BREEDS",
        "BreedsSplit",
        "breeds_split",
    ),
    "data.domains": ("Domain",),
    "data.hierarchies": ("ClassTree",),
    "data.answers.responses": ("Responses",),
    "data.answers.suspects": (
        "Suspects",
        "suspects",
    ),
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
    "reports.plots": (
        "plot_generalization",
        "plot_severity",
        "plot_worst",
    ),
    "results": (
        "Cost",
        "Counterexample",
        "Result",
        "Verdict",
    ),
    "settings": ("Settings",),
    "shifts": (
        "COMMON_CORRUPTIONS",
        "CORRUPTIONS",
        "SHIFTS",
        "Shift",
        "corrupt",
    ),
    "statistics.effective": (
        "EffectiveRobustness",
        "effective_robustness",
    ),
    "store.files": ("StoreWarning",),
    "tasks": (
        "Classification",
        "Detection",
        "MaiteDetector",
        "MultiLabel",
        "Regression",
        "Segmentation",
        "TorchvisionDetector",
    ),
    "threats": ("L0", "L1", "L2", "Linf", "Patch", "Spatial", "Unbounded"),
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
