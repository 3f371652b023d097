"""A user's own function receives the user's units and returns them, on any number of axes and inside any bounds.

One data set of decibels inside [-80, 0] is laid out on two to five axes. Every claim that takes a function must measure
the very same on each of the layouts, and what the function received must be the data themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from robustest import Linf, Result, Shift, Verdict, rng
from robustest.cues import FunctionCue
from robustest.measure import (
    accuracy_under,
    measure_calibrated,
    measure_consistency,
    measure_corruption_robustness,
    measure_no_spurious_feature,
    measure_robust_to,
    measure_selective_accuracy,
    measure_shift_accuracy,
)
from robustest.strategies import Composition, Perturbation, compositions, perturbations, shifts

N, F, T = 80, 4, 5
BOUNDS = (-80.0, 0.0)
_draw = torch.Generator().manual_seed(0)
LOUD = (torch.arange(N) % 4) * 10.0 - 65
DECIBELS = (LOUD.view(-1, 1) + 4 * torch.rand(N, F * T, generator=_draw)).clamp(*BOUNDS)
Y = (LOUD > -55).long()
LAYOUTS = {2: (F * T,), 3: (F, T), 4: (1, F, T), 5: (1, 1, F, T)}
DATA = {axes: (DECIBELS.view(N, *shape), Y) for axes, shape in LAYOUTS.items()}


class Loudness(nn.Module):
    """Class 1 from a mean of -50 dB on: right on all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.edge = nn.Parameter(torch.tensor(-50.0))

    def forward(self, x: Tensor) -> Tensor:
        over = (x.flatten(1).mean(1) - self.edge) / 10
        return torch.stack([-over, over], 1)


MODEL = Loudness().eval()


def quieter(x: Tensor) -> Tensor:
    return x - 6


def softer(x: Tensor, severity: int, key: Tensor) -> Tensor:
    """Noise of a few decibels, drawn by element whatever the layout, and a gain."""
    noise = rng.uniform(key, (x[0].numel(),)).view_as(x)
    return x - 2 * severity + noise


def attenuated(x: Tensor, by: float) -> Tensor:
    return x - by


class Attenuating(nn.Module):
    def forward(self, x: Tensor, severity: int) -> Tensor:
        return x - 2.0 * severity


class Muffling:
    """Only part of the range is left."""

    def __init__(self, floor: float) -> None:
        self.floor = floor

    def __call__(self, x: Tensor) -> Tensor:
        return x.clamp(min=self.floor)


OWN: dict[str, Any] = {
    "function": quieter,
    "with severity and key": softer,
    "partial": partial(attenuated, by=6.0),
    "module": Attenuating(),
    "class": Muffling(-60.0),
    "lambda": lambda x: x.clamp(max=-52.0),
    "shift": Shift("softer", 4, softer),
    "chain": Composition((Shift("quieter", 3, quieter), Shift("softer", 2, softer))),
    "place in a ball": Perturbation(Linf(6.0)),
    "chain with a place": Composition((Perturbation(Linf(3.0)), Shift("quieter", 3, quieter))),
}


def told(result: Result) -> dict[str, Any]:
    """What a result says, but for how long it took and what the inputs were."""
    out = result.to_dict()
    for name in ("cost", "data", "model", "counterexamples", "cached"):
        out.pop(name)
    return out


def alike(measure: Callable[[Any], Result], axes: int) -> Result:
    """The result on two axes, which that on others must equal."""
    flat, laid = measure(DATA[2]), measure(DATA[axes])
    assert told(laid) == told(flat)
    return flat


AXES = pytest.mark.parametrize("axes", [3, 4, 5])
_common: dict[str, Any] = {"bounds": BOUNDS, "exact": True, "cache": False}


@pytest.mark.thinned
@AXES
@pytest.mark.parametrize("name", OWN)
def test_a_shift_of_ones_own_is_the_same_on_every_layout(name: str, axes: int) -> None:
    shift = OWN[name]
    alike(lambda data: measure_shift_accuracy(MODEL, data, shift, at_least=0.5, **_common), axes)
    alike(lambda data: measure_consistency(MODEL, data, shift, max_flip_rate=0.5, **_common), axes)
    alike(lambda data: measure_calibrated(MODEL, data, shift, max_brier=0.5, **_common), axes)
    alike(lambda data: measure_selective_accuracy(MODEL, data, shift, coverage=0.8, at_least=0.5, **_common), axes)


@AXES
def test_corruptions_of_ones_own_are_the_same_on_every_layout(axes: int) -> None:
    own: Any = [softer, Attenuating()]
    found = alike(
        lambda data: measure_corruption_robustness(MODEL, data, corruptions=own, min_accuracy=0.5, **_common), axes
    )
    assert found.details["by_severity"]["Attenuating"]["1"]["accuracy"] == 1
    assert found.details["by_severity"]["Attenuating"]["5"]["accuracy"] == 0.75  # -45 dB less 10 are class 0


@pytest.mark.thinned
@AXES
@pytest.mark.parametrize(
    "strategy",
    [
        st.just(quieter),
        st.floats(0, 20).map(lambda by: partial(attenuated, by=by)),
        shifts([softer, Attenuating()]),
        perturbations(Linf(12.0)),
        compositions(shifts([softer]) | perturbations(Linf(3.0))),
    ],
    ids=["just", "floats", "shifts", "places", "chains"],
)
def test_what_a_strategy_draws_is_the_same_on_every_layout(strategy: Any, axes: int) -> None:
    alike(lambda data: measure_robust_to(MODEL, data, strategy, at_least=0.9, max_examples=12, **_common), axes)


@AXES
def test_accuracy_under_a_change_is_the_same_on_every_layout(axes: int) -> None:
    for change in (quieter, OWN["chain"], OWN["class"]):
        flat, laid = (accuracy_under(MODEL, DATA[at], change, bounds=BOUNDS) for at in (2, axes))
        assert flat == laid


@AXES
def test_cues_of_ones_own_are_the_same_on_every_layout(axes: int) -> None:
    hum = FunctionCue("hum", on=lambda x: (x + 1).clamp(max=0), off=lambda x: (x - 10).clamp(min=-80))
    found = alike(lambda data: measure_no_spurious_feature(MODEL, data, hum, max_flip_rate=0.5, **_common), axes)
    assert found.details["flips"] == N // 4


@pytest.mark.parametrize("axes", LAYOUTS)
def test_what_a_function_receives_are_the_samples_themselves(axes: int) -> None:
    """Whoever hands it on: claims, strategies, chains, repairs and cues."""
    x, y = DATA[axes]
    known = {row.numpy().tobytes() for row in x}
    received: list[Tensor] = []

    def listening(x: Tensor, severity: int) -> Tensor:
        received.append(x.clone())
        return x - severity

    cue = FunctionCue("cue", on=lambda x: listening(x, 1).clamp(*BOUNDS), off=lambda x: listening(x, 2).clamp(*BOUNDS))
    measure_shift_accuracy(MODEL, (x, y), listening, bounds=BOUNDS)
    measure_shift_accuracy(MODEL, (x, y), partial(listening, severity=2), bounds=BOUNDS)
    measure_consistency(MODEL, (x, y), Composition((Shift("listening", 3, listening),)), bounds=BOUNDS)
    measure_corruption_robustness(MODEL, (x, y), corruptions=[listening], bounds=BOUNDS)  # type: ignore[list-item]
    measure_calibrated(MODEL, (x, y), listening, bounds=BOUNDS)
    measure_robust_to(MODEL, (x, y), st.just(listening), max_examples=2, bounds=BOUNDS)
    measure_no_spurious_feature(MODEL, (x, y), cue, bounds=BOUNDS)
    assert len(received) > 10
    assert all(row.numpy().tobytes() in known for batch in received for row in batch)


def test_the_two_reported_mistakes() -> None:
    """On four axes a floor of -60 dB was a floor of 0, and 6 dB less were 480."""
    half = (DECIBELS.mean(1) >= -50).long()
    at = measure_shift_accuracy(
        lambda x: torch.stack([-60.5 - x.flatten(1).amax(1), x.flatten(1).amax(1) + 60.5], 1),
        (DATA[4][0], (DECIBELS.amax(1) > -60.5).long()),
        lambda x: x.clamp(min=-60),
        at_least=0.9,
        **_common,
    )
    assert (at.verdict, at.estimate) == (Verdict.FAILED, 0.75)
    less = measure_shift_accuracy(MODEL, (DATA[4][0], half), lambda x: x - 0.5, at_least=0.9, **_common)
    assert (less.verdict, less.estimate) == (Verdict.PASSED, 1.0)
