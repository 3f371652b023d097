"""Claims that say nothing, and their sound twins: what a green must never, and what it must still, cover.

A claim is empty if nothing could have made it red, and undecided if its data do not settle it. Rows are grouped by
what is wrong with them; a twin has the same shape, but tests something, and holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from small_subjects import (
    CLASSES,
    SIDE,
    STEEP,
    Bright,
    Constant,
    Data,
    Idle,
    N,
    Nearly,
    OneClass,
    Softmax,
    background,
    copied,
    dimmed,
    dimmed_top,
    edged,
    loaded,
    losing,
    masks,
    moving,
    numbered,
    pictures,
    recorded,
    runs_of,
    segments,
    some_dimmed,
    twin,
    unmoved,
    within_rounding,
    without,
    without_last,
)
from torch import Tensor, nn

from robustest import (
    L0,
    L1,
    L2,
    Append,
    Columns,
    Edits,
    Insert,
    Linf,
    MultiLabel,
    Patch,
    Regression,
    Result,
    Segmentation,
    Snr,
    Spatial,
    as_classifier,
    measure,
    scores_model,
    strategies,
)
from robustest.attacks import PGD, PatchGradient, SpatialGrid
from robustest.cues import FunctionCue, PixelPatch
from robustest.data import BreedsSplit, JudgeLabels, Outcomes, SequenceBenchmark
from robustest.threats import AnyOf, Fixed, Linear, Whole, Within

Claim = Callable[[], Result]

MODEL, OTHER = Bright().eval(), Nearly().eval()
DATA, FEW = pictures(), pictures(40)
X, Y = DATA
NEW = pictures(draw=1)
FIVE = copied(pictures(5), 20)
ONE = (X[Y == 0], Y[Y == 0])
FLAT, FIRST, SECOND = Constant().eval(), OneClass().eval(), Constant(1).eval()
MOSTLY = (X[(Y == 0) | (torch.arange(N) % 20 < 2)], Y[(Y == 0) | (torch.arange(N) % 20 < 2)])
"""Most are of class 0."""
THREE = pictures(90, classes=3)
POPULATION: dict[str, Any] = {"scope": "population"}
FGSM: dict[str, Any] = {"attack": "fgsm"}
ALL: dict[str, Any] = {"exact": True}
CORNER = PixelPatch(top=SIDE - 1, left=0, height=1, width=2)
NOISE = "gaussian_noise"
LIGHT = strategies.shifts([NOISE], max_severity=1)
SMALL = Linf(0.02)


def reversed_labels(x: Tensor) -> Tensor:
    """The labels of three classes from behind: the middle one is right."""
    return Bright(3)(x).flip(1)


def worse(n: int, lost: int, gained: int = 0) -> tuple[nn.Module, nn.Module, Data]:
    """Return a model, the one before it, and samples of which so many are lost and gained."""
    return losing(n, range(lost)), losing(n, range(n - gained, n)), numbered(n)


def compared(n: int, lost: int, gained: int = 0, **options: Any) -> Result:
    now, before, data = worse(n, lost, gained)
    return measure.measure_accuracy(now, data, no_worse_than=before, **options)


def rates(n: int, lost: int, gained: int = 0, **options: Any) -> Result:
    now, before = recorded(without(n, range(lost))), recorded(without(n, range(n - gained, n)))
    return measure.measure_rate(now, no_worse_than=before, **options)


def attacked(threat: Any, model: Any = MODEL, data: Any = FEW, **options: Any) -> Result:
    return measure.measure_robust_accuracy(model, data, threat, **{"at_least": 0.5} | options)


TEXTS = [f"{'good' if i % 2 else 'poor'} {i}" for i in range(20)]
LABELS = [i % 2 for i in range(20)]


def by_word(texts: Any) -> np.ndarray[Any, Any]:
    good = np.array([len({*text} & {*"god"}) - len({*text} & {*"pr"}) for text in texts], float)
    return np.stack([-good, good], 1)


def texts(threat: Any, **options: Any) -> Result:
    return measure.measure_robust_accuracy(by_word, (TEXTS, LABELS), threat, **{"at_least": 0.6} | options)


ROWS = torch.rand(80, 5, generator=torch.Generator().manual_seed(3))
ROWS[:, 3], ROWS[:, 4] = 1.0, (torch.arange(80) % 3).float()
ROW_LABELS = (ROWS[:, 0] > ROWS[:, 1]).long()
TABLE = nn.Linear(5, 2)
with torch.no_grad():
    TABLE.weight.copy_(torch.tensor([[-9.0, 9.0, 0.0, 0.0, 0.0], [9.0, -9.0, 0.0, 0.0, 0.0]]))
    TABLE.bias.zero_()
TABLE.eval()


def rows(threat: Any, **options: Any) -> Result:
    words = {"at_least": 0.6, "bounds": (0.0, 2.0)} | options
    return measure.measure_robust_accuracy(TABLE, (ROWS, ROW_LABELS), threat, **words)


SOUNDS = torch.zeros(40, 1, 32)
SOUNDS[torch.arange(40), 0, torch.arange(40) % 2] = 0.8
SOUNDS[:, :, 2:] = 0.2 * torch.rand(40, 1, 30, generator=torch.Generator().manual_seed(4)) - 0.1
TONE = nn.Sequential(nn.Flatten(), nn.Linear(32, 2, bias=False))
with torch.no_grad():
    TONE[1].weight.copy_(10 * torch.eye(2, 32))
TONE.eval()


def sounds(threat: Any, **options: Any) -> Result:
    words = {"at_least": 0.6, "bounds": (-1.0, 1.0)} | options
    return measure.measure_robust_accuracy(TONE, (SOUNDS, torch.arange(40) % 2), threat, **words)


SETS = torch.eye(CLASSES).long()[Y]
SETS[::3] |= SETS[::3].roll(1, 1)
NUMBERS = X[:, 0, 0, :1].clone()


def first_pixel(x: Tensor) -> Tensor:
    return x[:, 0, 0, :1]


def same_number(x: Tensor) -> Tensor:
    return 0 * x[:, 0, 0, :1] + 0.15


def items(n: int, **columns: Any) -> list[dict[str, Any]]:
    return [
        {"item": f"q{i}", "prompt": f"{i} + 1", "expected": i + 1} | {k: v[i] for k, v in columns.items()}
        for i in range(n)
    ]


def adds(item: dict[str, Any]) -> int:
    return int(item["prompt"].split()[0]) + 1


def subtracts(item: dict[str, Any]) -> int:
    number = int(item["prompt"].split()[0])
    return number + 1 if number % 10 else number - 1


def loud(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "prompt": f"{item['prompt']} !"}


def seldom_loud(item: dict[str, Any]) -> dict[str, Any] | None:
    return loud(item) if item["expected"] % 40 == 0 else None


def always_one(item: dict[str, Any]) -> int:
    return 1


def two(item: dict[str, Any]) -> int:
    return 2


def right(answer: int, item: dict[str, Any]) -> bool:
    return answer == item["expected"]


def written(folder: Path, name: str, scores: list[bool]) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps({"item": f"q{i}", "score": s}) + "\n" for i, s in enumerate(scores)))
    return path


def split_data(move: float) -> Data:
    """Four classes of which two each are one; the target's images are darker by a share."""
    x, y = pictures(400)
    return torch.where((y > 1).view(-1, 1, 1, 1), x * (1 - move), x), y


def same_in_both() -> Data:
    """Two classes whose images are those of the two others."""
    x, y = pictures(400)
    return torch.cat([x[y < 2], x[y < 2]]), torch.cat([y[y < 2], y[y < 2] + 2])


class Pairs(nn.Module):
    """Classes 0 and 2 are one, 1 and 3 another."""

    def forward(self, x: Tensor) -> Tensor:
        scores = MODEL(x)
        return torch.stack([scores[:, [0, 2]].amax(1), scores[:, [1, 3]].amax(1)], 1)


SPLIT = BreedsSplit(superclasses=("even", "odd"), source=((0,), (1,)), target=((2,), (3,)), names={})
ERRORS = {NOISE: [0.5] * 5}


def clustered(n: int, size: int) -> list[str]:
    return [f"video {i // size}" for i in range(n)]


LOST, KEPT = losing(40, range(6)), losing(40, ())
FLIPS = losing(40, range(6), dimmed=True)
FORTY, EDGED = numbered(40), edged(40, 6)
FRAMES = torch.stack([FORTY[0], dimmed_top(FORTY[0], 1, FORTY[1]), FORTY[0], dimmed_top(FORTY[0], 1, FORTY[1])], 1)
LEANING = Bright().eval()
LEANING.head.bias.data[0] = 3.0
WORSE_SCORES, SCORES = ([level + 0.01 * (i % 9) for i in range(30)] for level in (0.55, 0.6))

UNDECIDED: dict[str, Claim] = {
    "rate, 6 of 20 lost": lambda: rates(20, 6),
    "rate, 24 of 100 lost, 10 gained": lambda: rates(100, 24, 10),
    "rate, 4 of 200 lost, tolerance .01": lambda: rates(200, 4, tolerance=0.01),
    "rate, 12 of 400 lost, tolerance .01": lambda: rates(400, 12, tolerance=0.01),
    "rate, 1 of 40 lost, tolerance .05": lambda: rates(40, 1, tolerance=0.05),
    "rate, 4 of 40 lost, tolerance .02": lambda: rates(40, 4, tolerance=0.02),
    "rate, tolerance 0": lambda: rates(400, 4, 8),
    "rate of a population, tolerance 0": lambda: rates(400, 4, 8, **POPULATION),
    "rate of a set, 1 of 20 lost": lambda: rates(20, 1, scope="set"),
    "rate of a set, 12 of 400 lost, tolerance .02": lambda: rates(400, 12, tolerance=0.02, scope="set"),
    "rate, a loss of .05 in each score": lambda: measure.measure_rate(
        recorded(WORSE_SCORES), no_worse_than=recorded(SCORES)
    ),
    "rate of a set, a loss of .05 in each score": lambda: measure.measure_rate(
        recorded(WORSE_SCORES), no_worse_than=recorded(SCORES), scope="set"
    ),
    "asked, one in ten lost": lambda: measure.measure_rate(subtracts, items(40), score=right, no_worse_than=adds),
    "asked of a set, one in ten lost": lambda: measure.measure_rate(
        subtracts, items(40), score=right, no_worse_than=adds, scope="set"
    ),
    "accuracy, 6 of 20 lost": lambda: compared(20, 6),
    "accuracy, 24 of 100 lost, 10 gained": lambda: compared(100, 24, 10),
    "accuracy, every sample, 24 lost, 10 gained": lambda: compared(100, 24, 10, **ALL),
    "accuracy, 1 of 200 lost": lambda: compared(200, 1),
    "accuracy, 8 of 200 lost, tolerance .03": lambda: compared(200, 8, tolerance=0.03),
    "accuracy of a population, 2 of 100 lost, tolerance .03": lambda: compared(100, 2, tolerance=0.03, **POPULATION),
    "accuracy of a population, tolerance 0": lambda: compared(200, 0, 1, **POPULATION),
    "robust accuracy, 6 of 40 lost": lambda: attacked(SMALL, STEEP, EDGED, no_worse_than=MODEL, at_least=None),
    "robust accuracy, proven, 6 of 40 lost": lambda: attacked(
        SMALL, STEEP, EDGED, no_worse_than=MODEL, at_least=None, certify="auto"
    ),
    "robust score, 6 of 40 lost": lambda: measure.measure_robust_score(
        STEEP, EDGED, SMALL, task="classification", no_worse_than=MODEL, **FGSM
    ),
    "certified accuracy, some lost": lambda: measure.measure_certified_accuracy(
        LEANING, FEW, SMALL, no_worse_than=MODEL, **FGSM
    ),
    "shift, 6 of 40 lost": lambda: measure.measure_shift_accuracy(FLIPS, FORTY, dimmed_top, no_worse_than=KEPT),
    "consistency, 6 of 40 more flip": lambda: measure.measure_consistency(FLIPS, FORTY, dimmed_top, no_worse_than=KEPT),
    "corruptions, 6 of 40 lost": lambda: measure.measure_corruption_robustness(
        FLIPS, FORTY, corruptions=[dimmed_top], severities=[1], no_worse_than=KEPT
    ),
    "cue, 6 of 40 more flip": lambda: measure.measure_no_spurious_feature(
        FLIPS, FORTY, FunctionCue("dusk", on=lambda x: dimmed_top(x, 1, x)), no_worse_than=KEPT
    ),
    "frames, more flips": lambda: measure.measure_stable_under_perturbations(
        FLIPS, SequenceBenchmark(name="dusk", sequences={"tilt": FRAMES}, published=40), no_worse_than=KEPT
    ),
    "groups, 6 of 30 lost": lambda: measure.measure_worst_group_accuracy(
        losing(60, range(0, 12, 2)), numbered(60), [i % 2 for i in range(60)], no_worse_than=losing(60, ())
    ),
    "other data, 6 of 40 lost": lambda: measure.measure_transfer_accuracy(LOST, DATA, FORTY, no_worse_than=KEPT),
    "Brier score, 6 of 40 lost": lambda: measure.measure_calibrated(LOST, FORTY, no_worse_than=KEPT),
    "masks, worse scores": lambda: measure.measure_accuracy(
        lambda x: segments(x - 0.1), (X, masks(X)), task=Segmentation(2), no_worse_than=segments
    ),
    "a population's threshold near the value": lambda: measure.measure_accuracy(
        losing(200, range(10)), numbered(200), at_least=0.94, **POPULATION
    ),
    "a population's groups, too few of each": lambda: measure.measure_worst_group_accuracy(
        MODEL, FEW, FEW[1], at_least=0.9, min_group_size=5, **POPULATION
    ),
}


def around(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return another function that only calls this one."""

    def call(given: Any) -> Any:
        return function(given)

    return call


def two_files() -> Result:
    with TemporaryDirectory() as folder:
        main, candidate = (
            written(Path(folder), name, without(400, range(20))) for name in ("main.jsonl", "candidate.jsonl")
        )
        return measure.measure_rate(candidate, no_worse_than=main, tolerance=0.05)


RIGHT = recorded(without(400, range(20)))
FALL: dict[str, Any] = {"tolerance": 0.05}
DUSK: Any = FunctionCue("dusk", on=lambda x: 0.9 * x)


def beside(other: Any) -> dict[str, Claim]:
    """Each claim that compares two models, of `MODEL` and another."""
    words: dict[str, Any] = {"no_worse_than": other, "tolerance": 0.05}
    return {
        "accuracy": lambda: measure.measure_accuracy(MODEL, DATA, **words),
        "accuracy of a population": lambda: measure.measure_accuracy(MODEL, DATA, **words, **POPULATION),
        "robust accuracy": lambda: attacked(SMALL, at_least=None, **words),
        "robust accuracy, proven": lambda: attacked(SMALL, at_least=None, certify="auto", **words),
        "certified accuracy": lambda: measure.measure_certified_accuracy(MODEL, FEW, SMALL, **words, **FGSM),
        "robust score": lambda: measure.measure_robust_score(MODEL, FEW, SMALL, task="classification", **words, **FGSM),
        "shift": lambda: measure.measure_shift_accuracy(MODEL, DATA, NOISE, severity=1, **words),
        "consistency": lambda: measure.measure_consistency(MODEL, DATA, NOISE, severity=1, **words),
        "corruptions": lambda: measure.measure_corruption_robustness(
            MODEL, DATA, corruptions=[NOISE], severities=[1], **words
        ),
        "cue": lambda: measure.measure_no_spurious_feature(MODEL, DATA, CORNER, **words),
        "frames": lambda: measure.measure_stable_under_perturbations(MODEL, moving(FEW), **words),
        "groups": lambda: measure.measure_worst_group_accuracy(MODEL, DATA, Y, **words),
        "other data": lambda: measure.measure_transfer_accuracy(MODEL, DATA, NEW, **words),
        "Brier score": lambda: measure.measure_calibrated(MODEL, DATA, **words),
    }


def mixed(**claim: Any) -> Result:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(5))
    return measure.measure_transfer_accuracy(MODEL, DATA, (X[order], Y[order]), **claim)


def titled(title: str, claims: dict[str, Claim]) -> dict[str, Claim]:
    return {f"{name}, {title}": claim for name, claim in claims.items()}


ITSELF: dict[str, Claim] = {
    **titled("the same object", beside(MODEL)),
    **titled("equal weights", beside(loaded(MODEL))),
    "accuracy, a function around it": lambda: measure.measure_accuracy(
        MODEL, DATA, no_worse_than=around(MODEL), **FALL
    ),
    "accuracy, a deep copy": lambda: measure.measure_accuracy(MODEL, DATA, no_worse_than=twin(MODEL), **FALL),
    "accuracy, as a classifier": lambda: measure.measure_accuracy(
        MODEL, DATA, no_worse_than=as_classifier(MODEL), **FALL
    ),
    "accuracy, its scores": lambda: measure.measure_accuracy(
        MODEL, DATA, no_worse_than=scores_model(lambda x: MODEL(torch.as_tensor(x)).numpy()), **FALL
    ),
    "robust accuracy, a function around it": lambda: attacked(
        SMALL, at_least=None, no_worse_than=around(MODEL), **FALL
    ),
    "shift, a function around it": lambda: measure.measure_shift_accuracy(
        MODEL, DATA, NOISE, severity=1, no_worse_than=around(MODEL), **FALL
    ),
    "rate, the same object": lambda: measure.measure_rate(RIGHT, no_worse_than=RIGHT, tolerance=0.05),
    "rate, equal rows": lambda: measure.measure_rate(
        RIGHT, no_worse_than=recorded(without(400, range(20))), tolerance=0.05
    ),
    "rate of a set, equal rows": lambda: measure.measure_rate(
        RIGHT, no_worse_than=recorded(without(400, range(20))), scope="set"
    ),
    "rate of a set, equal scores": lambda: measure.measure_rate(
        recorded(SCORES), no_worse_than=recorded(SCORES), scope="set"
    ),
    "asked, the same function": lambda: measure.measure_rate(
        subtracts, items(400), score=right, no_worse_than=subtracts, **FALL
    ),
    "asked, a function around it": lambda: measure.measure_rate(
        subtracts, items(400), score=right, no_worse_than=around(subtracts), **FALL
    ),
}

EQUAL_SETS: dict[str, Claim] = {
    "other data, the same object": lambda: measure.measure_transfer_accuracy(MODEL, DATA, DATA, max_drop=0.2),
    "other data, a copy": lambda: measure.measure_transfer_accuracy(MODEL, DATA, (X.clone(), Y.clone()), max_drop=0.2),
    "other data, from behind": lambda: measure.measure_transfer_accuracy(
        MODEL, DATA, (X.flip(0), Y.flip(0)), max_drop=0.2
    ),
    "other data, mixed": lambda: mixed(max_drop=0.2),
    "other data, mixed, at least": lambda: mixed(at_least=0.9),
    "other data, a part": lambda: measure.measure_transfer_accuracy(MODEL, DATA, (X[:100], Y[:100]), max_drop=0.2),
    "other data, a part, at least": lambda: measure.measure_transfer_accuracy(
        MODEL, DATA, (X[:100], Y[:100]), at_least=0.9
    ),
    "other data, all but one": lambda: measure.measure_transfer_accuracy(
        MODEL, DATA, (torch.cat([X[:-1], NEW[0][-1:]]), Y), max_drop=0.2
    ),
    "other data, copies": lambda: measure.measure_transfer_accuracy(
        MODEL, DATA, copied((X[:20], Y[:20]), 10), max_drop=0.2
    ),
    "other data, compared, the same object": lambda: measure.measure_transfer_accuracy(
        MODEL, DATA, DATA, no_worse_than=FLAT
    ),
    "outside, the data themselves": lambda: measure.measure_ood_rejected(MODEL, DATA, X, max_fpr=0.97),
    "outside, one class of the data": lambda: measure.measure_ood_rejected(MODEL, DATA, X[Y == 1], max_fpr=0.99),
    "runs, a file written twice": lambda: measure.measure_consistent_runs(
        Outcomes.of([{"item": f"q{i}", "score": i % 7 != 0} for i in range(400)] * 2), max_flip_rate=0.1
    ),
    "rate, a judge without labels": lambda: measure.measure_rate(RIGHT, at_least=0.5, judge=JudgeLabels(None)),
    "rate, a judge of chance": lambda: measure.measure_rate(
        recorded(without(400, range(0, 400, 8))),
        at_least=0.5,
        judge=JudgeLabels(recorded(without(200, range(0, 200, 9))), drawn="random"),
    ),
    "reliable, a file written twice": lambda: measure.measure_reliable(
        Outcomes.of([{"item": f"q{i}", "score": i % 7 != 0} for i in range(400)] * 2), k=2, at_least=0.7
    ),
    "reliable, copies of one run": lambda: measure.measure_reliable(
        runs_of(np.repeat((np.arange(400) % 10 > 0).astype(float)[:, None], 5, 1)), k=5, at_least=0.8
    ),
    "reliable, one run of each item": lambda: measure.measure_reliable(RIGHT, k=2, at_least=0.5),
    "every item, a file written five times": lambda: measure.measure_worst_item_rate(
        Outcomes.of([{"item": f"q{i}", "score": True} for i in range(40) for _ in range(12)]), at_least=0.6
    ),
    "runs, one of each item": lambda: measure.measure_consistent_runs(RIGHT, max_flip_rate=0.1),
    "subclasses, no difference": lambda: measure.measure_subpopulation_shift(
        Pairs(), same_in_both(), SPLIT, max_drop=0.2, bounds=(0, 1)
    ),
    "calibration, fitted on the same": lambda: measure.measure_calibrated(MODEL, DATA, fit_data=DATA, max_brier=0.5),
}

STILL_FRAMES = moving(FEW, still=True)
NOTHING_ON: Any = FunctionCue("nothing", on=lambda x: x.clone())
SELDOM_ON: Any = FunctionCue("seldom", on=lambda x: some_dimmed(x, 1, x))


def under(shift: Any, words: dict[str, Any]) -> dict[str, Claim]:
    """Each claim under a shift: its loosest threshold, and compared with another model."""
    beside_other: dict[str, Any] = {"no_worse_than": OTHER, "tolerance": 0.05}
    return {
        "shift": lambda: measure.measure_shift_accuracy(MODEL, DATA, shift, at_least=0.9, **words),
        "fall": lambda: measure.measure_shift_accuracy(MODEL, DATA, shift, max_drop=0.1, **words),
        "shift, compared": lambda: measure.measure_shift_accuracy(MODEL, DATA, shift, **beside_other, **words),
        "consistency": lambda: measure.measure_consistency(MODEL, DATA, shift, max_flip_rate=0.1, **words),
        "consistency, compared": lambda: measure.measure_consistency(MODEL, DATA, shift, **beside_other, **words),
        "corruptions": lambda: measure.measure_corruption_robustness(
            MODEL, DATA, corruptions=[shift], severities=[1], min_accuracy=0.9, **words
        ),
        "corruptions, compared": lambda: measure.measure_corruption_robustness(
            MODEL, DATA, corruptions=[shift], severities=[1], **beside_other, **words
        ),
        "Brier score": lambda: measure.measure_calibrated(MODEL, DATA, shift, max_brier=0.3, **words),
        "Brier score, compared": lambda: measure.measure_calibrated(MODEL, DATA, shift, **beside_other, **words),
        "selective": lambda: measure.measure_selective_accuracy(
            MODEL, DATA, shift, coverage=0.9, at_least=0.9, **words
        ),
        "strategy": lambda: measure.measure_robust_to(
            MODEL, DATA, st.just(shift), at_least=0.9, max_examples=3, **words
        ),
    }


def moved_masks(x: Tensor, severity: int, key: Tensor) -> Tensor:
    """The last row, whose pixels have no label in `UNLABELLED`, is lost."""
    return without_last(x, severity, key)


moved_masks.moves = False  # type: ignore[attr-defined]


UNLABELLED = masks(X).index_fill(1, torch.tensor([SIDE - 1]), 9)
SEGMENTS: dict[str, Any] = {"task": Segmentation(2, ignore=9, floor=0.9)}

UNCHANGED: dict[str, Claim] = {
    **titled("a shift of nothing", under(unmoved, {})),
    **titled(
        "a shift of nothing, population", {k: v for k, v in under(unmoved, POPULATION).items() if k != "strategy"}
    ),
    **titled("a shift within rounding", under(within_rounding, {})),
    **titled("a shift of one in 20", under(some_dimmed, {})),
    "invariance under a change of nothing": lambda: measure.measure_invariant(adds, items(400), dict, at_least=0.5),
    "invariance under a change of one in 40": lambda: measure.measure_invariant(
        adds, items(400), seldom_loud, at_least=0.9
    ),
    "invariance under a change and one of nothing": lambda: measure.measure_invariant(
        adds, items(400), [loud, dict], at_least=0.5
    ),
    "expectation of a change of nothing": lambda: measure.measure_directional(
        adds, items(400), dict, score=right, expect="not_lower", at_least=0.5
    ),
    "rate under a change of nothing": lambda: measure.measure_worst_change_rate(
        adds, items(400), dict, score=right, at_least=0.5
    ),
    "fall by a change of nothing": lambda: measure.measure_worst_change_rate(
        adds, items(400), dict, score=right, max_fall=0.05
    ),
    "frames that stand still": lambda: measure.measure_stable_under_perturbations(MODEL, STILL_FRAMES, max_mfp=0.1),
    "frames that stand still, compared": lambda: measure.measure_stable_under_perturbations(
        MODEL, STILL_FRAMES, no_worse_than=OTHER, tolerance=0.05
    ),
    "frames that stand still, distance": lambda: measure.measure_stable_under_perturbations(
        MODEL, STILL_FRAMES, max_mt5d=1.0
    ),
    "cue of nothing": lambda: measure.measure_no_spurious_feature(MODEL, DATA, NOTHING_ON, max_flip_rate=0.1),
    "cue of nothing, recall": lambda: measure.measure_no_spurious_feature(MODEL, DATA, NOTHING_ON, max_recall_drop=0.1),
    "cue of nothing, compared": lambda: measure.measure_no_spurious_feature(
        MODEL, DATA, NOTHING_ON, no_worse_than=OTHER, tolerance=0.05
    ),
    "cue of one in 20": lambda: measure.measure_no_spurious_feature(MODEL, DATA, SELDOM_ON, max_flip_rate=0.1),
    "cue of one in 20, compared": lambda: measure.measure_no_spurious_feature(
        MODEL, DATA, SELDOM_ON, no_worse_than=OTHER, tolerance=0.05
    ),
    "strategy of no example but the simplest": lambda: measure.measure_robust_to(
        MODEL, DATA, strategies.poses(degrees=0, translation=0, zoom=0), at_least=0.9, max_examples=1
    ),
    "strategy within a radius of 0": lambda: measure.measure_robust_to(
        MODEL, DATA, strategies.perturbations(Linf(0.0)), at_least=0.9, max_examples=3
    ),
    "masks, only what has no label changes": lambda: measure.measure_shift_accuracy(
        segments, (X, UNLABELLED), moved_masks, at_least=0.9, **SEGMENTS
    ),
    "masks, nothing has a label": lambda: measure.measure_accuracy(
        segments, (X, torch.full_like(masks(X), 9)), at_least=0.9, **SEGMENTS
    ),
}

WORDS_OFF = {"words": {"excellent": ("superb",)}}
NO_ROOM: dict[str, Claim] = {
    "Linf(0)": lambda: attacked(Linf(0)),
    "Linf(8 // 255)": lambda: attacked(Linf(8 // 255)),
    "Linf(0), proven": lambda: attacked(Linf(0), certify="auto"),
    "Linf(0) by fgsm": lambda: attacked(Linf(0), **FGSM),
    "Linf(0), population": lambda: attacked(Linf(0), data=DATA, **POPULATION),
    "Linf(0), compared": lambda: attacked(Linf(0), at_least=None, no_worse_than=OTHER, **FALL),
    "Linf(1e-9)": lambda: attacked(Linf(1e-9)),
    "L2(0)": lambda: attacked(L2(0)),
    "L1(0)": lambda: attacked(L1(0)),
    "L0(0)": lambda: attacked(L0(0)),
    "a patch of no pixels": lambda: attacked(Patch(0, 0), attack=PatchGradient(places=2, kept=1, tries=1, refining=1)),
    "no pose": lambda: attacked(Spatial(rotation=0, translation=0, scale=0), attack=SpatialGrid()),
    "a pose of almost nothing": lambda: attacked(Spatial(rotation=1e-6, translation=0, scale=0), attack=SpatialGrid()),
    "a noise that adds nothing": lambda: sounds(Snr(400.0)),
    "no edit": lambda: texts(Edits(0)),
    "edits that keep everything": lambda: texts(Edits(1, keep=r"(?s).+")),
    "edits of words that are not there": lambda: texts(Edits(1, kinds=(), **WORDS_OFF)),
    "nothing appended": lambda: texts(Append(0)),
    "nothing inserted": lambda: texts(Insert(0)),
    "no column may change": lambda: rows(Columns({})),
    "fixed columns": lambda: rows(Columns({0: Fixed(), 1: Fixed()})),
    "columns within nothing": lambda: rows(Columns({0: Within(0, 0), 1: Within(0, 0)})),
    "no column at once": lambda: rows(Columns({0: Within(-0.1, 0.1)}, max_changed=0)),
    "a column's only value": lambda: rows(Columns({3: AnyOf(1)})),
    "whole steps of nothing": lambda: rows(Columns({4: Whole(0)})),
    "a relation that forbids every change": lambda: rows(
        Columns({2: Within(-0.1, 0.1)}, where=[Linear({2: 1}, equals=5.0)])
    ),
    "certified accuracy, Linf(0)": lambda: measure.measure_certified_accuracy(
        MODEL, FEW, Linf(0), at_least=0.5, **FGSM
    ),
    "certified accuracy, L2(0)": lambda: measure.measure_certified_accuracy(MODEL, FEW, L2(0), at_least=0.5),
    "certified accuracy, Linf(0), compared": lambda: measure.measure_certified_accuracy(
        MODEL, FEW, Linf(0), no_worse_than=OTHER, **FALL, **FGSM
    ),
    "robust score, Linf(0)": lambda: measure.measure_robust_score(
        MODEL, FEW, Linf(0), task="classification", at_least=0.5, **FGSM
    ),
    "robust score, Linf(0), compared": lambda: measure.measure_robust_score(
        MODEL, FEW, Linf(0), task="classification", no_worse_than=OTHER, **FALL, **FGSM
    ),
    "robust score of masks, Linf(0)": lambda: measure.measure_robust_score(
        segments, (X, masks(X)), Linf(0), task=Segmentation(2), at_least=0.5
    ),
    "universal, Linf(0)": lambda: measure.measure_no_universal_perturbation(
        MODEL, DATA, Linf(0), iterations=3, max_fooling_rate=0.2
    ),
    "universal, L2(0)": lambda: measure.measure_no_universal_perturbation(
        MODEL, DATA, L2(0), iterations=3, max_fooling_rate=0.2
    ),
    "shift within Linf(0)": lambda: measure.measure_shift_accuracy(
        MODEL, DATA, strategies.Perturbation(Linf(0)), at_least=0.9
    ),
    "no way to the bound": lambda: measure.measure_shift_accuracy(
        MODEL, DATA, strategies.Perturbation(Linf(0.1), share=0.0), at_least=0.9
    ),
    "an attack that proposes the sample": lambda: attacked(SMALL, attack=Idle()),
    "an attack that proposes the sample, compared": lambda: attacked(
        SMALL, attack=Idle(), at_least=None, no_worse_than=OTHER, **FALL
    ),
    "a score by an attack that proposes the sample": lambda: measure.measure_robust_score(
        MODEL, FEW, SMALL, task="classification", attack=Idle(), at_least=0.5
    ),
    "probabilities by fgsm": lambda: attacked(SMALL, Softmax(MODEL), **FGSM),
    "probabilities by pgd": lambda: attacked(SMALL, Softmax(MODEL), attack=PGD(steps=5)),
    "probabilities, compared": lambda: attacked(
        SMALL, Softmax(MODEL), at_least=None, no_worse_than=Softmax(OTHER), **FALL, **FGSM
    ),
    "probabilities, a universal one": lambda: measure.measure_no_universal_perturbation(
        Softmax(MODEL), DATA, SMALL, iterations=3, max_fooling_rate=0.2
    ),
    "L2(8 / 255) on pictures": lambda: attacked(L2(8 / 255), WIDE_MODEL, WIDE),
    "L2(8 / 255) on pictures by fgsm": lambda: attacked(L2(8 / 255), WIDE_MODEL, WIDE, **FGSM),
    "L1(8 / 255) on pictures": lambda: attacked(L1(8 / 255), WIDE_MODEL, WIDE),
    "certified accuracy, L2(8 / 255) on pictures": lambda: measure.measure_certified_accuracy(
        WIDE_MODEL, WIDE, L2(8 / 255), at_least=0.5
    ),
    "8 / 255 on grey levels": lambda: attacked(
        Linf(8 / 255), lambda x: MODEL(x / 255), (X[:40] * 255, Y[:40]), bounds=(0, 255)
    ),
    "a universal one of 8 / 255 on grey levels": lambda: measure.measure_no_universal_perturbation(
        lambda x: MODEL(x / 255),
        (X * 255, Y),
        Linf(8 / 255),
        iterations=3,
        max_fooling_rate=0.2,
        bounds=(0, 255),
    ),
}


class Wide(nn.Module):
    """`Bright` on the means of colours and of squares of larger pictures."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = MODEL(nn.functional.avg_pool2d(x.mean(1, keepdim=True), 3))
        return logits


WIDE_MODEL = Wide().eval()
WIDE = (X[:20].repeat_interleave(3, 2).repeat_interleave(3, 3).expand(-1, 3, -1, -1).contiguous(), Y[:20])


def of(model: Any, share: float, data: Data = DATA) -> dict[str, Claim]:
    """Every claim on a model, at this share and at thresholds that a constant model keeps."""
    few = (data[0][:40], data[1][:40])
    return {
        "accuracy": lambda: measure.measure_accuracy(model, data, at_least=share),
        "robust accuracy": lambda: attacked(SMALL, model, few, at_least=share),
        "robust accuracy, proven": lambda: attacked(SMALL, model, few, at_least=share, certify="auto"),
        "certified accuracy": lambda: measure.measure_certified_accuracy(model, few, SMALL, at_least=share, **FGSM),
        "robust score": lambda: measure.measure_robust_score(
            model, few, SMALL, task="classification", at_least=share, **FGSM
        ),
        "smallest perturbation": lambda: measure.measure_min_perturbation(model, few, "l2", at_least=0.1),
        "universal": lambda: measure.measure_no_universal_perturbation(
            model, data, SMALL, iterations=3, max_fooling_rate=0.2
        ),
        "shift": lambda: measure.measure_shift_accuracy(model, data, NOISE, severity=1, at_least=share),
        "fall": lambda: measure.measure_shift_accuracy(model, data, NOISE, severity=1, max_drop=0.1),
        "consistency": lambda: measure.measure_consistency(model, data, NOISE, severity=1, max_flip_rate=0.1),
        "corruptions": lambda: measure.measure_corruption_robustness(
            model, data, corruptions=[NOISE], severities=[1], min_accuracy=share
        ),
        "corruptions, fall": lambda: measure.measure_corruption_robustness(
            model, data, corruptions=[NOISE], severities=[1], max_drop=0.1
        ),
        "corruptions, beside a table": lambda: measure.measure_corruption_robustness(
            model, data, corruptions=[NOISE], severities=[1], max_mce=1.6, reference=ERRORS
        ),
        "strategy": lambda: measure.measure_robust_to(model, data, LIGHT, at_least=share, max_examples=3),
        "groups": lambda: measure.measure_worst_group_accuracy(
            model, data, [i // 4 % 2 for i in range(len(data[1]))], at_least=share, min_group_size=5
        ),
        "other data": lambda: measure.measure_transfer_accuracy(model, data, NEW, at_least=share),
        "other data, fall": lambda: measure.measure_transfer_accuracy(model, data, NEW, max_drop=0.1),
        "Brier score": lambda: measure.measure_calibrated(model, data, max_brier=1.9),
        "calibration error": lambda: measure.measure_calibrated(model, data, max_ece=0.9),
        "selective": lambda: measure.measure_selective_accuracy(model, data, coverage=0.5, at_least=share),
        "frames": lambda: measure.measure_stable_under_perturbations(model, moving(few), max_mfp=0.1),
        "frames, distance": lambda: measure.measure_stable_under_perturbations(model, moving(few), max_mt5d=1.0),
        "cue": lambda: measure.measure_no_spurious_feature(model, data, CORNER, max_flip_rate=0.1),
        "cue, recall": lambda: measure.measure_no_spurious_feature(model, data, CORNER, max_recall_drop=0.1),
        "outside": lambda: measure.measure_ood_rejected(model, data, NEW[0], max_fpr=0.97),
        "subclasses": lambda: measure.measure_subpopulation_shift(
            Constant(0, 2).eval(), split_data(0.1), SPLIT, max_drop=0.2
        ),
    }


def only_constants() -> dict[str, Claim]:
    """Comparisons of constant models with one another."""
    words: dict[str, Any] = {"no_worse_than": SECOND, "tolerance": 0.05}
    return {
        "accuracy, beside another constant": lambda: measure.measure_accuracy(FLAT, DATA, **words),
        "robust accuracy, beside another constant": lambda: attacked(SMALL, FLAT, at_least=None, **words),
        "consistency, beside another constant": lambda: measure.measure_consistency(
            FLAT, DATA, NOISE, severity=1, **words
        ),
        "consistency, beside a model": lambda: measure.measure_consistency(
            FLAT, DATA, NOISE, severity=1, no_worse_than=MODEL
        ),
        "frames, beside a model": lambda: measure.measure_stable_under_perturbations(
            FLAT, moving(FEW), no_worse_than=MODEL, tolerance=0.05
        ),
        "cue, beside a model": lambda: measure.measure_no_spurious_feature(
            FLAT, DATA, CORNER, no_worse_than=MODEL, tolerance=0.05
        ),
        "Brier score, beside another constant": lambda: measure.measure_calibrated(FLAT, DATA, **words),
        "shift, beside another constant": lambda: measure.measure_shift_accuracy(
            FLAT, DATA, NOISE, severity=1, **words
        ),
    }


CONSTANT: dict[str, Claim] = {
    **titled("constant logits", of(FLAT, 0.2)),
    # It is not equally sure of each sample: its confidence may well be calibrated.
    **titled("one class", {k: v for k, v in of(FIRST, 0.2).items() if k != "calibration error"}),
    **only_constants(),
    "masks, all background": lambda: measure.measure_accuracy(
        background, (X, masks(X)), task=Segmentation(2), at_least=0.5
    ),
    "masks under attack, all background": lambda: measure.measure_robust_score(
        background, (X, masks(X)), SMALL, task=Segmentation(2), at_least=0.5
    ),
    "masks under a shift, all background": lambda: measure.measure_shift_accuracy(
        background, (X, masks(X)), NOISE, severity=1, task=Segmentation(2, floor=0.5), at_least=0.5
    ),
    "numbers, one answer": lambda: measure.measure_accuracy(
        same_number, (X, 0.1 + 0.1 * NUMBERS), task=Regression(0.1), at_least=0.9
    ),
    "numbers under attack, one answer": lambda: measure.measure_robust_accuracy(
        same_number, (X, 0.1 + 0.1 * NUMBERS), SMALL, task=Regression(0.1), at_least=0.9
    ),
    "numbers, a tolerance of everything": lambda: measure.measure_robust_accuracy(
        first_pixel, (X, NUMBERS), SMALL, task=Regression(100.0), at_least=0.9
    ),
    "several labels, one answer": lambda: measure.measure_accuracy(
        lambda x: 0 * x[:, 0, 0, :CLASSES] - 1, (X, SETS), task=MultiLabel(score_by="hamming", floor=0.5), at_least=0.5
    ),
    "asked, one answer": lambda: measure.measure_rate(
        always_one,
        [{"item": f"q{i}", "prompt": f"is {i} prime?", "expected": 1 if i % 10 else 2} for i in range(400)],
        score=right,
        at_least=0.7,
    ),
    "reliable, one answer": lambda: measure.measure_reliable(
        always_one,
        [{"item": f"q{i}", "prompt": f"is {i} prime?", "expected": 1 if i % 10 else 2} for i in range(400)],
        score=right,
        k=2,
        at_least=0.7,
    ),
    "invariance of one answer": lambda: measure.measure_invariant(always_one, items(400), loud, at_least=0.9),
    "score of one answer that does not fall": lambda: measure.measure_directional(
        always_one, items(400), loud, score=lambda *_: 0.5, expect="not_lower", at_least=0.9
    ),
    "rate under a change, one answer": lambda: measure.measure_worst_change_rate(
        always_one,
        [{"item": f"q{i}", "prompt": f"is {i} prime?", "expected": 1 if i % 10 else 2} for i in range(400)],
        loud,
        score=right,
        at_least=0.7,
    ),
    "fall by a change, never right": lambda: measure.measure_worst_change_rate(
        adds,
        items(400, expected=["?"] * 400),
        loud,
        score=lambda answer, item: answer == item["expected"],
        max_fall=0.1,
    ),
    "runs of one answer": lambda: measure.measure_consistent_runs(
        always_one, items(400), score=right, max_flip_rate=0.1
    ),
    "runs that are all wrong": lambda: measure.measure_consistent_runs(runs_of(np.zeros((400, 2))), max_flip_rate=0.1),
}

REACHED: dict[str, Claim] = {
    "accuracy, three classes from behind": lambda: measure.measure_accuracy(reversed_labels, THREE, at_least=0.3),
    "robust accuracy, three classes from behind": lambda: attacked(SMALL, reversed_labels, THREE, at_least=0.3),
    "accuracy, most of one class": lambda: measure.measure_accuracy(MODEL, MOSTLY, at_least=0.7),
    "accuracy of a population, most of one class": lambda: measure.measure_accuracy(
        MODEL, MOSTLY, at_least=0.7, **POPULATION
    ),
    "robust accuracy, most of one class": lambda: attacked(SMALL, MODEL, MOSTLY, at_least=0.7),
    "robust accuracy, .2 of four classes": lambda: attacked(SMALL, at_least=0.2),
    "certified accuracy, .2 of four classes": lambda: measure.measure_certified_accuracy(
        MODEL, FEW, SMALL, at_least=0.2, **FGSM
    ),
    "robust score, .2 of four classes": lambda: measure.measure_robust_score(
        MODEL, FEW, SMALL, task="classification", at_least=0.2, **FGSM
    ),
    "shift, .2 of four classes": lambda: measure.measure_shift_accuracy(MODEL, DATA, NOISE, severity=1, at_least=0.2),
    "corruptions, .2 of four classes": lambda: measure.measure_corruption_robustness(
        MODEL, DATA, corruptions=[NOISE], severities=[1], min_accuracy=0.2
    ),
    "strategy, .2 of four classes": lambda: measure.measure_robust_to(MODEL, DATA, LIGHT, at_least=0.2, max_examples=3),
    "other data, .2 of four classes": lambda: measure.measure_transfer_accuracy(MODEL, DATA, NEW, at_least=0.2),
    "selective, .2 of four classes": lambda: measure.measure_selective_accuracy(
        MODEL, DATA, coverage=0.9, at_least=0.2
    ),
    "selective, most of one class": lambda: measure.measure_selective_accuracy(
        MODEL, MOSTLY, coverage=0.9, at_least=0.7
    ),
    "groups, a constant reaches it": lambda: measure.measure_worst_group_accuracy(
        MODEL, DATA, [i // 4 % 2 for i in range(N)], at_least=0.2
    ),
    "Brier score, a constant reaches it": lambda: measure.measure_calibrated(MODEL, DATA, max_brier=1.5),
    "Brier score, the shares of the classes reach it": lambda: measure.measure_calibrated(MODEL, DATA, max_brier=0.76),
    "outside, a score at random reaches it": lambda: measure.measure_ood_rejected(MODEL, DATA, 0.1 * X, max_fpr=0.96),
    "masks, mostly background": lambda: measure.measure_accuracy(
        segments, (X, masks(X)), task=Segmentation(2), at_least=0.5
    ),
    "masks under attack, mostly background": lambda: measure.measure_robust_score(
        segments, (X, masks(X)), SMALL, task=Segmentation(2), at_least=0.5
    ),
    "several labels, none of them": lambda: measure.measure_accuracy(
        lambda x: 20 * (x[:, 0, 0, :CLASSES] - 0.35),
        (X, torch.eye(CLASSES).long()[Y]),
        task=MultiLabel(score_by="hamming", floor=0.5),
        at_least=0.5,
    ),
    "one class alone": lambda: measure.measure_accuracy(MODEL, ONE, at_least=0.9),
    "one class alone, population": lambda: measure.measure_accuracy(MODEL, ONE, at_least=0.9, **POPULATION),
    "one class alone, attacked": lambda: attacked(SMALL, MODEL, ONE, at_least=0.9),
    "one class alone, proven": lambda: measure.measure_certified_accuracy(MODEL, ONE, SMALL, at_least=0.9, **FGSM),
    "one class alone, shifted": lambda: measure.measure_shift_accuracy(MODEL, ONE, NOISE, severity=1, at_least=0.9),
    "one class alone, fall": lambda: measure.measure_shift_accuracy(MODEL, ONE, NOISE, severity=1, max_drop=0.1),
    "one class alone, calibrated": lambda: measure.measure_calibrated(MODEL, ONE, max_brier=0.5),
    "one class alone, compared": lambda: measure.measure_accuracy(MODEL, ONE, no_worse_than=OTHER, **FALL),
    "one class alone, other data": lambda: measure.measure_transfer_accuracy(
        MODEL, DATA, (NEW[0][NEW[1] == 0], NEW[1][NEW[1] == 0]), at_least=0.9
    ),
}


def of_copies(data: Data, words: dict[str, Any]) -> dict[str, Claim]:
    """Claims about the population on few samples that are there many times."""
    n = len(data[1])
    new = copied((NEW[0][:5], NEW[1][:5]), n // 5) if data is FIVE else NEW
    return {
        "accuracy": lambda: measure.measure_accuracy(MODEL, data, at_least=0.7, **words),
        "robust accuracy": lambda: attacked(SMALL, MODEL, data, at_least=0.7, **words),
        "certified accuracy": lambda: measure.measure_certified_accuracy(
            MODEL, data, SMALL, at_least=0.7, **FGSM, **words
        ),
        "robust score": lambda: measure.measure_robust_score(
            MODEL, data, SMALL, task="classification", at_least=0.7, **FGSM, **words
        ),
        "smallest perturbation": lambda: measure.measure_min_perturbation(
            MODEL, data, "l2", attack="fmn", at_least=0.02, **words
        ),
        "universal": lambda: measure.measure_no_universal_perturbation(
            MODEL, data, SMALL, iterations=3, max_fooling_rate=0.3, **words
        ),
        "shift": lambda: measure.measure_shift_accuracy(MODEL, data, NOISE, severity=1, at_least=0.7, **words),
        "fall": lambda: measure.measure_shift_accuracy(MODEL, data, NOISE, severity=1, max_drop=0.3, **words),
        "consistency": lambda: measure.measure_consistency(MODEL, data, NOISE, severity=1, max_flip_rate=0.3, **words),
        "corruptions": lambda: measure.measure_corruption_robustness(
            MODEL, data, corruptions=[NOISE], severities=[1], min_accuracy=0.7, **words
        ),
        "groups": lambda: measure.measure_worst_group_accuracy(
            MODEL, data, [i % 5 % 2 for i in range(n)], at_least=0.7, **words
        ),
        "other data": lambda: measure.measure_transfer_accuracy(MODEL, DATA, new, at_least=0.7, **words),
        "other data, fall": lambda: measure.measure_transfer_accuracy(MODEL, data, new, max_drop=0.3, **words),
        "Brier score": lambda: measure.measure_calibrated(MODEL, data, max_brier=0.4, **words),
        "selective": lambda: measure.measure_selective_accuracy(MODEL, data, coverage=0.9, at_least=0.7, **words),
        "cue": lambda: measure.measure_no_spurious_feature(MODEL, data, CORNER, max_flip_rate=0.3, **words),
        "outside": lambda: measure.measure_ood_rejected(MODEL, data, 0.1 * data[0], max_fpr=0.5, **words),
        "compared": lambda: measure.measure_accuracy(MODEL, data, no_worse_than=OTHER, tolerance=0.1, **words),
        "frames": lambda: measure.measure_stable_under_perturbations(MODEL, moving(data), max_mfp=0.2, **words),
    }


HUNDREDS = without(400, range(20))
DEPENDENT: dict[str, Claim] = {
    **titled("copies of five", of_copies(FIVE, POPULATION)),
    **titled("one cluster", of_copies((X[:100], Y[:100]), POPULATION | {"cluster": ["video"] * 100})),
    "rate, all of one prompt": lambda: measure.measure_rate(
        recorded(HUNDREDS, prompt=["the same"] * 400), at_least=0.8
    ),
    "rate, five prompts": lambda: measure.measure_rate(
        recorded(HUNDREDS, prompt=[f"one of {i % 5}" for i in range(400)]), at_least=0.8
    ),
    "rate, compared, all of one prompt": lambda: measure.measure_rate(
        recorded(HUNDREDS, prompt=["the same"] * 400),
        no_worse_than=recorded(without(400, range(19)), prompt=["the same"] * 400),
        tolerance=0.1,
    ),
    "groups of items, all of one prompt": lambda: measure.measure_worst_group_rate(
        recorded(HUNDREDS, prompt=["the same"] * 400, group=["a", "b"] * 200), at_least=0.7
    ),
    "asked, all of one prompt": lambda: measure.measure_rate(
        two,
        [{"item": f"q{i}", "prompt": "1 + 1", "expected": 2} for i in range(400)],
        score=right,
        at_least=0.8,
    ),
    "runs, all of one prompt": lambda: measure.measure_consistent_runs(
        Outcomes.of(
            [
                {"item": f"q{i}", "prompt": "the same", "run": str(k), "score": i % 9 > 0}
                for i in range(400)
                for k in range(2)
            ]
        ),
        max_flip_rate=0.1,
    ),
    "reliable, all of one prompt": lambda: measure.measure_reliable(
        Outcomes.of(
            [
                {"item": f"q{i}", "prompt": "the same", "run": str(k), "score": (i + k) % 40 > 0}
                for i in range(400)
                for k in range(2)
            ]
        ),
        k=2,
        at_least=0.8,
    ),
    "reliable, two clusters": lambda: measure.measure_reliable(
        runs_of((np.arange(800).reshape(400, 2) % 37 > 0).astype(float)),
        k=2,
        at_least=0.7,
        cluster=[f"passage {i // 400}" for i in range(800)],
    ),
    "rate, one cluster": lambda: measure.measure_rate(recorded(HUNDREDS), at_least=0.8, cluster=["passage"] * 400),
    "rate, two clusters": lambda: measure.measure_rate(
        recorded(HUNDREDS), at_least=0.8, cluster=[f"passage {i // 200}" for i in range(400)]
    ),
    "rate, compared, one cluster": lambda: measure.measure_rate(
        recorded(HUNDREDS),
        no_worse_than=recorded(without(400, range(19))),
        tolerance=0.1,
        cluster=["passage"] * 400,
    ),
    "asked, one cluster": lambda: measure.measure_rate(
        adds, items(400), score=right, at_least=0.8, cluster=["passage"] * 400
    ),
    "accuracy, five clusters": lambda: measure.measure_accuracy(
        MODEL, DATA, at_least=0.7, cluster=clustered(N, 40), **POPULATION
    ),
}

EMPTY: dict[str, dict[str, Claim]] = {
    "undecided": UNDECIDED,
    "beside itself": ITSELF,
    "equal sets": EQUAL_SETS,
    "nothing changes": UNCHANGED,
    "no room": NO_ROOM,
    "constant": CONSTANT,
    "a constant reaches it": REACHED,
    "dependent": DEPENDENT,
}
"""Claims of which none may be green, by what is wrong with them."""

LARGE = 2000
MANY = numbered(LARGE)
SURE = of(MODEL, 0.6)
UNFIT = {
    "subclasses",
    "corruptions, beside a table",
    "outside",
    "Brier score",
}
"""Rows of `of` that are of another model, or that no model should keep."""

BETTER: dict[str, Claim] = {
    "rate, 10 of 2000 lost, 9 gained": lambda: rates(LARGE, 10, 9, tolerance=0.02),
    "rate of a set, 2 of 100 lost, tolerance .03": lambda: rates(100, 2, tolerance=0.03, scope="set"),
    "rate of a set, as many lost as gained": lambda: rates(100, 3, 3, scope="set"),
    "rate of a set, some gained": lambda: rates(20, 0, 2, scope="set"),
    "rate, better scores": lambda: measure.measure_rate(
        recorded(list(np.tile(SCORES, 40))), no_worse_than=recorded(list(np.tile(WORSE_SCORES, 40))), tolerance=0.1
    ),
    "rate of a set, better scores": lambda: measure.measure_rate(
        recorded(SCORES), no_worse_than=recorded(WORSE_SCORES), scope="set"
    ),
    "asked of a set, some gained": lambda: measure.measure_rate(
        adds, items(40), score=right, no_worse_than=subtracts, scope="set"
    ),
    "asked, some gained": lambda: measure.measure_rate(
        adds, items(400), score=right, no_worse_than=subtracts, tolerance=0.05
    ),
    "accuracy, 2 of 100 lost, tolerance .02": lambda: compared(100, 2, tolerance=0.02),
    "accuracy, as many lost as gained": lambda: compared(100, 5, 5),
    "accuracy, some gained": lambda: compared(40, 0, 3),
    "accuracy of a population": lambda: compared(LARGE, 8, 9, tolerance=0.02, **POPULATION),
    "rate, two files with equal rows, of a system that has not changed": two_files,
    "robust accuracy, some gained": lambda: attacked(SMALL, MODEL, EDGED, no_worse_than=STEEP, at_least=None),
    "certified accuracy, some gained": lambda: measure.measure_certified_accuracy(
        MODEL, FEW, Linf(0.1), no_worse_than=LEANING, **FGSM
    ),
    "shift, some gained": lambda: measure.measure_shift_accuracy(KEPT, FORTY, dimmed_top, no_worse_than=FLIPS),
    "consistency, fewer flip": lambda: measure.measure_consistency(KEPT, FORTY, dimmed_top, no_worse_than=FLIPS),
    "corruptions, some gained": lambda: measure.measure_corruption_robustness(
        KEPT, FORTY, corruptions=[dimmed_top], severities=[1], no_worse_than=FLIPS
    ),
    "cue, fewer flip": lambda: measure.measure_no_spurious_feature(
        KEPT, FORTY, FunctionCue("dusk", on=lambda x: dimmed_top(x, 1, x)), no_worse_than=FLIPS
    ),
    "frames, fewer flips": lambda: measure.measure_stable_under_perturbations(
        KEPT, SequenceBenchmark(name="dusk", sequences={"tilt": FRAMES}, published=40), no_worse_than=FLIPS
    ),
    "groups, some gained": lambda: measure.measure_worst_group_accuracy(
        losing(60, ()), numbered(60), [i % 2 for i in range(60)], no_worse_than=losing(60, range(0, 12, 2))
    ),
    "other data, some gained": lambda: measure.measure_transfer_accuracy(KEPT, DATA, FORTY, no_worse_than=LOST),
    "Brier score, a gain": lambda: measure.measure_calibrated(KEPT, FORTY, no_worse_than=LOST),
    "masks, better scores": lambda: measure.measure_accuracy(
        segments, (X, masks(X)), task=Segmentation(2), no_worse_than=lambda x: segments(x - 0.1)
    ),
    "a population's threshold below the value": lambda: measure.measure_accuracy(
        losing(200, range(10)), numbered(200), at_least=0.85, **POPULATION
    ),
    "a population's groups": lambda: measure.measure_worst_group_accuracy(MODEL, DATA, Y, at_least=0.8, **POPULATION),
}

ANOTHER: dict[str, Claim] = {
    **titled("nearly equal weights", {k: v for k, v in beside(OTHER).items() if "population" not in k}),
    "the answers of a pair that differs": lambda: measure.measure_rate(
        recorded(without(400, range(20)), answer=[f"a {i}" for i in range(400)]),
        no_worse_than=recorded(without(400, range(20)), answer=[f"b {i}" for i in range(400)]),
        scope="set",
    ),
}

OTHER_SETS: dict[str, Claim] = {
    "other data": lambda: measure.measure_transfer_accuracy(MODEL, DATA, NEW, at_least=0.8),
    "other data, fall": lambda: measure.measure_transfer_accuracy(MODEL, DATA, NEW, max_drop=0.2),
    "other data, fewer": lambda: measure.measure_transfer_accuracy(MODEL, DATA, pictures(60, 2), max_drop=0.2),
    "other data, darker": lambda: measure.measure_transfer_accuracy(MODEL, DATA, (0.5 * X, Y), max_drop=0.2),
    "other data, population": lambda: measure.measure_transfer_accuracy(MODEL, DATA, NEW, at_least=0.8, **POPULATION),
    "outside": lambda: measure.measure_ood_rejected(MODEL, DATA, 0.4 * NEW[0], max_fpr=0.2, score="max_logit"),
    "groups": lambda: measure.measure_worst_group_accuracy(MODEL, DATA, [i // 4 % 2 for i in range(N)], at_least=0.8),
    "groups by class": lambda: measure.measure_worst_group_accuracy(MODEL, DATA, Y, at_least=0.8),
    "groups of items": lambda: measure.measure_worst_group_rate(
        recorded(without(400, range(10)), group=["a", "b"] * 200), at_least=0.8
    ),
    "groups of items asked": lambda: measure.measure_worst_group_rate(
        adds, items(400, group=["a", "b"] * 200), score=right, at_least=0.8
    ),
    "invariance": lambda: measure.measure_invariant(adds, items(400), loud, at_least=0.9),
    "a score that does not fall": lambda: measure.measure_directional(
        adds, items(400), loud, score=right, expect="not_lower", at_least=0.9
    ),
    "rate under a change": lambda: measure.measure_worst_change_rate(adds, items(400), loud, score=right, at_least=0.9),
    "fall by a change": lambda: measure.measure_worst_change_rate(adds, items(400), loud, score=right, max_fall=0.05),
    "runs": lambda: measure.measure_consistent_runs(
        runs_of((np.arange(800).reshape(400, 2) % 37 > 0).astype(float)), max_flip_rate=0.2
    ),
    "reliable": lambda: measure.measure_reliable(
        runs_of((np.arange(800).reshape(400, 2) % 37 > 0).astype(float)), k=2, at_least=0.9
    ),
    "reliable, all right": lambda: measure.measure_reliable(runs_of(np.ones((400, 5))), k=5, at_least=0.9),
    "reliable, alike, as one run of each shows": lambda: measure.measure_reliable(
        runs_of(np.repeat((np.arange(400) > 1).astype(float)[:, None], 3, 1)), k=3, at_least=0.9
    ),
    "reliable, asked": lambda: measure.measure_reliable(adds, items(400), score=right, k=2, at_least=0.9),
    "every item, ten runs": lambda: measure.measure_worst_item_rate(runs_of(np.ones((40, 10))), at_least=0.6),
    "every item of a set": lambda: measure.measure_worst_item_rate(
        runs_of((np.arange(200).reshape(40, 5) % 3 > 0).astype(float)), at_least=0.6, scope="set"
    ),
    "runs, all alike": lambda: measure.measure_consistent_runs(
        runs_of(np.repeat((np.arange(400) % 7 > 0).astype(float)[:, None], 3, 1)), max_flip_rate=0.1
    ),
    "runs, asked": lambda: measure.measure_consistent_runs(adds, items(400), score=right, max_flip_rate=0.1),
    "subclasses": lambda: measure.measure_subpopulation_shift(Pairs(), split_data(0.1), SPLIT, max_drop=0.3),
    "calibration, fitted on others": lambda: measure.measure_calibrated(MODEL, DATA, fit_data=NEW, max_brier=0.5),
}

CHANGED: dict[str, Claim] = {
    **titled("a little darker", under(dimmed, {})),
    **titled(
        "population, a little darker",
        {k: v for k, v in under(dimmed, POPULATION).items() if k != "strategy" and "compared" not in k},
    ),
    **titled("a row lost", under(without_last, {})),
    "frames": lambda: measure.measure_stable_under_perturbations(MODEL, moving(FEW), max_mfp=0.1),
    "frames, distance": lambda: measure.measure_stable_under_perturbations(MODEL, moving(FEW), max_mt5d=1.0),
    "cue": lambda: measure.measure_no_spurious_feature(MODEL, DATA, CORNER, max_flip_rate=0.1),
    "cue, recall": lambda: measure.measure_no_spurious_feature(MODEL, DATA, CORNER, max_recall_drop=0.1),
    "cue, compared": lambda: measure.measure_no_spurious_feature(
        MODEL, DATA, CORNER, no_worse_than=OTHER, tolerance=0.05
    ),
    "strategy": lambda: measure.measure_robust_to(MODEL, DATA, LIGHT, at_least=0.8, max_examples=5),
    "strategy within a radius": lambda: measure.measure_robust_to(
        MODEL, DATA, strategies.perturbations(SMALL), at_least=0.8, max_examples=5
    ),
    "masks, what has a label changes": lambda: measure.measure_shift_accuracy(
        segments, (X, UNLABELLED), still_dimmed, at_least=0.9, suppress=("constant_answer",), **SEGMENTS
    ),
}


def still_dimmed(x: Tensor, severity: int, key: Tensor) -> Tensor:
    return 0.95 * x


still_dimmed.moves = False  # type: ignore[attr-defined]

ROOM: dict[str, Claim] = {
    "Linf": lambda: attacked(SMALL),
    "Linf, one grey level": lambda: attacked(Linf(1 / 255)),
    "Linf, proven": lambda: attacked(SMALL, certify="auto"),
    "Linf by fgsm": lambda: attacked(SMALL, **FGSM),
    "Linf, population": lambda: attacked(SMALL, data=DATA, **POPULATION),
    "Linf, compared": lambda: attacked(SMALL, at_least=None, no_worse_than=OTHER, **FALL),
    "L2": lambda: attacked(L2(0.05)),
    "L1": lambda: attacked(L1(0.1)),
    "a pose": lambda: attacked(Spatial(rotation=2, translation=0, scale=0.02), attack=SpatialGrid()),
    "a noise": lambda: sounds(Snr(30.0)),
    "an edit": lambda: texts(Edits(1, kinds=("swap",))),
    "edits of words": lambda: texts(Edits(1, kinds=(), words={"good": ("goood",), "poor": ("pooor",)})),
    "appended": lambda: texts(Append(1, alphabet="xyz")),
    "columns": lambda: rows(Columns({2: Within(-0.1, 0.1)})),
    "columns that count": lambda: rows(Columns({0: Within(-0.02, 0.02)})),
    "a column's values": lambda: rows(Columns({4: AnyOf(0, 1, 2)})),
    "certified accuracy": lambda: measure.measure_certified_accuracy(MODEL, FEW, SMALL, at_least=0.5, **FGSM),
    "robust score": lambda: measure.measure_robust_score(
        MODEL, FEW, SMALL, task="classification", at_least=0.5, **FGSM
    ),
    "robust score of masks": lambda: measure.measure_robust_score(
        segments, (X[:60], masks(X[:60])), SMALL, task=Segmentation(2), at_least=0.99
    ),
    "universal": lambda: measure.measure_no_universal_perturbation(
        MODEL, DATA, SMALL, iterations=10, max_fooling_rate=0.2
    ),
    "smallest perturbation": lambda: measure.measure_min_perturbation(MODEL, FEW, "l2", attack="fmn", at_least=0.05),
    "L2 on pictures": lambda: attacked(L2(0.25), WIDE_MODEL, WIDE, **FGSM),
    "8 / 255 on pictures": lambda: attacked(Linf(8 / 255), WIDE_MODEL, WIDE, **FGSM),
    "8 grey levels": lambda: attacked(
        Linf(8), lambda x: MODEL(x / 255), (X[:40] * 255, Y[:40]), bounds=(0, 255), **FGSM
    ),
    "16 / 255 on data in [-1, 1]": lambda: attacked(
        Linf(16 / 255), lambda x: MODEL(x / 2 + 0.5), (X[:40] * 2 - 1, Y[:40]), bounds=(-1, 1), **FGSM
    ),
}

TELLING: dict[str, Claim] = {
    **titled("a model", {k: v for k, v in SURE.items() if k not in UNFIT}),
    "accuracy, most of one class": lambda: measure.measure_accuracy(MODEL, MOSTLY, at_least=0.95),
    "masks": lambda: measure.measure_accuracy(segments, (X, masks(X)), task=Segmentation(2), at_least=0.99),
    "numbers": lambda: measure.measure_accuracy(first_pixel, (X, NUMBERS), task=Regression(0.1), at_least=0.9),
    "several labels": lambda: measure.measure_accuracy(
        lambda x: 20 * (x[:, 0, 0, :CLASSES] - 0.35), (X, torch.eye(CLASSES).long()[Y]), task=MultiLabel(), at_least=0.9
    ),
    "Brier score": lambda: measure.measure_calibrated(MODEL, DATA, max_brier=0.3),
    "calibration error": lambda: measure.measure_calibrated(MODEL, DATA, max_ece=0.5),
    "asked": lambda: measure.measure_rate(adds, items(400), score=right, at_least=0.8),
}

ALONE = {
    "smallest perturbation",
    "universal",
    "corruptions",
    "selective",
    "cue",
    "outside",
    "frames",
    "other data",
    "other data, fall",
}
"""Claims whose rules know of no clusters, and so never pass where clusters are given; or of two sets."""
OWN_CLUSTERS: dict[str, Any] = {"cluster": [f"video {i}" for i in range(N)]}
DRAWS: dict[str, Claim] = {
    **titled("drawn alone", of_copies(DATA, POPULATION)),
    **titled("each a cluster", {k: v for k, v in of_copies(DATA, POPULATION | OWN_CLUSTERS).items() if k not in ALONE}),
    "accuracy, a hundred clusters": lambda: measure.measure_accuracy(
        MODEL, DATA, at_least=0.8, cluster=clustered(N, 2), **POPULATION
    ),
    "rate": lambda: measure.measure_rate(recorded(HUNDREDS), at_least=0.85),
    "rate, prompts of their own": lambda: measure.measure_rate(
        recorded(HUNDREDS, prompt=[f"question {i}" for i in range(400)]), at_least=0.85
    ),
    "rate, clusters of two": lambda: measure.measure_rate(
        recorded(without(400, range(20))), at_least=0.8, cluster=clustered(400, 2)
    ),
}

SOUND: dict[str, dict[str, Claim]] = {
    "no worse": BETTER,
    "another model": ANOTHER,
    "other sets": OTHER_SETS,
    "changed": CHANGED,
    "room": ROOM,
    "telling": TELLING,
    "drawn": DRAWS,
}
"""Claims of the same shapes that test something, and hold: each is green."""
