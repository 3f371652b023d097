"""Tasks of a user whose answers have another form than targets: retrieval and sequences; and what a wrong member is
told.
"""

# ruff: noqa: ARG005 - a member has the protocol's arguments

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from robustest import ConfigError, Linf, Verdict, assert_accuracy, assert_robust_accuracy
from robustest.measure import (
    measure_accuracy,
    measure_consistency,
    measure_min_perturbation,
    measure_no_universal_perturbation,
    measure_robust_accuracy,
)
from robustest.tasks import Task, checked_task


class Plain:
    """The members that are the same in both tasks below."""

    one_class = placed = False

    if TYPE_CHECKING:

        def margin(self, output: Tensor, y: Tensor) -> Tensor: ...

        def right(self, predictions: Tensor, other: Tensor) -> Tensor: ...

    @property
    def losses(self) -> dict[str, Any]:
        return {name: lambda output, y: -self.margin(output, y) for name in ("log_odds", "margin")}

    def check_targets(self, y: Tensor, width: int) -> None: ...

    def check_output(self, output: Tensor, rows: int, width: int) -> int:
        return output.shape[-1]

    def holds(self, output: Tensor, y: Tensor) -> Tensor:
        return self.margin(output, y) > 0

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        return self.holds(output, y).double()

    def agreement(self, predictions: Tensor, other: Tensor) -> Tensor:
        return self.right(predictions, other).double()

    def moved(self, y: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        return y

    def describe(self, y: Tensor, clean: Tensor, predicted: Tensor, moved: Tensor | None = None) -> dict[str, Any]:
        return {"answer": f"{y.tolist()}: {clean.tolist()} -> {predicted.tolist()}"}


@dataclass(frozen=True, eq=False)
class Recall(Plain):
    """Outputs are embeddings (B, E), targets numbers (B,) of items in a gallery (N, E), found among the k nearest.

    An answer is the embedding itself: no whole number.
    """

    gallery: Tensor
    k: int
    name = "retrieval"

    def targets(self, given: object) -> Tensor:
        return torch.as_tensor(given, dtype=torch.int64)

    def predictions(self, output: Tensor) -> Tensor:
        return output

    def as_targets(self, predictions: Tensor) -> Tensor:
        return torch.cdist(predictions, self.gallery).argmin(-1)

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        far = torch.cdist(output, self.gallery.to(output))  # (B, N), or (B, A, N)
        at = y.view(-1, *[1] * (far.ndim - 1)).expand(*far.shape[:-1], 1)
        others = far.scatter(-1, at, torch.inf).topk(self.k, -1, largest=False).values[..., -1]
        return others - far.gather(-1, at).squeeze(-1)

    def right(self, predictions: Tensor, other: Tensor) -> Tensor:
        return self.margin(predictions, other) > 0


@dataclass(frozen=True)
class Sequences(Plain):
    """Outputs (B, L, V) are logits of symbols, 0 ends a sequence; targets (B, 1 + L) are a length and its symbols.

    Predictions are the L symbols alone. A sequence holds if all symbols up to its length do, and its end.
    """

    length: int
    name = "sequences"

    def targets(self, given: object) -> Tensor:
        rows = [[len(one), *one, *[0] * (self.length - len(one))] for one in given]  # type: ignore[attr-defined]
        return torch.tensor(rows)

    def predictions(self, output: Tensor) -> Tensor:
        return output.argmax(-1)

    def as_targets(self, predictions: Tensor) -> Tensor:
        ends = torch.cat([predictions, torch.zeros_like(predictions[:, :1])], 1)
        return torch.cat([(ends == 0).long().argmax(1, keepdim=True), predictions], 1)

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        symbols, counted = y[:, 1:], torch.arange(self.length) <= y[:, :1]
        if output.ndim == 4:
            symbols, counted = (one.unsqueeze(1).expand(output.shape[:3]) for one in (symbols, counted))
        at = symbols.unsqueeze(-1)
        lead = output.gather(-1, at).squeeze(-1) - output.scatter(-1, at, -torch.inf).amax(-1)
        return lead.where(counted, torch.inf).amin(-1)

    def right(self, predictions: Tensor, other: Tensor) -> Tensor:
        counted = torch.arange(self.length) <= other[:, :1]
        return ((predictions == other[:, 1:]) | ~counted).all(1)


def retrieval() -> tuple[torch.nn.Linear, tuple[Tensor, Tensor], Recall]:
    generator = torch.Generator().manual_seed(1)
    model, x = torch.nn.Linear(6, 4).eval(), torch.rand(40, 6, generator=generator) * 0.6 + 0.2
    with torch.no_grad():
        model.weight.copy_(torch.randn(4, 6, generator=generator))
        model.bias.zero_()
        gallery = model(x[:12]) + 0.05 * torch.randn(12, 4, generator=generator)
    y = torch.arange(40) % 12
    return model, ((x[:12][y] + 0.02 * torch.randn(40, 6, generator=generator)).clamp(0, 1), y), Recall(gallery, 2)


def test_retrieval_is_claimed_and_attacked() -> None:
    model, data, task = retrieval()
    assert isinstance(task, Task)
    exact = float(
        (torch.cdist(model(data[0]), task.gallery).argsort(1)[:, :2] == data[1][:, None]).any(1).double().mean()
    )
    assert measure_accuracy(model, data, task=task, exact=True).estimate == pytest.approx(exact)
    assert exact > 0.9
    assert_accuracy(model, data, task=task, at_least=0.8)
    assert_robust_accuracy(model, data, Linf(0.005), task=task, at_least=0.6)
    found = measure_robust_accuracy(model, data, Linf(0.3), task=task, at_least=0.5)
    assert found.verdict is Verdict.FAILED
    assert "->" in found.counterexamples[0].answer
    again = measure_robust_accuracy(model, data, Linf(0.3), task=task, at_least=0.5)
    assert again.counterexamples[0].answer == found.counterexamples[0].answer


def test_retrieval_is_consistent_by_the_item_that_was_nearest_before() -> None:
    model, data, task = retrieval()
    moved = (data[0] + 0.05).clamp(0, 1)
    nearest = torch.cdist(model(data[0]), task.gallery).argmin(1)
    after = torch.cdist(model(moved), task.gallery).argsort(1)[:, :2]
    flips = float((after != nearest[:, None]).all(1).double().mean())
    pictures, model_of_pictures = data[0].view(-1, 1, 2, 3), torch.nn.Sequential(torch.nn.Flatten(), model).eval()
    result = measure_consistency(
        model_of_pictures,
        (pictures, data[1]),
        lambda x: (x + 0.05).clamp(0, 1),
        task=task,
        max_flip_rate=0.9,
        exact=True,
    )
    whole = measure_consistency(
        model_of_pictures, (pictures, data[1]), lambda x: (x + 0.05).clamp(0, 1), task=task, exact=True
    )
    assert whole.estimate == pytest.approx(flips)
    assert result.verdict is Verdict.PASSED
    assert measure_min_perturbation(model, data, "linf", task=task).numbers.n > 0


def test_sequences_of_different_lengths_are_claimed_and_attacked() -> None:
    task = Sequences(3)

    def reads(x: Tensor) -> Tensor:
        """Symbols 0, 1 and 2 by thirds of the brightness of each of three places."""
        return torch.stack([0.33 - x, 0.33 - (x - 0.5).abs(), x - 0.67], 2) * 9

    symbols = torch.tensor([[1, 2, 0], [2, 0, 0], [1, 1, 2], [2, 1, 0]] * 8)
    x = torch.tensor([0.1, 0.5, 0.9])[symbols]
    y = [[s for s in row if s] for row in symbols.tolist()]
    assert measure_accuracy(reads, (x, y), task=task, exact=True).estimate == 1
    assert_robust_accuracy(reads, (x, y), Linf(0.02), task=task, at_least=0.9)
    found = measure_robust_accuracy(reads, (x, y), Linf(0.35), task=task, at_least=0.5)
    assert found.verdict is Verdict.FAILED


def wrong(**members: Any) -> object:
    return type("Odd", (Recall,), members)(torch.eye(4), 1)


WRONG: dict[str, tuple[object, str]] = {
    "no task": (object(), "Expected a task such as"),
    "a class": (Recall, "Make one: task=Recall"),
    "name": (wrong(name=3), "Odd.name to be a str"),
    "one_class": (wrong(one_class="no"), "Odd.one_class to be a bool"),
    "losses": (wrong(losses={"ce": len}), r"Odd.losses\['margin'\] to be a function"),
    "arguments": (wrong(holds=lambda self, output: output), r"Odd.holds\(output, y\).*got Odd.holds\(output\)"),
    "describe": (wrong(describe=lambda self, y: {}), r"Odd.describe\(y, clean, predicted, moved\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_member_that_is_wrong_is_named(name: str) -> None:
    task, message = WRONG[name]
    with pytest.raises(ConfigError, match=message):
        checked_task(task)


def test_members_that_lack_are_named_with_what_they_return() -> None:
    lacks = type("Lacking", (Plain,), {"name": "x", "targets": lambda self, given: given, "right": None})()
    del type(lacks).right
    with pytest.raises(
        ConfigError, match=r"Lacking has no predictions, margin, right\. Add predictions\(output\): Return"
    ):
        checked_task(lacks)


ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "holds is a number": ({"holds": lambda self, output, y: self.margin(output, y)}, "Odd.holds to return bool"),
    "margin has another shape": (
        {"margin": lambda self, output, y: torch.ones(len(y), 4), "holds": lambda self, output, y: y >= 0},
        r"Odd.margin to return a tensor of shape \(2,\).*Return \(B,\) the distance",
    ),
    "margin says otherwise": (
        {"holds": lambda self, output, y: Recall.margin(self, output, y) < 0},
        "Odd.margin to be positive where holds is true",
    ),
    "score beyond 1": ({"score": lambda self, output, y: 7.0 + 0 * self.margin(output, y)}, "Odd.score from 0 to 1"),
    "right raises": ({"right": lambda self, predictions, other: 1 / 0}, "Odd.right to answer.*ZeroDivisionError"),
    "no reading of answers": ({"as_targets": None}, r"Odd.predictions in the form of targets.*Add as_targets"),
    "one answer a row alone": (
        {"margin": lambda self, output, y: Recall.margin(self, output.flatten(1)[:, :4], y)},
        r"Odd.holds to return a tensor of shape \(2, 3\)",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_member_that_answers_otherwise_than_promised_is_named(name: str) -> None:
    members, message = ANSWERS[name]
    model, data, task = retrieval()
    odd: Any = type("Odd", (Recall,), members)(task.gallery, 2)
    with pytest.raises(ConfigError, match=message):
        measure_accuracy(model, data, task=odd)


def test_a_member_is_named_where_no_target_is_judged() -> None:
    model, data, task = retrieval()
    odd: Any = type("Odd", (Recall,), {"as_targets": None})(task.gallery, 2)
    with pytest.raises(ConfigError, match=r"Odd.predictions in the form of targets.*Add as_targets"):
        measure_no_universal_perturbation(model, data, Linf(0.1), task=odd)
