# Made by tests/type_checks/stubs.py of the names and signatures that run.

from robustest import attacks as attacks
from robustest import cues as cues
from robustest import data as data
from robustest import measure as measure
from robustest import plots as plots
from robustest import shifts as shifts
from robustest import tasks as tasks
from robustest import threats as threats
from robustest.claims.robustness.attacking import Adversarial as Adversarial
from robustest.claims.robustness.attacking import find_adversarial as find_adversarial
from robustest.claims.robustness.certified_accuracy import Smoothed as Smoothed
from robustest.data.benchmarks import benchmark as benchmark
from robustest.data.samples import Waveforms as Waveforms
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
from robustest.health import HealthWarning as HealthWarning
from robustest.models import Classifier as Classifier
from robustest.models import ZeroShot as ZeroShot
from robustest.models import adapting as adapting
from robustest.models import as_classifier as as_classifier
from robustest.models import jax_model as jax_model
from robustest.models import keras_model as keras_model
from robustest.models import labels_model as labels_model
from robustest.models import scores_model as scores_model
from robustest.models import tf_model as tf_model
from robustest.reports import Result as Result
from robustest.results import Cost as Cost
from robustest.results import Counterexample as Counterexample
from robustest.results import Verdict as Verdict
from robustest.run.asking import Calls as Calls
from robustest.run.asking import Deployed as Deployed
from robustest.run.purse import Purse as Purse
from robustest.settings import Settings as Settings
from robustest.shifts import Shift as Shift
from robustest.store.files import StoreWarning as StoreWarning
from robustest.tasks import Classification as Classification
from robustest.tasks import Detection as Detection
from robustest.tasks import MultiLabel as MultiLabel
from robustest.tasks import Regression as Regression
from robustest.tasks import Retrieval as Retrieval
from robustest.tasks import Segmentation as Segmentation
from robustest.tasks import TopK as TopK
from robustest.threats import Append as Append
from robustest.threats import Columns as Columns
from robustest.threats import Edits as Edits
from robustest.threats import Insert as Insert
from robustest.threats import L0 as L0
from robustest.threats import L1 as L1
from robustest.threats import L2 as L2
from robustest.threats import Linf as Linf
from robustest.threats import Patch as Patch
from robustest.threats import Snr as Snr
from robustest.threats import Spatial as Spatial
from robustest.threats import Unbounded as Unbounded

__all__ = ["Adversarial", "Append", "Calls", "ClaimFailed", "ClaimInconclusive", "Classification", "Classifier", "Columns", "ConfigError", "Cost", "Counterexample", "DataError", "Deployed", "Detection", "DeviceError", "Edits", "Factory", "HealthWarning", "Insert", "L0", "L1", "L2", "Linf", "ModelError", "MultiLabel", "NoClaimError", "Patch", "Purse", "Regression", "Result", "Retrieval", "RobustestError", "Segmentation", "Settings", "Shift", "Smoothed", "Snr", "Spatial", "StoreError", "StoreWarning", "TopK", "TruthValueError", "TryAgain", "Unbounded", "UnknownNameError", "Verdict", "Waveforms", "ZeroShot", "adapting", "as_classifier", "assert_accuracy", "assert_calibrated", "assert_certified_accuracy", "assert_consistency", "assert_consistent_runs", "assert_corruption_robustness", "assert_directional", "assert_invariant", "assert_min_perturbation", "assert_no_spurious_feature", "assert_no_universal_perturbation", "assert_ood_rejected", "assert_rate", "assert_reliable", "assert_robust_accuracy", "assert_robust_score", "assert_robust_to", "assert_same_answers", "assert_selective_accuracy", "assert_shift_accuracy", "assert_stable_under_perturbations", "assert_subpopulation_shift", "assert_transfer_accuracy", "assert_worst_change_rate", "assert_worst_group_accuracy", "assert_worst_group_rate", "assert_worst_item_rate", "benchmark", "find_adversarial", "jax_model", "keras_model", "labels_model", "scores_model", "tf_model"]

__version__: str

from collections.abc import Mapping, Sequence
from hypothesis.strategies import SearchStrategy
import os
from robustest.attacks import Cascade, Searcher
from robustest.claims.changes import Expectation, Same
from robustest.claims.cues.interventions import CueSearch
from robustest.claims.outcome_items import Missing, Reference
from robustest.claims.robustness.min_perturbation import Norm
from robustest.claims.robustness.same_answers import Copies
from robustest.claims.shifts.corruptions import Corruptions
from robustest.cues import Cue, FrameCue
from robustest.data.benchmarks import SequenceBenchmark
from robustest.data.changes import Changes
from robustest.data.hierarchies import BreedsSplit
from robustest.data.judge_labels import JudgeLabels
from robustest.decisions.corruption_error import ErrorRates
from robustest.models.training import TrainFn
from robustest.run.asking import Score, System
from robustest.run.comparison import Baseline
from robustest.run.options import Options
from robustest.run.scores import Metric
from robustest.shifts import ShiftFunction
from robustest.tasks import Task
from robustest.threats import Threat
from typing import Any, Unpack, overload

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

def assert_consistent_runs(
    outcomes: Reference,
    items: object = ...,
    *,
    score: Score | None = ...,
    runs: int | None = ...,
    calls: Calls | None = ...,
    max_flip_rate: float,
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

def assert_directional(
    system: System,
    items: object,
    changes: Changes,
    *,
    score: Score,
    expect: Expectation,
    margin: float = ...,
    at_least: float,
    calls: Calls | None = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_invariant(
    system: System,
    items: object,
    changes: Changes,
    *,
    same: Same | None = ...,
    at_least: float,
    calls: Calls | None = ...,
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

@overload
def assert_no_spurious_feature(
    model: object,
    data: object,
    cue: Cue | FrameCue | Sequence[Cue | FrameCue] | CueSearch | str,
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
    cue: Cue | FrameCue | Sequence[Cue | FrameCue] | CueSearch | str,
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
    cue: Cue | FrameCue | Sequence[Cue | FrameCue] | CueSearch | str,
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
def assert_rate(
    outcomes: Reference,
    items: object = ...,
    *,
    score: Score | None = ...,
    runs: int | None = ...,
    calls: Calls | None = ...,
    at_least: float,
    no_worse_than: Reference | None = ...,
    tolerance: float = ...,
    judge: JudgeLabels | None = ...,
    missing: Missing = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_rate(
    outcomes: Reference,
    items: object = ...,
    *,
    score: Score | None = ...,
    runs: int | None = ...,
    calls: Calls | None = ...,
    at_least: float | None = ...,
    no_worse_than: Reference,
    tolerance: float = ...,
    judge: JudgeLabels | None = ...,
    missing: Missing = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_reliable(
    outcomes: Reference,
    items: object = ...,
    *,
    k: int,
    needed: int | None = ...,
    min_score: float | None = ...,
    score: Score | None = ...,
    runs: int | None = ...,
    calls: Calls | None = ...,
    at_least: float,
    no_worse_than: Reference | None = ...,
    tolerance: float = ...,
    missing: Missing = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_reliable(
    outcomes: Reference,
    items: object = ...,
    *,
    k: int,
    needed: int | None = ...,
    min_score: float | None = ...,
    score: Score | None = ...,
    runs: int | None = ...,
    calls: Calls | None = ...,
    at_least: float | None = ...,
    no_worse_than: Reference,
    tolerance: float = ...,
    missing: Missing = ...,
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

def assert_robust_to(
    model: object,
    data: object,
    strategy: SearchStrategy[Any],
    *,
    at_least: float,
    max_examples: int | None = ...,
    task: Task | str | None = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_same_answers(
    model: Copies,
    data: object,
    change: Threat | str | Shift | ShiftFunction | None = ...,
    *,
    at_least: float,
    attack: str | Searcher | Cascade | None = ...,
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
    metric: Metric = ...,
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
    metric: Metric = ...,
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
    metric: Metric = ...,
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

@overload
def assert_worst_change_rate(
    system: System,
    items: object,
    changes: Changes,
    *,
    score: Score,
    at_least: float,
    max_fall: float | None = ...,
    calls: Calls | None = ...,
    **options: Unpack[Options],
) -> Result: ...

@overload
def assert_worst_change_rate(
    system: System,
    items: object,
    changes: Changes,
    *,
    score: Score,
    at_least: float | None = ...,
    max_fall: float,
    calls: Calls | None = ...,
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
    metric: Metric = ...,
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
    metric: Metric = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_worst_group_rate(
    outcomes: Reference,
    items: object = ...,
    *,
    score: Score | None = ...,
    runs: int | None = ...,
    calls: Calls | None = ...,
    at_least: float,
    missing: Missing = ...,
    **options: Unpack[Options],
) -> Result: ...

def assert_worst_item_rate(
    outcomes: Reference,
    items: object = ...,
    *,
    score: Score | None = ...,
    runs: int | None = ...,
    calls: Calls | None = ...,
    at_least: float,
    missing: Missing = ...,
    **options: Unpack[Options],
) -> Result: ...
