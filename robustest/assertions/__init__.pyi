# Made by tests/type_checks/stubs.py of the signatures that run.

from collections.abc import Mapping, Sequence
import os
from robustest.attacks import Cascade, Searcher
from robustest.claims.cues.failure_direction import Embedding
from robustest.claims.outcomes import Missing, Reference
from robustest.claims.representations.gradient_alignment import Evidences
from robustest.claims.robustness.min_perturbation import Norm
from robustest.claims.shifts.corruptions import Corruptions
from robustest.cues import Cue
from robustest.data.benchmarks import SequenceBenchmark
from robustest.data.hierarchies import BreedsSplit
from robustest.decisions.corruption_error import ErrorRates
from robustest.discovery import Discovery
from robustest.models.training import TrainFn
from robustest.results import Result
from robustest.run.asking import Calls, Score
from robustest.run.comparison import Baseline
from robustest.run.plan import Options
from robustest.run.scores import Metric
from robustest.shifts import Shift, ShiftFunction
from robustest.tasks import Task
from robustest.threats import L2, Linf, Threat
from typing import Literal, Unpack, overload
from robustest.assertions.assertion import assertion as assertion
from robustest.assertions.assertion import kinds as kinds

@overload
def assert_accuracy(
    model: object,
    data: object,
    *,
    at_least: float,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    task: Task | str | None = ...,
    metric: Metric = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_accuracy(
    model: object,
    data: object,
    *,
    at_least: float | None = ...,
    no_worse_than: Baseline,
    tolerance: float = ...,
    task: Task | str | None = ...,
    metric: Metric = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_robust_accuracy(
    model: object,
    data: object,
    threat: Threat,
    *,
    at_least: float,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    attack: str | Searcher | Cascade | None = ...,
    certify: str | None = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_robust_accuracy(
    model: object,
    data: object,
    threat: Threat,
    *,
    at_least: float | None = ...,
    no_worse_than: Baseline,
    tolerance: float = ...,
    attack: str | Searcher | Cascade | None = ...,
    certify: str | None = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_certified_accuracy(
    model: object,
    data: object,
    threat: Threat,
    *,
    at_least: float,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    attack: str | Searcher | Cascade | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_certified_accuracy(
    model: object,
    data: object,
    threat: Threat,
    *,
    at_least: float | None = ...,
    no_worse_than: Baseline,
    tolerance: float = ...,
    attack: str | Searcher | Cascade | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_robust_score(
    model: object,
    data: object,
    threat: Threat,
    *,
    task: Task | str,
    at_least: float,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    attack: str | Searcher | Cascade | None = ...,
    metric: Metric = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_robust_score(
    model: object,
    data: object,
    threat: Threat,
    *,
    task: Task | str,
    at_least: float | None = ...,
    no_worse_than: Baseline,
    tolerance: float = ...,
    attack: str | Searcher | Cascade | None = ...,
    metric: Metric = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_min_perturbation(
    model: object,
    data: object,
    norm: Norm,
    *,
    at_least: float,
    attack: str | Searcher | Cascade | None = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_no_universal_perturbation(
    model: object,
    data: object,
    threat: Linf | L2,
    *,
    max_fooling_rate: float,
    iterations: int = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_shift_accuracy(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction,
    *,
    severity: int | None = ...,
    at_least: float,
    max_drop: float | None = ...,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_shift_accuracy(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction,
    *,
    severity: int | None = ...,
    at_least: float | None = ...,
    max_drop: float,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_shift_accuracy(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction,
    *,
    severity: int | None = ...,
    at_least: float | None = ...,
    max_drop: float | None = ...,
    no_worse_than: Baseline,
    tolerance: float = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_consistency(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction,
    *,
    severity: int | None = ...,
    max_flip_rate: float,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_consistency(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction,
    *,
    severity: int | None = ...,
    max_flip_rate: float | None = ...,
    no_worse_than: Baseline,
    tolerance: float = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_corruption_robustness(
    model: object,
    data: object,
    *,
    corruptions: Corruptions = ...,
    severities: Sequence[int] = ...,
    min_accuracy: float,
    max_drop: float | None = ...,
    max_mce: float | None = ...,
    reference: ErrorRates | str | os.PathLike[str] | None = ...,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_corruption_robustness(
    model: object,
    data: object,
    *,
    corruptions: Corruptions = ...,
    severities: Sequence[int] = ...,
    min_accuracy: float | None = ...,
    max_drop: float,
    max_mce: float | None = ...,
    reference: ErrorRates | str | os.PathLike[str] | None = ...,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_corruption_robustness(
    model: object,
    data: object,
    *,
    corruptions: Corruptions = ...,
    severities: Sequence[int] = ...,
    min_accuracy: float | None = ...,
    max_drop: float | None = ...,
    max_mce: float,
    reference: ErrorRates | str | os.PathLike[str] | None = ...,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_corruption_robustness(
    model: object,
    data: object,
    *,
    corruptions: Corruptions = ...,
    severities: Sequence[int] = ...,
    min_accuracy: float | None = ...,
    max_drop: float | None = ...,
    max_mce: float | None = ...,
    reference: ErrorRates | str | os.PathLike[str] | None = ...,
    no_worse_than: Baseline,
    tolerance: float = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_stable_under_perturbations(
    model: object,
    data: SequenceBenchmark,
    *,
    perturbations: Sequence[str] | None = ...,
    max_mfp: float,
    max_mt5d: float | None = ...,
    reference: Mapping[str, Mapping[str, float]] | None = ...,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_stable_under_perturbations(
    model: object,
    data: SequenceBenchmark,
    *,
    perturbations: Sequence[str] | None = ...,
    max_mfp: float | None = ...,
    max_mt5d: float,
    reference: Mapping[str, Mapping[str, float]] | None = ...,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_stable_under_perturbations(
    model: object,
    data: SequenceBenchmark,
    *,
    perturbations: Sequence[str] | None = ...,
    max_mfp: float | None = ...,
    max_mt5d: float | None = ...,
    reference: Mapping[str, Mapping[str, float]] | None = ...,
    no_worse_than: Baseline,
    tolerance: float = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_calibrated(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction | None = ...,
    *,
    severity: int | None = ...,
    max_brier: float,
    max_ece: float | None = ...,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    bins: int = ...,
    temperature: float = ...,
    fit_data: object = ...,
    probabilities: bool = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_calibrated(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction | None = ...,
    *,
    severity: int | None = ...,
    max_brier: float | None = ...,
    max_ece: float,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    bins: int = ...,
    temperature: float = ...,
    fit_data: object = ...,
    probabilities: bool = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_calibrated(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction | None = ...,
    *,
    severity: int | None = ...,
    max_brier: float | None = ...,
    max_ece: float | None = ...,
    no_worse_than: Baseline,
    tolerance: float = ...,
    bins: int = ...,
    temperature: float = ...,
    fit_data: object = ...,
    probabilities: bool = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_selective_accuracy(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction | None = ...,
    *,
    coverage: float,
    at_least: float,
    severity: int | None = ...,
    probabilities: bool = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_ood_rejected(
    model: object,
    data: object,
    outside: object,
    *,
    max_fpr: float,
    score: str = ...,
    probabilities: bool = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_transfer_accuracy(
    model: object,
    data: object,
    new_data: object,
    *,
    at_least: float,
    max_drop: float | None = ...,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_transfer_accuracy(
    model: object,
    data: object,
    new_data: object,
    *,
    at_least: float | None = ...,
    max_drop: float,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_transfer_accuracy(
    model: object,
    data: object,
    new_data: object,
    *,
    at_least: float | None = ...,
    max_drop: float | None = ...,
    no_worse_than: Baseline,
    tolerance: float = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_subpopulation_shift(
    model: object,
    data: object,
    split: BreedsSplit,
    *,
    max_drop: float,
    train: TrainFn | None = ...,
    train_data: object | None = ...,
    oracle: object = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_worst_group_accuracy(
    model: object,
    data: object,
    groups: object,
    *,
    at_least: float,
    min_group_size: int = ...,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_worst_group_accuracy(
    model: object,
    data: object,
    groups: object,
    *,
    at_least: float | None = ...,
    min_group_size: int = ...,
    no_worse_than: Baseline,
    tolerance: float = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_no_spurious_feature(
    model: object,
    data: object,
    cue: Cue | Sequence[Cue] | Discovery | Literal['auto'],
    *,
    max_flip_rate: float,
    max_recall_drop: float | None = ...,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    target_class: int | None = ...,
    task: Task | str | None = ...,
    control: object | None = ...,
    train: TrainFn | None = ...,
    train_data: object | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_no_spurious_feature(
    model: object,
    data: object,
    cue: Cue | Sequence[Cue] | Discovery | Literal['auto'],
    *,
    max_flip_rate: float | None = ...,
    max_recall_drop: float,
    no_worse_than: Baseline | None = ...,
    tolerance: float = ...,
    target_class: int | None = ...,
    task: Task | str | None = ...,
    control: object | None = ...,
    train: TrainFn | None = ...,
    train_data: object | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_no_spurious_feature(
    model: object,
    data: object,
    cue: Cue | Sequence[Cue] | Discovery | Literal['auto'],
    *,
    max_flip_rate: float | None = ...,
    max_recall_drop: float | None = ...,
    no_worse_than: Baseline,
    tolerance: float = ...,
    target_class: int | None = ...,
    task: Task | str | None = ...,
    control: object | None = ...,
    train: TrainFn | None = ...,
    train_data: object | None = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_no_backdoor_trigger(
    model: object,
    data: object,
    *,
    max_anomaly: float | None = ...,
    target_classes: Sequence[int] | None = ...,
    min_success: float = ...,
    patch_sizes: Sequence[int] | None = ...,
    iterations: int = ...,
    search_samples: int = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_no_failure_direction(
    model: object,
    data: object,
    *,
    max_excess_error: float | None = ...,
    embedding: Embedding | None = ...,
    components: int = ...,
    permutations: int = ...,
    min_errors: int = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_sparse_head(
    model: object,
    data: object,
    *,
    max_features_per_class: int,
    max_drop: float,
    slack: float | None = ...,
    layer: str | None = ...,
    l1_ratio: float = ...,
    n_lambdas: int = ...,
    subsamples: int = ...,
    fit_samples: int = ...,
    min_per_class: int = ...,
    listed_features: int = ...,
    listed_samples: int = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_gradient_alignment(
    model: object,
    data: object,
    *,
    reference: object | None = ...,
    at_least: float | None = ...,
    min_gain: float | None = ...,
    evidence: Evidences = ...,
    min_per_class: int = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_invertible_features(
    model: object,
    data: object,
    *,
    max_image_error: float | None = ...,
    max_representation_error: float = ...,
    layer: str | None = ...,
    iterations: int = ...,
    step_size: float | None = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_class_evidence(
    model: object,
    data: object,
    *,
    judge: object,
    eps: float,
    min_transfer: float | None = ...,
    iterations: int = ...,
    min_driven: int = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_rate(
    outcomes: Reference,
    items: object = ...,
    *,
    score: Score | None = ...,
    runs: int = ...,
    calls: Calls | None = ...,
    at_least: float,
    no_worse_than: Reference | None = ...,
    tolerance: float = ...,
    missing: Missing = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_rate(
    outcomes: Reference,
    items: object = ...,
    *,
    score: Score | None = ...,
    runs: int = ...,
    calls: Calls | None = ...,
    at_least: float | None = ...,
    no_worse_than: Reference,
    tolerance: float = ...,
    missing: Missing = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_worst_group_rate(
    outcomes: Reference,
    items: object = ...,
    *,
    score: Score | None = ...,
    runs: int = ...,
    calls: Calls | None = ...,
    at_least: float,
    missing: Missing = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_consistent_runs(
    outcomes: Reference,
    items: object = ...,
    *,
    score: Score | None = ...,
    runs: int = ...,
    calls: Calls | None = ...,
    max_flip_rate: float,
    **options: Unpack[Options],
) -> Result: ...
