"""A population of known truth for each kind of claim, measured by the kind's own function on samples drawn from it.

Most populations are of images that carry their answers: a pixel says how far the image was changed, and the model reads
its answer from another one, which the change picks. What is right, and how often, is then the draw's to choose, and a
measurement takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import robustest as M
from robustest import Annotations, BreedsSplit, Linf, Responses, Result

ALPHA, N = 0.05, 80
Random = np.random.Generator
Ints = NDArray[np.int64]
Measured = Callable[..., Result]

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
    """Images (n, 1, 1, 1 + levels) of what the model shall answer clean, at the first severity, and so on."""
    pixels = [_DARK * torch.ones(len(answers[0])), *(_DARK + _ANSWER * torch.from_numpy(a).float() for a in answers)]
    return torch.stack(pixels, 1)[:, None, None]


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


def shift_accuracy(random: Random, **claim: Any) -> Result:
    return M.measure_shift_accuracy(LOOKUP, labelled(*lost(random)), "brightness", severity=1, **claim)


def consistency(random: Random, **claim: Any) -> Result:
    data = labelled(drawn(random, 0.5), drawn(random, 0.5))
    return M.measure_consistency(LOOKUP, data, "brightness", severity=1, **claim)


def corruptions(random: Random, **claim: Any) -> Result:
    data = labelled(drawn(random, 0.95), drawn(random, 0.8), drawn(random, 0.6))
    kinds: dict[str, Any] = {"corruptions": ["brightness"], "severities": [1, 2]}
    return M.measure_corruption_robustness(LOOKUP, data, **kinds, baseline={"brightness": [0.5] * 5}, **claim)


def transfer(random: Random, **claim: Any) -> Result:
    source, target = labelled(drawn(random, 0.95, 40)), labelled(drawn(random, 0.85))
    return M.measure_transfer_accuracy(LOOKUP, source, target, **claim)


def equal_groups(random: Random, **claim: Any) -> Result:
    """Four of them: chance makes one the worst."""
    data = labelled(drawn(random, 0.8, 2 * N))
    return M.measure_worst_group_accuracy(LOOKUP, data, data[1], **claim)


def one_worst_group(random: Random, **claim: Any) -> Result:
    label = np.arange(2 * N) % 4
    data = labelled(random.random(2 * N) < np.where(label == 0, 0.6, 0.95), label=label)
    return M.measure_worst_group_accuracy(LOOKUP, data, data[1], **claim)


def groups_that_overlap(random: Random, **claim: Any) -> Result:
    at = np.arange(2 * N)
    groups = {"even": at[::2].tolist(), "first": at[:N].tolist(), "all": at.tolist()}
    return M.measure_worst_group_accuracy(LOOKUP, labelled(drawn(random, 0.8, 2 * N)), groups, **claim)


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
    return M.measure_subpopulation_shift(LOOKUP, data, _SPLIT, resamples=200, **claim)


def cued(random: Random, levels: int = 1) -> tuple[Tensor, Tensor]:
    """Two classes; each cue moves a tenth of the predictions: of class 0, a fifth of which is right thanks to it."""
    label = np.arange(2 * N) % 2
    moved = [np.where((label == 0) & drawn(random, 0.2, 2 * N), 1, label) for _ in range(levels)]
    return carrying(label, *moved), torch.from_numpy(label)


def cue(random: Random, **claim: Any) -> Result:
    return M.measure_spurious_feature(LOOKUP, cued(random), Light(lack=True), **claim)


def cue_towards(random: Random, **claim: Any) -> Result:
    return M.measure_spurious_feature(LOOKUP, cued(random), Light(), target=1, **claim)


def cue_in_each_class(random: Random, **claim: Any) -> Result:
    """A fifth of each of four classes is right thanks to it: chance makes one the worst."""
    data = labelled(drawn(random, 1, 2 * N), drawn(random, 0.8, 2 * N))
    return M.measure_spurious_feature(LOOKUP, data, Light(lack=True), **claim)


def three_cues(random: Random, **claim: Any) -> Result:
    """As bad as each other: chance makes one the worst."""
    cues = [Light(level, lack=True) for level in (1, 2, 3)]
    return M.measure_spurious_feature(LOOKUP, cued(random, 3), cues, **claim)


class Margin(nn.Module):
    """Right, where the label is 1, by as much as the first pixel is above a half."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[-5.0, 0, 0], [5.0, 0, 0]]))
            self.head.bias.copy_(torch.tensor([2.5, -2.5]))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x.flatten(1))
        return out


MARGIN = Margin().eval()


def margins(size: NDArray[np.float64], second: NDArray[np.float64] | float = 0.5) -> tuple[Tensor, Tensor]:
    """Samples of class 1 that are so far on its side."""
    x = torch.full((len(size), 1, 1, 3), 0.5)
    x[:, 0, 0, 0] += torch.from_numpy(size).float()
    x[:, 0, 0, 1] = torch.as_tensor(second)
    return x, torch.ones(len(size), dtype=torch.long)


def robust_accuracy(random: Random, **claim: Any) -> Result:
    data = margins(random.choice([-0.1, 0.05, 0.2], N, p=[0.05, 0.2, 0.75]))
    return M.measure_robust_accuracy(MARGIN, data, Linf(0.1), attack="fgsm", **claim)


def min_perturbation(random: Random, **claim: Any) -> Result:
    data = margins(0.01 + 0.2 * random.random(N))
    return M.measure_min_perturbation(MARGIN, data, "linf", attack="fmn", **claim)


def universal(random: Random, **claim: Any) -> Result:
    """All are predicted alike, so that every perturbation learned is the same and fools a fifth."""
    data = margins(random.choice([0.05, 0.2], 2 * N, p=[0.2, 0.8]))
    return M.measure_universal_perturbation(MARGIN, data, Linf(0.1), steps=5, **claim)


def alignment(random: Random, **claim: Any) -> Result:
    """The gradient is at the first pixel: the share of it inside a mask is the mask's value there."""
    masks = torch.zeros(N, 1, 1, 3)
    masks[:, 0, 0, 0] = torch.from_numpy(random.beta(1, 3, N))
    return M.measure_gradient_alignment(MARGIN, margins(np.full(N, 0.2)), reference=masks, **claim)


class Elsewhere(Margin):
    """As `Margin`, whose gradient is at the second pixel."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x.flip(-1).roll(-1, -1).flatten(1))
        return out


ELSEWHERE = Elsewhere().eval()


def gain_in_alignment(random: Random, **claim: Any) -> Result:
    masks = torch.zeros(N, 1, 1, 3)
    for pixel, share in enumerate((0.5, 0.2)):
        masks[:, 0, 0, pixel] = torch.from_numpy(random.beta(5 * share, 5 * (1 - share), N))
    return M.measure_gradient_alignment(MARGIN, margins(np.full(N, 0.2), 0.7), baseline=ELSEWHERE, reference=masks, **claim)


def judge(x: Tensor) -> Tensor:
    """Sees what `MARGIN` sees where the last pixel is lit, and the class of old where it is not."""
    return torch.where(x[:, 0, 0, 2:] > 0.5, MARGIN(x), MARGIN(x.roll(-1, -1))) ** 3


def class_evidence(random: Random, **claim: Any) -> Result:
    """Every sample is driven to the other class, and the judge agrees on seven of ten."""
    y = torch.arange(N) % 2
    x = torch.stack([0.3 + 0.4 * y, 0.3 + 0.4 * y, torch.from_numpy(0.1 + 0.8 * drawn(random, 0.7)).float()], 1)
    return M.measure_class_evidence(MARGIN, (x[:, None, None], y), judge, eps=0.5, steps=5, **claim)


class Trace(nn.Module):
    """As `Margin`, by features without the second pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(x.flatten(1)[:, ::2])
        return out


TRACE = Trace().eval()


def invertible_features(random: Random, **claim: Any) -> Result:
    """The second pixel leaves no trace in the features: it comes back grey, which it is in half of the images."""
    data = margins(np.full(N, 0.2), torch.from_numpy(0.5 + 0.4 * drawn(random, 0.5)).float())
    return M.measure_invertible_features(TRACE, data, steps=40, **claim)


def said(label: Ints, other: Ints) -> Responses:
    """What 12 people select of each sample: 7 the label, 5 another class."""
    item = np.repeat(np.arange(len(label)), 12)
    answer = np.where(np.tile(np.arange(12), len(label)) < 7, label[item], other[item])
    return Responses.from_columns(item, answer, size=len(label), classes=4)


def label_agreement(random: Random, **claim: Any) -> Result:
    """The model says the label (.7), the other class that people select (.15), or a third (.15)."""
    label = np.arange(N) % 4
    answer = (label + random.choice([0, 1, 2], N, p=[0.7, 0.15, 0.15])) % 4
    return M.measure_label_agreement(
        LOOKUP, (carrying(answer), torch.from_numpy(label)), said(label, (label + 1) % 4), **claim
    )


def label_quality(random: Random, **claim: Any) -> Result:
    """People look at 80 of 300 labels of which a tenth is wrong in the population."""
    looked, label = np.sort(random.choice(300, N, replace=False)), np.arange(300) % 4
    right = (label + drawn(random, 0.1, 300)) % 4
    item = np.repeat(looked, 3)
    responses = Responses.from_columns(item, right[item], size=300, classes=4)
    return M.measure_label_quality(torch.from_numpy(label), responses, **claim)


def simulatable(random: Random, **claim: Any) -> Result:
    """Twenty people who foresee .7 in the mean, one more than another."""
    item, who = np.divmod(np.arange(20 * 20), 20)
    held = random.random(len(item)) < random.beta(7, 3, 20)[who]
    answer = np.where(held, item % 4, (item + 1) % 4)
    study = Responses.from_columns(item, answer, size=20, classes=4, annotator=who, truth=item % 4)
    return M.measure_simulatable(study, **claim)


def cue_noticed(random: Random, **claim: Any) -> Result:
    """Twenty people call the null cue spurious in .2 of cases, the cue in .5, the planted one in .8, one more so."""
    row = np.arange(20 * 3 * 8)
    who, asked = row % 20, row // 20 % 3
    share = np.stack([random.beta(8 * p, 8 * (1 - p), 20) for p in (0.2, 0.5, 0.8)])
    called = random.random(len(row)) < share[asked, who]
    names = ("null", "logo", "planted")
    study = Responses.from_columns(
        row // 60, called.astype(int), size=8, classes=names, label=asked, annotator=who
    )
    return M.measure_cue_noticed(study, "logo", **claim)


def selection_gap(random: Random, **claim: Any) -> Result:
    """Where the model errs, people select the label .2 more often than what it says; images and people differ."""
    n, people = 30, 20
    item, who = np.divmod(np.arange(n * people), people)
    liking = 0.3 * (random.random(n)[item] - 0.5) + 0.3 * (random.random(people)[who] - 0.5)
    draws = random.random(len(item))
    label = np.arange(n) % 4
    answer = (label[item] + np.where(draws < 0.5 + liking, 0, np.where(draws < 0.8, 1, 2))) % 4
    responses = Responses.from_columns(item, answer, size=n, classes=4, annotator=who)
    return M.measure_selection_gap(LOOKUP, (carrying((label + 1) % 4), torch.from_numpy(label)), responses, **claim)


def replication(random: Random, **claim: Any) -> Result:
    """At every selection frequency accuracy is .1 less on the replication, whose items are as hard."""
    held, says = [], []
    for base in (0.5, 0.4):
        frequency = random.beta(3, 2, 2 * N)
        held.append(random.random(2 * N) < base + 0.4 * frequency)
        selected = random.binomial(20, frequency)
        says.append(Annotations(selected=selected, shown=np.full(2 * N, 20), independent=True))
    return M.measure_replication_gap((held[0], held[1]), None, None, (says[0], says[1]), resamples=100, **claim)
