"""Assertions as users call them. Nothing here is run: type checkers read it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustest import (
    Calls,
    Deployed,
    Linf,
    Patch,
    Purse,
    Result,
    Segmentation,
    Shift,
    assert_accuracy,
    assert_calibrated,
    assert_certified_accuracy,
    assert_consistency,
    assert_consistent_runs,
    assert_corruption_robustness,
    assert_directional,
    assert_invariant,
    assert_min_perturbation,
    assert_no_spurious_feature,
    assert_no_universal_perturbation,
    assert_ood_rejected,
    assert_rate,
    assert_reliable,
    assert_robust_accuracy,
    assert_robust_score,
    assert_robust_to,
    assert_same_answers,
    assert_selective_accuracy,
    assert_shift_accuracy,
    assert_stable_under_perturbations,
    assert_subpopulation_shift,
    assert_transfer_accuracy,
    assert_worst_change_rate,
    assert_worst_group_accuracy,
    assert_worst_group_rate,
    assert_worst_item_rate,
    cues,
    tasks,
    threats,
)
from robustest import attacks as a
from robustest.attacks import PGD
from robustest.cues import PixelPatch
from robustest.data import BreedsSplit, JudgeLabels, Outcomes, SequenceBenchmark
from robustest.strategies import shifts

Data = tuple[Tensor, Tensor]


class Estimator:
    """A model with scikit-learn's methods."""

    def predict_proba(self, x: Tensor) -> Tensor:
        return x


def right(answer: str, item: str) -> bool:
    return answer == item


def cost(answer: str, item: str) -> float:
    return len(answer + item) / 1000


def darker(x: Tensor) -> Tensor:
    return x * 0.9


def train(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(x.shape[1], int(y.max()) + 1)


def test_accuracy(model: nn.Module, estimator: Estimator, data: Data, other: Data) -> None:
    result: Result = assert_accuracy(model, data, at_least=0.9)
    assert result.estimate is not None
    assert_accuracy(estimator, data, no_worse_than="robust-baseline.json", tolerance=0.01, seed=3)
    assert_transfer_accuracy(model, data, other, max_drop=0.1, scope="population")
    assert_worst_group_accuracy(model, data, ["a", "b"], at_least=0.7, min_group_size=10)


def test_robustness(model: nn.Module, data: Data) -> None:
    assert_robust_accuracy(model, data, Linf(8 / 255), at_least=0.5, attack="standard", batch_size=32)
    assert_robust_accuracy(model, data, Patch(5, 5), at_least=0.5, attack=PGD(steps=100), suppress=("weak_attack",))
    assert_robust_accuracy(model, data, Linf(8 / 255), no_worse_than="robust-baseline.json", certify="auto")
    assert_certified_accuracy(model, data, Linf(0.01), at_least=0.4)
    assert_same_answers({"module": model, "file": darker}, data, Linf(0.01), at_least=0.9, attack="pgd")
    assert_same_answers([model, darker], data, Shift("fog", 2), at_least=0.9, scope="population")
    assert_robust_score(model, data, Linf(4 / 255), task=Segmentation(19), at_least=0.6, metric="miou")
    assert_min_perturbation(model, data, "linf", at_least=0.01, max_samples=100)
    assert_no_universal_perturbation(model, data, Linf(8 / 255), max_fooling_rate=0.3)


def test_shifts(model: nn.Module, data: Data, sequences: SequenceBenchmark, split: BreedsSplit) -> None:
    assert_shift_accuracy(model, data, "gaussian_noise", severity=2, max_drop=0.1)
    assert_shift_accuracy(model, data, darker, at_least=0.8, bounds=(0.0, 1.0))
    assert_consistency(model, data, Shift("brightness", 1), max_flip_rate=0.05)
    assert_corruption_robustness(model, data, corruptions=["fog", "snow"], severities=(1, 3), min_accuracy=0.6)
    assert_stable_under_perturbations(model, sequences, max_mfp=0.2)
    assert_robust_to(model, data, shifts(), at_least=0.7, max_examples=50)
    assert_subpopulation_shift(model, data, split, max_drop=0.2)


def test_confidence(model: nn.Module, data: Data, outside: Data) -> None:
    assert_calibrated(model, data, max_ece=0.05)
    assert_calibrated(model, data, "fog", severity=1, max_brier=0.1)
    assert_selective_accuracy(model, data, coverage=0.8, at_least=0.95)
    assert_ood_rejected(model, data, outside, max_fpr=0.3, score="energy")


def test_cues(model: nn.Module, data: Data) -> None:
    assert_no_spurious_feature(model, data, PixelPatch(top=0, left=0), max_flip_rate=0.05, control=model)
    assert_no_spurious_feature(model, data, [PixelPatch(top=0, left=0)], max_recall_drop=0.1, target_class=1)
    assert_no_spurious_feature(model, data, "auto", max_flip_rate=0.05, train=train, train_data=data)


def test_recorded_outcomes(scores: Outcomes) -> None:
    assert_rate(scores, at_least=0.9)
    assert_rate("now.jsonl", no_worse_than=scores, tolerance=0.01, missing="drop")
    assert_worst_group_rate(scores, at_least=0.8)
    assert_consistent_runs(scores, max_flip_rate=0.1)
    assert_rate(scores, at_least=0.9, judge=JudgeLabels("labels.csv", drawn="random"))
    assert_reliable(scores, k=5, at_least=0.9)
    assert_reliable("now.jsonl", k=3, needed=1, min_score=0.5, no_worse_than=scores, tolerance=0.01)
    assert_worst_item_rate(scores, at_least=0.6, scope="set")
    asked, calls = Deployed(str.upper, version="1"), Calls(concurrency=4, budget=100, cost=cost, max_cost=2.0)
    assert_rate(asked, ["a", "b"], score=right, runs=2, calls=calls, at_least=0.9)
    purse = Purse(money=1.0, tokens=1000, seconds=60)
    shared = Calls(purse=purse, cost=cost, tokens=cost)
    purse.settle(lambda: assert_rate(asked, ["a"], score=right, calls=shared, at_least=0.9))
    assert_rate(asked, ["a"], score=right, no_worse_than=asked)
    assert_worst_group_rate(asked, [{"prompt": "a", "group": "b"}], score=right, at_least=0.9)
    assert_consistent_runs(asked, ["a"], score=right, max_flip_rate=0.1)
    assert_invariant(asked, ["a"], {"upper": str.upper}, same=lambda *_: True, at_least=0.9)
    assert_directional(asked, ["a"], str.upper, score=right, expect="not_lower", margin=0.1, at_least=0.9)
    assert_worst_change_rate(asked, ["a"], [str.upper, str.lower], score=right, max_fall=0.1)


def every_attack() -> list[a.Searcher]:
    gradients: list[a.Searcher] = [
        a.ALMA(),
        a.APGD(),
        a.DDN(),
        a.EachWay(),
        a.FAB(),
        a.FGSM(),
        a.FMN(),
        a.ODIMargin(),
        a.PatchGradient(),
    ]
    others: list[a.Searcher] = [a.EOT(PGD()), a.SigmaZero(), a.SpatialGradient(), a.SpatialGrid(), a.DDN.outside_in()]
    queries: list[a.Searcher] = [a.HopSkipJump(), a.PatchRS(), a.RandomDraws(), a.SparseRS(), a.SPSA(), a.Square()]
    moves: list[a.Searcher] = [a.Enumeration(), a.GreedyMoves(beam=2), a.RandomMoves()]
    return [*gradients, *others, *queries, *moves]


def every_threat() -> list[threats.Threat]:
    balls: list[threats.Threat] = [threats.L0(3), threats.L1(2.0), threats.L2(0.5), threats.Linf(0.1)]
    rules: dict[str, threats.ColumnRule] = {"age": threats.Within(-2, 5), "job": threats.AnyOf("clerk", "cook")}
    columns = threats.Columns(rules, max_changed=2, where=[threats.Linear({"age": 1}, at_least=18)])
    texts: list[threats.Threat] = [
        threats.Edits(2, words={"film": ["movie"]}),
        threats.Append(8, b"\0"),
        threats.Insert(3),
    ]
    return [*balls, *texts, columns, Patch(3, 3), threats.Spatial(rotation=10), threats.Unbounded()]


def every_task(adapter: tasks.TorchvisionDetector) -> list[tasks.Task]:
    several: list[tasks.Task] = [tasks.Classification(), tasks.MultiLabel(), tasks.Regression(tolerance=0.1)]
    return [*several, Segmentation(3), tasks.Detection(adapter)]


def every_cue(mask: Tensor) -> list[cues.Cue]:
    return [PixelPatch(top=0, left=0), cues.NullCue()]
