"""Every kind of claim on small nets and small data, good and bad: what tables over all kinds are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustest import Classification, Deployed, Linf, Result
from robustest.attacks import DDN, PGD
from robustest.cues import PixelPatch
from robustest.data import ClassTree, Outcomes, breeds_split
from robustest.data.benchmarks import SequenceBenchmark
from robustest.measure import (
    measure_accuracy,
    measure_calibrated,
    measure_certified_accuracy,
    measure_consistency,
    measure_consistent_runs,
    measure_corruption_robustness,
    measure_directional,
    measure_invariant,
    measure_min_perturbation,
    measure_no_spurious_feature,
    measure_no_universal_perturbation,
    measure_ood_rejected,
    measure_rate,
    measure_reliable,
    measure_robust_accuracy,
    measure_robust_score,
    measure_robust_to,
    measure_same_answers,
    measure_selective_accuracy,
    measure_shift_accuracy,
    measure_stable_under_perturbations,
    measure_subpopulation_shift,
    measure_transfer_accuracy,
    measure_worst_change_rate,
    measure_worst_group_accuracy,
    measure_worst_group_rate,
    measure_worst_item_rate,
)
from robustest.strategies import shifts

SIDE, CLASSES, N = 6, 4, 200


def samples(draw: int, n: int = N) -> tuple[Tensor, Tensor]:
    """Images with a bright pixel that says the class, more or less bright."""
    generator = torch.Generator().manual_seed(draw)
    y = torch.arange(n) % CLASSES
    x = 0.3 * torch.rand(n, 1, SIDE, SIDE, generator=generator)
    x[torch.arange(n), 0, 0, y] += 0.1 + 0.6 * torch.rand(n, generator=generator)
    return x, y


class Net(nn.Module):
    """Reads the four pixels; a bad one leans to class 0, where the bright corner is lit more than anywhere."""

    def __init__(self, *, good: bool) -> None:
        super().__init__()
        self.flat = nn.Flatten()
        self.head = nn.Linear(SIDE * SIDE, CLASSES)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(CLASSES, SIDE * SIDE))
            self.head.bias.zero_()
            if not good:
                self.head.bias[0] = 0.25
                self.head.weight[0, -1] = 1.0  # the last pixel, which says nothing

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.flat(x))
        return logits


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of claim.

    Attributes:
        measure: takes good (whether the model is), draw (which samples), and keywords: the threshold, options.
        argument: the threshold's name.
        easy: what the good model keeps and the bad one does not.
        hard: what the good model does not keep.
    """

    measure: Callable[..., Result]
    argument: str
    easy: float
    hard: float

    def result(self, *, good: bool = True, draw: int = 0, threshold: float | None = None, **options: Any) -> Result:
        """The claim measured on every sample, at the easy threshold unless another is given."""
        value = self.easy if threshold is None else threshold
        return self.measure(good, draw, **{self.argument: value, "exact": True, **options})


def _plain(measure: Callable[..., Result], *arguments: Any, n: int = N, **fixed: Any) -> Callable[..., Result]:
    """A kind that takes a model, n samples and these."""
    return lambda good, draw, **more: measure(Net(good=good), samples(draw, n), *arguments, **fixed, **more)


def _same_answers(good: bool, draw: int, **more: Any) -> Result:
    """A copy that leans a little to class 1, as one of another format may."""
    copy = Net(good=good)
    with torch.no_grad():
        copy.head.bias[1] += 0.05
    return measure_same_answers([Net(good=True), copy], samples(draw), **more)


def _worst_group(good: bool, draw: int, **more: Any) -> Result:
    x, y = samples(draw)
    return measure_worst_group_accuracy(Net(good=good), (x, y), y, **more)


def _transfer(good: bool, draw: int, **more: Any) -> Result:
    """A target of half the brightness: who only compares pixels does not mind."""
    x, y = samples(draw)
    return measure_transfer_accuracy(Net(good=good), samples(1000), (0.5 * x, y), **more)


def _calibrated(good: bool, draw: int, **more: Any) -> Result:
    net = Net(good=good)
    net.head.weight.data *= 20
    return measure_calibrated(net, samples(draw), **more)


def _rejected(good: bool, draw: int, **more: Any) -> Result:
    """Most other data have small logits, unless a model leans to a class whatever it sees; a few are like its own."""
    x, _ = samples(1000 + draw)
    x[10:] = x[10:].clamp(max=0.2)
    return measure_ood_rejected(Net(good=good), samples(draw), x, score="max_logit", **more)


def _stable(good: bool, draw: int, **more: Any) -> Result:
    """Frames in which the corner that says nothing becomes brighter, and what says the class a little darker."""
    x, _ = samples(draw)
    frames = []
    for level in (0.0, 0.3, 0.6, 0.9):
        brighter = x.clone()
        brighter[:, 0, 0] *= 1 - level / 3
        brighter[:, 0, -1, -1] = level
        brighter[:, 0, 0, 1] += level / 10
        frames.append(brighter)
    sequences = {"brightness": torch.stack(frames, 1), "tilt": torch.stack(frames[::-1], 1)}
    return measure_stable_under_perturbations(
        Net(good=good), SequenceBenchmark(name="corner", sequences=sequences, published=N), **more
    )


def _dimmed(x: Tensor, severity: int, key: Tensor) -> Tensor:
    return x.clamp(max=0.28) / (1 + severity)


def _subpopulation(good: bool, draw: int, **more: Any) -> Result:
    """Four superclasses of four subclasses, of which the model knows half; fewer would bound no fall below chance."""
    tree = ClassTree.from_dict({a: {a + b: [a + b + c for c in "12"] for b in "kl"} for a in "wxyz"})
    split = breeds_split(tree, level=1, split="good", seed=3)
    y = torch.arange(16).repeat_interleave(20)
    noise = torch.rand(len(y), generator=torch.Generator().manual_seed(draw))
    x = ((y + 0.1 + 0.8 * noise) / 16).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    share = 0.08 if good else 1.0  # of the target that is taken for the next class
    unseen = torch.tensor([index for under in split.target for index in under])

    def model(batch: Tensor) -> Tensor:
        bright = 16 * batch[:, 0, 0, 0]
        wrong = torch.isin(bright.long(), unseen.to(batch.device)) & ((bright * 1e3) % 1 < share)
        return 9.0 * nn.functional.one_hot((bright.long() // 4 + wrong) % 4, 4)

    return measure_subpopulation_shift(model, (x, y), split, **more)


_TEMPLATES = torch.randn(6, 1, 10, 10, generator=torch.Generator().manual_seed(0))


class Templates(nn.Module):
    """Compares with a template for each class; a bad one takes a bright square for class 2."""

    def __init__(self, *, good: bool, classes: int = 4) -> None:
        super().__init__()
        self.weight = nn.Parameter(_TEMPLATES[:classes].clone())
        self.good = good

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.einsum("nchw,kchw->nk", x - 0.5, self.weight)
        if self.good:
            return logits
        square = x[:, 0, 1:3, 6:8].mean((1, 2)) - 0.5
        return logits + 60 * nn.functional.one_hot(torch.tensor(2), logits.shape[1]) * square[:, None]


def patterned(draw: int, classes: int, n: int = 320) -> tuple[Tensor, Tensor]:
    """Noisy templates."""
    y = torch.arange(n) % classes
    noise = torch.randn(n, 1, 10, 10, generator=torch.Generator().manual_seed(draw))
    return (0.5 + 0.08 * _TEMPLATES[y] + 0.15 * noise).clamp(0, 1), y


def _cue(good: bool, draw: int, **more: Any) -> Result:
    cue = PixelPatch(top=1, left=6, height=2, width=2)
    return measure_no_spurious_feature(Templates(good=good), patterned(draw, 4), cue, **more)


def _right(answer: int, item: dict[str, Any]) -> bool:
    return bool(answer == item["expected"])


def _under_changes(measure: Callable[..., Result], **how: Any) -> Callable[..., Result]:
    """A system that errs in few changed items, and a bad one in a third of those of one of two changes."""

    def measured(good: bool, draw: int, **more: Any) -> Result:
        random = np.random.default_rng(draw)
        lost = {"a": random.random(200) < 0.03, "b": random.random(200) < (0.03 if good else 0.35)}
        items = [{"item": f"q{i}", "prompt": f"{draw} {i}?", "expected": i % 2} for i in range(200)]

        def answer(item: dict[str, Any]) -> int:
            number, change = item["prompt"].split()[1].split("?")
            return int(number) % 2 if not change else int(number) % 2 ^ bool(lost[change][int(number)])

        changes = {name: lambda item, name=name: {**item, "prompt": item["prompt"] + name} for name in lost}
        # Declared, as to watch what an undeclared function reads takes most of the time of a short call.
        return measure(Deployed(answer, f"{good} {draw}"), items, changes, **how, **more)

    return measured


def outcomes(good: bool, draw: int, runs: int = 1, items: int = 400) -> Outcomes:
    """Recorded scores of items in two groups: a good system has nearly all right, a bad one fewer of one group."""
    random = np.random.default_rng(draw)
    chance = np.where(np.arange(items) % 2 == 0, 0.97, 0.97 if good else 0.6)
    right = random.random((items, runs)) < chance[:, None]
    return Outcomes.of(
        [
            {"item": f"{draw}-{i}", "score": bool(right[i, k]), "run": k, "group": ["sums", "words"][i % 2]}
            for i in range(items)
            for k in range(runs)
        ]
    )


_CHANGES = shifts(["gaussian_noise", "brightness"], max_severity=3)
_CORRUPTIONS: dict[str, Any] = {"corruptions": ["gaussian_noise", "brightness"], "severities": [1, 3]}
_SCORED: dict[str, Any] = {"task": Classification(), "attack": PGD(steps=5)}
_DDN: dict[str, Any] = {"n": 40, "attack": DDN(steps=60)}
NOISE = {"severity": 3}
KINDS: dict[str, Kind] = {
    "accuracy": Kind(_plain(measure_accuracy), "at_least", 0.9, 1.0),
    "robust accuracy": Kind(_plain(measure_robust_accuracy, Linf(0.1), attack=PGD(steps=5)), "at_least", 0.5, 0.99),
    "certified accuracy": Kind(
        _plain(measure_certified_accuracy, Linf(0.1), attack=PGD(steps=5)), "at_least", 0.5, 0.99
    ),
    "robust score": Kind(_plain(measure_robust_score, Linf(0.1), **_SCORED), "at_least", 0.5, 0.99),
    "shift accuracy": Kind(_plain(measure_shift_accuracy, "gaussian_noise", **NOISE), "at_least", 0.8, 0.99),
    "accuracy drop": Kind(_plain(measure_shift_accuracy, _dimmed, **NOISE), "max_drop", 0.2, 0.001),
    "consistency": Kind(_plain(measure_consistency, "gaussian_noise", **NOISE), "max_flip_rate", 0.1, 0.01),
    "same answers": Kind(_same_answers, "at_least", 0.8, 0.999),
    "universal": Kind(
        _plain(measure_no_universal_perturbation, Linf(0.1), iterations=20), "max_fooling_rate", 0.18, 0.01
    ),
    "min perturbation": Kind(_plain(measure_min_perturbation, "l2", **_DDN), "at_least", 0.1, 0.9),
    "robust to": Kind(_plain(measure_robust_to, _CHANGES, max_examples=10), "at_least", 0.8, 0.99),
    "rate": Kind(lambda good, draw, **more: measure_rate(outcomes(good, draw), **more), "at_least", 0.9, 0.99),
    "worst group's rate": Kind(
        lambda good, draw, **more: measure_worst_group_rate(outcomes(good, draw), **more), "at_least", 0.85, 0.99
    ),
    "consistent runs": Kind(
        lambda good, draw, **more: measure_consistent_runs(outcomes(good, draw, 3), **more), "max_flip_rate", 0.12, 0.01
    ),
    "reliable": Kind(
        lambda good, draw, **more: measure_reliable(outcomes(good, draw, 3), k=2, **more), "at_least", 0.87, 0.99
    ),
    "worst item's rate": Kind(
        lambda good, draw, **more: measure_worst_item_rate(outcomes(good, draw, 60, 40), **more), "at_least", 0.6, 0.99
    ),
    "invariance": Kind(_under_changes(measure_invariant), "at_least", 0.85, 0.99),
    "expectation": Kind(_under_changes(measure_directional, score=_right, expect="not_lower"), "at_least", 0.85, 0.99),
    "worst change's rate": Kind(_under_changes(measure_worst_change_rate, score=_right), "at_least", 0.85, 0.99),
    "worst change's fall": Kind(_under_changes(measure_worst_change_rate, score=_right), "max_fall", 0.1, 0.005),
    "worst group": Kind(_worst_group, "at_least", 0.8, 0.99),
    "transfer accuracy": Kind(_transfer, "at_least", 0.8, 0.99),
    "transfer drop": Kind(_transfer, "max_drop", 0.1, 0.001),
    "subpopulation": Kind(_subpopulation, "max_drop", 0.2, 0.001),
    "corruptions": Kind(_plain(measure_corruption_robustness, **_CORRUPTIONS), "min_accuracy", 0.8, 0.99),
    "calibrated": Kind(_calibrated, "max_brier", 0.12, 0.01),
    "selective accuracy": Kind(
        _plain(measure_selective_accuracy, "gaussian_noise", coverage=0.9, severity=1), "at_least", 0.85, 0.9999
    ),
    "other data rejected": Kind(_rejected, "max_fpr", 0.3, 0.001),
    "stable": Kind(_stable, "max_mfp", 0.05, 1e-9),
    "spurious feature": Kind(_cue, "max_flip_rate", 0.2, 0.001),
}
