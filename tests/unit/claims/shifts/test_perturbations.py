"""Flip probability and top-5 distance, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import ConfigError, Verdict
from robustest.claims.shifts.perturbations import flip_probability, top5_distance
from robustest.data import SequenceBenchmark
from robustest.measure import measure_stable_under_perturbations


def test_flips_are_from_the_frame_before_and_of_noise_from_the_first() -> None:
    predicted = torch.tensor([1, 2, 2, 1, 1])
    assert flip_probability(predicted, noise=False) == 2 / 4
    assert flip_probability(predicted, noise=True) == 2 / 4
    assert flip_probability(torch.tensor([1, 2, 2, 2, 2]), noise=False) == 1 / 4
    assert flip_probability(torch.tensor([1, 2, 2, 2, 2]), noise=True) == 1.0


def ranked(*order: int) -> Tensor:
    """Logits of ten classes in this order."""
    logits = torch.zeros(10)
    logits[list(order)] = torch.arange(10.0, 0, -1)[: len(order)]
    return logits


def test_the_top5_distance_is_how_far_places_move() -> None:
    start = ranked(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    swapped = ranked(1, 0, 2, 3, 4, 5, 6, 7, 8, 9)
    gone = ranked(5, 6, 7, 8, 9, 0, 1, 2, 3, 4)
    fifth = ranked(0, 1, 2, 3, 9, 5, 6, 7, 8, 4)
    assert top5_distance(torch.stack([start, start]), noise=False) == 0
    assert top5_distance(torch.stack([start, swapped]), noise=False) == 2
    assert top5_distance(torch.stack([start, gone]), noise=False) == 15
    assert top5_distance(torch.stack([start, fifth]), noise=False) == 1
    assert top5_distance(torch.stack([start, swapped, swapped]), noise=False) == 1
    assert top5_distance(torch.stack([start, swapped, swapped]), noise=True) == 2


def model(x: Tensor) -> Tensor:
    z = x.mean((1, 2, 3)) - 0.5
    return torch.stack([-z, z], 1)


def sequences(bright: float = 0.6) -> SequenceBenchmark:
    """Of four sequences one goes over the boundary, once of two steps; another is beyond it. Noise goes over none."""
    level = torch.full((4, 3), 0.4)
    level[3] = 0.7
    level[0] = torch.tensor([0.4, bright, bright])
    frames = level.view(4, 3, 1, 1, 1).expand(4, 3, 1, 2, 2)
    noisy = torch.full_like(frames, 0.3)
    noisy[3] = 0.7
    noisy[:, 1:] += 0.01
    return SequenceBenchmark(name="steps", sequences={"tilt": frames, "shot_noise": noisy}, published=4)


def measured(**options: Any) -> Any:
    return measure_stable_under_perturbations(model, sequences(), exact=True, **options)


def test_the_mean_is_over_sequences_and_perturbations() -> None:
    result = measured(max_mfp=0.0626)
    assert result.details["flip_probability"] == {"tilt": 0.125, "shot_noise": 0.0}
    assert (result.verdict, result.estimate) == (Verdict.PASSED, pytest.approx(0.0625))
    assert result.outcomes == (False, True, True, True)
    assert measured(max_mfp=0.06).verdict is Verdict.FAILED
    assert measured(perturbations=["tilt"], max_mt5d=0.25).estimate == pytest.approx(
        0.25
    )  # two classes swap: 2 of a step


def test_a_reference_makes_shares_of_its_figures() -> None:
    other = {"flip_probability": {"tilt": 0.25, "shot_noise": 0.5}, "top5_distance": {"tilt": 1.0, "shot_noise": 1.0}}
    result = measured(max_mfp=0.3, reference=other)
    assert result.estimate == pytest.approx(0.25)
    assert result.details["mfr"] == pytest.approx(0.25)
    assert result.details["mt5d_rate"] == pytest.approx(0.125)
    with pytest.raises(ConfigError, match=r"reference\['flip_probability'\]\['tilt'\] to be a number > 0"):
        measured(max_mfp=0.3, reference={"flip_probability": {"tilt": 0.0}})


def test_mistakes_are_told() -> None:
    with pytest.raises(ConfigError, match="both"):
        measured(max_mfp=0.1, max_mt5d=0.1)
    with pytest.raises(ConfigError, match="Unknown perturbation of steps 'spin'"):
        measured(perturbations=["spin"])
    with pytest.raises(ConfigError, match="sequences as benchmark"):
        measure_stable_under_perturbations(model, (torch.zeros(2, 1, 2, 2), torch.zeros(2)), max_mfp=0.1)  # type: ignore[arg-type]
