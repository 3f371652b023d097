"""Claims that ask only whether an answer holds take any task: masks, numbers, and classes as before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import ConfigError, Linf, Regression, Result, Segmentation, Shift, Verdict
from robustest.attacks import PGD
from robustest.claims import strategies
from robustest.cues import PixelPatch
from robustest.measure import (
    measure_min_perturbation,
    measure_no_spurious_feature,
    measure_no_universal_perturbation,
    measure_robust_to,
)
from robustest.strategies import Composition, poses, shifts

N, SIDE = 40, 6
MASKS, NUMBERS = Segmentation(2, floor=0.9), Regression(0.3)
PATCH = PixelPatch(top=0, left=0, height=2, width=2)


def images() -> Tensor:
    return torch.rand(N, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


class Brighter(nn.Module):
    """Marks the pixels that are brighter than a half."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.slope * (x - 0.5)


class Total(nn.Module):
    """Says how bright an image is, times a gain."""

    def __init__(self, gain: float = 2.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x.flatten(1).mean(1, keepdim=True)


def masks() -> tuple[Any, Any, Any]:
    x = images()
    return Brighter(), (x, (x[:, 0] > 0.5).long()), MASKS


def numbers() -> tuple[Any, Any, Any]:
    x = images()
    noise = 0.05 * torch.randn(N, 1, generator=torch.Generator().manual_seed(1))
    return Total(), (x, Total()(x).detach() + noise), NUMBERS


either = pytest.mark.parametrize("made", [masks, numbers])


@either
def test_any_change_of_a_strategy(made: Any) -> None:
    model, data, task = made()
    drawn = shifts(["brightness"], min_severity=4 if made is numbers else 1)
    found = measure_robust_to(model, data, drawn, at_least=0.9, max_examples=6, task=task)
    assert found.verdict is Verdict.FAILED, found.rule
    assert str(task) in found.subject.statement
    assert found.details["clean_accuracy"] == 1
    assert found.counterexamples[0].answer


def test_targets_follow_a_strategys_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of single pixels is as right of images that are moved as before, but for a column at the edge."""
    x = torch.full((8, 1, 24, 24), 0.1)
    x[..., 12:] = 0.9
    data, task = (x, (x[:, 0] > 0.5).long()), Segmentation(2, floor=0.9, ignore=255)
    moved = poses(degrees=0, translation=0.3, zoom=0.0).filter(lambda pose: abs(pose.right) > 0.2)

    def lowest(drawn: Any) -> float:
        found = measure_robust_to(Brighter(), data, drawn, max_examples=6, task=task, cache=False)
        accuracy: float = found.details["worst"]["accuracy"]
        return accuracy

    twice = moved.map(lambda pose: Composition((Shift("brightness", 1), pose)))
    assert lowest(moved) == lowest(twice) == 1
    monkeypatch.setattr(strategies, "follow_targets", lambda *given, **_: given[3])  # targets stay
    assert lowest(moved) == lowest(twice) == 0


@either
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_smallest_change_that_loses_an_answer(made: Any, norm: str) -> None:
    model, data, task = made()
    found = measure_min_perturbation(model, data, norm, at_least=1e-3, task=task)
    assert found.verdict is Verdict.PASSED, found.rule
    assert str(task) in found.subject.statement
    sizes = found.estimate
    if made is numbers and norm == "linf":  # every pixel moves the mean alike: by 0.3 less the error it has already
        assert sizes == pytest.approx(0.15, abs=0.03)
    if made is masks and norm == "linf":  # four of 36 pixels must cross the middle
        x = data[0].flatten(1)
        fourth = (x - 0.5).abs().sort(1).values[:, 3]
        assert sizes == pytest.approx(float(fourth.sort().values[N // 2]), rel=0.15)


def test_the_way_to_another_sample_bounds_the_size_for_masks_too() -> None:
    """Where a search finds nothing at all, the way to an image with another mask leaves what is right."""
    _, data, task = masks()
    x = data[0].round()
    x[1] = x[0]
    x[1, 0, 0, 0] = 1 - x[0, 0, 0, 0]  # one pixel of 36: still right by nine in ten, and so no way out
    y = (x[:, 0] > 0.5).long()

    class Blind(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Brighter()(x.detach().round()) + 0 * x.sum()

    found = measure_min_perturbation(
        Blind(), (x, y), "l1", at_least=1e-3, attack=PGD(steps=1, step_size=1e-6, random_start=False), task=task
    )
    assert found.details["bounded_by_neighbours"] == N
    # Four pixels or more, of a half each, lie on the way; what is half-way to a neighbour that differs in one is none.
    assert found.details["quantiles"]["0"] > 1.5


@either
def test_one_perturbation_for_all(made: Any) -> None:
    model, data, task = made()

    def fooled(eps: float) -> Result:
        return measure_no_universal_perturbation(
            model, data, Linf(eps), max_fooling_rate=0.05, iterations=30, task=task
        )

    # Of numbers, one change of all pixels moves every answer by twice its size.
    none, many = (fooled(eps) for eps in (0.01, 0.25))
    assert (none.verdict, many.verdict) == (Verdict.PASSED, Verdict.FAILED), (none.rule, many.rule)
    if made is numbers:
        assert many.estimate > 0.5
    assert many.counterexamples[0].answer


def test_a_cue_that_changes_answers_and_one_that_changes_none() -> None:
    model, data, task = masks()
    relies = measure_no_spurious_feature(model, data, PATCH, max_flip_rate=0.1, task=Segmentation(2, floor=0.99))
    assert relies.verdict is Verdict.FAILED
    assert "most_drawn_class" not in relies.details
    assert relies.details["accuracy_on"] < 1
    assert measure_no_spurious_feature(
        model, data, PATCH, max_flip_rate=0.1, task=Segmentation(2, floor=0.5)
    ).verdict is (Verdict.PASSED)
    number, pairs, task = numbers()
    for gain, verdict in ((2.0, Verdict.PASSED), (40.0, Verdict.FAILED)):
        assert measure_no_spurious_feature(Total(gain), pairs, PATCH, max_flip_rate=0.1, task=task).verdict is verdict
    worse = measure_no_spurious_feature(Total(40.0), pairs, PATCH, no_worse_than=number, task=task)
    assert worse.verdict is Verdict.FAILED


@pytest.mark.parametrize("more", [{"max_recall_drop": 0.1}, {"target_class": 1, "max_flip_rate": 0.1}], ids=str)
def test_what_is_about_classes_is_refused_of_other_answers(more: dict[str, Any]) -> None:
    model, data, task = masks()
    with pytest.raises(ConfigError, match="about classes"):
        measure_no_spurious_feature(model, data, PATCH, task=task, **more)


@pytest.mark.parametrize(
    "claim",
    [
        lambda m, d, t: measure_robust_to(m, d, shifts(["brightness"]), max_examples=2, task=t),
        lambda m, d, t: measure_min_perturbation(m, d, "l2", task=t),
        lambda m, d, t: measure_no_universal_perturbation(m, d, Linf(0.1), task=t),
        lambda m, d, t: measure_no_spurious_feature(m, d, PATCH, task=t),
    ],
)
def test_a_task_without_a_floor_says_nothing_of_what_holds(claim: Any) -> None:
    model, data, _ = masks()
    with pytest.raises(ConfigError, match="floor"):
        claim(model, data, Segmentation(2))
