"""Populations of known truth for claims on what a model answers, each measured by its kind's own function.

Their images carry the answers: a pixel says how far the image was changed, and the model reads
its answer from another one, which the change picks. What is right, and how often, is then the draw's to choose, and a
measurement takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import robustest as M
from robustest import Result
from robustest.data import BreedsSplit

ALPHA, N = 0.05, 80
Random = np.random.Generator
Ints = NDArray[np.int64]

_DARK, _STEP, _ANSWER = 0.1, 0.05, 0.1
"""What a pixel holds that says nothing; what brightness adds to a small image per severity; what a class adds."""


class Lookup(nn.Module):
    """Answers what the image carries for a change: its first pixel says which, the pixels after it hold the classes."""

    def forward(self, x: Tensor) -> Tensor:
        row = x[:, 0, 0]
        level = ((row[:, 0] - _DARK) / _STEP).round().long()
        answer = row.gather(1, 1 + level[:, None])[:, 0] - row[:, 0]
        return 9.0 * nn.functional.one_hot((answer / _ANSWER).round().long(), 4)


@dataclass(frozen=True)
class Light:
    """A cue: a severity of brightness, that images lack; or the lack of it, which is there in images as they are."""

    level: int = 1
    lack: bool = False

    @property
    def name(self) -> str:
        return f"{'lack of ' * self.lack}light {self.level}"

    def on(self, x: Tensor) -> Tensor:
        return x if self.lack else x + self.level * _STEP

    def off(self, x: Tensor) -> Tensor:
        return x + self.level * _STEP if self.lack else x


LOOKUP = Lookup().eval()


def carrying(*answers: Ints) -> Tensor:
    """Images (n, 1, 1, 2 + levels) of what the model shall answer clean, at the first severity, and so on.

    The last pixel makes each image another one: equal ones would count as one draw, and seldom pass.
    """
    n = len(answers[0])
    pixels = [_DARK * torch.ones(n), *(_DARK + _ANSWER * torch.from_numpy(a).float() for a in answers), own(n)]
    return torch.stack(pixels, 1)[:, None, None]


def own(n: int) -> Tensor:
    """Values of a pixel that no two of n images share, and that no change here moves out of range."""
    return torch.linspace(0.3, 0.7, n)


def labelled(*held: NDArray[np.bool_], label: Ints | None = None) -> tuple[Tensor, Tensor]:
    """Images that the model has right, or takes for the next of four classes, clean and at each severity."""
    y = np.arange(len(held[0])) % 4 if label is None else label
    return carrying(*(np.where(one, y, (y + 1) % 4) for one in held)), torch.from_numpy(y)


def drawn(random: Random, share: float, n: int = N) -> NDArray[np.bool_]:
    return random.random(n) < share


def lost(random: Random) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Right before, right after: a tenth is lost and a twentieth gained."""
    draws, before = random.random(N), drawn(random, 0.8)
    before = np.where(draws < 0.1, True, np.where(draws < 0.15, False, before))
    return before, np.where(draws < 0.1, False, np.where(draws < 0.15, True, before))


def accuracy(random: Random, **claim: Any) -> Result:
    return M.measure.measure_accuracy(LOOKUP, labelled(drawn(random, 0.8)), **claim)


def shift_accuracy(random: Random, **claim: Any) -> Result:
    return M.measure.measure_shift_accuracy(LOOKUP, labelled(*lost(random)), "brightness", severity=1, **claim)


def consistency(random: Random, **claim: Any) -> Result:
    data = labelled(drawn(random, 0.5), drawn(random, 0.5))
    return M.measure.measure_consistency(LOOKUP, data, "brightness", severity=1, **claim)


def corruptions(random: Random, **claim: Any) -> Result:
    data = labelled(drawn(random, 0.95), drawn(random, 0.8), drawn(random, 0.6))
    kinds: dict[str, Any] = {"corruptions": ["brightness"], "severities": [1, 2]}
    return M.measure.measure_corruption_robustness(LOOKUP, data, **kinds, reference={"brightness": [0.5] * 5}, **claim)


def transfer(random: Random, **claim: Any) -> Result:
    source, target = labelled(drawn(random, 0.95, 40)), labelled(drawn(random, 0.85))
    return M.measure.measure_transfer_accuracy(LOOKUP, source, target, **claim)


def recorded(scores: NDArray[np.bool_], groups: int = 1) -> M.data.Outcomes:
    """Outcomes of (items, runs) scores."""
    return M.data.Outcomes.of(
        [
            {"item": i, "score": bool(score), "run": k, "group": i % groups}
            for i, runs in enumerate(scores)
            for k, score in enumerate(runs)
        ]
    )


def rate(random: Random, **claim: Any) -> Result:
    return M.measure.measure_rate(recorded(random.random((N, 1)) < 0.8), **claim)


def rate_asked(random: Random, **claim: Any) -> Result:
    """A function that is asked until the verdict is known."""
    held = dict(enumerate(random.random(N) < 0.8))
    system = M.Deployed(held.__getitem__, version="1")
    how = {**claim, "exact": False}
    return M.measure.measure_rate(lambda item: bool(system(item)), range(N), score=lambda answer, _: answer, **how)


def rate_of_runs(random: Random, **claim: Any) -> Result:
    """Some items are nearly always right, the others half of the time."""
    chance = np.where(random.random(N) < 0.75, 0.9, 0.5)
    return M.measure.measure_rate(recorded(random.random((N, 3)) < chance[:, None]), **claim)


def rate_in_groups(random: Random, **claim: Any) -> Result:
    return M.measure.measure_worst_group_rate(recorded(random.random((2 * N, 1)) < 0.8, 4), **claim)


def flips_between_runs(random: Random, **claim: Any) -> Result:
    """Two runs of an item that is right four times in five differ in 2 x .8 x .2 of the pairs."""
    return M.measure.measure_consistent_runs(recorded(random.random((N, 3)) < 0.8), **claim)


def reliability(random: Random, **claim: Any) -> Result:
    """Two of three runs succeed: half of the items always do, and the others half of the time."""
    chance = np.where(random.random(N) < 0.5, 1.0, 0.5)
    return M.measure.measure_reliable(recorded(random.random((N, 5)) < chance[:, None]), k=3, needed=2, **claim)


def worst_item(random: Random, **claim: Any) -> Result:
    """Three items, one of which is worse."""
    chance = np.array([0.95, 0.95, 0.7])
    return M.measure.measure_worst_item_rate(recorded(random.random((3, 60)) < chance[:, None]), **claim)


Numbers = Mapping[tuple[int, str], float | bool]


def under_changes(measure: Callable[..., Result], answers: Numbers, **claim: Any) -> Result:
    """Ask about numbers, and about the same with the names of two changes."""
    system = M.Deployed(lambda text: answers[int(text.split()[0]), text.partition(" ")[2]], version="1")
    changes = {name: lambda text, name=name: f"{text} {name}" for name in ("a", "b")}
    return measure(system, [f"{i}" for i in range(N)], changes, **claim)


def as_it_is(answer: float | bool, _: str) -> float | bool:
    return answer


def _drawn(random: Random, kept: float, before: Callable[[int], float | bool], lost: float | bool) -> Numbers:
    """Answers of which the first change loses a share at random, and the second one fewer."""
    answers: dict[tuple[int, str], float | bool] = {(i, ""): before(i) for i in range(N)}
    for name, share in (("a", kept), ("b", (1 + kept) / 2)):
        answers |= {(i, name): before(i) if stays else lost for i, stays in enumerate(random.random(N) < share)}
    return answers


def invariance(random: Random, **claim: Any) -> Result:
    return under_changes(M.measure.measure_invariant, _drawn(random, 0.8, lambda i: i, -1), **claim)


def expectation(random: Random, **claim: Any) -> Result:
    """Scores become higher, and else stay."""
    answers = dict(_drawn(random, 0.8, lambda _: 0.9, 0.1)) | {(i, ""): 0.1 for i in range(N)}
    return under_changes(M.measure.measure_directional, answers, **claim)


def template_rate(random: Random, **claim: Any) -> Result:
    return under_changes(M.measure.measure_worst_change_rate, _drawn(random, 0.8, lambda _: True, False), **claim)


def template_fall(random: Random, **claim: Any) -> Result:
    """A fifth of the right answers, which are half of all, is lost."""
    right = random.random(N) < 0.5
    answers = _drawn(random, 0.8, lambda i: bool(right[i]), False)
    return under_changes(M.measure.measure_worst_change_rate, answers, **claim)


def equal_groups(random: Random, **claim: Any) -> Result:
    """Four of them: chance makes one the worst."""
    data = labelled(drawn(random, 0.8, 2 * N))
    return M.measure.measure_worst_group_accuracy(LOOKUP, data, data[1], **claim)


def one_worst_group(random: Random, **claim: Any) -> Result:
    label = np.arange(2 * N) % 4
    data = labelled(random.random(2 * N) < np.where(label == 0, 0.6, 0.95), label=label)
    return M.measure.measure_worst_group_accuracy(LOOKUP, data, data[1], **claim)


def groups_that_overlap(random: Random, **claim: Any) -> Result:
    at = np.arange(2 * N)
    groups = {"even": at[::2].tolist(), "first": at[:N].tolist(), "all": at.tolist()}
    return M.measure.measure_worst_group_accuracy(LOOKUP, labelled(drawn(random, 0.8, 2 * N)), groups, **claim)


_SIDE = 15
_SPLIT = BreedsSplit(
    superclasses=("a", "b", "c"),
    source=tuple(tuple(range(k, _SIDE, 3)) for k in range(3)),
    target=tuple(tuple(range(_SIDE + k, 2 * _SIDE, 3)) for k in range(3)),
    names={},
)


def subpopulations(random: Random, **claim: Any) -> Result:
    """Fifteen subclasses a side with 20 samples, of which each has its own accuracy: .9 and .7 in the mean."""
    share = np.concatenate([random.beta(16 * p, 16 * (1 - p), _SIDE) for p in (0.9, 0.7)])
    subclass = np.repeat(np.arange(2 * _SIDE), 20)
    answer = np.where(random.random(len(subclass)) < share[subclass], subclass % 3, (subclass + 1) % 3)
    data = carrying(answer), torch.from_numpy(subclass)
    return M.measure.measure_subpopulation_shift(LOOKUP, data, _SPLIT, **claim)


def cued(random: Random, levels: int = 1) -> tuple[Tensor, Tensor]:
    """Two classes; each cue moves a tenth of the predictions: of class 0, a fifth of which is right thanks to it."""
    label = np.arange(2 * N) % 2
    moved = [np.where((label == 0) & drawn(random, 0.2, 2 * N), 1, label) for _ in range(levels)]
    return carrying(label, *moved), torch.from_numpy(label)


def cue(random: Random, **claim: Any) -> Result:
    return M.measure.measure_no_spurious_feature(LOOKUP, cued(random), Light(lack=True), **claim)


def cue_towards(random: Random, **claim: Any) -> Result:
    return M.measure.measure_no_spurious_feature(LOOKUP, cued(random), Light(), target_class=1, **claim)


def cue_in_each_class(random: Random, **claim: Any) -> Result:
    """A fifth of each of four classes is right thanks to it: chance makes one the worst."""
    data = labelled(drawn(random, 1, 2 * N), drawn(random, 0.8, 2 * N))
    return M.measure.measure_no_spurious_feature(LOOKUP, data, Light(lack=True), **claim)


def three_cues(random: Random, **claim: Any) -> Result:
    """As bad as each other: chance makes one the worst."""
    cues = [Light(level, lack=True) for level in (1, 2, 3)]
    return M.measure.measure_no_spurious_feature(LOOKUP, cued(random, 3), cues, **claim)


def sequences(random: Random, **claim: Any) -> Result:
    """Each frame of four is answered otherwise than the one before with a chance of .2; some images by luck more."""
    changes = random.random((N, 4)) < np.where(random.random(N) < 0.5, 0.1, 0.3)[:, None]
    changes[:, 0] = False
    frames = torch.stack([carrying(answer % 4) for answer in changes.cumsum(1).T], 1)
    benchmark = M.data.SequenceBenchmark(name="carried", sequences={"tilt": frames}, published=N)
    return M.measure.measure_stable_under_perturbations(LOOKUP, benchmark, **claim)
