"""Small models and data of known answers, for tables of claims that must, or must not, be green."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustest.attacks import Evaluation, Needs, Problem
from robustest.data import Outcomes, SequenceBenchmark
from robustest.threats import Rows, Threat

CLASSES, SIDE, N = 4, 6, 200
Data = tuple[Tensor, Tensor]


def pictures(n: int = N, draw: int = 0, classes: int = CLASSES) -> Data:
    """Images of which one pixel of the first row is bright: the label is where. No two are alike."""
    generator = torch.Generator().manual_seed(draw)
    y = torch.arange(n) % classes
    x = 0.3 * torch.rand(n, 1, SIDE, SIDE, generator=generator)
    x[torch.arange(n), 0, 0, y] += 0.4 + 0.25 * torch.rand(n, generator=generator)
    return x, y


class Bright(nn.Module):
    """Compares the first pixels, and looks at no other: right on `pictures` by a margin above .1."""

    def __init__(self, classes: int = CLASSES, scale: float = 10.0) -> None:
        super().__init__()
        self.flat, self.head = nn.Flatten(), nn.Linear(SIDE * SIDE, classes)
        with torch.no_grad():
            self.head.weight.copy_(scale * torch.eye(classes, SIDE * SIDE))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.flat(x))
        return logits


class Nearly(Bright):
    """Another model that answers as `Bright` with other scores, as a copy in another precision does."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.head.weight.add_(0.01 * torch.randn(CLASSES, SIDE * SIDE, generator=torch.Generator().manual_seed(1)))


class Constant(Bright):
    """Gives every input the same logits."""

    def __init__(self, answer: int = 0, classes: int = CLASSES) -> None:
        super().__init__(classes)
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias[answer] = 3.0


class OneClass(Bright):
    """Gives every input class 0, with logits that vary."""

    def __init__(self) -> None:
        super().__init__(scale=0.1)
        with torch.no_grad():
            self.head.bias[0] = 3.0


class Softmax(nn.Module):
    """Returns probabilities, so sure of them that gradients vanish."""

    def __init__(self, net: nn.Module, scale: float = 40.0) -> None:
        super().__init__()
        self.net, self.scale = net, scale

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = (self.scale * self.net(x)).softmax(1)
        return out


class Numbered(nn.Module):
    """Answers by the number of the image, and where its first row is dimmed by further answers: see `numbered`."""

    answers: Tensor
    dimmed: Tensor

    def __init__(self, answers: Tensor, dimmed: Tensor | None = None, scale: float = 5.0) -> None:
        super().__init__()
        self.register_buffer("answers", answers)
        self.register_buffer("dimmed", answers if dimmed is None else dimmed)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        places = (x[:, 0, -1, -1] * len(self.answers)).long().clamp(0, len(self.answers) - 1)
        answers = torch.where(x[:, 0, 0, -1] < 0.49, self.dimmed[places], self.answers[places])
        return self.scale * nn.functional.one_hot(answers, CLASSES).float() + 0 * x.flatten(1)[:, :1]


def numbered(n: int) -> Data:
    """Images whose last pixel is their number, in 0..1; the last pixel of the first row is a half."""
    x, y = pictures(n)
    x[:, 0, -1, -1] = (torch.arange(n) + 0.5) / n
    x[:, 0, 0, -1] = 0.5
    return x, y


def losing(n: int, lost: Sequence[int] | range, *, dimmed: bool = False) -> Numbered:
    """Return a model of `numbered(n)` that is wrong on these images alone; or on them where they are dimmed."""
    right = torch.arange(n) % CLASSES
    places = torch.as_tensor(list(lost), dtype=torch.long)
    wrong = right.clone()
    wrong[places] = (wrong[places] + 1) % CLASSES
    return Numbered(right, wrong) if dimmed else Numbered(wrong)


class Steep(Bright):
    """Answers as `Bright`, but class 0 where the last pixel exceeds a bound."""

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, x: Tensor) -> Tensor:
        lead = 2000 * torch.relu(x.flatten(1)[:, -1:] - self.bound)
        return super().forward(x) + lead * nn.functional.one_hot(torch.tensor(0), CLASSES)


STEEP = Steep(0.3).eval()


def edged(n: int, near: int) -> Data:
    """Images of which so many are near the bound of `STEEP`, and no other is."""
    x, y = pictures(n)
    x[:, 0, -1, -1] = torch.where(torch.arange(n) < near, 0.295, 0.2)
    return x, y


def copied(data: Data, times: int) -> Data:
    """Each sample many times, equal to the bit."""
    return data[0].repeat(times, *[1] * (data[0].dim() - 1)), data[1].repeat(times)


def unmoved(x: Tensor, severity: int, key: Tensor) -> Tensor:
    return x.clone()


def within_rounding(x: Tensor, severity: int, key: Tensor) -> Tensor:
    return x + 1e-9


def dimmed(x: Tensor, severity: int, key: Tensor) -> Tensor:
    """A tenth of the light is lost, of every image."""
    return 0.9 * x


def dimmed_top(x: Tensor, severity: int, key: Tensor) -> Tensor:
    """The first row loses a tenth of its light."""
    return torch.cat([0.9 * x[..., :1, :], x[..., 1:, :]], -2)


def some_dimmed(x: Tensor, severity: int, key: Tensor) -> Tensor:
    """One image of 20 is dimmed."""
    some = (x[:, :1, :1, -1:] * 1000).floor() % 20 == 0
    return torch.where(some, 0.9 * x, x)


def without_last(x: Tensor, severity: int, key: Tensor) -> Tensor:
    """The last row, which says nothing, is lost."""
    return torch.cat([x[..., :-1, :], torch.full_like(x[..., -1:, :], 0.5)], -2)


def moving(data: Data, *, still: bool = False) -> SequenceBenchmark:
    """Frames that become a little darker from one to the next, or do not."""
    levels = torch.ones(4) if still else torch.linspace(1, 0.8, 4)
    frames = data[0].unsqueeze(1) * levels.view(1, -1, 1, 1, 1)
    return SequenceBenchmark(name="dusk", sequences={"tilt": frames}, published=len(data[0]))


def recorded(scores: Sequence[float | bool], **columns: Sequence[Any]) -> Outcomes:
    """Outcomes of items q0, q1, ... with these scores, and further columns."""
    rows: list[Mapping[str, Any]] = [
        {"item": f"q{i}", "score": score, **{name: column[i] for name, column in columns.items()}}
        for i, score in enumerate(scores)
    ]
    return Outcomes.of(rows)


def without(n: int, lost: Sequence[int] | range) -> list[bool]:
    return [i not in set(lost) for i in range(n)]


def runs_of(scores: np.ndarray[Any, Any]) -> Outcomes:
    """Outcomes of an (items, runs) array of scores."""
    return Outcomes.of(
        [
            {"item": f"q{i}", "run": str(k), "score": float(score)}
            for i, row in enumerate(scores)
            for k, score in enumerate(row)
        ]
    )


def twin(model: nn.Module) -> nn.Module:
    """The same weights in another object."""
    return copy.deepcopy(model)


def loaded(model: Bright) -> Bright:
    """A new model that loads the weights of another."""
    new = Bright()
    new.load_state_dict(model.state_dict())
    return new.eval()


def segments(x: Tensor) -> Tensor:
    """A score for two classes at each pixel: bright or dark."""
    bright = 8 * (x[:, 0] - 0.35)
    return torch.stack([-bright, bright], 1)


def background(x: Tensor) -> Tensor:
    """The background, at every pixel."""
    flat = 0 * x[:, 0]
    return torch.stack([flat + 2, flat], 1)


def masks(x: Tensor) -> Tensor:
    return (x[:, 0] > 0.35).long()


@dataclass(frozen=True, kw_only=True)
class Idle:
    """An attack that proposes the sample itself, again and again."""

    steps: int = 5
    name = "idle"
    needs = Needs.SCORES

    def supports(self, threat: Threat) -> bool:
        return True

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {"at": problem.x.clone()}

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return state["at"]

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        raise TypeError("this attack takes no gradients")

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        return state
