"""Strategies: what they draw, what is simplest, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustest import ConfigError, Linf, Shift, Spatial, UnknownNameError
from robustest.shifts import SHIFTS
from robustest.strategies import (
    Composition,
    Perturbation,
    Pose,
    compositions,
    images,
    perturbations,
    poses,
    severities,
    shifts,
)

quick = settings(max_examples=200, database=None, derandomize=True)


def mirrored(x: Tensor) -> Tensor:
    return x.flip(-1)


@given(severities(min_severity=2, max_severity=4))
def test_severities_are_inside_their_limits(severity: int) -> None:
    assert 2 <= severity <= 4


@given(shifts(["fog", mirrored], max_severity=3))
def test_shifts_are_of_the_names_and_severities_given(shift: Shift) -> None:
    assert shift.name in ("fog", "mirrored")
    assert 1 <= shift.severity <= 3


@pytest.mark.parametrize("name", SHIFTS)
def test_every_shift_is_drawn(name: str) -> None:
    assert find(shifts(), lambda shift: shift.name == name, settings=settings(max_examples=2000)) == Shift(name, 1)


@given(compositions(shifts(["fog", "snow", "hue"]) | poses(), max_steps=3, min_steps=1))
def test_chains_are_of_their_length_and_repeat_nothing(change: Composition) -> None:
    kinds = [step.name if isinstance(step, Shift) else type(step).__name__ for step in change.steps]
    assert 1 <= len(kinds) <= 3
    assert len(set(kinds)) == len(kinds)


@given(poses(degrees=20, translation=0.29, zoom=0.05))
def test_poses_are_inside_their_limits(pose: Pose) -> None:
    assert abs(pose.degrees) <= 20
    assert max(abs(pose.right), abs(pose.down)) <= 0.29
    assert abs(pose.zoom) <= 0.05


def test_poses_reach_their_limits() -> None:
    assert find(poses(translation=0.29), lambda pose: pose.right == 0.29).right == 0.29


@given(images(torch.full((2, 1, 4, 4), 0.5), Linf(0.25)))
@quick
def test_images_are_inside_the_threat(x: Tensor) -> None:
    assert x.shape == (2, 1, 4, 4)
    assert ((x - 0.5).abs() <= 0.25).all()


@pytest.mark.parametrize(
    ("strategy", "condition", "simplest"),
    [
        (severities(), lambda s: s >= 1, 1),
        (shifts(), lambda _: True, Shift(next(iter(SHIFTS)), 1)),
        (shifts(), lambda s: s.severity >= 3, Shift(next(iter(SHIFTS)), 3)),
        (shifts(["snow", "fog"]), lambda s: s.name == "fog" or s.severity == 5, Shift("fog", 1)),
        (poses(), lambda _: True, Pose()),
        (poses(), lambda p: p.degrees < -3 and p.zoom > 0.02, Pose(degrees=-4, zoom=0.03)),
        (perturbations(Linf(0.1)), lambda p: p.share > 0.25, Perturbation(Linf(0.1), 0.3)),
        (compositions(), lambda _: True, Composition()),
        (
            compositions(),
            lambda c: any(s.name == "fog" and s.severity >= 2 for s in c.steps),
            Composition((Shift("fog", 2),)),
        ),
    ],
)
def test_the_simplest_is_the_mildest(
    strategy: st.SearchStrategy[object], condition: Callable[[object], bool], simplest: object
) -> None:
    assert find(strategy, condition, settings=settings(max_examples=2000, derandomize=True)) == simplest


def test_images_shrink_to_the_images_themselves() -> None:
    x = torch.rand(1, 3, 4, 4)
    assert torch.equal(find(images(x, Linf(0.1)), lambda _: True), x)


def test_a_strategy_reads_as_it_was_written() -> None:
    assert repr(shifts(max_severity=3)) == "_shifts(max_severity=3)"
    assert repr(compositions(poses(), max_steps=2)) == "_compositions(steps=_poses(), max_steps=2)"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: severities(max_severity=6), ConfigError, "max_severity to be a whole number 1..5"),
        (lambda: severities(min_severity=4, max_severity=3), ConfigError, "at least min_severity, 4"),
        (lambda: shifts("fog"), ConfigError, "names of one shift or more, as a list"),
        (lambda: shifts([]), ConfigError, "names of one shift or more"),
        (lambda: shifts(["fogg"]), UnknownNameError, "fog"),
        (lambda: shifts(parameters="48"), ConfigError, 'parameters to be "auto"'),
        (lambda: poses(degrees=200), ConfigError, "degrees to be a number in -180..180"),
        (lambda: poses(degrees=1.5), ConfigError, "degrees to be a whole number"),
        (lambda: poses(translation=-0.1), ConfigError, "limits >= 0"),
        (lambda: perturbations(0.1), ConfigError, "a threat model"),
        (lambda: images(torch.rand(3, 4, 4), Linf(0.1)), ConfigError, "a tensor of floats"),
        (lambda: compositions(["fog"]), ConfigError, "steps to be a strategy"),
        (lambda: compositions(max_steps=0), ConfigError, "max_steps to be a whole number >= 1"),
        (lambda: compositions(min_steps=4), ConfigError, "min_steps to be a whole number in 0..3"),
    ],
)
def test_what_is_wrong_is_refused_at_once(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_perturbations_take_any_threat() -> None:
    assert find(perturbations(Spatial()), lambda p: p.share == 1.0).threat == Spatial()
